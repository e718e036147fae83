//! What models make of a text: window by window, all models the same windows, so that what differs is the model.

use crate::{Cache, Llama, Result};
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
        let (mut found, mut reference) = (Vec::with_capacity(models.len()), Vec::new());
        let mut likeliest = Vec::new();
        for model in models {
            let logits = model.logits(given, &mut Cache::default())?;
            let (_, vocabulary) = logits.dims2()?;
            let mut logits = logits.flatten_all()?.to_vec1::<f32>()?;
            let mut sum = Window { tokens: next.len() as u64, ..Window::default() };
            let mut own = Vec::with_capacity(next.len());
            for (row, (logits, &next)) in logits.chunks_exact_mut(vocabulary).zip(next).enumerate() {
                own.push(log_softmax(logits).ok_or("the logits are not numbers: the weights are damaged, or not this model's")?);
                sum.nats -= logits[next as usize] as f64;
                sum.right += u64::from(own[row] == next as usize);
            }
            if reference.is_empty() {
                (likeliest, reference) = (own.clone(), logits.clone());
            }
            sum.same = own.iter().zip(&likeliest).filter(|(a, b)| a == b).count() as u64;
            if !found.is_empty() {
                let rows = reference.chunks_exact(vocabulary).zip(logits.chunks_exact(vocabulary));
                sum.divergence = rows.map(|(p, q)| divergence(p, q)).sum();
            }
            found.push(sum);
            if !progress(done.fetch_add(next.len() as u64, Ordering::Relaxed) + next.len() as u64) {
                return Err("interrupted".into());
            }
        }
        Ok(found)
    };
    // Windows side by side: much of what a model does between products has one thread.
    let windows: Vec<&[u32]> = tokens.chunks(window).filter(|w| w.len() > 1).collect();
    let windows: Vec<Vec<Window>> = windows.into_par_iter().map(each).collect::<Result<_>>()?;
    Ok((0..models.len()).map(|model| windows.iter().map(|w| w[model]).collect()).collect())
}

/// Makes logarithms of probabilities of logits; the number of the greatest, the first of equals. `None` if they are not all numbers.
fn log_softmax(logits: &mut [f32]) -> Option<usize> {
    let mut best = 0;
    let mut most = f32::NEG_INFINITY;
    for (i, &x) in logits.iter().enumerate() {
        if x > most {
            (best, most) = (i, x);
        }
    }
    // What follows takes what is no number for a small one.
    if logits.iter().fold(false, |any, x| any | x.is_nan()) {
        return None;
    }
    let mut sums = [0f32; 16];
    let (sixteens, rest) = logits.as_chunks::<16>();
    for sixteen in sixteens {
        for (sum, x) in sums.iter_mut().zip(sixteen) {
            *sum += exp(x - most);
        }
    }
    let sum: f64 = sums.iter().map(|&s| s as f64).sum::<f64>() + rest.iter().map(|x| exp(x - most) as f64).sum::<f64>();
    let shift = most + sum.ln() as f32;
    logits.iter_mut().for_each(|x| *x -= shift);
    shift.is_finite().then_some(best)
}

/// Kullback-Leibler divergence of `q` from `p`, both as logarithms, in nats.
fn divergence(p: &[f32], q: &[f32]) -> f64 {
    let mut sums = [0f32; 16];
    let ((p, p_rest), (q, q_rest)) = (p.as_chunks::<16>(), q.as_chunks::<16>());
    for (p, q) in p.iter().zip(q) {
        for i in 0..16 {
            sums[i] += exp(p[i]) * (p[i] - q[i]);
        }
    }
    let rest: f64 = p_rest.iter().zip(q_rest).map(|(p, q)| (exp(*p) * (p - q)) as f64).sum();
    sums.iter().map(|&s| s as f64).sum::<f64>() + rest
}

/// `e` to the `x`, of numbers that are not above 88, to seven digits: plain operations, so that it works on as many at once as the CPU can.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // e^x = 2^n · e^r with |r| at most half of ln 2.
    const ROUND: f32 = 12_582_912.0;
    let x = x.max(-87.0);
    let n = (x * std::f32::consts::LOG2_E + ROUND) - ROUND;
    // ln 2 in two parts, the first exact in few bits.
    let r = (x - n * 0.693_359_4) - n * -2.121_944_4e-4;
    let series = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0))))));
    series * f32::from_bits(((n as i32 + 127) << 23) as u32)
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

    #[test]
    fn exponentials_to_seven_digits() {
        for i in -8700..100 {
            let x = i as f32 / 100.0;
            let exact = (x as f64).exp();
            assert!((exp(x) as f64 / exact - 1.0).abs() < 3e-6, "{x}");
        }
        assert!(exp(-1000.0) < 2e-38);
    }

    /// Against sums in double precision.
    #[test]
    fn softmax_and_divergence() {
        let logits = |seed: usize| -> Vec<f32> { (0..101).map(|i| ((i * seed) % 37) as f32 / 5.0 - 3.0).collect() };
        let exact = |logits: &[f32]| -> Vec<f64> {
            let sum: f64 = logits.iter().map(|&x| (x as f64).exp()).sum();
            logits.iter().map(|&x| x as f64 - sum.ln()).collect()
        };
        let (mut p, mut q) = (logits(11), logits(17));
        let (p_exact, q_exact) = (exact(&p), exact(&q));
        let expected = p.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0))).unwrap().0;
        assert_eq!(log_softmax(&mut p), Some(expected));
        log_softmax(&mut q).unwrap();
        assert!(p.iter().zip(&p_exact).all(|(a, b)| (*a as f64 - b).abs() < 1e-5));
        let sum: f64 = p_exact.iter().zip(&q_exact).map(|(p, q)| p.exp() * (p - q)).sum();
        assert!((divergence(&p, &q) - sum).abs() < 1e-5, "{} {sum}", divergence(&p, &q));
        assert!(divergence(&p, &p).abs() < 1e-9);
        assert_eq!(log_softmax(&mut [1.0, f32::NAN]), None);
        assert_eq!(log_softmax(&mut [f32::INFINITY, 1.0]), None);
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
