//! Sixteen lanes a vector, two vectors a step; `avx2.rs` says the rest. `vpexpandd` hands out the words in one instruction.

use super::AHEAD;
use std::arch::x86_64::*;
use wcodec_device::rans::{CHUNK, Entry, LANES, SCALE_BITS, SLOTS};

const SHIFT: u32 = SCALE_BITS;

/// See [`super::Kernel`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,popcnt")]
pub(super) fn chunks(
    table: &[Entry; SLOTS],
    state: &mut [u32; LANES],
    words: &[u8],
    chunks: &mut [[u8; CHUNK]],
) -> (usize, usize) {
    let slots = _mm512_set1_epi32(SLOTS as i32 - 1);
    let byte = _mm512_set1_epi32(0xff);
    let floor = _mm512_set1_epi32(1 << 16);
    let zero = _mm512_setzero_si512();
    // SAFETY: `state` is 32 u32, two vectors.
    let mut x: [__m512i; 2] = std::array::from_fn(|v| unsafe { _mm512_loadu_si512(state.as_ptr().add(16 * v).cast()) });
    let mut at = 0;
    let mut done = 0;
    for chunk in chunks.iter_mut() {
        if words.len() < 2 * (at + AHEAD) {
            break;
        }
        let mut symbols = [zero; 2];
        for step in 0..4 {
            let mut entry = [zero; 2];
            for v in 0..2 {
                // SAFETY: every index is masked to the table's 4096 entries of 4 bytes.
                entry[v] = unsafe { _mm512_i32gather_epi32::<4>(_mm512_and_si512(x[v], slots), table.as_ptr().cast()) };
            }
            for v in 0..2 {
                let freq = _mm512_and_si512(_mm512_srli_epi32::<8>(entry[v]), slots);
                let next = _mm512_add_epi32(
                    _mm512_mullo_epi32(freq, _mm512_srli_epi32::<SHIFT>(x[v])),
                    _mm512_srli_epi32::<20>(entry[v]),
                );
                let need = _mm512_cmplt_epu32_mask(next, floor);
                // SAFETY: `at` grew by at most 128 since AHEAD = 128 + 16 words were known to lie ahead, so 16 words remain.
                let ahead = unsafe { _mm256_loadu_si256(words.as_ptr().add(2 * at).cast()) };
                let word = _mm512_maskz_expand_epi32(need, _mm512_cvtepu16_epi32(ahead));
                x[v] = _mm512_or_si512(_mm512_mask_slli_epi32::<16>(next, need, next), word);
                at += (need as u32).count_ones() as usize;
                let symbol = _mm512_and_si512(entry[v], byte);
                symbols[v] = _mm512_or_si512(
                    symbols[v],
                    match step {
                        0 => symbol,
                        1 => _mm512_slli_epi32::<8>(symbol),
                        2 => _mm512_slli_epi32::<16>(symbol),
                        _ => _mm512_slli_epi32::<24>(symbol),
                    },
                );
            }
        }
        for (v, &four) in symbols.iter().enumerate() {
            // SAFETY: a chunk is 128 bytes, two vectors.
            unsafe { _mm512_storeu_si512(chunk.as_mut_ptr().add(64 * v).cast(), four) };
        }
        done += 1;
    }
    for (v, &vector) in x.iter().enumerate() {
        // SAFETY: `state` is 32 u32, two vectors.
        unsafe { _mm512_storeu_si512(state.as_mut_ptr().add(16 * v).cast(), vector) };
    }
    (done, at)
}
