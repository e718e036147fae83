//! INT8 weights with one scale a row (an output channel), the usual weight-only and W8A8 layout.

use rayon::prelude::*;
use safetensors::tensor::Dtype;

use super::{amax, f32_bytes, scale_for, step};
use crate::checkpoint::Tensor;

/// Quantizes a matrix: `NAME` holds the integers, `NAME_scale` the scale of each row.
pub(super) fn quantize(name: &str, rows: usize, cols: usize, values: &[f32]) -> [Tensor; 2] {
    let mut codes = vec![0; values.len()];
    let scales: Vec<f32> = codes
        .par_chunks_mut(cols)
        .zip(values.par_chunks(cols))
        .map(|(codes, row)| {
            let scale = scale_for(amax(row), 127.0);
            codes.iter_mut().zip(row).for_each(|(code, &v)| *code = step(v, scale, -127.0, 127.0).cast_unsigned());
            scale
        })
        .collect();
    [
        Tensor::new(name, Dtype::I8, vec![rows, cols], codes),
        Tensor::new(format!("{name}_scale"), Dtype::F32, vec![rows], f32_bytes(&scales)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_their_own_scale_and_zeros_stay_zeros() {
        // Scales 1, 1 (nothing but zeros) and 2; the ties 0.5, 1.5 and 2.5 go to even.
        let values = [127.0, 0.5, -1.5, 2.5, 0.0, 0.0, -0.0, 0.0, -254.0, 3.0, 1.0, 100.0];
        let [codes, scales] = quantize("w", 3, 4, &values);
        let signed: Vec<i8> = codes.data.iter().map(|c| c.cast_signed()).collect();
        assert_eq!(signed, [127, 0, -2, 2, 0, 0, 0, 0, -127, 2, 0, 50]);
        assert_eq!(scales.data, f32_bytes(&[1.0, 1.0, 2.0]));
        assert_eq!((codes.name.as_str(), scales.name.as_str()), ("w", "w_scale"));
    }

    #[test]
    fn the_least_numbers_stay_in_range() {
        // The quotient 180/127 of the least number rounds down to one, so the codes would be ±180.
        let tiny = f32::from_bits(180);
        let [codes, _] = quantize("w", 1, 2, &[tiny, -tiny]);
        assert_eq!(codes.data, [127, (-127i8).cast_unsigned()]);
    }
}
