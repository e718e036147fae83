//! INT8 per channel, to the nearest: a row is its signed bytes and a BF16 scale.
//!
//! The scale is that of compressed-tensors' symmetric schemes: the largest magnitude over half of the integers' range, 127.5 here; integers from -128 to 127,
//! rounded by the scale as it is stored.

use super::largest;
use half::bf16;

pub(super) fn encode(row: &[f32]) -> Vec<u8> {
    let scale = scale(row, 127.5);
    let mut bytes: Vec<u8> =
        row.iter().map(|w| (w / scale.to_f32()).round_ties_even().clamp(-128.0, 127.0) as i8 as u8).collect();
    bytes.extend(scale.to_le_bytes());
    bytes
}

pub(super) fn decode(bytes: &[u8]) -> Vec<f32> {
    let (integers, scale) = bytes.split_at(bytes.len() - 2);
    let scale = bf16::from_le_bytes([scale[0], scale[1]]).to_f32();
    integers.iter().map(|&q| scale * (q as i8) as f32).collect()
}

/// The BF16 scale by which the largest of some weights becomes `half_range`; one where all are zero.
pub(super) fn scale(weights: &[f32], half_range: f32) -> bf16 {
    let scale = bf16::from_f32(largest(weights) / half_range);
    if scale > bf16::ZERO { scale } else { bf16::ONE }
}

#[cfg(test)]
mod tests {
    use super::super::testing::normal;
    use super::*;

    #[test]
    fn values_are_integers_times_the_rows_scale() {
        let row = normal(100);
        let bytes = encode(&row);
        assert_eq!(bytes.len(), 102);
        // BF16 is the upper half of FP32.
        let scale = f32::from_bits(u32::from_le_bytes([0, 0, bytes[100], bytes[101]]));
        assert!((scale * 127.5 / largest(&row) - 1.0).abs() < 1.0 / 256.0);
        for (i, (w, value)) in row.iter().zip(decode(&bytes)).enumerate() {
            let integer = if bytes[i] < 128 { i32::from(bytes[i]) } else { i32::from(bytes[i]) - 256 };
            assert_eq!(value, scale * integer as f32);
            // The rounding of the scale may cut off half a step at the ends.
            assert!((w - value).abs() <= scale * if integer.abs() > 126 { 1.01 } else { 0.501 });
        }
    }
}
