//! llama.cpp's Q8_0: 32 weights in 34 bytes. An FP16 scale d, then 32 signed bytes; a weight is d q.
//!
//! The reference rounding: d is the largest magnitude over 127, and q the nearest integer.

use super::largest;
use half::f16;

/// Weights of a block.
pub(super) const WEIGHTS: usize = 32;

pub(super) fn encode(block: &[f32; WEIGHTS]) -> [u8; 34] {
    let step = largest(block) / 127.0;
    let inverse = if step == 0.0 { 0.0 } else { step.recip() };
    let mut bytes = [0; 34];
    bytes[..2].copy_from_slice(&f16::from_f32(step).to_le_bytes());
    bytes[2..].iter_mut().zip(block).for_each(|(byte, w)| *byte = (w * inverse).round() as i8 as u8);
    bytes
}

pub(super) fn decode(bytes: &[u8; 34]) -> [f32; WEIGHTS] {
    let step = f16::from_le_bytes([bytes[0], bytes[1]]).to_f32();
    std::array::from_fn(|i| step * (bytes[2 + i] as i8) as f32)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{bits, fp16, normal};
    use super::*;

    #[test]
    fn values_are_those_of_the_layout() {
        for block in normal(32 * 64).as_chunks::<WEIGHTS>().0 {
            let (bytes, step) = (encode(block), largest(block) / 127.0);
            for (i, (&w, value)) in block.iter().zip(decode(&bytes)).enumerate() {
                // Two's complement.
                let integer = bits(&bytes, 16 + 8 * i, 7) as i32 - 128 * bits(&bytes, 16 + 8 * i + 7, 1) as i32;
                assert_eq!(value, fp16(&bytes) * integer as f32);
                assert!((w - value).abs() <= 0.57 * step);
            }
        }
    }
}
