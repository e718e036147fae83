//! FP32 to BF16, the format most models are published in.

use half::bf16;
use safetensors::tensor::Dtype;

use crate::checkpoint::Tensor;

/// Rounds every element to the nearest BF16, ties to even.
pub(super) fn convert(name: &str, shape: &[usize], values: &[f32]) -> Tensor {
    let data = values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect();
    Tensor::new(name, Dtype::BF16, shape.to_vec(), data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_even() {
        // (FP32 bits, BF16 bits): below, at and above half a unit, at an even and at an odd last bit.
        let cases = [
            (0x3F80_0000, 0x3F80),
            (0x3F80_7FFF, 0x3F80),
            (0x3F80_8000, 0x3F80),
            (0x3F80_8001, 0x3F81),
            (0x3F81_8000, 0x3F82),
            (0xBF81_8000, 0xBF82),
            (0x3FFF_FFFF, 0x4000),
            (0x8000_0000, 0x8000),
            (0x0000_8001, 0x0001),
        ];
        for (from, to) in cases {
            let tensor = convert("x", &[1], &[f32::from_bits(from)]);
            assert_eq!(tensor.data, u16::to_le_bytes(to), "{from:#010x}");
        }
        assert_eq!(convert("x", &[1], &[1.0]).dtype, Dtype::BF16);
    }
}
