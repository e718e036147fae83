//! The standard quantizers that turn a source model into the checkpoints people ship.
//!
//! Each is a pure function in a file of its own. They follow the common recipes (symmetric, scale from the largest
//! magnitude, round half to even) and the tensor names of the compressed checkpoints found in the wild, because the
//! statistics a codec meets depend on exactly these choices.

mod bf16;
mod fp16;
mod fp8_row;
mod int4_group;
mod int8_channel;
mod int8_tensor;

use rayon::prelude::*;

use crate::checkpoint::{Source, SourceTensor, Tensor, Values};

/// How a source model is quantized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recipe {
    /// Every float to BF16.
    Bf16,
    /// Every float to FP16.
    Fp16,
    /// Matrices to E4M3 with a scale per row, the rest to BF16.
    Fp8Row,
    /// Matrices to INT8 with a scale per row, the rest to BF16.
    Int8Channel,
    /// Matrices to INT8 with one scale, the rest to BF16.
    Int8Tensor,
    /// Matrices whose rows divide into groups of 128 to INT4, the rest to BF16.
    Int4Group128,
}

impl Recipe {
    /// Quantizes a whole model.
    pub(crate) fn apply(self, source: &Source) -> Vec<Tensor> {
        source.tensors.par_iter().flat_map_iter(|tensor| self.apply_one(tensor)).collect()
    }

    /// Quantizes one tensor, into the tensors that stand for it.
    fn apply_one(self, tensor: &SourceTensor) -> Vec<Tensor> {
        let values = match &tensor.values {
            Values::Other(dtype, data) => {
                return vec![Tensor::new(&tensor.name, *dtype, tensor.shape.clone(), data.clone())];
            }
            Values::Float(values) => values,
        };
        if self == Self::Fp16 {
            return vec![fp16::convert(&tensor.name, &tensor.shape, values)];
        }
        match (self, tensor.matrix()) {
            (Self::Fp8Row, Some((rows, cols, values))) => fp8_row::quantize(&tensor.name, rows, cols, values).into(),
            (Self::Int8Channel, Some((rows, cols, values))) => int8_channel::quantize(&tensor.name, rows, cols, values).into(),
            (Self::Int8Tensor, Some((rows, cols, values))) => int8_tensor::quantize(&tensor.name, rows, cols, values).into(),
            (Self::Int4Group128, Some((rows, cols, values))) if cols % int4_group::GROUP == 0 => {
                int4_group::quantize(&tensor.name, rows, cols, values).into()
            }
            _ => vec![bf16::convert(&tensor.name, &tensor.shape, values)],
        }
    }
}

/// The largest magnitude.
fn amax(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |max, v| v.abs().max(max))
}

/// The scale that maps `amax` to `top`.
///
/// Where that is zero (nothing but zeros, or values so small that the quotient underflows) the scale is one, so that
/// every element becomes a zero and decodes to a zero instead of dividing by zero.
fn scale_for(amax: f32, top: f32) -> f32 {
    let scale = amax / top;
    if scale > 0.0 { scale } else { 1.0 }
}

/// One value in steps of `scale`, rounded half to even and held within `low..=high`.
fn step(value: f32, scale: f32, low: f32, high: f32) -> i8 {
    // Never a NaN, since values are finite and scales positive; within i8 by the bounds the callers pass.
    (value / scale).round_ties_even().clamp(low, high) as i8
}

/// The little-endian bytes of scales.
fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::Dtype;

    use super::*;

    fn model() -> Source {
        let tensors = vec![
            SourceTensor::float("w", vec![2, 128], vec![1.0; 256]).expect("fits"),
            SourceTensor::float("narrow", vec![2, 2], vec![1.0; 4]).expect("fits"),
            SourceTensor::float("bias", vec![3], vec![1.0; 3]).expect("fits"),
            SourceTensor { name: "ids".into(), shape: vec![1, 1], values: Values::Other(Dtype::I64, vec![0; 8]) },
        ];
        Source { tensors, metadata: None }
    }

    fn shapes(recipe: Recipe) -> Vec<(String, Dtype, Vec<usize>)> {
        recipe.apply(&model()).into_iter().map(|t| (t.name, t.dtype, t.shape)).collect()
    }

    #[test]
    fn each_recipe_makes_the_tensors_it_promises() {
        let row = |name: &str, dtype, shape: &[usize]| (name.to_owned(), dtype, shape.to_vec());
        let rest = [row("bias", Dtype::BF16, &[3]), row("ids", Dtype::I64, &[1, 1])];
        let scaled = |dtype, scales: [usize; 2]| {
            let [wide, narrow] = scales;
            let mut all = vec![
                row("w", dtype, &[2, 128]),
                row("w_scale", Dtype::F32, &[wide]),
                row("narrow", dtype, &[2, 2]),
                row("narrow_scale", Dtype::F32, &[narrow]),
            ];
            all.extend(rest.clone());
            all
        };
        assert_eq!(shapes(Recipe::Fp8Row), scaled(Dtype::F8_E4M3, [2, 2]));
        assert_eq!(shapes(Recipe::Int8Channel), scaled(Dtype::I8, [2, 2]));
        assert_eq!(shapes(Recipe::Int8Tensor), scaled(Dtype::I8, [1, 1]));
        let packed = [row("w_packed", Dtype::U8, &[2, 64]), row("w_scale", Dtype::F16, &[2, 1])];
        let kept = [row("narrow", Dtype::BF16, &[2, 2])];
        assert_eq!(shapes(Recipe::Int4Group128), [&packed[..], &kept, &rest].concat());
        for (recipe, dtype) in [(Recipe::Bf16, Dtype::BF16), (Recipe::Fp16, Dtype::F16)] {
            let dtypes: Vec<_> = shapes(recipe).into_iter().map(|s| s.1).collect();
            assert_eq!(dtypes, [dtype, dtype, dtype, Dtype::I64]);
        }
    }

    #[test]
    fn every_tensor_fits_its_shape() {
        use Recipe::{Bf16, Fp8Row, Fp16, Int4Group128, Int8Channel, Int8Tensor};
        for recipe in [Bf16, Fp16, Fp8Row, Int8Channel, Int8Tensor, Int4Group128] {
            crate::checkpoint::to_safetensors(&recipe.apply(&model()), None).expect("serialises");
        }
    }

    #[test]
    fn a_scale_is_never_zero() {
        assert_eq!(scale_for(0.0, 127.0), 1.0);
        assert_eq!(scale_for(f32::from_bits(1), 127.0), 1.0);
        assert_eq!(scale_for(254.0, 127.0), 2.0);
        assert_eq!(amax(&[1.0, -3.0, 2.0]), 3.0);
        assert_eq!(amax(&[]), 0.0);
    }

    #[test]
    fn steps_round_half_to_even_and_stay_in_bounds() {
        let got: Vec<i8> = [0.5, 1.5, 2.5, -0.5, -1.5, 300.0, -300.0].map(|v| step(v, 1.0, -127.0, 127.0)).into_iter().collect();
        assert_eq!(got, [0, 2, 2, 0, -2, 127, -127]);
    }
}
