//! A model made from a seed, for where none can be had: its weights are distributed as real ones are, so it compresses
//! and loads like one, and what it says is noise.

use crate::Result;
use crate::random::SplitMix64;
use half::bf16;
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use std::path::{Path, PathBuf};

/// A Llama made from a seed, in BF16, whose tokens are bytes.
#[derive(Clone, Copy, Debug)]
pub struct SyntheticModel {
    /// The width of the residual stream.
    pub hidden: usize,
    /// The width of the feed-forward part.
    pub inner: usize,
    /// The number of query heads.
    pub heads: usize,
    /// The number of key and value heads.
    pub kv_heads: usize,
    /// The number of layers.
    pub layers: usize,
    /// What the weights are made from.
    pub seed: u64,
}

impl SyntheticModel {
    /// Layers like those of SmolLM2-135M: 71 MB.
    pub const LIKE_SMOLLM2: Self = Self { hidden: 576, inner: 1536, heads: 9, kv_heads: 3, layers: 10, seed: 0x5eed };

    /// Small enough for a test: 150 KB.
    pub const SMALL: Self = Self { hidden: 64, inner: 96, heads: 4, kv_heads: 2, layers: 2, seed: 0x5eed };

    /// Its `config.json`.
    pub fn config(&self) -> String {
        let config = serde_json::json!({
            "architectures": ["LlamaForCausalLM"],
            "hidden_size": self.hidden,
            "intermediate_size": self.inner,
            "max_position_embeddings": 2048,
            "model_type": "llama",
            "num_attention_heads": self.heads,
            "num_hidden_layers": self.layers,
            "num_key_value_heads": self.kv_heads,
            "rms_norm_eps": 1e-5,
            "rope_theta": 1e5,
            "tie_word_embeddings": true,
            "torch_dtype": "bfloat16",
            "vocab_size": 256,
        });
        format!("{config:#}\n")
    }

    /// Writes the model into a directory, unless it is there, and returns the path of the weights.
    pub fn write(&self, directory: &Path) -> Result<PathBuf> {
        let config = self.config();
        write(directory, &config, crate::Config::from_json(config.as_bytes())?.tensors(), self.seed)
    }
}

/// Writes tensors made from a seed into a directory, and the configuration that they belong to, unless that model is there; returns the path of the weights.
pub(crate) fn write(directory: &Path, config: &str, tensors: Vec<(String, Vec<usize>)>, seed: u64) -> Result<PathBuf> {
    let (path, config_path) = (directory.join("model.safetensors"), directory.join("config.json"));
    if path.exists() && std::fs::read_to_string(&config_path).is_ok_and(|there| there == config) {
        return Ok(path);
    }
    let mut random = Normal(SplitMix64(seed));
    let mut data = Vec::new();
    for (name, shape) in tensors {
        // Biases are near zero, the weights of a norm near one.
        let (middle, scale) = match shape[..] {
            [_] if name.ends_with(".bias") => (0.0, 0.1),
            [_] => (1.0, 0.1),
            _ => (0.0, (shape[shape.len() - 1] as f32).sqrt().recip()),
        };
        let number = |_| bf16::from_f32(middle + scale * random.next()).to_le_bytes();
        let bytes: Vec<u8> = (0..shape.iter().product::<usize>()).flat_map(number).collect();
        data.push((name, shape, bytes));
    }
    let views = data.iter().map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::BF16, shape.clone(), bytes)?)));
    std::fs::create_dir_all(directory)?;
    // The configuration last: with it the model counts as there.
    serialize_to_file(views.collect::<Result<Vec<_>>>()?, None, &path)?;
    std::fs::write(config_path, config)?;
    Ok(path)
}

/// Normally distributed numbers: the sum of four uniform ones is near enough.
struct Normal(SplitMix64);

impl Normal {
    fn next(&mut self) -> f32 {
        let z = self.0.next();
        let sum: i32 = (0..4).map(|i| (z >> (16 * i) & 0xffff) as i32 - 0x8000).sum();
        sum as f32 / 37837.0 // the standard deviation of the sum
    }
}
