//! What coarse weights are worth.

use candle_core::D;
use candle_nn::ops;
use half::{bf16, f16};
use wcodec::Dtype;
use wcodec_eval::{Cache, Llama, Result};

/// Errors of weights, relative to the exact ones; of those that are not zero.
#[derive(Debug, Default)]
pub(crate) struct Errors {
    sum: f64,
    count: u64,
    pub(crate) max: f64,
}

impl Errors {
    /// Adds those of a tensor.
    pub(crate) fn add(&mut self, dtype: Dtype, coarse: &[u8], exact: &[u8]) {
        let mut add = |coarse: f64, exact: f64| {
            if exact != 0.0 && exact.is_finite() {
                let error = ((coarse - exact) / exact).abs();
                self.sum += error;
                self.count += 1;
                self.max = self.max.max(error);
            }
        };
        match dtype {
            Dtype::F32 => {
                let value = |b: &[u8; 4]| f64::from(f32::from_le_bytes(*b));
                coarse.as_chunks().0.iter().zip(exact.as_chunks().0).for_each(|(c, e)| add(value(c), value(e)));
            }
            Dtype::BF16 | Dtype::F16 => {
                let value = |b: &[u8; 2]| {
                    if dtype == Dtype::F16 { f16::from_le_bytes(*b).to_f64() } else { bf16::from_le_bytes(*b).to_f64() }
                };
                coarse.as_chunks().0.iter().zip(exact.as_chunks().0).for_each(|(c, e)| add(value(c), value(e)));
            }
            _ => {}
        }
    }

    /// Their mean.
    pub(crate) fn mean(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum / self.count as f64 }
    }
}

/// Tokens that go through the model at a time.
const STEP: usize = 256;

/// What a model makes of a text.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Of each token given those before it.
    pub(crate) perplexity: f64,
    /// The likeliest token after each.
    next: Vec<u32>,
}

impl Reading {
    /// Reads `tokens` to the model.
    pub(crate) fn of(model: &Llama, tokens: &[u32]) -> Result<Self> {
        let (mut cache, mut next, mut nats) = (Cache::default(), Vec::new(), 0.0);
        for step in tokens.chunks(STEP) {
            let first = next.len();
            let logits = model.logits(step, &mut cache)?;
            next.extend(logits.argmax(D::Minus1)?.to_vec1::<u32>()?);
            let likelihoods = ops::log_softmax(&logits, D::Minus1)?.to_vec2::<f32>()?;
            // Each is asked about the token after it.
            nats -= likelihoods.iter().zip(tokens.iter().skip(first + 1)).map(|(l, &t)| f64::from(l[t as usize])).sum::<f64>();
        }
        Ok(Self { perplexity: (nats / (tokens.len().max(2) - 1) as f64).exp(), next })
    }
}

/// How often two readings expect the same token next.
pub(crate) fn agreement(a: &Reading, b: &Reading) -> f64 {
    let same = a.next.iter().zip(&b.next).filter(|(a, b)| a == b).count();
    same as f64 / a.next.len().max(1) as f64
}
