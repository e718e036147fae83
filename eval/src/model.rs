//! The model: pre-norm layers of grouped-query attention with rotated positions, and a gated feed-forward part.
//!
//! Touvron et al., *LLaMA: Open and Efficient Foundation Language Models*, 2023; grouped queries as of Llama 2.

use crate::fused::{Add, CausalSoftmax, Gated};
use crate::{Config, Tensors};
use candle_core::{DType, Device, IndexOp, Result, Tensor};
use candle_nn::{Embedding, Linear, Module, RmsNorm, VarBuilder, embedding, linear_no_bias, rms_norm, rotary_emb};
use rayon::prelude::*;

/// A Llama. It holds no state of a text, so several threads may run it at once, each with a [`Cache`] of its own.
#[derive(Debug)]
pub struct Llama {
    embedding: Embedding,
    layers: Vec<Layer>,
    norm: RmsNorm,
    head: Linear,
    rotations: Tensor,
}

/// The keys and values of a text so far, so that a token costs the same however long the text is, nearly.
#[derive(Debug, Default)]
pub struct Cache {
    layers: Vec<Option<(Tensor, Tensor)>>,
    length: usize,
}

impl Cache {
    /// The number of tokens in it.
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether no token is in it.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }
}

impl Llama {
    /// Builds the model from all of its tensors, which are widened side by side: one after another that takes longer than
    /// loading them.
    pub fn from_tensors(config: &Config, tensors: Tensors, device: &Device) -> Result<Self> {
        let widen = |(name, tensor): (String, Tensor)| Ok((name, tensor.to_dtype(DType::F32)?));
        let tensors = tensors.into_par_iter().map(widen).collect::<Result<Tensors>>()?;
        Self::new(config, VarBuilder::from_tensors(tensors, DType::F32, device), |_| {})
    }

    /// Builds the model from a source of tensors, which is asked for them in the order of [`Config::tensors`] and may
    /// block until one is there: then the weights of a layer are widened while the next ones are loaded. `built` is
    /// called after the embedding, with 0, and after each layer, with its number from 1.
    pub fn new(config: &Config, tensors: VarBuilder<'_>, mut built: impl FnMut(usize)) -> Result<Self> {
        let model = tensors.pp("model");
        let embedding = embedding(config.vocab_size, config.hidden_size, model.pp("embed_tokens"))?;
        built(0);
        let mut layers = Vec::with_capacity(config.num_hidden_layers);
        for i in 0..config.num_hidden_layers {
            layers.push(Layer::new(config, &model.pp("layers").pp(i))?);
            built(i + 1);
        }
        let norm = rms_norm(config.hidden_size, config.rms_norm_eps, model.pp("norm"))?;
        let head = if config.tie_word_embeddings {
            Linear::new(embedding.embeddings().clone(), None)
        } else {
            linear_no_bias(config.hidden_size, config.vocab_size, tensors.pp("lm_head"))?
        };
        let rotations = config.rotations();
        let rotations = Tensor::from_vec(rotations, (1, config.head_dim() / 2), tensors.device())?;
        Ok(Self { embedding, layers, norm, head, rotations })
    }

    /// Where it computes.
    pub fn device(&self) -> &Device {
        self.embedding.embeddings().device()
    }

    /// The logits of the token after `tokens`, which come after those in the cache, as `f32`.
    pub fn forward(&self, tokens: &[u32], cache: &mut Cache) -> Result<Tensor> {
        let x = self.hidden(tokens, cache)?;
        // Only the last token's successor is asked for.
        self.head(&x.i(tokens.len() - 1..)?)?.squeeze(0)
    }

    /// The logits of the token after each of `tokens`, a row for each, as `f32`.
    pub fn logits(&self, tokens: &[u32], cache: &mut Cache) -> Result<Tensor> {
        self.head(&self.hidden(tokens, cache)?)
    }

    /// Logits, a row for each of what [`hidden`](Self::hidden) gave.
    pub(crate) fn head(&self, x: &Tensor) -> Result<Tensor> {
        self.head.forward(&self.norm.forward(x)?)?.to_dtype(DType::F32)
    }

    /// What the last layer makes of `tokens`, which come after those in the cache: tokens × hidden.
    pub(crate) fn hidden(&self, tokens: &[u32], cache: &mut Cache) -> Result<Tensor> {
        let (device, length) = (self.device(), tokens.len());
        if length == 0 {
            candle_core::bail!("a text needs a token to begin with");
        }
        let positions: Vec<f32> = (cache.length..cache.length + length).map(|p| p as f32).collect();
        let angles = Tensor::from_vec(positions, (length, 1), device)?.matmul(&self.rotations)?;
        let step = Step { cos: angles.cos()?, sin: angles.sin()? };
        cache.layers.resize(self.layers.len(), None);
        let mut x = self.embedding.forward(&Tensor::new(tokens, device)?)?;
        for (layer, cache) in self.layers.iter().zip(&mut cache.layers) {
            x = layer.forward(&x, &step, cache)?;
        }
        cache.length += length;
        Ok(x)
    }
}

/// What all layers need of one forward pass.
struct Step {
    cos: Tensor,
    sin: Tensor,
}

#[derive(Debug)]
struct Layer {
    attention_norm: RmsNorm,
    attention: Attention,
    inner_norm: RmsNorm,
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl Layer {
    fn new(config: &Config, tensors: &VarBuilder<'_>) -> Result<Self> {
        let (hidden, inner, mlp) = (config.hidden_size, config.intermediate_size, tensors.pp("mlp"));
        // In the order of `Config::tensors`: a struct's fields are built in the order they are written here.
        Ok(Self {
            attention_norm: rms_norm(hidden, config.rms_norm_eps, tensors.pp("input_layernorm"))?,
            attention: Attention::new(config, &tensors.pp("self_attn"))?,
            inner_norm: rms_norm(hidden, config.rms_norm_eps, tensors.pp("post_attention_layernorm"))?,
            gate: linear_no_bias(hidden, inner, mlp.pp("gate_proj"))?,
            up: linear_no_bias(hidden, inner, mlp.pp("up_proj"))?,
            down: linear_no_bias(inner, hidden, mlp.pp("down_proj"))?,
        })
    }

    fn forward(&self, x: &Tensor, step: &Step, cache: &mut Option<(Tensor, Tensor)>) -> Result<Tensor> {
        let middle = self.attention.forward(&self.attention_norm.forward(x)?, step, cache)?;
        middle.inplace_op2(x, &Add)?;
        let y = self.inner_norm.forward(&middle)?;
        let gate = self.gate.forward(&y)?;
        gate.inplace_op2(&self.up.forward(&y)?, &Gated)?;
        let output = self.down.forward(&gate)?;
        output.inplace_op2(&middle, &Add)?;
        Ok(output)
    }
}

#[derive(Debug)]
struct Attention {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    heads: usize,
    kv_heads: usize,
    dim: usize,
}

impl Attention {
    fn new(config: &Config, tensors: &VarBuilder<'_>) -> Result<Self> {
        let (heads, kv_heads, dim) = (config.num_attention_heads, config.kv_heads(), config.head_dim());
        let hidden = config.hidden_size;
        Ok(Self {
            q: linear_no_bias(hidden, heads * dim, tensors.pp("q_proj"))?,
            k: linear_no_bias(hidden, kv_heads * dim, tensors.pp("k_proj"))?,
            v: linear_no_bias(hidden, kv_heads * dim, tensors.pp("v_proj"))?,
            o: linear_no_bias(heads * dim, hidden, tensors.pp("o_proj"))?,
            heads,
            kv_heads,
            dim,
        })
    }

    /// `x` is tokens × hidden.
    fn forward(&self, x: &Tensor, step: &Step, cache: &mut Option<(Tensor, Tensor)>) -> Result<Tensor> {
        let (length, _) = x.dims2()?;
        let (heads, kv_heads, dim) = (self.heads, self.kv_heads, self.dim);
        // heads × tokens × dim
        let split = |x: Tensor, heads| x.reshape((length, heads, dim))?.transpose(0, 1)?.contiguous();
        let rotate = |x: Tensor| rotary_emb::rope(&x.unsqueeze(0)?, &step.cos, &step.sin)?.squeeze(0);
        let q = rotate(split(self.q.forward(x)?, heads)?)?;
        let mut k = rotate(split(self.k.forward(x)?, kv_heads)?)?;
        let mut v = split(self.v.forward(x)?, kv_heads)?;
        if let Some((before_k, before_v)) = cache.take() {
            k = Tensor::cat(&[&before_k, &k], 1)?;
            v = Tensor::cat(&[&before_v, &v], 1)?;
        }
        *cache = Some((k.clone(), v.clone()));
        // The query heads that share a key head stand one after another, so that a key head multiplies all of theirs at
        // once and nothing is repeated.
        let q = q.reshape((kv_heads, heads / kv_heads * length, dim))?;
        let weights = q.matmul(&k.t()?)?;
        weights.inplace_op1(&CausalSoftmax { scale: (dim as f32).sqrt().recip(), queries: length })?;
        let y = weights.matmul(&v)?.reshape((heads, length, dim))?.transpose(0, 1)?;
        self.o.forward(&y.reshape((length, heads * dim))?)
    }
}
