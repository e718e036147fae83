//! `config.json` of a Llama, and what follows from it: which tensors the model needs, in which order, of which shapes.

use crate::Result;
use serde::Deserialize;
use std::path::Path;

/// The hyperparameters of a Llama, by Hugging Face's names.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    model_type: String,
    /// The width of the residual stream.
    pub hidden_size: usize,
    /// The width of the feed-forward part.
    pub intermediate_size: usize,
    /// The number of layers.
    pub num_hidden_layers: usize,
    /// The number of query heads.
    pub num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    /// The number of tokens.
    pub vocab_size: usize,
    /// What keeps a norm from dividing by zero.
    pub rms_norm_eps: f64,
    #[serde(default = "default_rope_theta")]
    rope_theta: f64,
    rope_scaling: Option<RopeScaling>,
    /// The longest text that the model was made for.
    pub max_position_embeddings: usize,
    /// Whether the output matrix is the embedding's.
    #[serde(default)]
    pub tie_word_embeddings: bool,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    eos_token_id: Option<Ids>,
}

/// Llama 3.1's: low frequencies are lowered, so that a longer text fits a turn.
#[derive(Clone, Debug, Deserialize)]
struct RopeScaling {
    #[serde(alias = "type")]
    rope_type: String,
    #[serde(default)]
    factor: f64,
    #[serde(default)]
    low_freq_factor: f64,
    #[serde(default)]
    high_freq_factor: f64,
    #[serde(default)]
    original_max_position_embeddings: f64,
}

/// One token or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Ids {
    One(u32),
    Many(Vec<u32>),
}

/// What Llama 1 and 2 have, whose configurations do not name it.
fn default_rope_theta() -> f64 {
    10000.0
}

impl Config {
    /// Reads a `config.json`.
    pub fn from_file(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        Self::from_json(&text).map_err(|e| format!("{}: {e}", path.display()).into())
    }

    /// Reads a configuration, and refuses what this model cannot run: a wrong product looks like a right one.
    pub fn from_json(text: &[u8]) -> Result<Self> {
        let config: Self = serde_json::from_slice(text)?;
        if config.model_type != "llama" {
            return Err(format!("the model is a {:?}, not a llama", config.model_type).into());
        }
        if config.attention_bias || config.mlp_bias {
            return Err("projections with a bias are not handled".into());
        }
        if [config.hidden_size, config.intermediate_size, config.vocab_size].contains(&0) {
            return Err("hidden_size, intermediate_size and vocab_size cannot be 0".into());
        }
        let (heads, kv_heads) = (config.num_attention_heads, config.kv_heads());
        if heads == 0 || kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            return Err(format!("{heads} query heads do not divide among {kv_heads} key heads").into());
        }
        if config.head_dim() == 0 || !config.head_dim().is_multiple_of(2) {
            return Err(format!("heads of {} elements cannot be rotated", config.head_dim()).into());
        }
        match config.rope_scaling.as_ref().map(|s| s.rope_type.as_str()) {
            None | Some("default" | "llama3") => Ok(config),
            Some(other) => Err(format!("positions scaled as {other:?} are not handled").into()),
        }
    }

    /// The number of key and value heads, each of which serves as many query heads.
    pub fn kv_heads(&self) -> usize {
        self.num_key_value_heads.unwrap_or(self.num_attention_heads)
    }

    /// The elements of a head.
    pub fn head_dim(&self) -> usize {
        self.head_dim.unwrap_or_else(|| self.hidden_size / self.num_attention_heads.max(1))
    }

    /// Whether a token ends the text.
    pub fn is_end(&self, token: u32) -> bool {
        match &self.eos_token_id {
            None => false,
            Some(Ids::One(id)) => *id == token,
            Some(Ids::Many(ids)) => ids.contains(&token),
        }
    }

    /// The angle, in radians, by which each pair of a head's elements turns from one position to the next.
    pub fn rotations(&self) -> Vec<f32> {
        let dim = self.head_dim();
        let plain = (0..dim / 2).map(|i| self.rope_theta.powf(-((2 * i) as f64) / dim as f64));
        match self.rope_scaling.as_ref().filter(|s| s.rope_type == "llama3") {
            None => plain.map(|angle| angle as f32).collect(),
            Some(scaling) => plain.map(|angle| scaling.apply(angle) as f32).collect(),
        }
    }

    /// Numbers in all the tensors that the model reads.
    pub fn weights(&self) -> u64 {
        self.tensors().iter().map(|(_, shape)| shape.iter().product::<usize>() as u64).sum()
    }

    /// The tensors that the model reads, in the order in which a forward pass wants them, with their shapes.
    pub fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let (hidden, inner) = (self.hidden_size, self.intermediate_size);
        let (q, kv) = (self.num_attention_heads * self.head_dim(), self.kv_heads() * self.head_dim());
        let parts: [(&str, &[usize]); 9] = [
            ("input_layernorm", &[hidden]),
            ("self_attn.q_proj", &[q, hidden]),
            ("self_attn.k_proj", &[kv, hidden]),
            ("self_attn.v_proj", &[kv, hidden]),
            ("self_attn.o_proj", &[hidden, q]),
            ("post_attention_layernorm", &[hidden]),
            ("mlp.gate_proj", &[inner, hidden]),
            ("mlp.up_proj", &[inner, hidden]),
            ("mlp.down_proj", &[hidden, inner]),
        ];
        let mut tensors = vec![("model.embed_tokens.weight".to_owned(), vec![self.vocab_size, hidden])];
        for layer in 0..self.num_hidden_layers {
            let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
            tensors.extend(parts.iter().map(|(part, shape)| (name(part), shape.to_vec())));
        }
        tensors.push(("model.norm.weight".to_owned(), vec![hidden]));
        if !self.tie_word_embeddings {
            tensors.push(("lm_head.weight".to_owned(), vec![self.vocab_size, hidden]));
        }
        tensors
    }

    /// Fails unless every tensor of the model is among those given by name and shape, and has the shape it must have.
    ///
    /// To be asked before weights are read: it says in a moment what a load would find out in the end.
    pub fn check<'a>(&self, shape_of: impl Fn(&str) -> Option<&'a [usize]>) -> Result<()> {
        let needed = self.tensors();
        let missing: Vec<_> = needed.iter().filter(|(name, _)| shape_of(name).is_none()).collect();
        if let Some((name, _)) = missing.first() {
            return Err(format!("the checkpoint lacks {} of {} tensors, {name} first", missing.len(), needed.len()).into());
        }
        for (name, shape) in &needed {
            match shape_of(name) {
                Some(found) if found != shape => {
                    return Err(format!("tensor {name} has shape {found:?}; config.json asks for {shape:?}").into());
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl RopeScaling {
    /// A turn that is done within the original length of a text stays, a slow one is slowed by the factor, and those
    /// between are between (Llama 3.1's reference code).
    fn apply(&self, angle: f64) -> f64 {
        let length = self.original_max_position_embeddings;
        let wavelength = 2.0 * std::f64::consts::PI / angle;
        if wavelength < length / self.high_freq_factor {
            angle
        } else if wavelength > length / self.low_freq_factor {
            angle / self.factor
        } else {
            let share = (length / wavelength - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor);
            (1.0 - share) * angle / self.factor + share * angle
        }
    }
}
