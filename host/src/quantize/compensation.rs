//! What a matrix can make good of what was lost before it.
//!
//! Where integers of earlier layers moved the sum that a matrix's outputs are added to, part of that movement can be told from the matrix's own inputs, and taken back by
//! its weights before these become integers themselves: a linear regression on the text, with a ridge for what a text of finite length does not tell (Zhang et al.,
//! *Qronos*, 2025, and Li et al., *GPTAQ*, 2025, correct every matrix for its own outputs; here it is the sum, so that what one matrix misses the next one sees).

use super::feedback::{cholesky, dot};
use crate::cpu::{Backend, Body};
use crate::error::Result;
use rayon::prelude::*;

/// Rows that are solved side by side: they share what is read of the factor.
const BATCH: usize = 8;
/// The ridge, for as many tokens as columns, as a share of the mean moment. SmolLM2, layers alone, divergence on another text: 16,384 tokens −7 %, 49,152 −14 %.
const RIDGE: f64 = 16.0;

/// A model that can be followed as its tensors become integers, one after the other.
pub trait Compensation: Sync {
    /// When a tensor is to be quantized: those with less go before.
    fn place(&self, tensor: &str) -> usize;

    /// Begins with the model as it was. `quantized` says which tensors become integers; the others stay as they are.
    ///
    /// # Errors
    /// Where what it keeps cannot be kept.
    fn begin(&self, quantized: &dyn Fn(&str) -> bool) -> Result<Box<dyn Following + '_>>;
}

/// A model on its way, from the first tensor to the last.
pub trait Following {
    /// What was lost so far that this tensor can make good; `None` if nothing.
    ///
    /// # Errors
    /// Where what it needs cannot be read.
    fn lost(&mut self, tensor: &str) -> Result<Option<Lost>>;

    /// The tensor's weights are these from here on.
    ///
    /// # Errors
    /// Where what it keeps cannot be kept.
    fn became(&mut self, tensor: &str, weights: Vec<f32>) -> Result<()>;
}

/// What a matrix of `columns` inputs has before it, summed over the tokens of a text.
#[derive(Clone, Debug)]
pub struct Lost {
    /// Products of two inputs, as integers made them, `columns × columns`.
    pub inputs: Vec<f32>,
    /// Products of what is missing from an output and of an input, `rows × columns`.
    pub products: Vec<f32>,
    /// How many tokens.
    pub tokens: usize,
}

impl Lost {
    /// Whether it is that of a matrix of so many elements and columns.
    pub(crate) fn fits(&self, elements: usize, columns: usize) -> bool {
        self.inputs.len() == columns * columns && self.products.len() == elements
    }

    /// Adds to the weights of a matrix what makes good most of it. Weights stay as they are where inputs are all zero, or no numbers.
    pub(crate) fn compensate(self, weights: &mut [f32], columns: usize) {
        let Self { inputs: mut moments, mut products, tokens } = self;
        let trace: f64 = moments.iter().step_by(columns + 1).map(|&m| m as f64).sum();
        let ridge = (RIDGE * trace / tokens.max(1) as f64) as f32;
        moments.iter_mut().step_by(columns + 1).for_each(|m| *m += ridge);
        if !cholesky(&mut moments, columns) {
            return;
        }
        let backend = Backend::best();
        products.par_chunks_mut(BATCH * columns).for_each(|rows| backend.run(Solve { factor: &moments, n: columns, rows }));
        if products.iter().all(|p| p.is_finite()) {
            weights.iter_mut().zip(&products).for_each(|(w, p)| *w += p);
        }
    }
}

/// Solves x L Lᵀ = b for rows b, in place.
struct Solve<'a> {
    factor: &'a [f32],
    n: usize,
    rows: &'a mut [f32],
}

impl Body for Solve<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { factor, n, rows } = self;
        for j in 0..n {
            let l = &factor[j * n..][..=j];
            for row in rows.chunks_exact_mut(n) {
                row[j] = (row[j] - dot(&row[..j], &l[..j])) / l[j];
            }
        }
        for j in (0..n).rev() {
            let l = &factor[j * n..][..=j];
            for row in rows.chunks_exact_mut(n) {
                row[j] /= l[j];
                let x = row[j];
                row[..j].iter_mut().zip(l).for_each(|(b, l)| *b -= x * l);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantize::testing::uniform;

    /// Inputs, and what is missing from outputs: a matrix of the inputs, and noise.
    fn lost(rows: usize, columns: usize, tokens: usize, noise: f32) -> (Lost, Vec<f32>) {
        let mut uniform = uniform(5);
        let mut random = move || uniform() - 0.5;
        let truth: Vec<f32> = (0..rows * columns).map(|_| random()).collect();
        let mut lost = Lost { inputs: vec![0.0; columns * columns], products: vec![0.0; rows * columns], tokens };
        for _ in 0..tokens {
            let x: Vec<f32> = (0..columns).map(|i: usize| random() * if i.is_multiple_of(2) { 1.0 } else { 2.0 }).collect();
            for r in 0..rows {
                let y = dot(&truth[r * columns..][..columns], &x) + noise * random();
                (0..columns).for_each(|c| lost.products[r * columns + c] += y * x[c]);
            }
            (0..columns * columns).for_each(|k| lost.inputs[k] += x[k / columns] * x[k % columns]);
        }
        (lost, truth)
    }

    #[test]
    fn what_inputs_tell_is_made_good() {
        let (rows, columns) = (19, 6);
        let (lost, truth) = lost(rows, columns, 20_000, 0.3);
        let before = vec![1.0; rows * columns];
        let mut weights = before.clone();
        lost.compensate(&mut weights, columns);
        let off = |i: usize| (weights[i] - before[i] - truth[i]).abs();
        let worst = (0..weights.len()).map(off).fold(0.0, f32::max);
        assert!(worst < 0.05, "{worst}");
    }

    #[test]
    fn a_short_text_is_believed_less() {
        let norm = |tokens: usize| -> f32 {
            let (lost, _) = lost(8, 6, tokens, 0.0);
            let mut weights = vec![0.0; 48];
            lost.compensate(&mut weights, 6);
            weights.iter().map(|w| w * w).sum()
        };
        assert!(norm(12) < 0.5 * norm(4000), "{} {}", norm(12), norm(4000));
    }

    #[test]
    fn what_says_nothing_changes_nothing() {
        for inputs in [0.0, f32::NAN, f32::INFINITY] {
            let lost = Lost { inputs: vec![inputs; 9], products: vec![1.0; 6], tokens: 5 };
            let mut weights = vec![2.0; 6];
            lost.compensate(&mut weights, 3);
            assert_eq!(weights, [2.0; 6], "{inputs}");
        }
    }
}
