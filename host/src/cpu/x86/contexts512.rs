//! Streams with contexts: `avx512.rs` with a table for each lane and step. A chunk's contexts, four bytes a lane, lie in vectors as they are; where
//! a context's table begins comes out of four registers.

use super::AHEAD;
use crate::cpu::contexts::{ContextStream, Progress};
use std::arch::x86_64::*;
use wcodec_device::rans::{CHUNK, LANE_RUN, SCALE_BITS, SLOTS};

/// Decodes chunks but the last full one, as long as words certainly suffice.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,popcnt")]
pub(super) fn chunks(stream: &ContextStream<'_>, progress: &mut Progress<'_>, out: &mut [u8]) {
    // Whichever context is asked for, its table lies in the pool.
    assert!(stream.first_slots.iter().all(|&first| first as usize + SLOTS <= stream.slots().len()));
    let pool = stream.slots().as_ptr();
    let slots = _mm512_set1_epi32(SLOTS as i32 - 1);
    let byte = _mm512_set1_epi32(0xff);
    let floor = _mm512_set1_epi32(1 << 16);
    let load = |numbers: &[u32; 16]| {
        // SAFETY: a vector is 16 numbers.
        unsafe { _mm512_loadu_si512(numbers.as_ptr().cast()) }
    };
    let [first0, first1, first2, first3] = *stream.first_slots.as_chunks::<16>().0 else { unreachable!("64 contexts") };
    let first = [load(&first0), load(&first1), load(&first2), load(&first3)];
    let [low, high] = *progress.state.as_chunks::<16>().0 else { unreachable!("32 lanes") };
    let mut x = [load(&low), load(&high)];
    let mut at = 0;
    let most = (out.len() / CHUNK).saturating_sub(1);
    for (chunk, contexts) in out.as_chunks_mut::<CHUNK>().0.iter_mut().zip(stream.contexts.as_chunks::<CHUNK>().0).take(most) {
        if progress.words.len() < 2 * (at + AHEAD) {
            break;
        }
        let mut symbols = [_mm512_setzero_si512(); 2];
        // SAFETY: a chunk is 128 bytes, two vectors.
        let mut of = unsafe { [0, 64].map(|half| _mm512_loadu_si512(contexts.as_ptr().add(half).cast())) };
        for _ in 0..LANE_RUN {
            for v in 0..2 {
                // The lowest six bits count: five choose within two registers, the sixth between them.
                let lower = _mm512_permutex2var_epi32(first[0], of[v], first[1]);
                let upper = _mm512_permutex2var_epi32(first[2], of[v], first[3]);
                let start = _mm512_mask_blend_epi32(_mm512_test_epi32_mask(of[v], _mm512_set1_epi32(32)), lower, upper);
                of[v] = _mm512_srli_epi32::<8>(of[v]);
                let index = _mm512_add_epi32(start, _mm512_and_si512(x[v], slots));
                // SAFETY: a table's first slot and one of its 4096: in the pool, as was asserted.
                let entry = unsafe { _mm512_i32gather_epi32::<4>(index, pool.cast()) };
                let freq = _mm512_and_si512(_mm512_srli_epi32::<8>(entry), slots);
                let next = _mm512_add_epi32(
                    _mm512_mullo_epi32(freq, _mm512_srli_epi32::<SCALE_BITS>(x[v])),
                    _mm512_srli_epi32::<20>(entry),
                );
                let need = _mm512_cmplt_epu32_mask(next, floor);
                // SAFETY: `at` grew by at most 128 since AHEAD = 128 + 16 words were known to lie ahead, so 16 words remain.
                let ahead = unsafe { _mm256_loadu_si256(progress.words.as_ptr().add(2 * at).cast()) };
                let word = _mm512_maskz_expand_epi32(need, _mm512_cvtepu16_epi32(ahead));
                x[v] = _mm512_or_si512(_mm512_mask_slli_epi32::<16>(next, need, next), word);
                at += (need as u32).count_ones() as usize;
                // The first symbol has moved to the lowest byte when all four are there.
                symbols[v] =
                    _mm512_or_si512(_mm512_srli_epi32::<8>(symbols[v]), _mm512_slli_epi32::<24>(_mm512_and_si512(entry, byte)));
            }
        }
        for (v, &four) in symbols.iter().enumerate() {
            // SAFETY: a chunk is 128 bytes, two vectors.
            unsafe { _mm512_storeu_si512(chunk.as_mut_ptr().add(64 * v).cast(), four) };
        }
        progress.chunks += 1;
    }
    for (v, &vector) in x.iter().enumerate() {
        // SAFETY: the state is 32 u32, two vectors.
        unsafe { _mm512_storeu_si512(progress.state.as_mut_ptr().add(16 * v).cast(), vector) };
    }
    progress.words = &progress.words[2 * at..];
}
