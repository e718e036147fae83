//! A tensor's integers: rounded and counted in turns until the tables and the integers agree.

use super::feedback::Feedbacks;
use super::path::{self, Prices};
use super::rate::{Contexts, Rates, count};
use super::round::{Outcome, Rate, Rounding, Row, Scratch};
use super::scheme::{Format, stored_scale};
use super::statistics::Sensitivity;
use super::step::{facts, ideal, of_group, of_rows};
use crate::container::grid::Grid;
use half::bf16;
use rayon::prelude::*;

/// Turns, at most.
const TURNS: usize = 4;
/// A turn that gains less than this share of the cost is the last.
const ENOUGH: f64 = 1e-3;

/// Rows that are rounded together, where they are not those of a row of tiles.
const BATCH: usize = 64;

/// A matrix to be quantized.
pub(crate) struct Matrix<'a> {
    pub values: &'a [f32],
    pub columns: usize,
    pub format: Format,
    /// Columns that share a scale.
    pub group: usize,
    pub sensitivity: &'a Sensitivity,
    pub feedback: &'a Feedbacks,
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
        let (columns, groups) = (self.columns, self.columns / self.group);
        let prices = self.feedback.prices(self.sensitivity);
        let ideals: Vec<f32> = prices.iter().map(|&price| ideal(self.lambda, price)).collect();
        let band = Grid::choose(self.sensitivity.rows.len() as u64, columns as u64, 1).tile_rows as usize;
        let band = (self.trellis && band > 1 && self.gains_by_trellis(&ideals)).then_some(band);
        let mut scales = self.scales(&ideals, &prices, band.is_some(), None);
        let steps = |scales: &[bf16]| -> Vec<f32> { scales.iter().map(|s| s.to_f32()).collect() };
        let mut step = steps(&scales);
        let fineness = if band.is_some() { 0.5 } else { 1.0 };
        let spread = |(row, steps): (&[f32], &[f32])| facts(row).1 * fineness * groups as f32 / steps.iter().sum::<f32>();
        let spreads: Vec<f32> = self.values.chunks_exact(columns).zip(step.chunks_exact(groups)).map(spread).collect();
        let contexts = self.contexts.of_rows(self.format, columns, &spreads);
        // The first tables are those of integers that no table had a say in.
        let (mut codes, _) = self.round(&step, &contexts, band, None);
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
            (codes, outcomes) = self.round(&step, &contexts, band, Some(&rates));
            counts = histograms(&codes);
            let (loss, bits) = (self.loss(&outcomes), rates.total(&counts));
            let cost = loss + self.lambda as f64 * bits;
            let settled = before - cost < ENOUGH * cost && !(self.format == Format::Int4 && turn < 3);
            if turn == TURNS || self.lambda == 0.0 || settled {
                break;
            }
            before = cost;
            rates = Rates::learn(&counts);
        }
        Quantized {
            loss: self.loss(&outcomes),
            bits: Rates::learn(&counts).total(&counts),
            largest_error: outcomes.iter().fold(0.0, |most, o| most.max(o.largest)),
            square_error: outcomes.iter().map(|o| o.square as f64).sum(),
            codes,
            scales,
        }
    }

    fn loss(&self, outcomes: &[Outcome]) -> f64 {
        outcomes.iter().zip(&self.sensitivity.rows).map(|(o, &s)| o.error as f64 * s as f64).sum()
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

    /// Whether error and rate of all rows are less on a trellis.
    fn gains_by_trellis(&self, ideals: &[f32]) -> bool {
        let excess = |(row, &ideal): (&[f32], &f32)| match facts(row) {
            (0.0, _) => 0.0,
            (largest, rms) => path::excess(ideal, largest, rms) as f64,
        };
        let is_int8 = self.format == Format::Int8 && self.lambda > 0.0;
        is_int8 && self.values.chunks_exact(self.columns).zip(ideals).map(excess).sum::<f64>() < 0.0
    }

    /// Rounds all rows, on a trellis of which a row of tiles has so many rows if it has one, and to the nearest if nothing is known of rates.
    fn round(&self, steps: &[f32], contexts: &[u16], band: Option<usize>, rates: Option<&Rates>) -> (Vec<i8>, Vec<Outcome>) {
        const NO_BITS: [f32; 256] = [0.0; 256];
        let (columns, groups) = (self.columns, self.columns / self.group);
        let range = self.format.range();
        let rounding = Rounding { order: self.feedback.order(), lambda: self.lambda, group: self.group, range };
        let bits = |context: u16| rates.map_or(&NO_BITS, |rates| &rates.0[context as usize]);
        let most = contexts.iter().copied().max().unwrap_or(0);
        let prices: Vec<Prices> = (0..=most).map(|context| Prices::new(bits(context), self.lambda)).collect();
        let mut codes = vec![0i8; self.values.len()];
        let batch = band.unwrap_or(BATCH);
        let batches = codes.par_chunks_mut(batch * columns).enumerate();
        let outcomes = batches.map_init(Scratch::default, |scratch, (number, codes)| {
            let row = |row: usize| Row {
                values: &self.values[row * columns..][..columns],
                steps: &steps[row * groups..][..groups],
                sensitivity: self.sensitivity.rows[row],
                feedback: self.feedback.of(row),
                rate: match band {
                    Some(_) => Rate::Trellis(&prices[contexts[row] as usize]),
                    None => Rate::Bits(bits(contexts[row])),
                },
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
