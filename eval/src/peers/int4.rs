//! INT4 in groups, to the nearest, as compressed-tensors packs it: a row is words of eight integers, each increased by 8, the first in the lowest four bits,
//! and a BF16 scale for each group.
//!
//! The scale is that of compressed-tensors' symmetric schemes: the largest magnitude over half of the integers' range, 7.5 here; integers from -8 to 7, rounded
//! by the scale as it is stored.

use super::int8::scale;
use half::bf16;

/// Groups divide the row, and are multiples of eight weights.
pub(super) fn encode(row: &[f32], group: usize) -> Vec<u8> {
    let (mut bytes, mut scales) = (Vec::with_capacity(row.len() / 2), Vec::new());
    for group in row.chunks_exact(group) {
        let scale = scale(group, 7.5);
        let nibble = |w: f32| ((w / scale.to_f32()).round_ties_even().clamp(-8.0, 7.0) + 8.0) as u8;
        // Of words whose lowest byte is first, bytes are in the order of their nibbles.
        bytes.extend(group.as_chunks().0.iter().map(|&[low, high]| nibble(low) | nibble(high) << 4));
        scales.extend(scale.to_le_bytes());
    }
    bytes.extend(scales);
    bytes
}

pub(super) fn decode(bytes: &[u8], columns: usize, group: usize) -> Vec<f32> {
    let (packed, scales) = bytes.split_at(columns / 2);
    let scales: Vec<f32> = scales.as_chunks().0.iter().map(|&b| bf16::from_le_bytes(b).to_f32()).collect();
    (0..columns).map(|i| scales[i / group] * ((packed[i / 2] >> (i % 2 * 4) & 15) as f32 - 8.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::largest;
    use super::super::testing::normal;
    use super::*;

    #[test]
    fn values_are_those_of_the_layout() {
        let row = normal(192);
        let bytes = encode(&row, 64);
        assert_eq!(bytes.len(), 96 + 6);
        let words: Vec<u32> = bytes[..96].chunks(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        for (i, (w, value)) in row.iter().zip(decode(&bytes, 192, 64)).enumerate() {
            let at = 96 + 2 * (i / 64);
            let scale = f32::from_bits(u32::from_le_bytes([0, 0, bytes[at], bytes[at + 1]]));
            assert!((scale * 7.5 / largest(&row[i / 64 * 64..][..64]) - 1.0).abs() < 1.0 / 256.0);
            assert_eq!(value, scale * ((words[i / 8] >> (4 * (i % 8)) & 15) as f32 - 8.0));
            assert!((w - value).abs() <= 0.53 * scale);
        }
    }
}
