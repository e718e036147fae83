//! Eight lanes a vector, four vectors a step.
//!
//! 1. A step is one long chain (slot, table, multiply, compare, count, fetch a word): about 50 cycles in which little else happens.
//!    Decoding `N` streams side by side fills them.
//! 2. The table is read with eight scalar loads: on Zen a gather takes about twice as many micro-operations.
//! 3. A lane's word is found by permuting the next eight words with a pattern looked up by the mask of lanes that need one.
//! 4. Four steps leave four symbols a lane, which are put together to one 32-bit word: a chunk is four plain stores.

use super::{AHEAD, Run};
use std::arch::x86_64::*;
use wcodec_device::rans::{Entry, SCALE_BITS, SLOTS};

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

/// Eight table entries.
#[target_feature(enable = "avx2")]
#[inline]
fn lookup(table: &[Entry; SLOTS], slot: __m256i) -> __m256i {
    let (lo, hi) = (_mm256_castsi256_si128(slot), _mm256_extracti128_si256::<1>(slot));
    let entry = |slot: u64| {
        debug_assert!(slot < SLOTS as u64);
        // SAFETY: every lane of `slot` is masked to the table's 4096 entries.
        unsafe { table.get_unchecked(slot as usize).0 as i32 }
    };
    let two = |pair: i64| (entry(pair as u64 & 0xffff_ffff), entry(pair as u64 >> 32));
    let (a, b) = two(_mm_cvtsi128_si64(lo));
    let (c, d) = two(_mm_extract_epi64::<1>(lo));
    let (e, f) = two(_mm_cvtsi128_si64(hi));
    let (g, h) = two(_mm_extract_epi64::<1>(hi));
    _mm256_setr_epi32(a, b, c, d, e, f, g, h)
}

/// See [`super::Kernel`].
#[target_feature(enable = "avx2,popcnt")]
pub(super) fn chunks<const N: usize, const STEPS: usize>(runs: &mut [Run<'_, '_>; N], most: usize) -> usize {
    let slots = _mm256_set1_epi32(SLOTS as i32 - 1);
    let byte = _mm256_set1_epi32(0xff);
    let zero = _mm256_setzero_si256();
    let mut x = [[zero; 4]; N];
    let mut at = [0usize; N];
    for (x, run) in x.iter_mut().zip(runs.iter()) {
        for (v, x) in x.iter_mut().enumerate() {
            // SAFETY: the state is 32 u32, four vectors.
            *x = unsafe { _mm256_loadu_si256(run.state.as_ptr().add(8 * v).cast()) };
        }
    }
    let mut done = 0;
    while done < most && (0..N).all(|n| runs[n].words.len() >= 2 * (at[n] + AHEAD)) {
        let mut symbols = [[zero; 4]; N];
        for step in 0..STEPS {
            for n in 0..N {
                let words = runs[n].words.as_ptr();
                let mut entry = [zero; 4];
                for v in 0..4 {
                    entry[v] = lookup(runs[n].table, _mm256_and_si256(x[n][v], slots));
                }
                for v in 0..4 {
                    let freq = _mm256_and_si256(_mm256_srli_epi32::<8>(entry[v]), slots);
                    let next = _mm256_add_epi32(
                        _mm256_mullo_epi32(freq, _mm256_srli_epi32::<SHIFT>(x[n][v])),
                        _mm256_srli_epi32::<20>(entry[v]),
                    );
                    let need = _mm256_cmpeq_epi32(_mm256_srli_epi32::<16>(next), zero);
                    let mask = _mm256_movemask_ps(_mm256_castsi256_ps(need)) as usize;
                    // SAFETY: `at` grew by at most 128 since AHEAD = 128 + 16 words were known to lie ahead, so 8 words remain;
                    // a mask of eight lanes is below 256, the length of SPREAD.
                    let (ahead, pattern) = unsafe {
                        (
                            _mm_loadu_si128(words.add(2 * at[n]).cast()),
                            _mm256_loadu_si256(SPREAD.get_unchecked(mask).as_ptr().cast()),
                        )
                    };
                    let word = _mm256_permutevar8x32_epi32(_mm256_cvtepu16_epi32(ahead), pattern);
                    let filled = _mm256_or_si256(_mm256_slli_epi32::<16>(next), word);
                    x[n][v] = _mm256_blendv_epi8(next, filled, need);
                    at[n] += mask.count_ones() as usize;
                    let symbol = _mm256_and_si256(entry[v], byte);
                    symbols[n][v] = _mm256_or_si256(
                        symbols[n][v],
                        match step {
                            0 => symbol,
                            1 => _mm256_slli_epi32::<8>(symbol),
                            2 => _mm256_slli_epi32::<16>(symbol),
                            _ => _mm256_slli_epi32::<24>(symbol),
                        },
                    );
                }
            }
        }
        for (run, symbols) in runs.iter_mut().zip(&symbols) {
            let chunk = &mut run.chunks[done];
            for (v, &four) in symbols.iter().enumerate() {
                // SAFETY: a chunk is 128 bytes, four vectors.
                unsafe { _mm256_storeu_si256(chunk.as_mut_ptr().add(32 * v).cast(), four) };
            }
        }
        done += 1;
    }
    for ((x, at), run) in x.iter().zip(at).zip(runs) {
        for (v, &vector) in x.iter().enumerate() {
            // SAFETY: the state is 32 u32, four vectors.
            unsafe { _mm256_storeu_si256(run.state.as_mut_ptr().add(8 * v).cast(), vector) };
        }
        run.used = at;
    }
    done
}
