//! A text by the model itself, for measuring it by where there is no other: many beginnings continued side by side, each token drawn by the model's own chances.
//!
//! Liu et al., *LLM-QAT: Data-Free Quantization Aware Training for Large Language Models*, 2023: drawn, not the likeliest, which soon repeat themselves, and from first
//! tokens that are any of the vocabulary's.

use crate::fused::exp;
use crate::layer::{Layer, norm, times};
use crate::random::SplitMix64;
use crate::{Config, Result, Stock, Weights};
use candle_core::{Device, Tensor};
use rayon::prelude::*;

/// Texts that are written side by side: weights are read once for all of them.
const BATCH: usize = 128;

/// Keys and values of a layer: texts × heads × tokens × elements, of which the tokens so far are there.
struct Past {
    keys: Vec<f32>,
    values: Vec<f32>,
}

/// Bytes of memory that [`sample`] takes for texts of `length` tokens: all weights, and what heads have seen.
pub fn sample_bytes(config: &Config, length: usize) -> u64 {
    let past = (2 * BATCH * length) as u64 * (config.kv_heads() * config.head_dim() * config.num_hidden_layers) as u64;
    4 * (config.weights() + past)
}

/// Writes `texts` texts of `length` tokens each, one after another, the same ones each time. `progress` hears how much of the work is done, from 0 to 1, and may stop it by
/// answering `false`.
///
/// # Errors
/// Another architecture; weights that cannot be read; logits that are not numbers; that `progress` said so.
pub fn sample(
    stock: &Stock,
    config: &Config,
    texts: usize,
    length: usize,
    progress: &(dyn Fn(f64) -> bool + Sync),
) -> Result<Vec<u32>> {
    let model = Model::read(&*stock.weights, config)?;
    let mut numbers = SplitMix64(1);
    let mut found = Vec::with_capacity(texts * length);
    for first in (0..texts).step_by(BATCH) {
        let count = BATCH.min(texts - first);
        let mut hear = |step: usize| -> Result<()> {
            let done = first * length + count * step;
            if progress(done as f64 / (texts * length) as f64) { Ok(()) } else { Err("interrupted".into()) }
        };
        found.extend(model.write(count, length, &mut numbers, &mut hear)?);
    }
    Ok(found)
}

/// A Llama, as far as writing needs it.
struct Model {
    config: Config,
    embedding: Tensor,
    layers: Vec<Layer>,
    norm: Tensor,
    head: Tensor,
    rotations: Vec<f32>,
}

impl Model {
    fn read(weights: &dyn Weights, config: &Config) -> Result<Self> {
        let embedding = weights.tensor("model.embed_tokens.weight")?;
        let head = if config.tie_word_embeddings { embedding.clone() } else { weights.tensor("lm_head.weight")? };
        let layers = (0..config.num_hidden_layers).map(|number| Layer::read(weights, config, number));
        Ok(Self {
            layers: layers.collect::<Result<_>>()?,
            norm: weights.tensor("model.norm.weight")?,
            rotations: config.rotations(),
            config: config.clone(),
            embedding,
            head,
        })
    }

    /// `count` texts, text after text.
    fn write(
        &self,
        count: usize,
        length: usize,
        numbers: &mut SplitMix64,
        hear: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<Vec<u32>> {
        let size = count * self.config.kv_heads() * length * self.config.head_dim();
        let mut past: Vec<Past> = self.layers.iter().map(|_| Past { keys: vec![0.0; size], values: vec![0.0; size] }).collect();
        let mut texts = vec![Vec::with_capacity(length); count];
        texts.iter_mut().for_each(|text| text.push((numbers.next() % self.config.vocab_size as u64) as u32));
        for at in 0..length - 1 {
            let last: Vec<u32> = texts.iter().map(|text| text[at]).collect();
            let mut x = self.embedding.index_select(&Tensor::new(last, &Device::Cpu)?, 0)?;
            for (layer, past) in self.layers.iter().zip(&mut past) {
                x = layer.step(&x, |q, k, v| self.attend(q, k, v, past, at, length))?;
            }
            let logits = times(&norm(&x, &self.norm, self.config.rms_norm_eps)?, &self.head)?.to_vec2::<f32>()?;
            let seeds: Vec<f32> = (0..count).map(|_| (numbers.next() >> 40) as f32 / (1u64 << 24) as f32).collect();
            let drawn = logits.par_iter().zip(seeds).map(|(row, random)| draw(row, random)).collect::<Result<Vec<_>>>()?;
            texts.iter_mut().zip(drawn).for_each(|(text, token)| text.push(token));
            hear(at + 1)?;
        }
        Ok(texts.concat())
    }

    /// What heads see of the tokens so far: of the queries, keys and values of token `at` of each text (texts × heads · elements), of which the latter two join the past.
    fn attend(&self, q: Tensor, k: Tensor, v: Tensor, past: &mut Past, at: usize, length: usize) -> Result<Tensor> {
        let (heads, kv_heads, dim) = (self.config.num_attention_heads, self.config.kv_heads(), self.config.head_dim());
        let (texts, group) = (q.dim(0)?, heads / kv_heads);
        let numbers = |t: Tensor| t.flatten_all()?.to_vec1::<f32>();
        let (mut q, mut k, v) = (numbers(q)?, numbers(k)?, numbers(v)?);
        q.chunks_exact_mut(dim).chain(k.chunks_exact_mut(dim)).for_each(|head| rotate(head, &self.rotations, at));
        let mut seen = vec![0f32; q.len()];
        // By text and head of keys.
        seen.par_chunks_mut(group * dim)
            .zip(past.keys.par_chunks_mut(length * dim).zip(past.values.par_chunks_mut(length * dim)))
            .zip(q.par_chunks(group * dim).zip(k.par_chunks(dim).zip(v.par_chunks(dim))))
            .for_each(|((seen, (keys, values)), (q, (k, v)))| {
                keys[at * dim..][..dim].copy_from_slice(k);
                values[at * dim..][..dim].copy_from_slice(v);
                for (q, seen) in q.chunks_exact(dim).zip(seen.chunks_exact_mut(dim)) {
                    look(q, &keys[..(at + 1) * dim], &values[..(at + 1) * dim], seen);
                }
            });
        Ok(Tensor::from_vec(seen, (texts, heads * dim), &Device::Cpu)?)
    }
}

/// Rotates a head's elements for position `at`: the first half's with the second's.
fn rotate(head: &mut [f32], rotations: &[f32], at: usize) {
    let (first, second) = head.split_at_mut(rotations.len());
    for ((a, b), rotation) in first.iter_mut().zip(second).zip(rotations) {
        let (sin, cos) = (at as f32 * rotation).sin_cos();
        (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
    }
}

/// What a query sees: the values by the softmax of its products with the keys.
fn look(q: &[f32], keys: &[f32], values: &[f32], seen: &mut [f32]) {
    let dim = q.len();
    let scale = (dim as f32).sqrt().recip();
    let scores: Vec<f32> = keys.chunks_exact(dim).map(|key| scale * key.iter().zip(q).map(|(k, q)| k * q).sum::<f32>()).collect();
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut total = 0.0;
    for (score, value) in scores.iter().zip(values.chunks_exact(dim)) {
        let weight = exp(score - most);
        total += weight;
        seen.iter_mut().zip(value).for_each(|(s, v)| *s += weight * v);
    }
    seen.iter_mut().for_each(|s| *s /= total);
}

/// A token by its logits, at a `random` number from 0 to 1.
fn draw(logits: &[f32], random: f32) -> Result<u32> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let chances: Vec<f32> = logits.iter().map(|&x| exp(x - most)).collect();
    let total: f64 = chances.iter().map(|&p| p as f64).sum();
    if !total.is_finite() {
        return Err("the logits are not numbers: the weights are damaged, or not this model's".into());
    }
    let mut left = random as f64 * total;
    for (token, &p) in chances.iter().enumerate() {
        left -= p as f64;
        if left < 0.0 {
            return Ok(token as u32);
        }
    }
    // What rounding left over: the likeliest.
    Ok(logits.iter().position(|&x| x == most).unwrap_or(0) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cache, SyntheticModel};

    fn tiny(directory: &std::path::Path) -> (Stock, Config) {
        SyntheticModel::SMALL.write(directory).expect("written");
        let stock = Stock::open(directory, None).expect("opens");
        let config = stock.llama().expect("a Llama");
        (stock, config)
    }

    /// Token after token, all texts side by side, is what the model itself makes of a text.
    #[test]
    fn chances_are_the_models() {
        let directory = tempfile::tempdir().expect("a directory");
        let (stock, config) = tiny(directory.path());
        let (count, length) = (3, 9);
        let (own, llama) = (Model::read(&*stock.weights, &config).expect("reads"), stock.load(&config).expect("loads"));
        let texts: Vec<Vec<u32>> =
            (0..count).map(|t| (0..length).map(|i| ((t * 71 + i * 13) % config.vocab_size) as u32).collect()).collect();
        let size = count * config.kv_heads() * length * config.head_dim();
        let mut past: Vec<Past> = own.layers.iter().map(|_| Past { keys: vec![0.0; size], values: vec![0.0; size] }).collect();
        let expected: Vec<Vec<Vec<f32>>> =
            texts.iter().map(|text| llama.logits(text, &mut Cache::default()).and_then(|l| l.to_vec2()).expect("runs")).collect();
        for at in 0..length {
            let last: Vec<u32> = texts.iter().map(|text| text[at]).collect();
            let mut x = own.embedding.index_select(&Tensor::new(last, &Device::Cpu).expect("made"), 0).expect("rows");
            for (layer, past) in own.layers.iter().zip(&mut past) {
                x = layer.step(&x, |q, k, v| own.attend(q, k, v, past, at, length)).expect("runs");
            }
            let logits = norm(&x, &own.norm, config.rms_norm_eps).and_then(|x| times(&x, &own.head)).expect("runs");
            for (text, row) in logits.to_vec2::<f32>().expect("rows").iter().enumerate() {
                let apart = row.iter().zip(&expected[text][at]).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
                assert!(apart < 1e-3, "text {text}, token {at}: {apart}");
            }
        }
    }

    #[test]
    fn texts_are_the_same_each_time_and_differ_from_each_other() {
        let directory = tempfile::tempdir().expect("a directory");
        let (stock, config) = tiny(directory.path());
        let write = || sample(&stock, &config, 70, 12, &|_| true).expect("writes");
        let tokens = write();
        assert_eq!(tokens, write());
        assert_eq!(tokens.len(), 70 * 12);
        assert!(tokens.iter().all(|&t| (t as usize) < config.vocab_size));
        let distinct: std::collections::HashSet<&[u32]> = tokens.chunks(12).collect();
        assert!(distinct.len() > 60, "{}", distinct.len());
        let stopped = sample(&stock, &config, 70, 12, &|share| share < 0.5).expect_err("stops");
        assert_eq!(stopped.to_string(), "interrupted");
    }

    #[test]
    fn tokens_are_drawn_by_their_chances() {
        let logits = [1f32, 2.0, f32::NEG_INFINITY, 3.0];
        let mut times = [0f64; 4];
        (0..1000).for_each(|i| times[draw(&logits, i as f32 / 1000.0).expect("drawn") as usize] += 1e-3);
        let total = 1f64.exp() + 2f64.exp() + 3f64.exp();
        for (token, logit) in logits.into_iter().enumerate() {
            assert!((times[token] - (logit as f64).exp() / total).abs() < 2e-3, "{times:?}");
        }
        assert!(draw(&[1.0, f32::NAN], 0.5).is_err());
    }
}
