//! INT4 weights in groups of 128 along the row, the layout of most 4-bit checkpoints.

use half::f16;
use rayon::prelude::*;
use safetensors::tensor::Dtype;

use super::{amax, step};
use crate::checkpoint::Tensor;

/// Elements that share a scale.
pub(super) const GROUP: usize = 128;

/// Quantizes a matrix whose rows divide into groups.
///
/// `NAME_packed` holds `q + 8` for each `q` in -8..=7, two a byte, the earlier element in the low nibble; `NAME_scale`
/// holds the FP16 scale of each group. Elements are divided by the scale as stored, so that what a reader multiplies by
/// is what they were divided by.
pub(super) fn quantize(name: &str, rows: usize, cols: usize, values: &[f32]) -> [Tensor; 2] {
    let mut packed = vec![0; values.len() / 2];
    let scales: Vec<f16> = packed
        .par_chunks_mut(GROUP / 2)
        .zip(values.par_chunks(GROUP))
        .map(|(packed, group)| {
            let scale = group_scale(group);
            let nibble = |value| (step(value, scale.to_f32(), -8.0, 7.0) + 8).cast_unsigned();
            for (byte, [low, high]) in packed.iter_mut().zip(group.as_chunks().0) {
                *byte = nibble(*low) | nibble(*high) << 4;
            }
            scale
        })
        .collect();
    let scale_bytes = scales.iter().flat_map(|s| s.to_le_bytes()).collect();
    [
        Tensor::new(format!("{name}_packed"), Dtype::U8, vec![rows, cols / 2], packed),
        Tensor::new(format!("{name}_scale"), Dtype::F16, vec![rows, cols / GROUP], scale_bytes),
    ]
}

/// The scale of a group: its largest magnitude over seven in FP16, finite, and one where that is zero.
fn group_scale(group: &[f32]) -> f16 {
    let scale = f16::from_f32(amax(group) / 7.0).min(f16::MAX);
    if scale > f16::ZERO { scale } else { f16::ONE }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nibbles_are_offset_by_eight_and_the_low_one_is_first() {
        let mut values = [0.0; 2 * GROUP];
        // Scale 1, with ties to even; then scale 2.
        values[..6].copy_from_slice(&[7.0, -7.0, 0.5, 1.5, -2.5, 3.0]);
        values[GROUP..GROUP + 2].copy_from_slice(&[-14.0, 2.0]);
        let [packed, scales] = quantize("w", 1, 2 * GROUP, &values);
        assert_eq!(packed.data[..4], [0x1F, 0xA8, 0xB6, 0x88]);
        assert_eq!(packed.data[GROUP / 2], 0x91);
        assert_eq!((packed.name.as_str(), packed.shape), ("w_packed", vec![1, GROUP]));
        assert_eq!(scales.shape, [1, 2]);
        assert_eq!(scales.data, [f16::ONE, f16::from_f32(2.0)].map(f16::to_le_bytes).concat());
    }

    #[test]
    fn the_stored_scale_divides() {
        // 1/7 rounds down in FP16, so the largest element lies above seven steps and is held at seven.
        let [packed, scales] = quantize("w", 1, GROUP, &[1.0; GROUP]);
        assert_eq!(scales.data, f16::from_f32(1.0 / 7.0).to_le_bytes());
        assert_eq!(packed.data, [0xFF; GROUP / 2]);
    }

    #[test]
    fn the_scale_is_finite_and_not_zero() {
        assert_eq!(group_scale(&[0.0]), f16::ONE);
        assert_eq!(group_scale(&[1e-12]), f16::ONE);
        assert_eq!(group_scale(&[1e30]), f16::MAX);
        let [packed, _] = quantize("w", 1, GROUP, &[0.0; GROUP]);
        assert_eq!(packed.data, [0x88; GROUP / 2]);
    }
}
