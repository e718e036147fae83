//! A text by the model itself, for measuring it by where there is no other: many beginnings continued side by side, each token drawn by the model's own chances. It goes
//! through the model as it is written, so that its stream is known by then.
//!
//! Liu et al., *LLM-QAT: Data-Free Quantization Aware Training for Large Language Models*, 2023: drawn, not the likeliest, which soon repeat themselves, and from first
//! tokens that are any of the vocabulary's.

use crate::activations::{Activations, WINDOW};
use crate::fused::exp;
use crate::layer::{Layer, norm, times};
use crate::random::SplitMix64;
use crate::stream::{self, Stream};
use crate::{Config, Result, Stock, Weights};
use candle_core::{Device, Tensor};
use rayon::prelude::*;

/// Texts that are written side by side: weights are read once for all of them.
const BATCH: usize = 128;
/// Tokens of each that go to a file together: one by one they would be a million pieces.
const TOGETHER: usize = 16;
const _: () = assert!(WINDOW.is_multiple_of(TOGETHER), "none is left over");

/// Keys and values of a layer: texts × heads × tokens × elements, of which the tokens so far are there.
struct Past {
    keys: Vec<f32>,
    values: Vec<f32>,
}

/// What [`Model::write`] hands out: the number of a layer, that of a token, and what goes into that layer, texts × hidden.
type Keep<'a> = dyn FnMut(usize, usize, &Tensor) -> Result<()> + 'a;

/// Bytes of memory that [`sample`] takes for so many tokens: all weights, what heads have seen, and what is not in a file yet.
pub fn sample_bytes(config: &Config, tokens: usize) -> u64 {
    let texts = BATCH.min(tokens / WINDOW);
    let past = (2 * texts * WINDOW) as u64 * (config.kv_heads() * config.head_dim() * config.num_hidden_layers) as u64;
    let stream = (texts * TOGETHER) as u64 * (config.hidden_size * (config.num_hidden_layers + 1)) as u64;
    4 * (config.weights() + past + stream)
}

/// Writes `tokens` tokens, less what is no whole text of 256, the same ones each time: the model's stream on them. `progress` hears how much of the work is done, from 0 to
/// 1, and may stop it by answering `false`.
///
/// # Errors
/// Not one whole text; weights that are not the configuration's, or cannot be read; logits that are not numbers; temporary files that cannot be written; that `progress`
/// said so.
pub fn sample<'a>(
    stock: &'a Stock,
    config: &Config,
    tokens: usize,
    progress: &(dyn Fn(f64) -> bool + Sync),
) -> Result<Stream<'a>> {
    stream::check(&*stock.weights, config, tokens)?;
    let texts = tokens / WINDOW;
    let model = Model::read(&*stock.weights, config)?;
    let mut numbers = SplitMix64(1);
    let mut found = Vec::with_capacity(texts * WINDOW);
    let layers = (0..=config.num_hidden_layers).map(|_| Activations::new(WINDOW * config.hidden_size));
    let layers: Vec<_> = layers.collect::<Result<_>>()?;
    for first in (0..texts).step_by(BATCH) {
        let count = BATCH.min(texts - first);
        let mut together = vec![Vec::new(); layers.len()];
        let mut keep = |number: usize, at: usize, x: &Tensor| {
            together[number].push(x.clone());
            if (at + 1).is_multiple_of(TOGETHER) {
                let part = Tensor::stack(&std::mem::take(&mut together[number]), 1)?;
                layers[number].put_part(first, at + 1 - TOGETHER, &part)?;
            }
            // Told once a token of all texts has been through the last layer.
            let done = (first * WINDOW + count * (at + 1)) as f64 / (texts * WINDOW) as f64;
            if number < config.num_hidden_layers || progress(done) { Ok(()) } else { Err("interrupted".into()) }
        };
        found.extend(model.write(count, WINDOW, &mut numbers, &mut keep)?);
    }
    Stream::known(&*stock.weights, config.clone(), found, layers)
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

    /// `count` texts, text after text; `keep` is handed what goes into each layer and comes out of the last, and may stop it.
    fn write(&self, count: usize, length: usize, numbers: &mut SplitMix64, keep: &mut Keep<'_>) -> Result<Vec<u32>> {
        let size = count * self.config.kv_heads() * length * self.config.head_dim();
        let mut past: Vec<Past> = self.layers.iter().map(|_| Past { keys: vec![0.0; size], values: vec![0.0; size] }).collect();
        let mut texts = vec![Vec::with_capacity(length); count];
        texts.iter_mut().for_each(|text| text.push((numbers.next() % self.config.vocab_size as u64) as u32));
        for at in 0..length {
            let last: Vec<u32> = texts.iter().map(|text| text[at]).collect();
            let mut x = self.embedding.index_select(&Tensor::new(last, &Device::Cpu)?, 0)?;
            for (number, (layer, past)) in self.layers.iter().zip(&mut past).enumerate() {
                keep(number, at, &x)?;
                x = layer.step(&x, |q, k, v| self.attend(q, k, v, past, at, length))?;
            }
            keep(self.layers.len(), at, &x)?;
            if at + 1 == length {
                break;
            }
            let logits = times(&norm(&x, &self.norm, self.config.rms_norm_eps)?, &self.head)?.to_vec2::<f32>()?;
            let seeds: Vec<f32> = (0..count).map(|_| (numbers.next() >> 40) as f32 / (1u64 << 24) as f32).collect();
            let drawn = logits.par_iter().zip(seeds).map(|(row, random)| draw(row, random)).collect::<Result<Vec<_>>>()?;
            texts.iter_mut().zip(drawn).for_each(|(text, token)| text.push(token));
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
    use std::sync::Mutex;

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
        // More than are written side by side, and a part that is left out.
        let write =
            |progress: &(dyn Fn(f64) -> bool + Sync)| sample(&stock, &config, 130 * WINDOW + 5, progress).expect("writes");
        let stream = write(&|_| true);
        let heard = Mutex::new(Vec::new());
        let again = write(&|share| {
            heard.lock().expect("unpoisoned").push(share);
            true
        });
        assert_eq!(stream.tokens, again.tokens);
        let heard = heard.into_inner().expect("unpoisoned");
        assert!(heard.windows(2).all(|two| two[0] < two[1]) && heard.last() == Some(&1.0), "{heard:?}");
        assert_eq!(stream.tokens.len(), 130 * WINDOW);
        assert!(stream.tokens.iter().all(|&t| (t as usize) < config.vocab_size));
        let distinct: std::collections::HashSet<&[u32]> = stream.tokens.chunks(WINDOW).map(|text| &text[1..]).collect();
        assert_eq!(distinct.len(), 130);

        // The stream that it has by then is what the text's own reading finds.
        let read = Stream::new(&*stock.weights, config.clone(), &stream.tokens, &|_| true).expect("followed");
        for number in 0..=config.num_hidden_layers {
            for w in [0, 1, 64, 127, 128, 129] {
                let of = |stream: &Stream<'_>| -> Vec<f32> {
                    let x = stream.ahead_of(number).get(w, config.hidden_size).expect("reads");
                    x.flatten_all().and_then(|x| x.to_vec1()).expect("numbers")
                };
                let (written, read) = (of(&stream), of(&read));
                let (mut most, mut apart) = (0f32, 0f32);
                written.iter().zip(&read).for_each(|(a, b)| (most, apart) = (most.max(b.abs()), apart.max((a - b).abs())));
                assert!(most > 0.0 && apart < 1e-4 * most, "{number} {w}: {apart} of {most}");
            }
        }
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let (stock, config) = tiny(directory.path());
        let refused = |config: &Config, tokens| sample(&stock, config, tokens, &|_| true).err().expect("refused").to_string();
        assert!(refused(&config, 255).contains("255 tokens"));
        let mut other = config.clone();
        other.num_hidden_layers = 3;
        assert!(refused(&other, 512).contains("lacks 9 of"), "{}", refused(&other, 512));
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
