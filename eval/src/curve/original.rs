//! The model that is quantized.

use crate::{Config, Llama, Peer, Result, Stock, Tensors};
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use wcodec::Dtype;
use wcodec::quantize::{Checkpoint, Format, Rule, Rules};

/// A Llama with float weights: its tensors as the quantizer reads them, and as a model does.
#[derive(Debug)]
pub struct Original {
    /// The model.
    pub stock: Stock,
    /// What it is.
    pub config: Config,
    /// Its tensors.
    pub checkpoint: Checkpoint,
    /// Where configuration and tokenizer are.
    directory: PathBuf,
    weights: u64,
    bytes: u64,
    flat_bytes: u64,
}

impl Original {
    /// Opens a Hugging Face directory, or a safetensors file with its configuration beside it.
    ///
    /// Of a directory with one safetensors file only this is quantized, so that an archive's size is that of the weights; archives of several shards have the
    /// directory's small files in them.
    ///
    /// # Errors
    /// No such thing; another architecture than a Llama; tensors that are missing.
    pub fn open(path: &Path) -> Result<Self> {
        let stock = Stock::open(path, None)?;
        let config = stock.llama()?;
        let parent = || path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let directory = if path.is_dir() { path } else { parent() };
        let checkpoint = Checkpoint::open(only_file(path)?.as_deref().unwrap_or(path))?;
        let rules = Rules::new(Format::Int8);
        let (mut weights, mut bytes, mut flat_bytes) = (0, 0, 0);
        for (name, dtype, shape) in checkpoint.tensors() {
            let own = stored_bytes(name, dtype, shape)?;
            weights += shape.iter().product::<u64>();
            bytes += own;
            flat_bytes += match rules.of(name, dtype, shape)? {
                Rule::Keep => own,
                Rule::Quantize(format) => format.flat_bytes(shape[0], shape[1]),
            };
        }
        Ok(Self { config, checkpoint, directory: directory.to_owned(), weights, bytes, flat_bytes, stock })
    }

    /// Where configuration and tokenizer are.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Weights of all its tensors.
    pub fn weights(&self) -> u64 {
        self.weights
    }

    /// Bytes of all its tensors.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of its tensors if all matrices that the quantizer's rules name were INT8 with a BF16 scale a row.
    pub fn flat_bytes(&self) -> u64 {
        self.flat_bytes
    }

    /// The model as it is in a peer's format, and that format's bytes.
    pub(crate) fn rounded(&self, peer: Peer) -> Result<(Llama, u64)> {
        let needed: HashMap<String, Vec<usize>> = self.config.tensors().into_iter().collect();
        let each = |(name, dtype, shape): (&str, Dtype, &[u64])| -> Result<(Option<(String, Tensor)>, u64)> {
            let tensor = |values: Vec<f32>| -> Result<Option<(String, Tensor)>> {
                let Some(shape) = needed.get(name) else { return Ok(None) };
                Ok(Some((name.to_owned(), Tensor::from_vec(values, shape.as_slice(), &Device::Cpu)?)))
            };
            let kept = || stored_bytes(name, dtype, shape);
            if !needed.contains_key(name) && Rules::new(Format::Int8).of(name, dtype, shape)? == Rule::Keep {
                return Ok((None, kept()?));
            }
            let values = self.stock.weights.read(name)?;
            match peer.round(name, dtype, shape, &values)? {
                Some(rounded) => Ok((tensor(rounded.values)?, rounded.bytes)),
                None => Ok((tensor(values)?, kept()?)),
            }
        };
        let all = self.checkpoint.tensors().collect::<Vec<_>>().into_par_iter().map(each).collect::<Result<Vec<_>>>()?;
        let bytes = all.iter().map(|(_, bytes)| bytes).sum();
        let tensors: Tensors = all.into_iter().filter_map(|(tensor, _)| tensor).collect();
        Ok((Llama::from_tensors(&self.config, tensors, &Device::Cpu)?, bytes))
    }
}

/// Bytes of a tensor as it is stored.
pub(crate) fn stored_bytes(name: &str, dtype: Dtype, shape: &[u64]) -> Result<u64> {
    let bits = dtype.bits().ok_or_else(|| format!("{name}: the size of its type is not known"))?;
    Ok((shape.iter().product::<u64>() * u64::from(bits)).div_ceil(8))
}

/// The safetensors file of a directory that has one.
fn only_file(path: &Path) -> Result<Option<PathBuf>> {
    if !path.is_dir() {
        return Ok(None);
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        if file.extension().is_some_and(|e| e == "safetensors") {
            found.push(file);
        }
    }
    Ok(if found.len() == 1 { found.pop() } else { None })
}
