//! INT4 in groups along the row: `NAME_packed` holds `q + 8`, two a byte, the earlier in the low nibble; `NAME_scale` FP16 scales.

use super::{Layout, Rows, amax, beside, divided, each_row};
use crate::architectures::SourceTensor;
use crate::error::Result;
use half::f16;
use wcodec::Dtype;

pub(super) fn layouts(tensor: &SourceTensor, group: u64) -> Vec<Layout> {
    vec![
        Layout::new(beside(tensor, "_packed"), Dtype::U8, divided(tensor, 2)),
        Layout::new(beside(tensor, "_scale"), Dtype::F16, divided(tensor, group)),
    ]
}

pub(super) fn quantize(tensor: &SourceTensor, rows: &dyn Rows, group: usize) -> Result<Vec<Vec<u8>>> {
    let (mut packed, mut scales) = (Vec::with_capacity(tensor.weights() as usize / 2), Vec::new());
    each_row(tensor, rows, |row| {
        for group in row.chunks_exact(group) {
            let scale = group_scale(group);
            // Divided by the scale as it is stored, which is what a reader multiplies by.
            let nibble = |v: f32| ((v / scale.to_f32()).round_ties_even().clamp(-8.0, 7.0) as i8 + 8).cast_unsigned();
            packed.extend(group.as_chunks().0.iter().map(|&[low, high]| nibble(low) | nibble(high) << 4));
            scales.extend(scale.to_le_bytes());
        }
    })?;
    Ok(vec![packed, scales])
}

/// The largest magnitude over seven; finite, and one where that is zero.
fn group_scale(group: &[f32]) -> f16 {
    let scale = f16::from_f32(amax(group) / 7.0).min(f16::MAX);
    if scale > f16::ZERO { scale } else { f16::ONE }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantize::{Quant, tests::quantized};

    #[test]
    fn nibbles_are_offset_by_eight_and_the_low_one_is_first() {
        let mut values = [0.0; 64];
        values[..4].copy_from_slice(&[7.0, -7.0, 0.5, 1.5]);
        values[32] = -14.0;
        let all = quantized(Quant::Int4G32, 64, &values);
        assert_eq!(all[0][..2], [0x1f, 0xa8]);
        assert_eq!(all[0][16], 0x81);
        assert_eq!(all[1], [f16::ONE, f16::from_f32(2.0)].map(f16::to_le_bytes).concat());
    }

    #[test]
    fn zeros_have_a_scale() {
        let all = quantized(Quant::Int4, 128, &[0.0; 128]);
        assert_eq!((&all[0][..], &all[1][..]), (&[0x88; 64][..], &f16::ONE.to_le_bytes()[..]));
    }
}
