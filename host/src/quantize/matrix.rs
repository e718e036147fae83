//! A tensor's integers: rounded and counted in turns until the tables and the integers agree.

use super::feedback::Feedbacks;
use super::path::{self, Prices};
use super::rate::{Contexts, Rates, count};
use super::round::{Outcome, Rate, Rounding, Row, Scratch};
use super::scheme::{Format, stored_scale};
use super::step::{facts, ideal, of_group, of_rows};
use crate::container::grid::Grid;
use half::bf16;
use rayon::prelude::*;

/// Turns, at most.
const TURNS: usize = 4;
/// A turn that gains less than this share of the cost is the last.
const ENOUGH: f64 = 1e-3;

/// Rows by which it is judged whether a trellis suits a matrix, and turns.
const SAMPLE: usize = 64;
const SAMPLE_TURNS: usize = 2;
/// Rows that are rounded together, where they are not those of a row of tiles.
const BATCH: usize = 64;

/// A matrix to be quantized.
pub(crate) struct Matrix<'a> {
    pub values: &'a [f32],
    pub columns: usize,
    pub format: Format,
    /// Columns that share a scale.
    pub group: usize,
    /// What each row's errors cost.
    pub rows: &'a [f32],
    pub feedback: &'a Feedbacks,
    /// The first row's number in `feedback`.
    pub first: usize,
    /// Loss that a bit may cost; at zero every integer is the nearest and scales are as fine as they can be.
    pub lambda: f32,
    pub contexts: Contexts,
    /// Whether integers may be a trellis's.
    pub trellis: bool,
}

/// A matrix of integers.
#[derive(Debug)]
pub(crate) struct Quantized {
    pub codes: Vec<i8>,
    /// Rows × groups.
    pub scales: Vec<bf16>,
    /// Predicted loss, by the sensitivities.
    pub loss: f64,
    /// Bits of the integers, by the tables.
    pub bits: f64,
    /// Largest error of a weight, and the sum of all their squares.
    pub largest_error: f32,
    pub square_error: f64,
}

impl Quantized {
    /// What the integers stand for, with a scale for each `group`.
    pub(crate) fn weights(&self, group: usize) -> Vec<f32> {
        let scaled = |(codes, scale): (&[i8], &bf16)| {
            let scale = scale.to_f32();
            codes.iter().map(move |&code| code as f32 * scale).collect::<Vec<_>>()
        };
        self.codes.chunks_exact(group).zip(&self.scales).flat_map(scaled).collect()
    }

    /// Takes the errors of weights to be those from `values`, where these are not what was quantized.
    pub(crate) fn measure_errors(&mut self, values: &[f32], weights: &[f32]) {
        let errors = || values.iter().zip(weights).map(|(v, w)| (v - w).abs());
        self.largest_error = errors().fold(0.0, f32::max);
        self.square_error = errors().map(|e| e as f64 * e as f64).sum();
    }
}

impl Matrix<'_> {
    /// Quantizes it. Weights are finite.
    pub(crate) fn quantize(&self) -> Quantized {
        let band = Grid::choose(self.rows.len() as u64, self.columns as u64, 1).tile_rows as usize;
        let trellis = self.trellis && band > 1 && self.gains_by_trellis(band);
        self.settle(trellis.then_some(band), TURNS).0
    }

    /// What squared errors cost after feedback, and the steps by theory.
    fn ideals(&self) -> (Vec<f32>, Vec<f32>) {
        let prices = self.feedback.prices(self.first, self.rows);
        let ideals = prices.iter().map(|&price| ideal(self.lambda, price)).collect();
        (prices, ideals)
    }

    /// Quantizes it in so many turns at most, on a trellis of which a row of tiles has so many rows if it has one; also what it costs, error and rate together.
    fn settle(&self, band: Option<usize>, turns: usize) -> (Quantized, f64) {
        let (columns, groups) = (self.columns, self.columns / self.group);
        let (prices, ideals) = self.ideals();
        let mut scales = self.scales(&ideals, &prices, band.is_some(), None);
        let steps = |scales: &[bf16]| -> Vec<f32> { scales.iter().map(|s| s.to_f32()).collect() };
        let mut step = steps(&scales);
        let fineness = if band.is_some() { 0.5 } else { 1.0 };
        let spread = |(row, steps): (&[f32], &[f32])| facts(row).1 * fineness * groups as f32 / steps.iter().sum::<f32>();
        let spreads: Vec<f32> = self.values.chunks_exact(columns).zip(step.chunks_exact(groups)).map(spread).collect();
        let contexts = self.contexts.of_rows(self.format, columns, &spreads);
        let most = contexts.iter().copied().max().map_or(0, |c| c as usize + 1);
        // The first tables are those of integers that no table had a say in.
        let (mut codes, _) = self.round(&step, &contexts, band, &vec![[0.0; 256]; most]);
        let histograms = |codes: &[i8]| match band {
            Some(_) => count(codes.iter().map(|&code| path::stored(code)), columns, &contexts),
            None => count(codes.iter().copied(), columns, &contexts),
        };
        let mut counts = histograms(&codes);
        let mut rates = Rates::learn(&counts);
        let mut before = f64::INFINITY;
        let mut outcomes;
        let mut turn = 0;
        loop {
            turn += 1;
            if self.format == Format::Int4 && turn == 2 {
                // Scales of groups depend on what integers cost.
                scales = self.scales(&ideals, &prices, false, Some((&rates, &contexts)));
                step = steps(&scales);
            }
            (codes, outcomes) = self.round(&step, &contexts, band, &rates.0);
            counts = histograms(&codes);
            let (loss, bits) = (self.loss(&outcomes), rates.total(&counts));
            let cost = loss + self.lambda as f64 * bits;
            let settled = before - cost < ENOUGH * cost && !(self.format == Format::Int4 && turn < 3);
            if turn == turns || self.lambda == 0.0 || settled {
                break;
            }
            before = cost;
            rates = Rates::learn(&counts);
        }
        let (loss, bits) = (self.loss(&outcomes), Rates::learn(&counts).total(&counts));
        let quantized = Quantized {
            loss,
            bits,
            largest_error: outcomes.iter().fold(0.0, |most, o| most.max(o.largest)),
            square_error: outcomes.iter().map(|o| o.square as f64).sum(),
            codes,
            scales,
        };
        (quantized, loss + self.lambda as f64 * bits)
    }

    fn loss(&self, outcomes: &[Outcome]) -> f64 {
        outcomes.iter().zip(self.rows).map(|(o, &s)| o.error as f64 * s as f64).sum()
    }

    /// Scales of all groups.
    fn scales(&self, ideals: &[f32], prices: &[f32], trellis: bool, rates: Option<(&Rates, &[u16])>) -> Vec<bf16> {
        let columns = self.columns;
        match self.format {
            Format::Int8 => {
                of_rows(self.values, columns, ideals, trellis).into_iter().map(|step| reaching(step, 127.0)).collect()
            }
            Format::Int4 => {
                let row = |(row, values): (usize, &[f32])| -> Vec<bf16> {
                    let price = if self.lambda > 0.0 { prices[row] / self.lambda } else { 1.0 };
                    let bits = rates.map(|(rates, contexts)| &rates.0[contexts[row] as usize]).filter(|_| self.lambda > 0.0);
                    values.chunks_exact(self.group).map(|g| stored_scale(of_group(g, ideals[row], price, bits))).collect()
                };
                self.values.par_chunks_exact(columns).enumerate().flat_map_iter(row).collect()
            }
        }
    }

    /// Whether error and rate are less on a trellis: by theory, and then by some rows, as theory knows nothing of weights that are zero or lie on a grid.
    fn gains_by_trellis(&self, band: usize) -> bool {
        let excess = |(row, &ideal): (&[f32], &f32)| path::excess(ideal, facts(row)) as f64;
        let theory = || self.values.chunks_exact(self.columns).zip(&self.ideals().1).map(excess).sum::<f64>();
        if self.format != Format::Int8 || self.lambda == 0.0 || theory() >= 0.0 {
            return false;
        }
        let count = SAMPLE.min(self.rows.len());
        let first = (self.rows.len() - count) / 2;
        let sample = Matrix {
            values: &self.values[first * self.columns..][..count * self.columns],
            rows: &self.rows[first..][..count],
            first: self.first + first,
            ..*self
        };
        let cost = |band| sample.settle(band, SAMPLE_TURNS).1;
        cost(Some(band.min(count))) < cost(None)
    }

    /// Rounds all rows, on a trellis of which a row of tiles has so many rows if it has one, by the bits of integers in each context.
    fn round(&self, steps: &[f32], contexts: &[u16], band: Option<usize>, bits: &[[f32; 256]]) -> (Vec<i8>, Vec<Outcome>) {
        let (columns, groups) = (self.columns, self.columns / self.group);
        let prices: Vec<Prices>;
        let rate = match band {
            Some(_) => {
                prices = bits.iter().map(|bits| Prices::new(bits, self.lambda)).collect();
                Rate::Trellis(&prices)
            }
            None => Rate::Bits(bits),
        };
        let (order, range) = (self.feedback.order(), self.format.range());
        let rounding = Rounding { order, rate, lambda: self.lambda, group: self.group, range };
        let mut codes = vec![0i8; self.values.len()];
        let batch = band.unwrap_or(BATCH);
        let batches = codes.par_chunks_mut(batch * columns).enumerate();
        let outcomes = batches.map_init(Scratch::default, |scratch, (number, codes)| {
            let row = |row: usize| Row {
                values: &self.values[row * columns..][..columns],
                steps: &steps[row * groups..][..groups],
                sensitivity: self.rows[row],
                feedback: self.feedback.of(self.first + row),
                context: contexts[row],
            };
            let first = number * batch;
            let rows: Vec<Row<'_>> = (first..first + codes.len() / columns).map(row).collect();
            rounding.run(&rows, codes, scratch)
        });
        let outcomes = outcomes.collect::<Vec<_>>().concat();
        (codes, outcomes)
    }
}

/// The scale as it is stored, such that what needs `most` steps at `step` does not need more: a scale that rounds down would cut the largest weight off.
fn reaching(step: f32, most: f32) -> bf16 {
    let near = stored_scale(step);
    if near.to_f32() * (most + 0.5) >= step * most { near } else { bf16::from_bits(near.to_bits() + 1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::trellis::Trellis;
    use crate::quantize::statistics::Sensitivity;
    use crate::quantize::testing::uniform;

    const COLUMNS: usize = 96;

    /// The matrix, quantized, and what it costs for each weight, in bits.
    fn quantized(values: &[f32], step: f32, trellis: bool) -> (Quantized, f64) {
        let rows = vec![1.0; values.len() / COLUMNS];
        let sensitivity = Sensitivity { rows: rows.clone(), moments: Vec::new(), classes: Vec::new() };
        // The λ whose step that is.
        let lambda = step * step * 2.0 * std::f32::consts::LN_2 / 12.0;
        let matrix = Matrix {
            values,
            columns: COLUMNS,
            format: Format::Int8,
            group: COLUMNS,
            rows: &rows,
            feedback: &Feedbacks::new(&sensitivity, COLUMNS),
            first: 0,
            lambda,
            contexts: Contexts::Classes,
            trellis,
        };
        let quantized = matrix.quantize();
        let cost = (quantized.loss / lambda as f64 + quantized.bits) / values.len() as f64;
        (quantized, cost)
    }

    fn is_on_trellis(quantized: &Quantized) -> bool {
        let mut bytes: Vec<u8> = quantized.codes.iter().map(|&c| c as u8).collect();
        let high = Grid::choose((bytes.len() / COLUMNS) as u64, COLUMNS as u64, 1).tile_rows as usize;
        bytes.chunks_mut(high * COLUMNS).all(|band| Trellis::OURS.take(band, COLUMNS, COLUMNS))
    }

    fn normal(rows: usize) -> Vec<f32> {
        let mut uniform = uniform(11);
        (0..rows * COLUMNS).map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0).collect()
    }

    #[test]
    fn normal_weights_cost_a_sixth_of_a_bit_less() {
        let values = normal(600);
        for step in [0.1, 0.4] {
            let ((on, with), (off, without)) = (quantized(&values, step, true), quantized(&values, step, false));
            assert!(is_on_trellis(&on) && !is_on_trellis(&off));
            assert!((0.14..0.2).contains(&(without - with)), "{step}: {with} {without}");
        }
    }

    #[test]
    fn what_no_trellis_suits_is_rounded() {
        // Mostly zeros; on a grid; a bit a weight, or less; outliers.
        let dense = normal(600);
        let pruned: Vec<f32> = dense.iter().enumerate().map(|(i, w)| if i % 5 == 0 { *w } else { 0.0 }).collect();
        let grid: Vec<f32> = dense.iter().map(|w| w.round()).collect();
        let outliers: Vec<f32> = dense.iter().enumerate().map(|(i, w)| if i % COLUMNS == 7 { 30.0 } else { *w }).collect();
        for (name, values, step) in
            [("pruned", &pruned, 0.1), ("grid", &grid, 0.1), ("coarse", &dense, 3.0), ("outliers", &outliers, 0.1)]
        {
            let ((_, with), (_, without)) = (quantized(values, step, true), quantized(values, step, false));
            assert!(with < 1.02 * without, "{name}: {with} {without}");
        }
    }

    #[test]
    fn rows_of_zeros_stay_as_good_as_zero_and_cost_their_neighbours_nothing() {
        let mut values = normal(600);
        let plain = quantized(&values, 0.1, true).1;
        values.chunks_mut(2 * COLUMNS).for_each(|two| two[COLUMNS..].fill(0.0));
        let (quantized, cost) = quantized(&values, 0.1, true);
        let weights = quantized.weights(COLUMNS);
        let zeros = weights.chunks(2 * COLUMNS).flat_map(|two| &two[COLUMNS..]);
        assert!(zeros.fold(0f32, |most, w| most.max(w.abs())) < 1e-35);
        assert!(cost < 0.5 * plain + 0.8, "{cost} {plain}");
    }
}
