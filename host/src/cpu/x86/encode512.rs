//! The encoder's loop with AVX-512: sixteen lanes a vector.
//!
//! A table of 256 codes fits sixteen registers, as 16-bit frequencies and 16-bit starts: `vpermi2w` looks all 32 lanes up in a third of a
//! gather's time. The quotient `state / freq` is the state times the reciprocal, which does not wait for the state. Every rounding
//! is towards zero, so the estimate is never above the true quotient; the quotient is below 2^20 and three roundings lose at most
//! 3 * 2^-23 of it, so the estimate's whole part is at most one short, which the remainder tells.
//! Words go out downwards, hence the upper lanes first; `vpcompressd` packs those of the lanes that are full.

use super::Avx512;
use crate::cpu::Replace;
use std::arch::x86_64::*;
use wcodec_device::rans::{CHUNK, LANE_RUN, LANES};

impl Avx512 {
    /// Encodes `chunks` backwards, of the last one only the first `last_steps` steps. `packed` holds `start << 16 | freq` for each
    /// symbol, zero for those that `replace` must put others in the place of. Words are written downwards from the end of `words`, which has room for one a symbol; returns how many.
    pub(in crate::cpu) fn encode_chunks(
        self,
        packed: &[u32; 256],
        state: &mut [u32; LANES],
        chunks: &mut [[u8; CHUNK]],
        last_steps: usize,
        words: &mut [u16],
        replace: &mut Replace<'_>,
    ) -> usize {
        assert!(words.len() >= chunks.len() * CHUNK && last_steps <= LANE_RUN, "room for a word a symbol");
        // SAFETY: `self` exists only where the CPU has the features; `words` has the room that is needed.
        unsafe { encode_chunks(packed, state, chunks, last_steps, words, replace) }
    }
}

/// # Safety
/// `words` must have room for one word a symbol.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,popcnt")]
unsafe fn encode_chunks(
    packed: &[u32; 256],
    state: &mut [u32; LANES],
    chunks: &mut [[u8; CHUNK]],
    last_steps: usize,
    words: &mut [u16],
    replace: &mut Replace<'_>,
) -> usize {
    const ZERO: i32 = _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC;
    let low = _mm512_set1_epi16(0xff);
    let scale = _mm512_set1_epi32(1 << 12);
    let one = _mm512_set1_ps(1.0);
    // Of 64 words in two vectors, those at even and at odd places.
    let even = _mm512_add_epi32(_mm512_set1_epi32(0x0002_0000), _mm512_mullo_epi32(lanes(), _mm512_set1_epi32(0x0004_0004)));
    let odd = _mm512_or_si512(even, _mm512_set1_epi32(0x0001_0001));
    // SAFETY: `packed` is 256 u32: eight times two vectors.
    let packed: [[__m512i; 2]; 8] =
        std::array::from_fn(|i| [0, 1].map(|half| unsafe { _mm512_loadu_si512(packed.as_ptr().add(32 * i + 16 * half).cast()) }));
    let freqs = packed.map(|[a, b]| _mm512_permutex2var_epi16(a, even, b));
    let starts = packed.map(|[a, b]| _mm512_permutex2var_epi16(a, odd, b));
    // SAFETY: `state` is 32 u32, two vectors.
    let mut x: [__m512i; 2] = std::array::from_fn(|v| unsafe { _mm512_loadu_si512(state.as_ptr().add(16 * v).cast()) });
    let mut at = words.len();
    // Two symbols a lane in each: steps 0 and 1, steps 2 and 3.
    let runs_of = |chunk: &[u8; CHUNK]| {
        // SAFETY: a chunk is 128 bytes, two vectors: four symbols a lane.
        let [a, b]: [__m512i; 2] = std::array::from_fn(|v| unsafe { _mm512_loadu_si512(chunk.as_ptr().add(64 * v).cast()) });
        [_mm512_permutex2var_epi16(a, even, b), _mm512_permutex2var_epi16(a, odd, b)]
    };
    let last = chunks.len().wrapping_sub(1);
    for (i, chunk) in chunks.iter_mut().enumerate().rev() {
        let mut runs = runs_of(chunk);
        let steps = if i == last { last_steps } else { LANE_RUN };
        for step in (0..steps).rev() {
            let symbols_of = |runs: &[__m512i; 2]| {
                let two = runs[step / 2];
                if step % 2 == 0 { _mm512_and_si512(two, low) } else { _mm512_srli_epi16::<8>(two) }
            };
            let mut symbols = symbols_of(&runs);
            let mut freq = look_up(&freqs, symbols);
            if _mm512_testn_epi16_mask(freq, freq) != 0 {
                replace(i, chunk, steps);
                runs = runs_of(chunk);
                symbols = symbols_of(&runs);
                freq = look_up(&freqs, symbols);
            }
            let start = look_up(&starts, symbols);
            for v in [1, 0] {
                let (freq, start) = (widen(freq, v), widen(start, v));
                let reciprocal = _mm512_div_round_ps::<ZERO>(one, _mm512_cvt_roundepu32_ps::<ZERO>(freq));
                let grow = _mm512_sub_epi32(scale, freq);
                let full = _mm512_cmpge_epu32_mask(x[v], _mm512_slli_epi32::<20>(freq));
                let out = _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(full, x[v]));
                let count = full.count_ones() as usize;
                at -= count;
                // SAFETY: `count` words are written, no more than lanes; `words` has a word for each symbol, so `at` stays inside.
                unsafe {
                    _mm256_mask_storeu_epi16(words.as_mut_ptr().add(at).cast(), ((1u32 << count) - 1) as u16, out);
                }
                let rest = _mm512_mask_srli_epi32::<16>(x[v], full, x[v]);
                let estimate = _mm512_mul_round_ps::<ZERO>(_mm512_cvt_roundepu32_ps::<ZERO>(rest), reciprocal);
                let q = _mm512_cvttps_epu32(estimate);
                let short = _mm512_cmpge_epu32_mask(_mm512_sub_epi32(rest, _mm512_mullo_epi32(q, freq)), freq);
                let next = _mm512_add_epi32(_mm512_add_epi32(rest, start), _mm512_mullo_epi32(q, grow));
                x[v] = _mm512_mask_add_epi32(next, short, next, grow);
            }
        }
    }
    for (v, &vector) in x.iter().enumerate() {
        // SAFETY: `state` is 32 u32, two vectors.
        unsafe { _mm512_storeu_si512(state.as_mut_ptr().add(16 * v).cast(), vector) };
    }
    words.len() - at
}

/// The numbers of sixteen lanes.
#[target_feature(enable = "avx512f")]
fn lanes() -> __m512i {
    _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
}

/// The entries of a table of 256 words at 32 places below 256.
#[target_feature(enable = "avx512f,avx512bw")]
fn look_up(table: &[__m512i; 8], places: __m512i) -> __m512i {
    // Each permutation looks at bits 0 to 5 and answers for a quarter of the table.
    let quarter = |i: usize| _mm512_permutex2var_epi16(table[2 * i], places, table[2 * i + 1]);
    let upper = _mm512_test_epi16_mask(places, _mm512_set1_epi16(0x40));
    let half = |i: usize| _mm512_mask_mov_epi16(quarter(2 * i), upper, quarter(2 * i + 1));
    _mm512_mask_mov_epi16(half(0), _mm512_test_epi16_mask(places, _mm512_set1_epi16(0x80)), half(1))
}

/// Sixteen of 32 words as 32 bits each: the lower ones for `v` 0, the upper ones for 1.
#[target_feature(enable = "avx512f")]
fn widen(words: __m512i, v: usize) -> __m512i {
    _mm512_cvtepu16_epi32(if v == 0 { _mm512_castsi512_si256(words) } else { _mm512_extracti64x4_epi64::<1>(words) })
}
