//! The integers of rows: each the one of least error and rate together, errors handed on to the columns still to come.

use super::feedback::Feedback;
use super::path::{Number, Paths, Prices};
use crate::cpu::{Backend, Body};

/// Columns whose errors the columns before them are told of together.
const BLOCK: usize = 32;
/// Columns that are told at a time: what the block's rows of the factor have of them stays in the first-level cache.
const TOLD: usize = 128;

/// A row to be rounded.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    /// Its weights.
    pub values: &'a [f32],
    /// The step of each group.
    pub steps: &'a [f32],
    /// What a unit of squared error costs, where the mean moment is one.
    pub sensitivity: f32,
    /// What later columns make good; all rows have it or none, in the same order.
    pub feedback: &'a Feedback,
    /// Which of the tables says what its integers cost.
    pub context: u16,
}

/// What integers cost in each context, and with that how they are chosen.
#[derive(Clone, Copy)]
pub(crate) enum Rate<'a> {
    /// One by one, by the bits of each, as a byte.
    Bits(&'a [[f32; 256]]),
    /// Along a trellis, by prices of each.
    Trellis(&'a [Prices]),
}

/// What all rows have in common.
#[derive(Clone, Copy)]
pub(crate) struct Rounding<'a> {
    /// Columns in the order of the rows' feedback.
    pub order: &'a [u32],
    pub rate: Rate<'a>,
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

/// Buffers of a thread.
#[derive(Default)]
pub(crate) struct Scratch {
    /// Weights by rows, columns as they are ordered; and with what is made good of the columns after them.
    weights: Vec<f32>,
    targets: Vec<f32>,
    /// Errors of a block's columns, by rows.
    errors: Vec<f32>,
    paths: Paths,
    column: Vec<i8>,
}

impl Rounding<'_> {
    /// Rounds some rows, of a trellis those of a row of tiles; `codes` are theirs, row after row.
    pub(crate) fn run(&self, rows: &[Row<'_>], codes: &mut [i8], scratch: &mut Scratch) -> Vec<Outcome> {
        let n = self.order.len();
        scratch.weights.clear();
        for row in rows {
            scratch.weights.extend(self.order.iter().map(|&column| row.values[column as usize]));
        }
        scratch.targets.clone_from(&scratch.weights);
        scratch.errors.clear();
        scratch.errors.resize(rows.len() * BLOCK, 0.0);
        let mut outcomes = vec![Outcome::default(); rows.len()];
        for last in (1..=n).rev().step_by(BLOCK) {
            let first = last.saturating_sub(BLOCK);
            let outcomes = &mut outcomes;
            Backend::best().run(Block { rounding: self, rows, columns: first..last, codes, scratch, outcomes });
            let Scratch { targets, errors, .. } = &mut *scratch;
            Backend::best().run(Tell { rows, n, columns: first..last, targets, errors });
        }
        outcomes
    }

    /// Rounds column `j` as it is ordered, and tells those from `first` on of its errors.
    #[inline(always)]
    fn column(
        &self,
        j: usize,
        first: usize,
        rows: &[Row<'_>],
        codes: &mut [i8],
        scratch: &mut Scratch,
        outcomes: &mut [Outcome],
    ) {
        let n = self.order.len();
        let column = self.order[j] as usize;
        let Scratch { weights, targets, errors, paths, column: chosen } = scratch;
        let step = |row: &Row<'_>| row.steps[column / self.group];
        let numbers = rows.iter().enumerate().map(|(r, row)| {
            let step = step(row);
            (targets[r * n + j] / step, row.sensitivity * row.feedback.weights[j] * step * step, row.context as usize)
        });
        match self.rate {
            Rate::Trellis(prices) => {
                paths.choose(numbers.map(|(x, price, context)| Number { x, price, prices: &prices[context] }), chosen);
            }
            Rate::Bits(bits) => {
                let nearest =
                    |(x, price, context): (f32, f32, usize)| nearest(x, price, self.lambda, &bits[context], self.range) as i8;
                chosen.clear();
                chosen.extend(numbers.map(nearest));
            }
        }
        for (r, (row, &code)) in rows.iter().zip(&*chosen).enumerate() {
            codes[r * n + column] = code;
            let value = code as f32 * step(row);
            let (error, missed) = (weights[r * n + j] - value, targets[r * n + j] - value);
            let outcome = &mut outcomes[r];
            outcome.error += row.feedback.weights[j] * missed * missed;
            outcome.largest = outcome.largest.max(error.abs());
            outcome.square += error * error;
            errors[r * BLOCK + j - first] = error;
            let near = row.feedback.row(j).get(first..).unwrap_or(&[]);
            targets[r * n + first..].iter_mut().zip(near).for_each(|(target, l)| *target += error * l);
        }
    }
}

/// Rounds a block's columns.
struct Block<'a> {
    rounding: &'a Rounding<'a>,
    rows: &'a [Row<'a>],
    columns: std::ops::Range<usize>,
    codes: &'a mut [i8],
    scratch: &'a mut Scratch,
    outcomes: &'a mut [Outcome],
}

impl Body for Block<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { rounding, rows, columns, codes, scratch, outcomes } = self;
        for j in columns.clone().rev() {
            rounding.column(j, columns.start, rows, codes, scratch, outcomes);
        }
    }
}

/// Tells the columns before a block of its errors.
struct Tell<'a> {
    rows: &'a [Row<'a>],
    n: usize,
    columns: std::ops::Range<usize>,
    targets: &'a mut [f32],
    errors: &'a [f32],
}

impl Body for Tell<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { rows, n, columns, targets, errors } = self;
        if rows.iter().any(|row| row.feedback.coefficients.is_empty()) {
            return;
        }
        for at in (0..columns.start).step_by(TOLD) {
            let to = (at + TOLD).min(columns.start);
            for ((Row { feedback, .. }, targets), errors) in
                rows.iter().zip(targets.chunks_exact_mut(n)).zip(errors.chunks_exact(BLOCK))
            {
                let targets = &mut targets[at..to];
                let mut j = columns.start;
                while j + 4 <= columns.end {
                    let l: [&[f32]; 4] = std::array::from_fn(|k| &feedback.row(j + k)[at..to]);
                    let e: [f32; 4] = std::array::from_fn(|k| errors[j + k - columns.start]);
                    for ((((t, a), b), c), d) in targets.iter_mut().zip(l[0]).zip(l[1]).zip(l[2]).zip(l[3]) {
                        *t += (e[0] * a + e[1] * b) + (e[2] * c + e[3] * d);
                    }
                    j += 4;
                }
                for j in j..columns.end {
                    let e = errors[j - columns.start];
                    targets.iter_mut().zip(&feedback.row(j)[at..to]).for_each(|(t, l)| *t += e * l);
                }
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
    use crate::quantize::feedback::Feedbacks;
    use crate::quantize::statistics::Sensitivity;
    use crate::quantize::testing::uniform;
    use std::sync::Arc;

    const FLAT: [f32; 256] = [4.0; 256];
    const ROWS: usize = 8;

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

    /// An independent reading of the rule: the weighted error of what comes out is what the outcome says, one by one and on a trellis, with columns of
    /// one block and of several, and rows of two classes.
    #[test]
    fn the_error_is_the_quadratic_form() {
        for n in [20, BLOCK, 2 * BLOCK + 5, 2 * TOLD + 3] {
            let mut uniform = uniform(3);
            let mut random = move || uniform() - 0.5;
            // Inputs that share a part.
            let count = 4 * n;
            let samples: Vec<Vec<f32>> = (0..count)
                .map(|_| {
                    let shared = 2.0 * random();
                    (0..n).map(|_| random() + shared).collect()
                })
                .collect();
            let product = |k: usize| samples.iter().map(|s| s[k / n] * s[k % n]).sum::<f32>() / count as f32;
            let moments: Vec<f32> = (0..n * n).map(product).collect();
            let other: Vec<f32> =
                (0..n * n).map(|k| 0.2 * moments[k] + (k % (n + 1) == 0) as u8 as f32 * (k / n) as f32).collect();
            let values: Vec<f32> = (0..ROWS * n).map(|_| random()).collect();
            let form = |error: &[f32], moments: &[f32]| -> f32 {
                let mean = (0..n).map(|i| moments[i * (n + 1)]).sum::<f32>() / n as f32;
                let row = |i: usize| -> f32 {
                    (0..n).map(|j| (moments[i * n + j] / mean + if i == j { 0.01 } else { 0.0 }) * error[j]).sum()
                };
                (0..n).map(|i| error[i] * row(i)).sum()
            };
            let classes: Vec<u8> = (0..ROWS).map(|row| (row % 3 == 1) as u8).collect();
            let moments = [moments, other];
            let of_classes = moments.clone().map(Arc::from).to_vec();
            let sensitivity = Sensitivity { rows: vec![1.0; ROWS], moments: of_classes, classes: classes.clone() };
            let feedbacks = Feedbacks::new(&sensitivity, n);
            let (bits, prices) = ([FLAT], [Prices::new(&FLAT, 0.0)]);
            // A state's integers lie two steps apart.
            for (rate, step) in [(Rate::Bits(&bits), 0.11), (Rate::Trellis(&prices), 0.055)] {
                let rounding = Rounding { order: feedbacks.order(), rate, lambda: 0.0, group: n, range: (-127, 127) };
                let steps = [step];
                let row =
                    |(row, values)| Row { values, steps: &steps, sensitivity: 1.0, feedback: feedbacks.of(row), context: 0 };
                let rows: Vec<Row<'_>> = values.chunks(n).enumerate().map(row).collect();
                let mut codes = vec![0; ROWS * n];
                let outcomes = rounding.run(&rows, &mut codes, &mut Scratch::default());
                let (mut with, mut without) = (0.0, 0.0);
                for (row, values) in values.chunks(n).enumerate() {
                    let error: Vec<f32> = values.iter().zip(&codes[row * n..]).map(|(v, &code)| v - code as f32 * step).collect();
                    let moments = &moments[classes[row] as usize];
                    let weighted = form(&error, moments);
                    assert!(
                        (weighted - outcomes[row].error).abs() < 1e-2 * weighted.max(1e-3),
                        "{n} {weighted} {:?}",
                        outcomes[row]
                    );
                    let largest = error.iter().fold(0f32, |most, e| most.max(e.abs()));
                    assert!((largest - outcomes[row].largest).abs() < 1e-6);
                    with += weighted;
                    let rounded: Vec<f32> = values.iter().map(|v| v - (v / 0.11).round() * 0.11).collect();
                    without += form(&rounded, moments);
                }
                // Feedback does better than rounding each by itself.
                assert!(with < 0.9 * without, "{n} {with} {without}");
                if let Rate::Trellis(_) = rate {
                    let mut bytes: Vec<u8> = codes.iter().map(|&c| c as u8).collect();
                    assert!(crate::container::trellis::Trellis::OURS.take(&mut bytes, n, n), "{n}");
                }
            }
        }
    }
}
