//! Finding a model: the files of a Hugging Face directory, of SmolLM2-135M or of one made from a seed.

use crate::{Config, Result, SyntheticModel, Tokenizer};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A model on disk; its weights are not read yet.
#[derive(Debug)]
pub struct Checkpoint {
    /// The safetensors files of its weights.
    pub weights: Vec<PathBuf>,
    /// What it is.
    pub config: Config,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
}

impl Checkpoint {
    /// Opens a Hugging Face directory, or a file of weights with `config.json` and `tokenizer.json` beside it.
    pub fn open(path: &Path) -> Result<Self> {
        let (directory, weights) = if path.is_dir() {
            (path, weights(path)?)
        } else {
            (path.parent().ok_or("the path names no file")?, vec![path.to_owned()])
        };
        if let Some(absent) = weights.iter().find(|path| !path.exists()) {
            return Err(format!("{} is not there", absent.display()).into());
        }
        let config = Config::from_file(&directory.join("config.json"))?;
        let tokenizer = directory.join("tokenizer.json");
        // A real tokenizer has the 256 bytes and more.
        let bytes = config.vocab_size == 256 && !tokenizer.exists();
        let tokenizer = if bytes { Tokenizer::Bytes } else { Tokenizer::from_file(&tokenizer, config.vocab_size)? };
        Ok(Self { weights, config, tokenizer })
    }

    /// SmolLM2-135M-Instruct if it is fetched or can be, else a model made from a seed. What is done is said on standard
    /// error, so that standard output holds results only.
    pub fn default_model() -> Result<Self> {
        let models = std::env::var_os("WCODEC_MODELS").map_or_else(|| workspace().join("models"), PathBuf::from);
        let directory = models.join("smollm2");
        let is_there = || directory.join("model.safetensors").exists() && directory.join("tokenizer.json").exists();
        if !is_there() {
            eprintln!("SmolLM2-135M is not there yet: fetching it with `cargo xtask models`");
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let mut fetch = Command::new(cargo);
            fetch.args(["xtask", "models"]).current_dir(workspace()).stdout(std::process::Stdio::null());
            if !fetch.status().is_ok_and(|status| status.success()) || !is_there() {
                eprintln!("it cannot be fetched: using a model of random weights made from a seed; what it says is noise");
                let directory = scratch().join("synthetic");
                SyntheticModel::LIKE_SMOLLM2.write(&directory)?;
                return Self::open(&directory);
            }
        }
        Self::open(&directory)
    }

    /// Whether it is made from a seed, so that what it says is noise.
    pub fn is_synthetic(&self) -> bool {
        matches!(self.tokenizer, Tokenizer::Bytes)
    }
}

/// Where what the examples make is kept.
pub fn scratch() -> PathBuf {
    workspace().join("target/load_llama")
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(|| ".".into(), Path::to_path_buf)
}

/// The files of weights of a directory: those that the index names, or the one.
fn weights(directory: &Path) -> Result<Vec<PathBuf>> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let index = directory.join("model.safetensors.index.json");
    if !index.exists() {
        return Ok(vec![directory.join("model.safetensors")]);
    }
    let index: Index = serde_json::from_slice(&std::fs::read(index)?)?;
    let names: BTreeSet<_> = index.weight_map.into_values().collect();
    // A name of the index is a file of the directory, not a way out of it.
    if let Some(name) = names.iter().find(|name| Path::new(name.as_str()).file_name() != Some(name.as_ref())) {
        return Err(format!("the index names {name:?}, which is not a file of the directory").into());
    }
    Ok(names.into_iter().map(|name| directory.join(name)).collect())
}
