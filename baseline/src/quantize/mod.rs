//! How the checkpoints that people ship are quantized, row by row: no more than a row of floats is ever in memory.
//!
//! The recipes and names are those of `cargo xtask models` where that has them (symmetric, scale from the largest magnitude, round half to
//! even), and of the formats' own software elsewhere. Matrices of the layers are quantized; embeddings, the head, routers and vectors stay
//! BF16, as in checkpoints that are shipped, and so does what a format cannot hold (rows that do not divide into its groups).

mod bf16;
mod fp4;
mod fp8;
mod int4;
mod int8;
mod nf4;

use crate::architectures::SourceTensor;
use crate::error::Result;
use serde::Serialize;
use std::fmt;
use wcodec::Dtype;

/// A format of quantized weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quant {
    /// Not quantized.
    Bf16,
    /// E4M3 with an FP32 scale a row.
    Fp8,
    /// INT8 with an FP32 scale a row (a channel of the output).
    Int8,
    /// INT8 with one FP32 scale.
    Int8Tensor,
    /// INT4 with an FP16 scale for 128 elements.
    Int4,
    /// INT4 with an FP16 scale for 32 elements.
    Int4G32,
    /// The sixteen quantiles of a normal distribution, an FP32 scale for 64 elements.
    Nf4,
    /// E2M1 with a power of two for 32 elements.
    Mxfp4,
}

/// A tensor as the checkpoint has it, without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub dtype: Dtype,
    /// Its shape, in elements as they are stored (packed ones in bytes).
    pub shape: Vec<u64>,
}

impl Layout {
    fn new(name: impl Into<String>, dtype: Dtype, shape: Vec<u64>) -> Self {
        Self { name: name.into(), dtype, shape }
    }

    /// Bytes of the tensor.
    pub fn bytes(&self) -> usize {
        let bits = self.shape.iter().product::<u64>() * u64::from(self.dtype.bits().unwrap_or(8));
        bits.div_ceil(8) as usize
    }
}

/// The floats of a matrix, a row at a time.
pub trait Rows {
    /// Fills `out` with a row.
    fn fill(&self, row: usize, out: &mut [f32]) -> Result<()>;
}

impl Quant {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Bf16, Self::Fp8, Self::Int8, Self::Int8Tensor, Self::Int4, Self::Int4G32, Self::Nf4, Self::Mxfp4];

    /// Its name on the command line.
    pub fn id(self) -> &'static str {
        match self {
            Self::Bf16 => "bf16",
            Self::Fp8 => "fp8",
            Self::Int8 => "int8",
            Self::Int8Tensor => "int8-tensor",
            Self::Int4 => "int4",
            Self::Int4G32 => "int4-g32",
            Self::Nf4 => "nf4",
            Self::Mxfp4 => "mxfp4",
        }
    }

    /// As reports call it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Bf16 => "BF16",
            Self::Fp8 => "FP8 E4M3",
            Self::Int8 => "INT8 per channel",
            Self::Int8Tensor => "INT8 per tensor",
            Self::Int4 => "INT4 g128",
            Self::Int4G32 => "INT4 g32",
            Self::Nf4 => "NF4",
            Self::Mxfp4 => "MXFP4",
        }
    }

    /// What this format really does to a tensor.
    fn for_tensor(self, tensor: &SourceTensor) -> Self {
        let groups = match self {
            Self::Int4 => 128,
            Self::Int4G32 | Self::Mxfp4 => 32,
            Self::Nf4 => nf4::BLOCK,
            _ => 1,
        };
        let fits = tensor.columns() > 0 && tensor.columns().is_multiple_of(groups);
        if tensor.is_quantized() && fits { self } else { Self::Bf16 }
    }

    /// What stands for a tensor: first what has its elements, then scales.
    pub fn layouts(self, tensor: &SourceTensor) -> Vec<Layout> {
        match self.for_tensor(tensor) {
            Self::Bf16 => bf16::layouts(tensor),
            Self::Fp8 => fp8::layouts(tensor),
            Self::Int8 => int8::layouts(tensor, true),
            Self::Int8Tensor => int8::layouts(tensor, false),
            Self::Int4 => int4::layouts(tensor, 128),
            Self::Int4G32 => int4::layouts(tensor, 32),
            Self::Nf4 => nf4::layouts(tensor),
            Self::Mxfp4 => fp4::layouts(tensor),
        }
    }

    /// The bytes of the tensors of [`Self::layouts`].
    pub fn apply(self, tensor: &SourceTensor, rows: &dyn Rows) -> Result<Vec<Vec<u8>>> {
        match self.for_tensor(tensor) {
            Self::Bf16 => bf16::quantize(tensor, rows),
            Self::Fp8 => fp8::quantize(tensor, rows),
            Self::Int8 => int8::per_channel(tensor, rows),
            Self::Int8Tensor => int8::per_tensor(tensor, rows),
            Self::Int4 => int4::quantize(tensor, rows, 128),
            Self::Int4G32 => int4::quantize(tensor, rows, 32),
            Self::Nf4 => nf4::quantize(tensor, rows),
            Self::Mxfp4 => fp4::quantize(tensor, rows),
        }
    }
}

impl fmt::Display for Quant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// Calls `each` with every row.
fn each_row(tensor: &SourceTensor, rows: &dyn Rows, mut each: impl FnMut(&[f32])) -> Result<()> {
    let mut row = vec![0.0; tensor.columns()];
    for n in 0..tensor.rows() {
        rows.fill(n, &mut row)?;
        each(&row);
    }
    Ok(())
}

/// The largest magnitude.
fn amax(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |max, v| v.abs().max(max))
}

/// The scale that maps `amax` to `top`; one where that is zero, so that zeros stay zeros.
fn scale_for(amax: f32, top: f32) -> f32 {
    let scale = amax / top;
    if scale > 0.0 && scale.is_finite() { scale } else { 1.0 }
}

/// The name of a tensor beside a weight.
fn beside(tensor: &SourceTensor, suffix: &str) -> String {
    format!("{}{suffix}", tensor.name)
}

/// A shape whose last dimension is divided.
fn divided(tensor: &SourceTensor, by: u64) -> Vec<u64> {
    let mut shape = tensor.shape.clone();
    if let Some(last) = shape.last_mut() {
        *last /= by;
    }
    shape
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Rows that are there.
    pub(crate) struct Matrix(pub(crate) Vec<f32>);

    impl Rows for Matrix {
        fn fill(&self, row: usize, out: &mut [f32]) -> Result<()> {
            out.copy_from_slice(&self.0[row * out.len()..][..out.len()]);
            Ok(())
        }
    }

    /// What a format makes of a matrix of a layer.
    pub(crate) fn quantized(quant: Quant, columns: u64, values: &[f32]) -> Vec<Vec<u8>> {
        let tensor = SourceTensor::new("layers.0.up_proj.weight", vec![values.len() as u64 / columns, columns]);
        quant.apply(&tensor, &Matrix(values.to_vec())).expect("quantizes")
    }

    #[test]
    fn bytes_are_those_of_the_layout() {
        let shapes: [&[u64]; 6] = [&[3, 256], &[2, 3, 128], &[5, 7], &[1, 1], &[0, 128], &[4, 0]];
        for quant in Quant::ALL {
            for shape in shapes {
                let tensor = SourceTensor::new("layers.0.up_proj.weight", shape.to_vec());
                let values: Vec<f32> = (0..tensor.weights()).map(|n| (n as f32).sin()).collect();
                let data = quant.apply(&tensor, &Matrix(values)).expect("quantizes");
                let layouts = quant.layouts(&tensor);
                let sizes: Vec<_> = layouts.iter().map(Layout::bytes).collect();
                assert_eq!(sizes, data.iter().map(Vec::len).collect::<Vec<_>>(), "{quant} {shape:?}");
            }
        }
    }

    #[test]
    fn vectors_and_embeddings_stay_bf16() {
        for (name, shape) in
            [("model.norm.weight", vec![64]), ("lm_head.weight", vec![4, 128]), ("layers.0.up_proj.weight", vec![4, 100])]
        {
            let layouts = Quant::Mxfp4.layouts(&SourceTensor::new(name, shape));
            assert_eq!(layouts.iter().map(|l| l.dtype).collect::<Vec<_>>(), [Dtype::BF16]);
        }
    }
}
