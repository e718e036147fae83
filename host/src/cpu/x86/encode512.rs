//! The encoder's loop with AVX-512: sixteen lanes a vector.
//!
//! The quotient `state / freq` is a double-precision division, truncated: a state has 32 bits, a frequency 12, so the true quotient is
//! either whole or at least 1/4095 below the next whole number, and rounding to 53 bits cannot reach that.
//! Words go out downwards, hence the upper lanes first; `vpcompressd` packs those of the lanes that are full.

use super::Avx512;
use std::arch::x86_64::*;
use wcodec_device::rans::{CHUNK, LANE_RUN, LANES};

impl Avx512 {
    /// Encodes `chunks` backwards, of the last one only the first `last_steps` steps. `packed` holds `start << 16 | freq` for each
    /// symbol. Words are written downwards from the end of `words`, which has room for one a symbol; returns how many.
    pub(in crate::cpu) fn encode_chunks(
        self,
        packed: &[u32; 256],
        state: &mut [u32; LANES],
        chunks: &[[u8; CHUNK]],
        last_steps: usize,
        words: &mut [u16],
    ) -> usize {
        assert!(words.len() >= chunks.len() * CHUNK && last_steps <= LANE_RUN, "room for a word a symbol");
        // SAFETY: `self` exists only where the CPU has the features; `words` has the room that is needed.
        unsafe { encode_chunks(packed, state, chunks, last_steps, words) }
    }
}

/// # Safety
/// `words` must have room for one word a symbol.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,popcnt")]
unsafe fn encode_chunks(
    packed: &[u32; 256],
    state: &mut [u32; LANES],
    chunks: &[[u8; CHUNK]],
    last_steps: usize,
    words: &mut [u16],
) -> usize {
    let byte = _mm512_set1_epi32(0xff);
    let low = _mm512_set1_epi32(0xffff);
    let scale = _mm512_set1_epi32(1 << 12);
    // SAFETY: `state` is 32 u32, two vectors.
    let mut x: [__m512i; 2] = std::array::from_fn(|v| unsafe { _mm512_loadu_si512(state.as_ptr().add(16 * v).cast()) });
    let mut at = words.len();
    for (i, chunk) in chunks.iter().enumerate().rev() {
        // SAFETY: a chunk is 128 bytes, two vectors: four symbols a lane.
        let runs: [__m512i; 2] = std::array::from_fn(|v| unsafe { _mm512_loadu_si512(chunk.as_ptr().add(64 * v).cast()) });
        let steps = if i + 1 == chunks.len() { last_steps } else { LANE_RUN };
        for step in (0..steps).rev() {
            let shift = _mm_cvtsi32_si128(8 * step as i32);
            for v in [1, 0] {
                let symbol = _mm512_and_si512(_mm512_srl_epi32(runs[v], shift), byte);
                // SAFETY: a symbol is below 256, the length of `packed`.
                let entry = unsafe { _mm512_i32gather_epi32::<4>(symbol, packed.as_ptr().cast()) };
                let freq = _mm512_and_si512(entry, low);
                let full = _mm512_cmpge_epu32_mask(x[v], _mm512_slli_epi32::<20>(freq));
                let out = _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(full, x[v]));
                let count = full.count_ones() as usize;
                at -= count;
                // SAFETY: `count` words are written, no more than lanes; `words` has a word for each symbol, so `at` stays inside.
                unsafe {
                    _mm256_mask_storeu_epi16(words.as_mut_ptr().add(at).cast(), ((1u32 << count) - 1) as u16, out);
                }
                let rest = _mm512_mask_srli_epi32::<16>(x[v], full, x[v]);
                let quotient =
                    |x: __m256i, f: __m256i| _mm512_cvttpd_epu32(_mm512_div_pd(_mm512_cvtepu32_pd(x), _mm512_cvtepu32_pd(f)));
                let lower = quotient(_mm512_castsi512_si256(rest), _mm512_castsi512_si256(freq));
                let upper = quotient(_mm512_extracti64x4_epi64::<1>(rest), _mm512_extracti64x4_epi64::<1>(freq));
                let q = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(lower), upper);
                let grown = _mm512_mullo_epi32(q, _mm512_sub_epi32(scale, freq));
                x[v] = _mm512_add_epi32(_mm512_add_epi32(rest, _mm512_srli_epi32::<16>(entry)), grown);
            }
        }
    }
    for (v, &vector) in x.iter().enumerate() {
        // SAFETY: `state` is 32 u32, two vectors.
        unsafe { _mm512_storeu_si512(state.as_mut_ptr().add(16 * v).cast(), vector) };
    }
    words.len() - at
}
