//! Sentence encoders: layers of attention in both directions, and of all tokens' vectors the mean.
//!
//! Devlin et al., *BERT*, 2019; the mean as of Reimers and Gurevych, *Sentence-BERT*, 2019. Sentences of one length are computed side by side, so that nothing is
//! padded and nothing is masked.

mod calibrate;
mod config;
mod pass;
mod synthetic;

pub use calibrate::calibrate_sentences;
pub use config::BertConfig;
pub use synthetic::SyntheticBert;

use crate::Tensors;
use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{LayerNorm, Linear, VarBuilder, layer_norm, linear};
use pass::{Pass, There};

/// A BERT. It holds no state of a text, so several threads may run it at once.
#[derive(Debug)]
pub struct Bert {
    words: Tensor,
    /// What stands for the position is the same for all words there, and so is what says that the text is of the first kind: their sum.
    places: Tensor,
    /// Of those there are so many.
    kinds: usize,
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
            kinds: config.type_vocab_size,
            norm: layer_norm(hidden, config.layer_norm_eps, embeddings.pp("LayerNorm"))?,
            layers: layers.collect::<Result<_>>()?,
        })
    }

    /// The vectors of sentences that have equally many tokens, those around them included: sentences × hidden.
    ///
    /// # Errors
    /// Sentences of different lengths, of none, or longer than the model has positions; a token that it does not have.
    pub fn embed(&self, sentences: &[&[u32]]) -> Result<Tensor> {
        self.pass(sentences, &mut There)
    }

    /// As [`embed`](Self::embed), by a pass.
    fn pass(&self, sentences: &[&[u32]], pass: &mut impl Pass) -> Result<Tensor> {
        let length = sentences.first().map_or(0, |s| s.len());
        if length == 0 || sentences.iter().any(|s| s.len() != length) {
            candle_core::bail!("sentences must have equally many tokens, and some");
        }
        let (count, hidden) = (sentences.len(), self.words.dim(1)?);
        let words = self.words.index_select(&Tensor::new(sentences.concat(), &Device::Cpu)?, 0)?;
        let x = words.reshape((count, length, hidden))?.broadcast_add(&self.places.narrow(0, 0, length)?)?;
        let x = pass.looked_up(x.reshape((count * length, hidden))?)?;
        let mut x = pass.norm(&self.norm, &x)?;
        for layer in &self.layers {
            x = layer.pass(&x, count, pass)?;
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
    fn pass(&self, x: &Tensor, count: usize, pass: &mut impl Pass) -> Result<Tensor> {
        let (tokens, hidden) = x.dims2()?;
        let (length, dim) = (tokens / count, hidden / self.heads);
        // sentences × heads × tokens × dim
        let split = |y: Tensor| y.reshape((count, length, self.heads, dim))?.transpose(1, 2)?.contiguous();
        // A query that is smaller is a score that is.
        let q = split((pass.linear(&self.query, x)? * (dim as f64).sqrt().recip())?)?;
        let (k, v) = (split(pass.linear(&self.key, x)?)?, split(pass.linear(&self.value, x)?)?);
        let weights = pass.softmax(&q.matmul(&k.t()?)?)?;
        let y = weights.matmul(&v)?.transpose(1, 2)?.reshape((tokens, hidden))?;
        let x = (x + pass.linear(&self.attention, &y)?)?;
        let x = pass.norm(&self.attention_norm, &x)?;
        let y = pass.linear(&self.up, &x)?.gelu_erf()?;
        let y = pass.linear(&self.down, &y)?;
        pass.norm(&self.norm, &(x + y)?)
    }
}
