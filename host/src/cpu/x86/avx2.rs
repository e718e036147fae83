//! Eight lanes a vector, four vectors a step.
//!
//! 1. The four gathers of a step are issued first: their latency hides behind each other's arithmetic.
//! 2. A lane's word is found by permuting the next eight words with a pattern looked up by the mask of lanes that need one.
//! 3. Four steps leave four symbols a lane, which are put together to one 32-bit word: a chunk is four plain stores.

use super::AHEAD;
use std::arch::x86_64::*;
use wcodec_device::rans::{CHUNK, Entry, LANES, SCALE_BITS, SLOTS};

const SHIFT: i32 = SCALE_BITS as i32;

/// `SPREAD[mask]` brings word `k` to the `k`-th lane whose bit is set in `mask`.
static SPREAD: [[u32; 8]; 256] = spread();

const fn spread() -> [[u32; 8]; 256] {
    let mut lut = [[0; 8]; 256];
    let mut mask = 0;
    while mask < 256 {
        let (mut lane, mut next) = (0, 0);
        while lane < 8 {
            if mask >> lane & 1 == 1 {
                lut[mask][lane] = next;
                next += 1;
            }
            lane += 1;
        }
        mask += 1;
    }
    lut
}

/// See [`super::Kernel`].
#[target_feature(enable = "avx2,popcnt")]
pub(super) fn chunks(
    table: &[Entry; SLOTS],
    state: &mut [u32; LANES],
    words: &[u8],
    chunks: &mut [[u8; CHUNK]],
) -> (usize, usize) {
    let slots = _mm256_set1_epi32(SLOTS as i32 - 1);
    let byte = _mm256_set1_epi32(0xff);
    let zero = _mm256_setzero_si256();
    // SAFETY: `state` is 32 u32, four vectors.
    let mut x: [__m256i; 4] = std::array::from_fn(|v| unsafe { _mm256_loadu_si256(state.as_ptr().add(8 * v).cast()) });
    let mut at = 0;
    let mut done = 0;
    for chunk in chunks.iter_mut() {
        if words.len() < 2 * (at + AHEAD) {
            break;
        }
        let mut symbols = [zero; 4];
        for step in 0..4 {
            let mut entry = [zero; 4];
            for v in 0..4 {
                // SAFETY: every index is masked to the table's 4096 entries of 4 bytes.
                entry[v] = unsafe { _mm256_i32gather_epi32::<4>(table.as_ptr().cast(), _mm256_and_si256(x[v], slots)) };
            }
            for v in 0..4 {
                let freq = _mm256_and_si256(_mm256_srli_epi32::<8>(entry[v]), slots);
                let next = _mm256_add_epi32(
                    _mm256_mullo_epi32(freq, _mm256_srli_epi32::<SHIFT>(x[v])),
                    _mm256_srli_epi32::<20>(entry[v]),
                );
                let need = _mm256_cmpeq_epi32(_mm256_srli_epi32::<16>(next), zero);
                let mask = _mm256_movemask_ps(_mm256_castsi256_ps(need)) as usize;
                // SAFETY: `at` grew by at most 128 since AHEAD = 128 + 16 words were known to lie ahead, so 8 words remain;
                // a mask of eight lanes is below 256, the length of SPREAD.
                let (ahead, pattern) = unsafe {
                    (
                        _mm_loadu_si128(words.as_ptr().add(2 * at).cast()),
                        _mm256_loadu_si256(SPREAD.get_unchecked(mask).as_ptr().cast()),
                    )
                };
                let word = _mm256_permutevar8x32_epi32(_mm256_cvtepu16_epi32(ahead), pattern);
                let filled = _mm256_or_si256(_mm256_slli_epi32::<16>(next), word);
                x[v] = _mm256_blendv_epi8(next, filled, need);
                at += mask.count_ones() as usize;
                let symbol = _mm256_and_si256(entry[v], byte);
                symbols[v] = _mm256_or_si256(
                    symbols[v],
                    match step {
                        0 => symbol,
                        1 => _mm256_slli_epi32::<8>(symbol),
                        2 => _mm256_slli_epi32::<16>(symbol),
                        _ => _mm256_slli_epi32::<24>(symbol),
                    },
                );
            }
        }
        for (v, &four) in symbols.iter().enumerate() {
            // SAFETY: a chunk is 128 bytes, four vectors.
            unsafe { _mm256_storeu_si256(chunk.as_mut_ptr().add(32 * v).cast(), four) };
        }
        done += 1;
    }
    for (v, &vector) in x.iter().enumerate() {
        // SAFETY: `state` is 32 u32, four vectors.
        unsafe { _mm256_storeu_si256(state.as_mut_ptr().add(8 * v).cast(), vector) };
    }
    (done, at)
}
