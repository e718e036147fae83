//! Sixteen lanes a vector, two vectors a step; `avx2.rs` says the rest. `vpexpandd` hands out the words in one instruction.

use super::{AHEAD, Run};
use std::arch::x86_64::*;
use wcodec_device::rans::{SCALE_BITS, SLOTS};

/// The states of runs in registers, and how many words each has taken.
pub(super) struct Lanes<const N: usize> {
    x: [[__m512i; 2]; N],
    at: [usize; N],
}

impl<const N: usize> Lanes<N> {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,popcnt")]
    pub(super) fn load(runs: &[Run<'_, '_>; N]) -> Self {
        let mut x = [[_mm512_setzero_si512(); 2]; N];
        for (x, run) in x.iter_mut().zip(runs) {
            for (v, x) in x.iter_mut().enumerate() {
                // SAFETY: the state is 32 u32, two vectors.
                *x = unsafe { _mm512_loadu_si512(run.state.as_ptr().add(16 * v).cast()) };
            }
        }
        Self { x, at: [0; N] }
    }

    /// Whether every run has the words that a chunk may take.
    #[inline]
    pub(super) fn may_go_on(&self, runs: &[Run<'_, '_>; N]) -> bool {
        (0..N).all(|n| runs[n].words.len() >= 2 * (self.at[n] + AHEAD))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,popcnt")]
    pub(super) fn store(&self, runs: &mut [Run<'_, '_>; N]) {
        for ((x, at), run) in self.x.iter().zip(self.at).zip(runs) {
            for (v, &vector) in x.iter().enumerate() {
                // SAFETY: the state is 32 u32, two vectors.
                unsafe { _mm512_storeu_si512(run.state.as_mut_ptr().add(16 * v).cast(), vector) };
            }
            run.used = at;
        }
    }
}

/// Decodes a chunk of each run, of which [`Lanes::may_go_on`] holds: four symbols a lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,popcnt")]
pub(super) fn chunk<const N: usize, const STEPS: usize>(runs: &[Run<'_, '_>; N], lanes: &mut Lanes<N>) -> [[__m512i; 2]; N] {
    let slots = _mm512_set1_epi32(SLOTS as i32 - 1);
    let byte = _mm512_set1_epi32(0xff);
    let floor = _mm512_set1_epi32(1 << 16);
    let Lanes { x, at } = lanes;
    let mut symbols = [[_mm512_setzero_si512(); 2]; N];
    for step in 0..STEPS {
        for n in 0..N {
            let (table, words) = (runs[n].table.as_ptr(), runs[n].words.as_ptr());
            for v in 0..2 {
                // SAFETY: every index is masked to the table's 4096 entries of 4 bytes.
                let entry = unsafe { _mm512_i32gather_epi32::<4>(_mm512_and_si512(x[n][v], slots), table.cast()) };
                let freq = _mm512_and_si512(_mm512_srli_epi32::<8>(entry), slots);
                let next = _mm512_add_epi32(
                    _mm512_mullo_epi32(freq, _mm512_srli_epi32::<SCALE_BITS>(x[n][v])),
                    _mm512_srli_epi32::<20>(entry),
                );
                let need = _mm512_cmplt_epu32_mask(next, floor);
                // SAFETY: `at` grew by at most 128 since AHEAD = 128 + 16 words were known to lie ahead, so 16 words remain.
                let ahead = unsafe { _mm256_loadu_si256(words.add(2 * at[n]).cast()) };
                let word = _mm512_maskz_expand_epi32(need, _mm512_cvtepu16_epi32(ahead));
                x[n][v] = _mm512_or_si512(_mm512_mask_slli_epi32::<16>(next, need, next), word);
                at[n] += (need as u32).count_ones() as usize;
                let symbol = _mm512_and_si512(entry, byte);
                symbols[n][v] = _mm512_or_si512(
                    symbols[n][v],
                    match step {
                        0 => symbol,
                        1 => _mm512_slli_epi32::<8>(symbol),
                        2 => _mm512_slli_epi32::<16>(symbol),
                        _ => _mm512_slli_epi32::<24>(symbol),
                    },
                );
            }
        }
    }
    symbols
}

/// See [`super::Kernel`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,popcnt")]
pub(super) fn chunks<const N: usize, const STEPS: usize>(runs: &mut [Run<'_, '_>; N], most: usize) -> usize {
    let mut lanes = Lanes::load(runs);
    let mut done = 0;
    while done < most && lanes.may_go_on(runs) {
        let symbols = chunk::<N, STEPS>(runs, &mut lanes);
        for (run, symbols) in runs.iter_mut().zip(&symbols) {
            let chunk = &mut run.chunks[done];
            for (v, &four) in symbols.iter().enumerate() {
                // SAFETY: a chunk is 128 bytes, two vectors.
                unsafe { _mm512_storeu_si512(chunk.as_mut_ptr().add(64 * v).cast(), four) };
            }
        }
        done += 1;
    }
    lanes.store(runs);
    done
}
