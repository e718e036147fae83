//! NF4 as bitsandbytes stores it: sixteen levels at a normal distribution's quantiles, an FP32 largest magnitude for 64 elements.
//! (Its second quantization of those magnitudes, "double quant", is left out.)

use super::{Layout, Rows, amax, beside, each_row};
use crate::architectures::SourceTensor;
use crate::error::Result;
use wcodec::Dtype;

/// Elements of a scale.
pub(super) const BLOCK: usize = 64;

/// The levels, from the paper's definition (QLoRA, appendix E): means of neighbouring quantiles, eight below and seven above zero.
const LEVELS: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

pub(super) fn layouts(tensor: &SourceTensor) -> Vec<Layout> {
    let n = tensor.weights();
    vec![
        Layout::new(&tensor.name, Dtype::U8, vec![n / 2, 1]),
        Layout::new(beside(tensor, ".absmax"), Dtype::F32, vec![n / BLOCK as u64]),
        Layout::new(beside(tensor, ".quant_map"), Dtype::F32, vec![16]),
    ]
}

pub(super) fn quantize(tensor: &SourceTensor, rows: &dyn Rows) -> Result<Vec<Vec<u8>>> {
    let (mut packed, mut scales) = (Vec::with_capacity(tensor.weights() as usize / 2), Vec::new());
    each_row(tensor, rows, |row| {
        for block in row.chunks_exact(BLOCK) {
            let top = amax(block);
            let scale = if top > 0.0 { 1.0 / top } else { 0.0 };
            packed
                .extend(block.as_chunks().0.iter().map(|&[first, second]| nearest(first * scale) << 4 | nearest(second * scale)));
            scales.extend(top.to_le_bytes());
        }
    })?;
    Ok(vec![packed, scales, LEVELS.iter().flat_map(|v| v.to_le_bytes()).collect()])
}

/// The nearest level.
fn nearest(value: f32) -> u8 {
    LEVELS.windows(2).map(|pair| u8::from(value > (pair[0] + pair[1]) / 2.0)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantize::{Quant, tests::quantized};

    #[test]
    fn levels_are_found_and_the_first_is_in_the_high_nibble() {
        for (n, &level) in LEVELS.iter().enumerate() {
            assert_eq!(nearest(level), n as u8);
        }
        let mut values = [0.0; 64];
        values[..3].copy_from_slice(&[2.0, -2.0, 0.16]);
        let all = quantized(Quant::Nf4, 64, &values);
        assert_eq!(all[0][..3], [0xf0, 0x87, 0x77]);
        assert_eq!(all[1], 2f32.to_le_bytes());
    }
}
