//! Sentence encoders: layers of attention in both directions, and of all tokens' vectors the mean.
//!
//! Devlin et al., *BERT*, 2019; the mean as of Reimers and Gurevych, *Sentence-BERT*, 2019. Sentences of one length are computed side by side, so that nothing is
//! padded and nothing is masked.

mod config;
mod synthetic;

pub use config::BertConfig;
pub use synthetic::SyntheticBert;

use crate::Tensors;
use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{LayerNorm, Linear, Module, VarBuilder, layer_norm, linear, ops};

/// A BERT. It holds no state of a text, so several threads may run it at once.
#[derive(Debug)]
pub struct Bert {
    words: Tensor,
    /// What stands for the position is the same for all words there, and so is what says that the text is of the first kind: their sum.
    places: Tensor,
    norm: LayerNorm,
    layers: Vec<Layer>,
}

impl Bert {
    /// Builds the model from its tensors, in `f32` on the CPU, by the names of [`BertConfig::tensors`].
    ///
    /// # Errors
    /// A tensor that is missing or of another shape.
    pub fn from_tensors(config: &BertConfig, tensors: Tensors) -> Result<Self> {
        let tensors = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        let (hidden, embeddings) = (config.hidden_size, tensors.pp("embeddings"));
        let table = |part: &str, rows: usize| embeddings.pp(format!("{part}_embeddings")).get((rows, hidden), "weight");
        let kind = table("token_type", config.type_vocab_size)?.narrow(0, 0, 1)?;
        let layers = (0..config.num_hidden_layers).map(|i| Layer::new(config, &tensors.pp("encoder.layer").pp(i)));
        Ok(Self {
            words: table("word", config.vocab_size)?,
            places: table("position", config.max_position_embeddings)?.broadcast_add(&kind)?,
            norm: layer_norm(hidden, config.layer_norm_eps, embeddings.pp("LayerNorm"))?,
            layers: layers.collect::<Result<_>>()?,
        })
    }

    /// The vectors of sentences that have equally many tokens, those around them included: sentences × hidden.
    ///
    /// # Errors
    /// Sentences of different lengths, of none, or longer than the model has positions; a token that it does not have.
    pub fn embed(&self, sentences: &[&[u32]]) -> Result<Tensor> {
        let length = sentences.first().map_or(0, |s| s.len());
        if length == 0 || sentences.iter().any(|s| s.len() != length) {
            candle_core::bail!("sentences must have equally many tokens, and some");
        }
        let (count, hidden) = (sentences.len(), self.words.dim(1)?);
        let words = self.words.index_select(&Tensor::new(sentences.concat(), &Device::Cpu)?, 0)?;
        let x = words.reshape((count, length, hidden))?.broadcast_add(&self.places.narrow(0, 0, length)?)?;
        let mut x = self.norm.forward(&x.reshape((count * length, hidden))?)?;
        for layer in &self.layers {
            x = layer.forward(&x, count)?;
        }
        x.reshape((count, length, hidden))?.mean(1)
    }
}

#[derive(Debug)]
struct Layer {
    query: Linear,
    key: Linear,
    value: Linear,
    attention: Linear,
    attention_norm: LayerNorm,
    up: Linear,
    down: Linear,
    norm: LayerNorm,
    heads: usize,
}

impl Layer {
    fn new(config: &BertConfig, tensors: &VarBuilder<'_>) -> Result<Self> {
        let (hidden, inner, eps) = (config.hidden_size, config.intermediate_size, config.layer_norm_eps);
        let (own, attention) = (tensors.pp("attention.self"), tensors.pp("attention.output"));
        Ok(Self {
            query: linear(hidden, hidden, own.pp("query"))?,
            key: linear(hidden, hidden, own.pp("key"))?,
            value: linear(hidden, hidden, own.pp("value"))?,
            attention: linear(hidden, hidden, attention.pp("dense"))?,
            attention_norm: layer_norm(hidden, eps, attention.pp("LayerNorm"))?,
            up: linear(hidden, inner, tensors.pp("intermediate.dense"))?,
            down: linear(inner, hidden, tensors.pp("output.dense"))?,
            norm: layer_norm(hidden, eps, tensors.pp("output.LayerNorm"))?,
            heads: config.num_attention_heads,
        })
    }

    /// `x` is tokens × hidden, of `count` sentences one after the other.
    fn forward(&self, x: &Tensor, count: usize) -> Result<Tensor> {
        let (tokens, hidden) = x.dims2()?;
        let (length, dim) = (tokens / count, hidden / self.heads);
        // sentences × heads × tokens × dim
        let split = |y: Tensor| y.reshape((count, length, self.heads, dim))?.transpose(1, 2)?.contiguous();
        // A query that is smaller is a score that is.
        let q = split((self.query.forward(x)? * (dim as f64).sqrt().recip())?)?;
        let (k, v) = (split(self.key.forward(x)?)?, split(self.value.forward(x)?)?);
        let weights = ops::softmax_last_dim(&q.matmul(&k.t()?)?)?;
        let y = weights.matmul(&v)?.transpose(1, 2)?.reshape((tokens, hidden))?;
        let x = self.attention_norm.forward(&(x + self.attention.forward(&y)?)?)?;
        let y = self.down.forward(&self.up.forward(&x)?.gelu_erf()?)?;
        self.norm.forward(&(x + y)?)
    }
}
