//! FP32 to FP16, for the models published in half precision.

use half::f16;
use safetensors::tensor::Dtype;

use crate::checkpoint::Tensor;

/// Rounds every element to the nearest FP16, ties to even; what exceeds the range becomes an infinity, as in a cast.
pub(super) fn convert(name: &str, shape: &[usize], values: &[f32]) -> Tensor {
    let data = values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect();
    Tensor::new(name, Dtype::F16, shape.to_vec(), data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_even() {
        let unit = f32::exp2(-10.0);
        let cases = [
            (1.0, 0x3C00),
            (1.0 + 0.5 * unit, 0x3C00),
            (1.0 + 1.5 * unit, 0x3C02),
            (-1.0 - 1.5 * unit, 0xBC02),
            (1.0 + 0.75 * unit, 0x3C01),
            (65504.0, 0x7BFF),
            (65520.0, 0x7C00),
            // Half of the least subnormal is a tie with zero; one and a half of it is a tie with two.
            (f32::exp2(-25.0), 0x0000),
            (3.0 * f32::exp2(-25.0), 0x0002),
            (-0.0, 0x8000),
        ];
        for (from, to) in cases {
            assert_eq!(convert("x", &[1], &[from]).data, u16::to_le_bytes(to), "{from}");
        }
    }
}
