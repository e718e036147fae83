//! The weights of eight neighbours that suit a block.

use super::{bits, price};
use crate::filter::predict::{NEIGHBOURS, Near, WEIGHT_SHIFT, Weights, residuals_linear};
use crate::filter::{Ring, Values};
use std::ops::Range;

/// Times that weights are fitted, each with what the one before missed.
const ROUNDS: usize = 6;
/// Weights that leave so much of the squares say nothing: they would save a quarter of a bit.
const NOTHING: f64 = 0.7;
/// Weights that at first take more than this, beside what is to be undercut, are given up.
const HOPELESS: f32 = 1.15;
/// What is added to squares, so that neighbours may say the same.
const DAMPING: f64 = 1e-12;

/// What a number stands for, and how far it is from there to the next; all numbers of a tile in the same unit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Worth {
    value: f64,
    step: f64,
}

/// 2^`e`, of exponents of normal numbers.
fn power(e: i32) -> f64 {
    f64::from_bits(((e + 1023) as u64) << 52)
}

impl Worth {
    pub(super) fn of(meaning: Values, number: i32) -> Self {
        let (part, exponent) = meaning.worth(number);
        // From the middle of the exponents, so that products of squares stay numbers.
        let step = power(exponent - 128);
        Self { value: step * f64::from(part), step }
    }
}

/// A block in its tile, whose rows are `width` long.
pub(super) struct Area<'a> {
    pub values: &'a [i32],
    pub worths: &'a [Worth],
    pub width: usize,
    pub rows: Range<usize>,
    pub columns: Range<usize>,
}

impl Area<'_> {
    /// Weights whose residuals take few bits, and these, row by row; `None` where they take `least` or more.
    ///
    /// Least squares, again and again, errors counted so that their squares are about the logarithms that they cost (iteratively reweighted least
    /// squares).
    pub(super) fn fit(&self, ring: Ring, meaning: Values, least: f32) -> Option<(Weights, Vec<i32>)> {
        let inputs: Vec<([f64; NEIGHBOURS], Worth)> = self.places().map(|(r, c)| self.input(r, c)).collect();
        let mut importance = vec![1.0; inputs.len()];
        let mut best: Option<(f32, Weights, Vec<i32>)> = None;
        for round in 0..ROUNDS {
            let factors = solve(&inputs, &importance);
            if round == 0 && !promising(&inputs, &factors) {
                return None;
            }
            let weights = Weights::from(factors.map(|x| {
                let whole = (x * f64::from(1 << WEIGHT_SHIFT)).round();
                whole.clamp(i16::MIN.into(), i16::MAX.into()) as i16
            }));
            let row = |r| residuals_linear(ring, meaning, weights, self.values, self.width, r, self.columns.clone());
            let left: Vec<i32> = self.rows.clone().flat_map(row).collect();
            let cost = bits(left.iter().map(|&x| price(x) as u64).sum());
            if round == 0 && cost > HOPELESS * least {
                return None;
            }
            if best.as_ref().is_none_or(|(least, ..)| cost < *least) {
                best = Some((cost, weights, left));
            }
            for ((near, own), importance) in inputs.iter().zip(&mut importance) {
                let off = own.value - sum(near, &factors);
                *importance = 1.0 / (own.step * own.step + off * off);
            }
        }
        best.filter(|(cost, ..)| *cost < least).map(|(_, weights, left)| (weights, left))
    }

    fn places(&self) -> impl Iterator<Item = (usize, usize)> {
        let columns = self.columns.clone();
        self.rows.clone().flat_map(move |r| columns.clone().map(move |c| (r, c)))
    }

    /// Values of a number's neighbours, and its own.
    fn input(&self, r: usize, c: usize) -> ([f64; NEIGHBOURS], Worth) {
        let value = |up: usize, back: usize| {
            if r < up || c < back { 0.0 } else { self.worths[(r - up) * self.width + c - back].value }
        };
        (Near::PLACES.map(|(up, back)| value(up, back)), self.worths[r * self.width + c])
    }
}

/// The neighbours' sum, each times its factor.
fn sum(near: &[f64; NEIGHBOURS], factors: &[f64; NEIGHBOURS]) -> f64 {
    near.iter().zip(factors).map(|(x, f)| x * f).sum()
}

/// Whether these factors say something of the values.
fn promising(inputs: &[([f64; NEIGHBOURS], Worth)], factors: &[f64; NEIGHBOURS]) -> bool {
    let all: f64 = inputs.iter().map(|(_, own)| own.value * own.value).sum();
    let left: f64 = inputs.iter().map(|(near, own)| (own.value - sum(near, factors)).powi(2)).sum();
    left <= NOTHING * all
}

/// The factors of neighbours that miss least, each error's square as often as it is important.
fn solve(inputs: &[([f64; NEIGHBOURS], Worth)], importance: &[f64]) -> [f64; NEIGHBOURS] {
    const N: usize = NEIGHBOURS;
    let (mut a, mut b) = ([[0.0; N]; N], [0.0; N]);
    for ((near, own), w) in inputs.iter().zip(importance) {
        for i in 0..N {
            let x = w * near[i];
            b[i] += x * own.value;
            (0..=i).for_each(|j| a[i][j] += x * near[j]);
        }
    }
    // Cholesky; neighbours that say nothing of their own get nothing.
    for i in 0..N {
        let floor = DAMPING * a[i][i];
        for j in 0..=i {
            let known: f64 = (0..j).map(|k| a[i][k] * a[j][k]).sum();
            let left = a[i][j] - known;
            a[i][j] = match (i == j, a[j][j]) {
                (true, _) if left > floor => left.sqrt(),
                (false, root) if root > 0.0 => left / root,
                _ => 0.0,
            };
        }
    }
    for i in 0..N {
        let known: f64 = (0..i).map(|k| a[i][k] * b[k]).sum();
        b[i] = if a[i][i] > 0.0 { (b[i] - known) / a[i][i] } else { 0.0 };
    }
    for i in (0..N).rev() {
        let known: f64 = (i + 1..N).map(|k| a[k][i] * b[k]).sum();
        b[i] = if a[i][i] > 0.0 { (b[i] - known) / a[i][i] } else { 0.0 };
    }
    b
}
