//! llama.cpp's Q4_0: 32 weights in 18 bytes. An FP16 scale d, then 16 bytes whose low nibbles are the first 16 integers and whose high nibbles are the others;
//! a weight is d (q - 8).
//!
//! The reference rounding: d is the weight of largest magnitude over -8, so that this one is met exactly, and q the nearest integer up to 15.

use super::extreme;
use half::f16;

/// Weights of a block.
const WEIGHTS: usize = 32;

pub(super) fn encode(block: &[f32; WEIGHTS]) -> [u8; 18] {
    let step = extreme(block) / -8.0;
    let inverse = if step == 0.0 { 0.0 } else { step.recip() };
    let integer = |w: f32| ((w * inverse + 8.5) as u8).min(15);
    let mut bytes = [0; 18];
    bytes[..2].copy_from_slice(&f16::from_f32(step).to_le_bytes());
    for (i, byte) in bytes[2..].iter_mut().enumerate() {
        *byte = integer(block[i]) | integer(block[i + 16]) << 4;
    }
    bytes
}

pub(super) fn decode(bytes: &[u8; 18]) -> [f32; WEIGHTS] {
    let step = f16::from_le_bytes([bytes[0], bytes[1]]).to_f32();
    std::array::from_fn(|i| step * ((bytes[2 + i % 16] >> (i / 16 * 4) & 15) as f32 - 8.0))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{bits, fp16, normal};
    use super::*;

    #[test]
    fn values_are_those_of_the_layout() {
        for block in normal(32 * 64).as_chunks::<WEIGHTS>().0 {
            let (bytes, step) = (encode(block), extreme(block) / -8.0);
            let values = decode(&bytes);
            for (i, (&w, value)) in block.iter().zip(values).enumerate() {
                // The nibble number 0 of the byte 2 + i, or number 1 of the byte 2 + i - 16.
                let nibble = if i < 16 { 4 * (4 + 2 * i) } else { 4 * (4 + 2 * (i - 16) + 1) };
                assert_eq!(value, fp16(&bytes) * (bits(&bytes, nibble, 4) as f32 - 8.0));
                // Half a step, a whole one for what is opposite to the extreme; and the scale's rounding.
                assert!((w - value).abs() <= step.abs() * if w / step > 7.0 { 1.01 } else { 0.51 });
            }
        }
    }

    #[test]
    fn by_hand() {
        let mut block = [0.0; WEIGHTS];
        (block[0], block[1], block[16], block[31]) = (-8.0, 7.0, 3.4, -1.6);
        let bytes = encode(&block);
        assert_eq!(bytes[..2], f16::from_f32(1.0).to_le_bytes());
        assert_eq!((bytes[2], bytes[3], bytes[4], bytes[17]), (0xb0, 0x8f, 0x88, 0x68));
        // With an extreme that is positive the step is negative, and what lies opposite is cut off at 15 - 8.
        block[0] = 8.0;
        block[1] = -8.0;
        let values = decode(&encode(&block));
        assert_eq!(values[..2], [8.0, -7.0]);
    }
}
