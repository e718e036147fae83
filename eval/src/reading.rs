//! What models make of a text: window by window, all models the same windows, so that what differs is the model.

use crate::fused::exp;
use crate::{Cache, Llama, Result};
use candle_core::{Storage, Tensor};
use rayon::prelude::*;
use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a model makes of a window: sums over the tokens that it predicted.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Window {
    /// Predicted tokens.
    pub tokens: u64,
    /// Negative logarithm of the probability of what came, in nats.
    pub nats: f64,
    /// How often what came was the likeliest.
    pub right: u64,
    /// How often the likeliest was the reference's.
    pub same: u64,
    /// Divergence from the reference's predictions, in nats.
    pub divergence: f64,
}

/// Reads a text to a reference and to other models: for each, the reference first, what it makes of each window of `window` tokens.
///
/// The first token of a window is given, all others are predicted from those before them in the window. `progress` hears of tokens done, and may stop the
/// reading by answering `false`.
///
/// # Errors
/// Logits that are not numbers; what candle fails at; that `progress` said so.
pub fn read(
    models: &[&Llama],
    tokens: &[u32],
    window: usize,
    progress: &(dyn Fn(u64) -> bool + Sync),
) -> Result<Vec<Vec<Window>>> {
    let done = AtomicU64::new(0);
    let each = |window: &[u32]| -> Result<Vec<Window>> {
        let (given, next) = (&window[..window.len() - 1], &window[1..]);
        let mut hidden = Vec::with_capacity(models.len());
        for model in models {
            hidden.push(model.hidden(given, &mut Cache::default())?);
            if !progress(done.fetch_add(next.len() as u64, Ordering::Relaxed) + next.len() as u64) {
                return Err("interrupted".into());
            }
        }
        let mut found = vec![Window { tokens: next.len() as u64, ..Window::default() }; models.len()];
        // A vocabulary is large: no more than these rows of it are there at a time, and no two models' but the reference's and one other's.
        for (at, next) in next.chunks(ROWS).enumerate() {
            let logits = |m: usize| models[m].head(&hidden[m].narrow(0, at * ROWS, next.len())?);
            let reference = logits(0)?;
            for (m, sum) in found.iter_mut().enumerate() {
                let other = if m == 0 { None } else { Some(logits(m)?) };
                rows(&reference, |p| rows(other.as_ref().unwrap_or(&reference), |q| sum.add(p, q, next)))?;
            }
        }
        Ok(found)
    };
    // Windows side by side: much of what a model does between products has one thread.
    let windows: Vec<&[u32]> = tokens.chunks(window).filter(|w| w.len() > 1).collect();
    let windows: Vec<Vec<Window>> = windows.into_par_iter().map(each).collect::<Result<_>>()?;
    Ok((0..models.len()).map(|model| windows.iter().map(|w| w[model]).collect()).collect())
}

/// Rows of logits at a time: 25 MB of SmolLM2's vocabulary, which an allocator still keeps for the next.
const ROWS: usize = 128;

/// Lends the numbers of a tensor in the CPU's memory, which are those of a product: contiguous and from the first on.
fn rows(tensor: &Tensor, of: impl FnOnce(&[f32]) -> Result<()>) -> Result<()> {
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(storage), Some((from, to))) => of(&storage.as_slice::<f32>()?[from..to]),
        _ => Err("logits are not in the CPU's memory".into()),
    }
}

impl Window {
    /// Adds what a model makes of some tokens: its logits before each of them, and the reference's, which may be the same.
    fn add(&mut self, reference: &[f32], logits: &[f32], next: &[u32]) -> Result<()> {
        let vocabulary = logits.len() / next.len();
        let itself = std::ptr::eq(reference, logits);
        for ((p, q), &next) in reference.chunks_exact(vocabulary).zip(logits.chunks_exact(vocabulary)).zip(next) {
            let model = Row::of(q)?;
            let reference = if itself { model } else { Row::of(p)? };
            self.nats += (model.total - q[next as usize]) as f64;
            self.right += u64::from(model.best == next as usize);
            self.same += u64::from(model.best == reference.best);
            self.divergence += if itself { 0.0 } else { divergence(p, reference.total, q, model.total) };
        }
        Ok(())
    }
}

/// What there is to know of a row of logits.
#[derive(Clone, Copy, Debug)]
struct Row {
    /// The number of the greatest, the first of equals.
    best: usize,
    /// The logarithm of the sum of their exponentials: a logit less this is the logarithm of a probability.
    total: f32,
}

impl Row {
    /// # Errors
    /// They are not all numbers.
    fn of(logits: &[f32]) -> Result<Self> {
        let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let best = logits.iter().position(|&x| x == most).unwrap_or(0);
        let (sixteens, rest) = logits.as_chunks::<16>();
        let mut sums = [0f32; 16];
        for sixteen in sixteens {
            sums.iter_mut().zip(sixteen).for_each(|(sum, x)| *sum += exp(x - most));
        }
        let sum: f64 = sums.iter().map(|&s| s as f64).chain(rest.iter().map(|x| exp(x - most) as f64)).sum();
        // Not a number among them does not come out of a maximum; the sum has it.
        let total = most + sum.ln() as f32;
        if total.is_finite() { Ok(Self { best, total }) } else { Err(NO_NUMBERS.into()) }
    }
}

/// Of logits.
const NO_NUMBERS: &str = "the logits are not numbers: the weights are damaged, or not this model's";

/// Kullback-Leibler divergence of the probabilities of logits `q` from those of `p`, in nats; with each the logarithm of the sum of their exponentials.
fn divergence(p: &[f32], p_total: f32, q: &[f32], q_total: f32) -> f64 {
    let shift = q_total - p_total;
    let term = |p: f32, q: f32| exp(p - p_total) * (p - q + shift);
    let ((p, p_rest), (q, q_rest)) = (p.as_chunks::<16>(), q.as_chunks::<16>());
    let mut sums = [0f32; 16];
    for (p, q) in p.iter().zip(q) {
        for i in 0..16 {
            sums[i] += term(p[i], q[i]);
        }
    }
    let rest = p_rest.iter().zip(q_rest).map(|(&p, &q)| term(p, q) as f64);
    sums.iter().map(|&s| s as f64).chain(rest).sum()
}

/// What a model makes of a whole text.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Predicted tokens.
    pub tokens: u64,
    /// `e` to the mean negative logarithm of what came.
    pub perplexity: f64,
    /// Share of tokens that were the likeliest.
    pub accuracy: f64,
}

/// A model against a reference, on the same text.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Share of tokens at which both find the same likeliest.
    pub agreement: f64,
    /// Accuracy above the reference's, and half the width of its 95 % interval.
    pub accuracy_gain: [f64; 2],
    /// Perplexity over the reference's, less one, and half the width of its 95 % interval.
    pub perplexity_increase: [f64; 2],
    /// Mean Kullback-Leibler divergence from the reference, in nats a token.
    pub divergence: f64,
}

impl Evaluation {
    /// Of all windows.
    pub fn of(windows: &[Window]) -> Self {
        let tokens: u64 = windows.iter().map(|w| w.tokens).sum();
        let n = tokens.max(1) as f64;
        let nats: f64 = windows.iter().map(|w| w.nats).sum();
        let right: u64 = windows.iter().map(|w| w.right).sum();
        Self { tokens, perplexity: (nats / n).exp(), accuracy: right as f64 / n }
    }
}

impl Comparison {
    /// Of a model's windows and the reference's.
    ///
    /// The intervals are those of a ratio of sums over windows, which are taken for independent: tokens of a window are not (Cochran: *Sampling Techniques*, 1977, 6.3;
    /// paired as the windows are the same).
    pub fn of(windows: &[Window], reference: &[Window]) -> Self {
        let n = windows.iter().map(|w| w.tokens).sum::<u64>().max(1) as f64;
        let mean = |of: &dyn Fn(&Window, &Window) -> f64| -> [f64; 2] {
            let pairs = || windows.iter().zip(reference);
            let mean = pairs().map(|(a, b)| of(a, b)).sum::<f64>() / n;
            let square: f64 = pairs().map(|(a, b)| (of(a, b) - mean * a.tokens as f64).powi(2)).sum();
            let count = windows.len() as f64;
            [mean, if count > 1.0 { 1.96 * (square * count / (count - 1.0)).sqrt() / n } else { f64::INFINITY }]
        };
        let [nats, nats_off] = mean(&|a, b| a.nats - b.nats);
        Self {
            agreement: windows.iter().map(|w| w.same).sum::<u64>() as f64 / n,
            accuracy_gain: mean(&|a, b| a.right as f64 - b.right as f64),
            perplexity_increase: [nats.exp_m1(), nats.exp() * nats_off],
            divergence: windows.iter().map(|w| w.divergence).sum::<f64>() / n,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against sums in double precision.
    #[test]
    fn softmax_and_divergence() {
        let logits = |seed: usize| -> Vec<f32> { (0..101).map(|i| ((i * seed) % 37) as f32 / 5.0 - 3.0).collect() };
        let exact = |logits: &[f32]| -> Vec<f64> {
            let sum: f64 = logits.iter().map(|&x| (x as f64).exp()).sum();
            logits.iter().map(|&x| x as f64 - sum.ln()).collect()
        };
        let (p, q) = (logits(11), logits(17));
        let (p_exact, q_exact) = (exact(&p), exact(&q));
        let expected = p.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0))).unwrap().0;
        let (of_p, of_q) = (Row::of(&p).unwrap(), Row::of(&q).unwrap());
        assert_eq!(of_p.best, expected);
        assert!(p.iter().zip(&p_exact).all(|(a, b)| ((a - of_p.total) as f64 - b).abs() < 1e-5));
        let sum: f64 = p_exact.iter().zip(&q_exact).map(|(p, q)| p.exp() * (p - q)).sum();
        let found = divergence(&p, of_p.total, &q, of_q.total);
        assert!((found - sum).abs() < 1e-5, "{found} {sum}");
        assert!(divergence(&p, of_p.total, &p, of_p.total).abs() < 1e-9);
        for bad in [[1.0, f32::NAN], [f32::NAN, 1.0], [f32::INFINITY, 1.0], [f32::NEG_INFINITY; 2], [f32::NAN; 2]] {
            assert!(Row::of(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn intervals_are_those_of_windows() {
        let window = |nats: f64, right: u64| Window { tokens: 10, nats, right, same: 9, divergence: 0.1 };
        let reference: Vec<Window> = (0..4).map(|_| window(20.0, 5)).collect();
        let other: Vec<Window> = [21.0, 20.0, 21.0, 20.0].iter().zip([5, 4, 5, 4]).map(|(&n, r)| window(n, r)).collect();
        let found = Comparison::of(&other, &reference);
        // The mean of 1, 0, 1, 0 over ten tokens each; their standard deviation is 0.577.
        assert!((found.perplexity_increase[0] - 0.05f64.exp_m1()).abs() < 1e-12);
        assert!((found.accuracy_gain[0] + 0.05).abs() < 1e-12);
        assert!((found.accuracy_gain[1] - 1.96 * (1.0f64 / 3.0).sqrt() * 2.0 / 40.0).abs() < 1e-9, "{found:?}");
        assert!((found.agreement - 0.9).abs() < 1e-12 && (found.divergence - 0.01).abs() < 1e-12);
        let same = Comparison::of(&reference, &reference);
        assert_eq!((same.perplexity_increase, same.accuracy_gain), ([0.0, 0.0], [0.0, 0.0]));
        assert_eq!(Evaluation::of(&reference), Evaluation { tokens: 40, perplexity: 2f64.exp(), accuracy: 0.5 });
    }
}
