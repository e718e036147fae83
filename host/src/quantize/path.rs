//! A column's integers, chosen together: a path through a trellis.
//!
//! Marcellin, Fischer: *Trellis Coded Quantization of Memoryless and Gauss-Markov Sources*, 1990; with rates, Fischer, Wang: *Entropy-Constrained Trellis-Coded Quantization*,
//! 1992; as dependent quantization in video, ITU-T H.266 (8.7.3). In each state only the even integers are there, or only the odd ones; which, depends
//! on those above in the column. So steps are half as large for the same bits, and of all paths Viterbi's algorithm (1967) finds the one of least
//! error and rate: with 32 states the error is that of rounding with 0.18 bits more for each weight (a bound for any quantizer is 0.25).

use super::step::{bounded, ideal_cost};
use crate::cpu::{Backend, Body};
use wcodec_device::trellis::{STATES, TAPS};

/// Squared error beside that of rounding with the same distance from integer to integer of a state.
const GAIN: f32 = 0.78;
/// Least and greatest integer: as for rows that are rounded.
const RANGE: (i32, i32) = (-127, 127);
/// Integers below and above that candidates may be.
const MARGIN: i32 = 8;
/// What an integer costs that there is not, and a state that no path leads to.
const NEVER: f32 = f32::INFINITY;
/// The highest price of a bit, far below that.
const DEAREST: f32 = 1e30;
/// Rows after which costs are counted from zero again, so that sums keep their digits.
const RENEW: usize = 64;

const HALF: usize = STATES / 2;
const A: usize = TAPS.0 as usize % HALF;
const B: usize = TAPS.1 as usize % HALF;
// What lets the states after a state be told apart by their highest bit.
const _: () = assert!(STATES == 32 && TAPS.0 as usize / HALF == 1 && TAPS.1 as usize / HALF == 0);

/// The step on a trellis, given that of rounding, for the same price of bits.
pub(crate) fn step(rounding: f32) -> f32 {
    rounding * 0.5 / GAIN.sqrt()
}

/// What an integer is stored as.
pub(crate) fn stored(code: i8) -> i8 {
    code >> 1
}

/// Error and rate of a row by theory, on a trellis less by rounding, in bits a weight: where its largest weight does not let the step be as small as it
/// should, a trellis costs a bit more than it saves. A row of zeros costs nothing either way.
pub(crate) fn excess(ideal: f32, (largest, rms): (f32, f32)) -> f32 {
    if largest == 0.0 {
        return 0.0;
    }
    let rounded = bounded(ideal, largest, rms, RANGE.1, false) / ideal;
    let on_trellis = 2.0 * bounded(ideal, largest, rms, RANGE.1, true) / ideal;
    ideal_cost(on_trellis, GAIN) - ideal_cost(rounded, 1.0)
}

/// Prices of integers, in the loss of what they cost in bits.
pub(crate) struct Prices([f32; (RANGE.1 - RANGE.0 + 1 + 2 * MARGIN) as usize]);

impl Prices {
    /// From the bits of what is stored of them, at a price for each.
    pub(crate) fn new(bits: &[f32; 256], lambda: f32) -> Self {
        let price = |i: usize| {
            let code = i as i32 + RANGE.0 - MARGIN;
            let inside = (RANGE.0..=RANGE.1).contains(&code);
            if inside { lambda.min(DEAREST) * bits[(code >> 1) as u8 as usize] } else { NEVER }
        };
        Self(std::array::from_fn(price))
    }

    /// Those of eight integers from `first` on.
    #[inline(always)]
    fn eight(&self, first: i32) -> &[f32; 8] {
        let at = (first - RANGE.0 + MARGIN) as usize;
        self.0[at..].first_chunk().expect("candidates lie within the margins")
    }
}

/// A number of a column.
#[derive(Clone, Copy)]
pub(crate) struct Number<'a> {
    /// What it should be, in steps.
    pub x: f32,
    /// What a squared step costs.
    pub price: f32,
    pub prices: &'a Prices,
}

/// Buffers for a column.
#[derive(Default)]
pub(crate) struct Paths {
    /// Of each row: whether a state's best way in is the second.
    second: Vec<[u8; STATES]>,
    /// The best integer of each class modulo 4.
    labels: Vec<[i8; 4]>,
}

impl Paths {
    /// Chooses the integers of numbers that follow each other down a column, from the first row of a tile on.
    pub(crate) fn choose<'a>(&mut self, numbers: impl Iterator<Item = Number<'a>>, codes: &mut Vec<i8>) {
        self.second.clear();
        self.labels.clear();
        let mut end = 0;
        Backend::best().run(Forward { numbers, paths: self, end: &mut end });
        codes.clear();
        codes.resize(self.labels.len(), 0);
        let mut state = end;
        for ((code, labels), second) in codes.iter_mut().zip(&self.labels).zip(&self.second).rev() {
            let (odd, second) = (state / HALF, second[state] as usize);
            *code = labels[2 * second + odd];
            // The bit that was shifted out comes back.
            state = 2 * ((state % HALF) ^ (odd * A) ^ (second * B)) + odd;
        }
        debug_assert!(state == 0 || codes.is_empty(), "a path begins in state 0");
    }
}

/// Viterbi's recursion down a column; `end` becomes the best state after it.
struct Forward<'p, I> {
    numbers: I,
    paths: &'p mut Paths,
    end: &'p mut usize,
}

impl<'a, I: Iterator<Item = Number<'a>>> Body for Forward<'_, I> {
    #[inline(always)]
    fn run(self) {
        // Costs of even states, and of odd ones.
        let (mut even, mut odd) = ([NEVER; HALF], [NEVER; HALF]);
        even[0] = 0.0;
        for (row, number) in self.numbers.enumerate() {
            let (classes, labels) = classes(number);
            if row % RENEW == RENEW - 1 {
                let least = even.iter().chain(&odd).fold(f32::INFINITY, |least, &c| least.min(c));
                even.iter_mut().chain(&mut odd).for_each(|c| *c -= least);
            }
            let mut costs = [0f32; STATES];
            let mut second = [0u8; STATES];
            for t in 0..HALF {
                // Into states whose highest bit is 0: from even ones.
                let (a, b) = (even[t] + classes[0], even[t ^ B] + classes[2]);
                (costs[t], second[t]) = if b < a { (b, 1) } else { (a, 0) };
            }
            for t in 0..HALF {
                let (a, b) = (odd[t ^ A] + classes[1], odd[t ^ A ^ B] + classes[3]);
                (costs[HALF + t], second[HALF + t]) = if b < a { (b, 1) } else { (a, 0) };
            }
            for t in 0..HALF {
                (even[t], odd[t]) = (costs[2 * t], costs[2 * t + 1]);
            }
            self.paths.second.push(second);
            self.paths.labels.push(labels);
        }
        let (mut best, mut least) = (0, f32::INFINITY);
        for t in 0..HALF {
            for (state, cost) in [(2 * t, even[t]), (2 * t + 1, odd[t])] {
                if cost < least {
                    (best, least) = (state, cost);
                }
            }
        }
        *self.end = best;
    }
}

/// The least cost of an integer of each class modulo 4, and that integer: of eight that follow each other, the nearest of each class among them.
#[inline(always)]
fn classes(Number { x, price, prices }: Number<'_>) -> ([f32; 4], [i8; 4]) {
    let inside = x.clamp(RANGE.0 as f32, RANGE.1 as f32);
    // Not below what there is.
    let first = (4 * ((inside - 2.0) * 0.25).floor() as i32).max(-128);
    let bits = prices.eight(first);
    let off = x.clamp(-1e6, 1e6) - first as f32;
    let mut costs = [0f32; 8];
    for i in 0..8 {
        let off = off - i as f32;
        costs[i] = price * off * off + bits[i];
    }
    let (mut least, mut labels) = ([0f32; 4], [0i8; 4]);
    for m in 0..4 {
        let upper = costs[m + 4] < costs[m];
        least[m] = if upper { costs[m + 4] } else { costs[m] };
        labels[m] = (first + m as i32 + if upper { 4 } else { 0 }) as i8;
    }
    (least, labels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::trellis::Trellis;
    use crate::quantize::testing::uniform;
    use wcodec_device::trellis::next;

    /// Column of numbers around zero.
    fn column(n: usize, spread: f32, seed: u32) -> Vec<f32> {
        let mut uniform = uniform(seed);
        (0..n).map(|_| spread * ((0..12).map(|_| uniform()).sum::<f32>() - 6.0)).collect()
    }

    fn bits() -> [f32; 256] {
        std::array::from_fn(|k| 3.0 + 0.4 * (k as u8 as i8 as f32).abs())
    }

    fn choose(xs: &[f32], bits: &[f32; 256], lambda: f32) -> Vec<i8> {
        let prices = Prices::new(bits, lambda);
        let mut codes = Vec::new();
        Paths::default().choose(xs.iter().map(|&x| Number { x, price: 1.0, prices: &prices }), &mut codes);
        codes
    }

    fn cost(xs: &[f32], codes: &[i8], bits: &[f32; 256], lambda: f32) -> f32 {
        xs.iter().zip(codes).map(|(x, &c)| (x - c as f32).powi(2) + lambda * bits[(c >> 1) as u8 as usize]).sum()
    }

    /// The least cost of all paths, each tried.
    fn exhaustive(xs: &[f32], bits: &[f32; 256], lambda: f32, state: u8) -> f32 {
        let Some((x, rest)) = xs.split_first() else { return 0.0 };
        let all = (-127i8..=127).filter(|c| *c as u8 & 1 == state & 1);
        // Of each branch the cheapest integer, as the rest does not depend on it.
        [0, 1]
            .map(|branch| {
                let here = all.clone().filter(|c| (c >> 1) & 1 == branch);
                let least = here.map(|c| cost(&[*x], &[c], bits, lambda)).fold(f32::INFINITY, f32::min);
                least + exhaustive(rest, bits, lambda, next(TAPS, state, branch as u8))
            })
            .into_iter()
            .fold(f32::INFINITY, f32::min)
    }

    #[test]
    fn of_all_paths_the_cheapest() {
        for seed in 0..12 {
            let (xs, bits) = (column(11, 1.0 + seed as f32, seed), bits());
            for lambda in [0.0, 0.3, 2.0] {
                let codes = choose(&xs, &bits, lambda);
                let (got, least) = (cost(&xs, &codes, &bits, lambda), exhaustive(&xs, &bits, lambda, 0));
                // Candidates farther than the second nearest of their class are not tried.
                assert!(
                    (got - least).abs() < 1e-3 * least || lambda == 2.0 && got < 1.02 * least,
                    "{seed} {lambda}: {got} {least}"
                );
            }
        }
    }

    #[test]
    fn what_comes_out_is_the_trellis_s() {
        for (n, spread) in [(1, 3.0), (2, 40.0), (63, 9.0), (64, 9.0), (300, 60.0), (1000, 400.0)] {
            let codes = choose(&column(n, spread, 5), &bits(), 0.1);
            assert_eq!(codes.len(), n);
            let mut bytes: Vec<u8> = codes.iter().map(|&c| c as u8).collect();
            assert!(Trellis::OURS.take(&mut bytes, 1, 1), "{n} {spread}");
            assert!(bytes.iter().zip(&codes).all(|(&b, &c)| b as i8 == stored(c)));
            assert!(codes.iter().all(|c| *c >= -127));
        }
    }

    /// The gain that the theory of this code promises, in the error of numbers spread evenly over a state's integers.
    #[test]
    fn the_error_is_that_of_a_fifth_of_a_bit_more() {
        let xs = column(20_000, 9.0, 3);
        let codes: Vec<i8> = xs.chunks(128).flat_map(|xs| choose(xs, &[0.0; 256], 0.0)).collect();
        let error = cost(&xs, &codes, &[0.0; 256], 0.0) / xs.len() as f32;
        // Rounding to every second integer: 4/12.
        let gain = error / (4.0 / 12.0);
        assert!((0.755..0.785).contains(&gain), "{gain}");
    }

    #[test]
    fn trellises_are_for_rows_without_outliers() {
        assert!(excess(0.1, (4.0, 1.0)) < -0.15);
        // 127 steps do not reach.
        assert!(excess(0.03, (4.0, 1.0)) > 0.1);
        assert!(excess(0.1, (40.0, 1.0)) > 0.5);
    }
}
