//! A BERT made from a seed, for tests where none can be had.

use super::BertConfig;
use crate::Result;
use crate::synthetic::write;
use std::path::{Path, PathBuf};

/// A BERT made from a seed, in BF16, whose tokens are bytes.
#[derive(Clone, Copy, Debug)]
pub struct SyntheticBert {
    /// The width of a token's vector.
    pub hidden: usize,
    /// The width of the feed-forward part.
    pub inner: usize,
    /// The number of heads.
    pub heads: usize,
    /// The number of layers.
    pub layers: usize,
    /// The longest text.
    pub positions: usize,
    /// What the weights are made from.
    pub seed: u64,
}

impl SyntheticBert {
    /// Small enough for a test: 200 KB.
    pub const SMALL: Self = Self { hidden: 64, inner: 96, heads: 4, layers: 2, positions: 128, seed: 0x5eed };

    /// Its `config.json`.
    pub fn config(&self) -> String {
        let config = serde_json::json!({
            "architectures": ["BertModel"],
            "hidden_act": "gelu",
            "hidden_size": self.hidden,
            "intermediate_size": self.inner,
            "layer_norm_eps": 1e-12,
            "max_position_embeddings": self.positions,
            "model_type": "bert",
            "num_attention_heads": self.heads,
            "num_hidden_layers": self.layers,
            "position_embedding_type": "absolute",
            "type_vocab_size": 2,
            "vocab_size": 256,
        });
        format!("{config:#}\n")
    }

    /// Writes the model into a directory, unless it is there, and returns the path of the weights.
    ///
    /// # Errors
    /// What cannot be written.
    pub fn write(&self, directory: &Path) -> Result<PathBuf> {
        let config = self.config();
        write(directory, &config, BertConfig::from_json(config.as_bytes())?.tensors(), self.seed)
    }
}
