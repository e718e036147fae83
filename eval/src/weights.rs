//! A model on disk, whatever its weights are stored as: floats or integers, in safetensors files or in an archive.

use crate::{Bert, BertConfig, Config, Llama, Result, Tensors, Tokenizer};
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use wcodec::quantize::{Checkpoint, Dequantized, Stored};
use wcodec::{Archive, Backing};

/// Weights by name, as `f32`.
pub trait Weights: Sync {
    /// The shape of a tensor; `None` if there is none of that name.
    fn shape(&self, name: &str) -> Option<Vec<usize>>;

    /// The numbers of a tensor, row after row.
    ///
    /// # Errors
    /// No such tensor; no floats and no integers with scales; what cannot be read.
    fn read(&self, name: &str) -> Result<Vec<f32>>;
}

impl<S: Stored + Sync> Weights for Dequantized<S> {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.shape(name).map(|shape| shape.iter().map(|&d| d as usize).collect())
    }

    fn read(&self, name: &str) -> Result<Vec<f32>> {
        Ok(self.read_f32(name)?)
    }
}

impl dyn Weights + '_ {
    /// A tensor of candle's.
    ///
    /// # Errors
    /// Those of [`read`](Weights::read).
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let shape = self.shape(name).ok_or_else(|| format!("the model has no tensor {name}"))?;
        Ok(Tensor::from_vec(self.read(name)?, shape, &Device::Cpu)?)
    }
}

/// A model whose weights are not read yet.
pub struct Stock {
    /// Where it is.
    pub path: PathBuf,
    /// Its tensors.
    pub weights: Box<dyn Weights>,
    /// Where its other files are.
    files: Files,
}

impl std::fmt::Debug for Stock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stock").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Where configuration and tokenizer are.
enum Files {
    Directory(PathBuf),
    /// In an archive of a directory.
    Inside(PathBuf),
}

impl Stock {
    /// Opens a Hugging Face directory, a safetensors file or an archive. What goes with the weights is in `beside`, or else in the archive itself or beside
    /// the file.
    ///
    /// # Errors
    /// Neither of these; what cannot be read.
    pub fn open(path: &Path, beside: Option<&Path>) -> Result<Self> {
        let parent = || path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
        let is_archive = path.is_file() && path.extension().is_some_and(|e| e == "wcodec");
        let (weights, own): (Box<dyn Weights>, Files) = if is_archive {
            let archive = Archive::open_with(path, Backing::Read)?;
            let inside = archive.tensors().any(|t| t.name() == inside("config.json"));
            let own = if inside { Files::Inside(path.to_owned()) } else { Files::Directory(parent()) };
            (Box::new(Dequantized::new(archive)?), own)
        } else {
            let directory = if path.is_dir() { path.to_owned() } else { parent() };
            (Box::new(Dequantized::new(Checkpoint::open(path)?)?), Files::Directory(directory))
        };
        let files = beside.map_or(own, |beside| Files::Directory(beside.to_owned()));
        Ok(Self { path: path.to_owned(), weights, files })
    }

    /// What went wrong, with the model's name before it.
    fn named(&self, e: impl std::fmt::Display) -> String {
        format!("{}: {e}", self.path.display())
    }

    /// A file that goes with the weights.
    ///
    /// # Errors
    /// It is not there.
    pub fn file(&self, name: &str) -> Result<Vec<u8>> {
        match &self.files {
            Files::Directory(directory) => {
                let path = directory.join(name);
                std::fs::read(&path).map_err(|e| format!("cannot read {}: {e}", path.display()).into())
            }
            Files::Inside(path) => {
                let archive = Archive::open_with(path, Backing::Read)?;
                Ok(archive.tensor(&inside(name))?.decode()?)
            }
        }
    }

    /// What the model is, by the name that Hugging Face's configuration gives to its architecture.
    ///
    /// # Errors
    /// No configuration, or none that says so.
    pub fn architecture(&self) -> Result<String> {
        let config: serde_json::Value = serde_json::from_slice(&self.file("config.json")?)
            .map_err(|e| format!("the config.json of {}: {e}", self.path.display()))?;
        let name = config["model_type"].as_str();
        Ok(name.ok_or_else(|| format!("the config.json of {} does not say what model it is", self.path.display()))?.to_owned())
    }

    /// The configuration of a Llama whose tensors are all there.
    ///
    /// # Errors
    /// Another architecture; a tensor that is missing or of another shape.
    pub fn llama(&self) -> Result<Config> {
        let architecture = self.architecture()?;
        if architecture != "llama" {
            return Err(format!(
                "{} is a {architecture:?}: known are \"llama\", and of sentence encoders \"bert\"",
                self.path.display()
            )
            .into());
        }
        let config = Config::from_json(&self.file("config.json")?).map_err(|e| self.named(e))?;
        check(&*self.weights, &config).map_err(|e| self.named(e))?;
        Ok(config)
    }

    /// The model's tokenizer; of a model that has bytes for tokens, that.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn tokenizer(&self, config: &Config) -> Result<Tokenizer> {
        self.tokenizer_of(config.vocab_size)
    }

    fn tokenizer_of(&self, vocabulary: usize) -> Result<Tokenizer> {
        match self.file("tokenizer.json") {
            Ok(bytes) => Tokenizer::from_bytes(&bytes, vocabulary)
                .map_err(|e| format!("the tokenizer of {}: {e}", self.path.display()).into()),
            Err(_) if vocabulary == 256 => Ok(Tokenizer::Bytes),
            Err(e) => Err(e),
        }
    }

    /// The model in memory.
    ///
    /// # Errors
    /// Weights that cannot be read.
    pub fn load(&self, config: &Config) -> Result<Llama> {
        let read = |(name, _): (String, Vec<usize>)| Ok((name.clone(), self.weights.tensor(&name)?));
        let tensors = config.tensors().into_par_iter().map(read).collect::<Result<Tensors>>().map_err(|e| self.named(e))?;
        Ok(Llama::from_tensors(config, tensors, &Device::Cpu)?)
    }

    /// A sentence encoder in memory, and its tokenizer.
    ///
    /// # Errors
    /// Another architecture; a tensor that is missing or of another shape; what cannot be read.
    pub fn bert(&self) -> Result<(Bert, Tokenizer)> {
        let architecture = self.architecture()?;
        if architecture != "bert" {
            return Err(format!("{} is a {architecture:?}, not a bert", self.path.display()).into());
        }
        let config = BertConfig::from_json(&self.file("config.json")?).map_err(|e| self.named(e))?;
        let prefix = self.bert_prefix();
        let read = |(name, _): (String, Vec<usize>)| {
            let tensor = self.weights.tensor(&format!("{prefix}{name}"))?;
            Ok((name, tensor))
        };
        let tensors = config.tensors().into_par_iter().map(read).collect::<Result<Tensors>>().map_err(|e| self.named(e))?;
        let model = Bert::from_tensors(&config, tensors).map_err(|e| self.named(e))?;
        let tokenizer = self.tokenizer_of(config.vocab_size)?.of_sentences(config.max_position_embeddings);
        Ok((model, tokenizer.map_err(|e| self.named(e))?))
    }

    /// What the names of a sentence encoder's tensors begin with, where it is a part of a larger model.
    pub(crate) fn bert_prefix(&self) -> &'static str {
        let there = |prefix: &&str| self.weights.shape(&format!("{prefix}embeddings.word_embeddings.weight")).is_some();
        ["", "bert."].into_iter().find(there).unwrap_or_default()
    }
}

/// Refuses weights that are not the configuration's.
pub(crate) fn check(weights: &dyn Weights, config: &Config) -> Result<()> {
    let shape = |(name, _): (String, Vec<usize>)| weights.shape(&name).map(|shape| (name, shape));
    let shapes: HashMap<String, Vec<usize>> = config.tensors().into_iter().filter_map(shape).collect();
    config.check(|name| shapes.get(name).map(Vec::as_slice))
}

/// The name of a file's bytes in the archive of a directory.
fn inside(file: &str) -> String {
    format!("__wcodec__/file/{file}")
}
