//! MXFP4 (OCP Microscaling 1.0) as gpt-oss stores it: `NAME_blocks`, E2M1 two a byte, the earlier in the low nibble; `NAME_scales`, the
//! exponent of 32 elements with a bias of 127.

use super::{Layout, Rows, amax, beside, divided, each_row};
use crate::architectures::SourceTensor;
use crate::error::Result;
use wcodec::Dtype;

const BLOCK: usize = 32;

pub(super) fn layouts(tensor: &SourceTensor) -> Vec<Layout> {
    let mut blocks = divided(tensor, BLOCK as u64);
    let scales = blocks.clone();
    blocks.push(BLOCK as u64 / 2);
    vec![Layout::new(beside(tensor, "_blocks"), Dtype::U8, blocks), Layout::new(beside(tensor, "_scales"), Dtype::U8, scales)]
}

pub(super) fn quantize(tensor: &SourceTensor, rows: &dyn Rows) -> Result<Vec<Vec<u8>>> {
    let (mut packed, mut scales) = (Vec::with_capacity(tensor.weights() as usize / 2), Vec::new());
    each_row(tensor, rows, |row| {
        for block in row.chunks_exact(BLOCK) {
            // The exponent of the largest magnitude less that of the largest E2M1 number (4 × 1.5).
            let exponent = (amax(block).to_bits() >> 23).saturating_sub(2).clamp(1, 253);
            let inverse = f32::from_bits((254 - exponent) << 23);
            packed.extend(block.as_chunks().0.iter().map(|&[low, high]| encode(low * inverse) | encode(high * inverse) << 4));
            scales.push(exponent as u8);
        }
    })?;
    Ok(vec![packed, scales])
}

/// The nearest of 0, ½, 1, 1½, 2, 3, 4, 6 with a sign, ties to even codes, saturating.
fn encode(value: f32) -> u8 {
    let m = value.abs();
    let above = [m > 0.25, m >= 0.75, m > 1.25, m >= 1.75, m > 2.5, m >= 3.5, m > 5.0];
    let code: u8 = above.into_iter().map(u8::from).sum();
    if value.is_sign_negative() { code | 8 } else { code }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantize::{Quant, tests::quantized};

    #[test]
    fn codes_are_the_nearest() {
        for (code, value) in [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0].into_iter().enumerate() {
            assert_eq!(encode(value), code as u8);
            assert_eq!(encode(-value), code as u8 | 8);
        }
        assert_eq!([0.25, 0.75, 1.25, 5.0, 7.9].map(encode), [0, 2, 2, 6, 7]);
    }

    #[test]
    fn blocks_have_a_power_of_two() {
        let mut values = [0.0; 32];
        values[..2].copy_from_slice(&[6.0, -3.0]);
        let all = quantized(Quant::Mxfp4, 32, &values);
        assert_eq!((all[0][0], &all[1][..]), (0xd7, &[127u8][..]));
        values[0] = 12.0;
        assert_eq!(quantized(Quant::Mxfp4, 32, &values)[1], [128]);
        assert_eq!(quantized(Quant::Mxfp4, 32, &[0.0; 32])[1], [1]);
    }
}
