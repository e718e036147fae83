//! The model of each level, refined in place from the one before.

use crate::quality::{Errors, Reading};
use candle_core::{DType, Device, Tensor};
use std::time::{Duration, Instant};
use wcodec::{Archive, Dtype, Level};
use wcodec_eval::{Checkpoint, Llama, Result, Tensors};

/// What a level is worth.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) level: Level,
    /// Decoding of the first level, refinement to any other.
    pub(crate) took: Duration,
    pub(crate) errors: Errors,
    pub(crate) reading: Reading,
}

/// Measures all levels of an archive; `tokens` are read to the model of each.
pub(crate) fn measure(checkpoint: &Checkpoint, archive: &mut Archive, tokens: &[u32]) -> Result<Vec<Measured>> {
    let exact: Vec<Vec<u8>> = archive.decode_all()?.into_iter().map(|(_, bytes)| bytes).collect();
    let mut buffers: Vec<Vec<u8>> = Vec::new();
    let mut measured = Vec::new();
    for level in archive.levels() {
        archive.set_planes(level.planes)?;
        let start = Instant::now();
        if level.planes == 0 {
            buffers = archive.decode_all()?.into_iter().map(|(_, bytes)| bytes).collect();
        } else {
            let mut jobs: Vec<_> = archive.tensors().zip(buffers.iter_mut().map(|b| &mut b[..])).collect();
            archive.refine_many(level.planes - 1, &mut jobs)?;
        }
        let took = start.elapsed();
        let mut errors = Errors::default();
        for ((tensor, coarse), exact) in archive.tensors().zip(&buffers).zip(&exact) {
            errors.add(tensor.dtype(), coarse, exact);
        }
        let model = Llama::from_tensors(&checkpoint.config, tensors(archive, &buffers)?, &Device::Cpu)?;
        measured.push(Measured { level, took, errors, reading: Reading::of(&model, tokens)? });
    }
    if buffers == exact || measured.is_empty() {
        Ok(measured)
    } else {
        Err("what was refined is not what is decoded at once".into())
    }
}

/// The tensors as candle's.
fn tensors(archive: &Archive, buffers: &[Vec<u8>]) -> Result<Tensors> {
    let one = |(tensor, bytes): (wcodec::Tensor<'_>, &Vec<u8>)| {
        let dtype = match tensor.dtype() {
            Dtype::BF16 => DType::BF16,
            Dtype::F16 => DType::F16,
            Dtype::F32 => DType::F32,
            other => return Err(format!("{}: no weights of {other:?} here", tensor.name()).into()),
        };
        let shape = tensor.shape().iter().map(|&d| usize::try_from(d)).collect::<Result<Vec<_>, _>>()?;
        Ok((tensor.name().to_owned(), Tensor::from_raw_buffer(bytes, dtype, &shape, &Device::Cpu)?))
    };
    archive.tensors().zip(buffers).map(one).collect()
}
