//! INT8 weights with one scale for the whole matrix, the coarsest layout in use.

use safetensors::tensor::Dtype;

use super::{amax, f32_bytes, scale_for, step};
use crate::checkpoint::Tensor;

/// Quantizes a matrix: `NAME` holds the integers, `NAME_scale` the one scale.
pub(super) fn quantize(name: &str, rows: usize, cols: usize, values: &[f32]) -> [Tensor; 2] {
    let scale = scale_for(amax(values), 127.0);
    let codes = values.iter().map(|&v| step(v, scale, -127.0, 127.0).cast_unsigned()).collect();
    [
        Tensor::new(name, Dtype::I8, vec![rows, cols], codes),
        Tensor::new(format!("{name}_scale"), Dtype::F32, vec![1], f32_bytes(&[scale])),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_scale_serves_every_row() {
        let [codes, scale] = quantize("w", 2, 2, &[-127.0, 0.5, 1.5, 0.0]);
        let signed: Vec<i8> = codes.data.iter().map(|c| c.cast_signed()).collect();
        assert_eq!(signed, [-127, 0, 2, 0]);
        assert_eq!((scale.shape, scale.data), (vec![1], f32_bytes(&[1.0])));
    }

    #[test]
    fn nothing_but_zeros_is_exact() {
        let [codes, scale] = quantize("w", 1, 2, &[0.0, -0.0]);
        assert_eq!((codes.data, scale.data), (vec![0, 0], f32_bytes(&[1.0])));
    }
}
