//! A row's integers: each the one of least error and rate together, errors handed on to the columns still to come.

use super::feedback::Feedback;
use crate::cpu::{Backend, Body};

/// Rows that are rounded side by side: they share what is read of the factor.
pub(crate) const BATCH: usize = 8;

/// A row to be rounded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    /// Its weights.
    pub values: &'a [f32],
    /// The step of each group.
    pub steps: &'a [f32],
    /// What a unit of squared error costs, where the mean moment is one.
    pub sensitivity: f32,
    /// Bits of each integer, as a byte.
    pub bits: &'a [f32; 256],
}

/// What all rows have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rounding<'a> {
    pub feedback: &'a Feedback,
    /// Loss that a bit may cost.
    pub lambda: f32,
    /// Columns that share a step.
    pub group: usize,
    /// Least and greatest integer.
    pub range: (i32, i32),
}

/// What rounding a row came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    /// Squared errors, weighted by the moments.
    pub error: f32,
    /// Largest error of a weight.
    pub largest: f32,
    /// Squared errors, as they are.
    pub square: f32,
}

impl Rounding<'_> {
    /// Rounds up to [`BATCH`] rows; `codes` are theirs, row after row.
    pub(crate) fn run(&self, rows: &[Row<'_>], codes: &mut [i8], scratch: &mut Vec<f32>) -> [Outcome; BATCH] {
        let mut outcomes = [Outcome::default(); BATCH];
        let n = self.feedback.order.len();
        scratch.clear();
        scratch.resize(2 * rows.len() * n, 0.0);
        let (weights, carried) = scratch.split_at_mut(rows.len() * n);
        for (row, weights) in rows.iter().zip(weights.chunks_exact_mut(n.max(1))) {
            weights.iter_mut().zip(&self.feedback.order).for_each(|(w, &column)| *w = row.values[column as usize]);
        }
        Backend::best().run(Batch { rounding: self, rows, weights, carried, codes, outcomes: &mut outcomes });
        outcomes
    }
}

struct Batch<'a> {
    rounding: &'a Rounding<'a>,
    rows: &'a [Row<'a>],
    weights: &'a [f32],
    carried: &'a mut [f32],
    codes: &'a mut [i8],
    outcomes: &'a mut [Outcome; BATCH],
}

impl Body for Batch<'_> {
    #[inline(always)]
    fn run(self) {
        let Rounding { feedback, lambda, group, range } = *self.rounding;
        let n = feedback.order.len();
        for j in (0..n).rev() {
            let (column, moment, coefficients) = (feedback.order[j] as usize, feedback.weights[j], feedback.row(j));
            for (r, row) in self.rows.iter().enumerate() {
                let step = row.steps[column / group];
                let (weight, carried) = (self.weights[r * n + j], &mut self.carried[r * n..][..=j]);
                let target = weight + carried[j];
                let price = row.sensitivity * moment * step * step;
                let code = nearest(target / step, price, lambda, row.bits, range);
                self.codes[r * n + column] = code as i8;
                let value = code as f32 * step;
                let (error, missed) = (weight - value, target - value);
                let outcome = &mut self.outcomes[r];
                outcome.error += moment * missed * missed;
                outcome.largest = outcome.largest.max(error.abs());
                outcome.square += error * error;
                carried.iter_mut().zip(coefficients).for_each(|(c, l)| *c += error * l);
            }
        }
    }
}

/// The integer for `x` steps: the nearest, or one or two nearer to zero where that saves more bits than it costs.
#[inline(always)]
fn nearest(x: f32, price: f32, lambda: f32, bits: &[f32; 256], range: (i32, i32)) -> i32 {
    // Adding and taking away 1.5 · 2^23 rounds to even.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-1e6, 1e6);
    let near = (((x + ROUND) - ROUND) as i32).clamp(range.0, range.1);
    let inwards = -near.signum();
    let cost = |code: i32| {
        let off = x - code as f32;
        price * off * off + lambda * bits[code as u8 as usize]
    };
    let (mut best, mut least) = (near, cost(near));
    for code in [near + inwards, if near.abs() > 1 { near + 2 * inwards } else { 0 }] {
        let cost = cost(code);
        // Of equals, the smaller.
        if cost <= least {
            (best, least) = (code, cost);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantize::testing::uniform;

    const FLAT: [f32; 256] = [4.0; 256];

    #[test]
    fn without_a_price_on_bits_to_the_nearest() {
        for i in -2000..2000 {
            let x = i as f32 / 10.0 + 0.01;
            assert_eq!(nearest(x, 1.0, 0.0, &FLAT, (-127, 127)), (x.round() as i32).clamp(-127, 127), "{x}");
        }
    }

    #[test]
    fn bits_pull_towards_what_is_cheap() {
        let mut bits = FLAT;
        bits[0] = 0.5;
        assert_eq!(nearest(0.9, 1.0, 0.0, &bits, (-8, 7)), 1);
        assert_eq!(nearest(0.9, 1.0, 1.0, &bits, (-8, 7)), 0);
        assert_eq!(nearest(-1.6, 1.0, 1.0, &bits, (-8, 7)), 0);
        assert_eq!(nearest(-9.0, 1.0, 0.0, &bits, (-8, 7)), -8);
    }

    /// An independent reading of the rule: the weighted error of what comes out is what the outcome says.
    #[test]
    fn the_error_is_the_quadratic_form() {
        let n = 20;
        let mut uniform = uniform(3);
        let mut random = move || uniform() - 0.5;
        // Inputs that share a part.
        let samples: Vec<Vec<f32>> = (0..200)
            .map(|_| {
                let shared = 2.0 * random();
                (0..n).map(|_| random() + shared).collect()
            })
            .collect();
        let moments: Vec<f32> = (0..n * n).map(|k| samples.iter().map(|s| s[k / n] * s[k % n]).sum::<f32>() / 200.0).collect();
        let feedback = Feedback::new(&moments, n);
        let values: Vec<f32> = (0..BATCH * n).map(|_| random()).collect();
        let rounding = Rounding { feedback: &feedback, lambda: 0.0, group: n, range: (-127, 127) };
        let step = 0.11;
        let row = |values| Row { values, steps: &[0.11], sensitivity: 1.0, bits: &FLAT };
        let rows: Vec<Row<'_>> = values.chunks(n).map(row).collect();
        let mut codes = vec![0; BATCH * n];
        let outcomes = rounding.run(&rows, &mut codes, &mut Vec::new());
        let mean = (0..n).map(|i| moments[i * (n + 1)]).sum::<f32>() / n as f32;
        let form = |error: &[f32]| -> f32 {
            let term = |k: usize| error[k / n] * (moments[k] / mean + if k / n == k % n { 0.01 } else { 0.0 }) * error[k % n];
            (0..n * n).map(term).sum()
        };
        let (mut with, mut without) = (0.0, 0.0);
        for (row, values) in values.chunks(n).enumerate() {
            let error: Vec<f32> = values.iter().zip(&codes[row * n..]).map(|(v, &code)| v - code as f32 * step).collect();
            let weighted = form(&error);
            assert!((weighted - outcomes[row].error).abs() < 1e-2 * weighted.max(1e-3), "{weighted} {:?}", outcomes[row]);
            let largest = error.iter().fold(0f32, |most, e| most.max(e.abs()));
            assert!((largest - outcomes[row].largest).abs() < 1e-6);
            with += weighted;
            without += form(&values.iter().map(|v| v - (v / step).round() * step).collect::<Vec<_>>());
        }
        // Feedback does better than rounding each by itself.
        assert!(with < 0.7 * without, "{with} {without}");
    }
}
