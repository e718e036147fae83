//! llama.cpp's Q5_0: 32 weights in 22 bytes. An FP16 scale d, four bytes with the highest bit of each integer in their order, then 16 bytes whose low nibbles
//! are the lower bits of the first 16 integers and whose high nibbles are those of the others; a weight is d (q - 16).
//!
//! The reference rounding: d is the weight of largest magnitude over -16, and q the nearest integer up to 31.

use super::extreme;
use half::f16;

/// Weights of a block.
const WEIGHTS: usize = 32;

pub(super) fn encode(block: &[f32; WEIGHTS]) -> [u8; 22] {
    let step = extreme(block) / -16.0;
    let inverse = if step == 0.0 { 0.0 } else { step.recip() };
    let integers = block.map(|w| ((w * inverse + 16.5) as u8).min(31));
    let high = integers.iter().enumerate().fold(0u32, |word, (i, &q)| word | u32::from(q >> 4) << i);
    let mut bytes = [0; 22];
    bytes[..2].copy_from_slice(&f16::from_f32(step).to_le_bytes());
    bytes[2..6].copy_from_slice(&high.to_le_bytes());
    for (i, byte) in bytes[6..].iter_mut().enumerate() {
        *byte = (integers[i] & 15) | (integers[i + 16] & 15) << 4;
    }
    bytes
}

pub(super) fn decode(bytes: &[u8; 22]) -> [f32; WEIGHTS] {
    let step = f16::from_le_bytes([bytes[0], bytes[1]]).to_f32();
    std::array::from_fn(|i| {
        let low = bytes[6 + i % 16] >> (i / 16 * 4) & 15;
        let high = bytes[2 + i / 8] >> (i % 8) & 1;
        step * ((high << 4 | low) as f32 - 16.0)
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{bits, fp16, normal};
    use super::*;

    #[test]
    fn values_are_those_of_the_layout() {
        for block in normal(32 * 64).as_chunks::<WEIGHTS>().0 {
            let (bytes, step) = (encode(block), extreme(block) / -16.0);
            let values = decode(&bytes);
            for (i, (&w, value)) in block.iter().zip(values).enumerate() {
                let nibble = if i < 16 { 4 * (12 + 2 * i) } else { 4 * (12 + 2 * (i - 16) + 1) };
                let integer = bits(&bytes, nibble, 4) + 16 * bits(&bytes, 16 + i, 1);
                assert_eq!(value, fp16(&bytes) * (integer as f32 - 16.0));
                assert!((w - value).abs() <= step.abs() * if w / step > 15.0 { 1.02 } else { 0.52 });
            }
        }
    }

    #[test]
    fn by_hand() {
        let mut block = [0.0; WEIGHTS];
        (block[0], block[1], block[16], block[31]) = (-16.0, 15.0, 3.4, -1.6);
        let bytes = encode(&block);
        assert_eq!(bytes[..2], f16::from_f32(1.0).to_le_bytes());
        // All but the first and the last are 16 or more.
        assert_eq!(bytes[2..6], 0x7fff_fffeu32.to_le_bytes());
        assert_eq!((bytes[6], bytes[7], bytes[8], bytes[21]), (0x30, 0x0f, 0x00, 0xe0));
    }
}
