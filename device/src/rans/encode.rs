//! The encoder's step: [`super::advance`] run backwards, its division turned into a multiplication.

use super::SCALE_BITS;

/// A symbol as the encoder wants it.
///
/// With `q = state / freq` the next state is `(q << 12) + start + state % freq = state + start + q * (4096 - freq)`.
/// After renormalisation `state < freq << 20`, so `q` is the upper part of `state * ceil(2^44 / freq)`: the product stays below
/// `2^64` and the rounded-up reciprocal adds less than `2^32 / 2^44 < 1 / freq` to the quotient, which is therefore exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SymbolCode {
    /// `ceil(2^44 / freq)`.
    pub reciprocal: u64,
    /// A state at or above this emits a word first.
    pub limit: u32,
    /// The symbol's first slot.
    pub start: u16,
    /// `4096 - freq`. Zero where the symbol has no probability: it must not be encoded.
    pub complement: u16,
}

const QUOTIENT_SHIFT: u32 = 44;

impl SymbolCode {
    /// The code of a symbol with `freq` slots (`1..4096`) from `start`.
    #[inline]
    pub fn new(start: u16, freq: u16) -> Self {
        debug_assert!(freq > 0 && freq < 1 << SCALE_BITS);
        Self {
            reciprocal: (1u64 << QUOTIENT_SHIFT).div_ceil(freq as u64),
            limit: (freq as u32) << (32 - SCALE_BITS),
            start,
            complement: (1 << SCALE_BITS) - freq,
        }
    }
}

/// Encodes one symbol: the new state, and whether the low half of the old one went out as a word.
#[inline(always)]
pub fn encode_step(state: u32, code: &SymbolCode) -> (u32, bool) {
    let full = state >= code.limit;
    let state = if full { state >> 16 } else { state };
    let q = ((state as u64).wrapping_mul(code.reciprocal) >> QUOTIENT_SHIFT) as u32;
    (state.wrapping_add(code.start as u32).wrapping_add(q.wrapping_mul(code.complement as u32)), full)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rans::{Entry, FLOOR, advance, needs_word, refill};

    /// Every frequency, states at all the edges: encoding then decoding one symbol is the identity.
    #[test]
    fn step_inverts_for_every_frequency() {
        for freq in 1..4096u32 {
            let start = (4096 - freq) / 2;
            let code = SymbolCode::new(start as u16, freq as u16);
            let mut x = FLOOR;
            let mut states = [0u32; 24];
            for (i, s) in states.iter_mut().enumerate() {
                *s = match i {
                    0 => FLOOR,
                    1 => u32::MAX,
                    2 => code.limit.max(FLOOR),
                    3 => (code.limit - 1).max(FLOOR),
                    4 => (code.limit / freq * freq).wrapping_sub(1).max(FLOOR),
                    _ => {
                        x = x.wrapping_mul(1664525).wrapping_add(1013904223);
                        x | FLOOR
                    }
                };
            }
            for s in states {
                let (y, word) = encode_step(s, &code);
                assert!(y >= FLOOR, "freq {freq} state {s:#x}");
                let offset = (y & 4095) - start;
                assert!(offset < freq, "freq {freq} state {s:#x}");
                let mut back = advance(y, Entry::new(0, freq, offset));
                assert_eq!(needs_word(back), word, "freq {freq} state {s:#x}");
                if word {
                    back = refill(back, s as u16);
                }
                assert_eq!(back, s, "freq {freq}");
            }
        }
    }
}
