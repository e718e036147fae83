//! Checkpoints in memory: what a quantizer reads ([`Source`]) and what is written ([`Tensor`]).
//!
//! A source holds its floating-point tensors as `f32`, whatever they were stored as: every format the shipped models
//! use widens to `f32` exactly, so each derived checkpoint is rounded once.

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

/// A tensor ready to be written: little-endian bytes in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tensor {
    /// Its name in the checkpoint.
    pub(crate) name: String,
    /// Its element type.
    pub(crate) dtype: Dtype,
    /// Its shape, outermost dimension first.
    pub(crate) shape: Vec<usize>,
    /// Its elements.
    pub(crate) data: Vec<u8>,
}

impl Tensor {
    /// Makes a tensor from its parts.
    pub(crate) fn new(name: impl Into<String>, dtype: Dtype, shape: Vec<usize>, data: Vec<u8>) -> Self {
        Self { name: name.into(), dtype, shape, data }
    }
}

/// The elements of a source tensor.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Values {
    /// Floating-point elements; every one is finite.
    Float(Vec<f32>),
    /// Anything else, which no quantizer touches.
    Other(Dtype, Vec<u8>),
}

/// One tensor of a source model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SourceTensor {
    /// Its name in the checkpoint.
    pub(crate) name: String,
    /// Its shape, outermost dimension first.
    pub(crate) shape: Vec<usize>,
    /// Its elements.
    pub(crate) values: Values,
}

impl SourceTensor {
    /// Makes a floating-point tensor, refusing a count that does not fit the shape and values no quantizer can scale.
    pub(crate) fn float(name: impl Into<String>, shape: Vec<usize>, values: Vec<f32>) -> Result<Self> {
        let name = name.into();
        let count = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).context("tensor too large")?;
        ensure!(count == values.len(), "tensor {name}: {} values for shape {shape:?}", values.len());
        ensure!(values.iter().all(|v| v.is_finite()), "tensor {name} holds a value that is not finite");
        Ok(Self { name, shape, values: Values::Float(values) })
    }

    /// The rows, columns and elements of a floating-point matrix; `None` for every other tensor.
    pub(crate) fn matrix(&self) -> Option<(usize, usize, &[f32])> {
        match (self.shape.as_slice(), &self.values) {
            (&[rows, cols], Values::Float(values)) if rows > 0 && cols > 0 => Some((rows, cols, values)),
            _ => None,
        }
    }
}

/// A source model.
#[derive(Debug, Clone, Default)]
pub(crate) struct Source {
    /// Its tensors.
    pub(crate) tensors: Vec<SourceTensor>,
    /// The string map its checkpoints carry in their header, such as `{"format": "pt"}`.
    pub(crate) metadata: Option<HashMap<String, String>>,
}

impl Source {
    /// Reads a safetensors file.
    pub(crate) fn from_safetensors(bytes: &[u8]) -> Result<Self> {
        let (_, header) = SafeTensors::read_metadata(bytes).context("the safetensors header is malformed")?;
        let file = SafeTensors::deserialize(bytes).context("the safetensors file is malformed")?;
        let mut tensors = file
            .iter()
            .map(|(name, view)| {
                let shape = view.shape().to_vec();
                match widen(view.dtype(), view.data()) {
                    Some(values) => SourceTensor::float(name, shape, values),
                    None if is_integer(view.dtype()) => {
                        let values = Values::Other(view.dtype(), view.data().to_vec());
                        Ok(SourceTensor { name: name.to_owned(), shape, values })
                    }
                    None => bail!("tensor {name} has dtype {}, which is not handled", view.dtype()),
                }
            })
            .collect::<Result<Vec<_>>>()?;
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { tensors, metadata: header.metadata().clone() })
    }
}

/// Widens floating-point elements to `f32`; `None` for a type that does not widen exactly.
fn widen(dtype: Dtype, data: &[u8]) -> Option<Vec<f32>> {
    let (pairs, quads) = (data.as_chunks::<2>().0.iter(), data.as_chunks::<4>().0.iter());
    match dtype {
        Dtype::F32 => Some(quads.map(|b| f32::from_le_bytes(*b)).collect()),
        Dtype::F16 => Some(pairs.map(|b| f16::from_le_bytes(*b).to_f32()).collect()),
        Dtype::BF16 => Some(pairs.map(|b| bf16::from_le_bytes(*b).to_f32()).collect()),
        _ => None,
    }
}

/// Whether a type is copied as it is.
fn is_integer(dtype: Dtype) -> bool {
    use Dtype::{BOOL, I8, I16, I32, I64, U8, U16, U32, U64};
    matches!(dtype, BOOL | U8 | I8 | U16 | I16 | U32 | I32 | U64 | I64)
}

/// Serialises a checkpoint.
///
/// The tensor order is the one `safetensors` chooses (by alignment, then name). The metadata is a hash map there: with
/// more than one key its order, and so the file's digest, would differ from run to run, which is refused.
pub(crate) fn to_safetensors(tensors: &[Tensor], metadata: Option<HashMap<String, String>>) -> Result<Vec<u8>> {
    ensure!(metadata.as_ref().is_none_or(|map| map.len() <= 1), "more than one metadata key has no fixed order");
    let views = tensors
        .iter()
        .map(|t| {
            let view = TensorView::new(t.dtype, t.shape.clone(), &t.data);
            Ok((t.name.as_str(), view.with_context(|| format!("tensor {} is malformed", t.name))?))
        })
        .collect::<Result<Vec<_>>>()?;
    safetensors::serialize(views, metadata).context("cannot serialise the checkpoint")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(dtype: Dtype, shape: Vec<usize>, data: Vec<u8>) -> Vec<u8> {
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        to_safetensors(&[Tensor::new("x", dtype, shape, data)], Some(metadata)).expect("serialises")
    }

    #[test]
    fn floats_widen_and_integers_stay() {
        let halves = [f16::from_f32(1.5), f16::from_f32(-2.0)].map(f16::to_le_bytes).concat();
        let source = Source::from_safetensors(&one(Dtype::F16, vec![1, 2], halves)).expect("reads");
        assert_eq!(source.tensors[0].matrix(), Some((1, 2, [1.5, -2.0].as_slice())));
        assert_eq!(source.metadata.expect("kept")["format"], "pt");

        let ids = 7i64.to_le_bytes().to_vec();
        let source = Source::from_safetensors(&one(Dtype::I64, vec![1, 1], ids.clone())).expect("reads");
        assert_eq!(source.tensors[0].values, Values::Other(Dtype::I64, ids));
        assert_eq!(source.tensors[0].matrix(), None);
    }

    #[test]
    fn values_that_cannot_be_scaled_are_refused() {
        for bad in [f32::NAN, f32::INFINITY] {
            let error = SourceTensor::float("w", vec![1], vec![bad]).expect_err("refused");
            assert!(error.to_string().contains("not finite"), "{error}");
        }
        assert!(SourceTensor::float("w", vec![2], vec![1.0]).is_err());
        assert!(SourceTensor::float("w", vec![usize::MAX, 2], vec![]).is_err());
        assert!(Source::from_safetensors(&one(Dtype::F64, vec![1], vec![0; 8])).is_err());
    }

    #[test]
    fn a_truncated_file_is_an_error() {
        let whole = one(Dtype::F32, vec![1], vec![0; 4]);
        for end in 0..whole.len() {
            assert!(Source::from_safetensors(&whole[..end]).is_err(), "{end} bytes");
        }
    }

    #[test]
    fn metadata_without_a_fixed_order_is_refused() {
        let metadata = HashMap::from(["a", "b"].map(|k| (k.to_owned(), String::new())));
        assert!(to_safetensors(&[], Some(metadata)).is_err());
    }
}
