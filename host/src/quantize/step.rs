//! The step of each row or group, by trial: the one at which error and rate cost least together.
//!
//! For steps that are small beside the weights, D = Δ²/12 and a bit less for every doubling of Δ: at the least of s · D + λ · R, Δ² = 12 λ / (2 ln 2 · s) (Gish,
//! Pierce: *Asymptotically Efficient Quantizing*, 1968). Where steps are large that is only where to look.

use super::path;
use super::scheme::Format;
use crate::cpu::{Backend, Body};
use crate::encode::frequency::{Histogram, entropy, log2_of};
use std::f32::consts::LN_2;

/// What is tried, as multiples of the step that theory gives.
const FACTORS: [f32; 7] = [0.595, 0.707, 0.841, 1.0, 1.189, 1.414, 1.682];
/// Weights of a class that are tried with, at most.
const SAMPLE: usize = 1 << 13;
/// Classes to the octave, and how many.
const UNITS: f32 = 2.0;
const CLASSES: usize = 24;
/// A row's step is at most so many times the root mean square of its weights: they would all be zero.
const COARSEST: f32 = 4.0;

/// The step that theory gives for a price of bits and a sensitivity.
pub(crate) fn ideal(lambda: f32, sensitivity: f32) -> f32 {
    (12.0 * lambda / (2.0 * LN_2 * sensitivity)).sqrt()
}

/// Error and rate of a step given in ideal ones, in bits: an error of `share` of a twelfth of its square, and a bit less for every doubling.
pub(crate) fn ideal_cost(step: f32, share: f32) -> f32 {
    share * step * step / (2.0 * LN_2) - log2_of(step)
}

/// A row's steps lie between the least with which its largest weight has an integer and the coarsest.
/// On a trellis, whose integers of a state lie two steps apart, both the step and the coarsest are about half as large.
pub(crate) fn bounded(step: f32, largest: f32, rms: f32, most: i32, trellis: bool) -> f32 {
    let (step, rms) = if trellis { (path::step(step), 0.5 * rms) } else { (step, rms) };
    let least = largest / most as f32;
    step.min(COARSEST * rms).max(least)
}

/// One step for each row of INT8: of rows with about as many steps to their root mean square, some are tried with.
///
/// `ideals` are the rows' steps by theory, of rounding; on a trellis steps are about half as large.
pub(crate) fn of_rows(values: &[f32], columns: usize, ideals: &[f32], trellis: bool) -> Vec<f32> {
    let (_, most) = Format::Int8.range();
    let facts: Vec<(f32, f32)> = values.chunks_exact(columns).map(facts).collect();
    let class = |row: usize| {
        let spread = facts[row].1 / ideals[row].max(f32::MIN_POSITIVE);
        ((log2_of(spread) + 4.0) * UNITS).clamp(0.0, (CLASSES - 1) as f32) as usize
    };
    let mut members = vec![Vec::new(); CLASSES];
    (0..ideals.len()).filter(|&row| facts[row].1 > 0.0).for_each(|row| members[class(row)].push(row));
    let factors: Vec<f32> = members.iter().map(|rows| best_factor(values, columns, ideals, rows)).collect();
    let step = |row: usize| match facts[row] {
        // On a trellis not every row can have zeros alone: what it has then is as good as zero.
        (0.0, _) if trellis => 0.0,
        (0.0, _) => 1.0,
        (largest, rms) => bounded(ideals[row] * factors[class(row)], largest, rms, most, trellis),
    };
    (0..ideals.len()).map(step).collect()
}

/// Largest magnitude and root mean square.
pub(crate) fn facts(row: &[f32]) -> (f32, f32) {
    let largest = row.iter().fold(0f32, |m, w| m.max(w.abs()));
    let square: f64 = row.iter().map(|&w| w as f64 * w as f64).sum();
    (largest, (square / row.len().max(1) as f64).sqrt() as f32)
}

/// The multiple of the ideal step that costs some rows least.
fn best_factor(values: &[f32], columns: usize, ideals: &[f32], rows: &[usize]) -> f32 {
    if rows.is_empty() {
        return 1.0;
    }
    // Weights in ideal steps, of rows spread over all.
    let count = (SAMPLE / columns).clamp(1, rows.len());
    let sample: Vec<f32> = (0..count)
        .map(|i| rows[i * rows.len() / count])
        .flat_map(|row| values[row * columns..][..columns.min(SAMPLE)].iter().map(move |w| w / ideals[row]))
        .collect();
    let best = FACTORS.into_iter().min_by(|&a, &b| trial(&sample, a).total_cmp(&trial(&sample, b)));
    best.unwrap_or(1.0)
}

/// Error and rate together of weights given in ideal steps, in bits.
fn trial(sample: &[f32], factor: f32) -> f32 {
    let mut codes = vec![0; sample.len()];
    let mut count = |bits: &[f32; 256]| -> (Histogram, f32) {
        let mut error = 0.0;
        Backend::best().run(Choose { sample, factor, bits, codes: &mut codes, error: &mut error });
        let mut histogram = [0; 256];
        codes.iter().for_each(|&code| histogram[code as usize] += 1);
        (histogram, error)
    };
    let (mut histogram, mut error) = count(&[0.0; 256]);
    for _ in 0..2 {
        let total = log2_of(sample.len() as f32);
        (histogram, error) = count(&histogram.map(|n| if n == 0 { total + 4.0 } else { total - log2_of(n as f32) }));
    }
    PRICE * error + entropy(&histogram)
}

/// What a squared ideal step costs, in bits: see `ideal`.
const PRICE: f32 = 12.0 / (2.0 * LN_2);

/// The nearest integer of each weight or the one nearer to zero, whichever costs less, as bytes, and the sum of their squared errors.
struct Choose<'a> {
    sample: &'a [f32],
    factor: f32,
    bits: &'a [f32; 256],
    codes: &'a mut [u8],
    error: &'a mut f32,
}

impl Body for Choose<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { sample, factor, bits, codes, error } = self;
        let byte = |q: f32| q.clamp(-127.0, 127.0) as i8 as u8;
        for (&x, code) in sample.iter().zip(codes) {
            let near = (x / factor).round();
            let inner = near - near.signum();
            let cost = |q: f32| PRICE * (x - q * factor).powi(2) + bits[byte(q) as usize];
            *code = byte(if cost(inner) < cost(near) { inner } else { near });
            *error += (x - *code as i8 as f32 * factor).powi(2);
        }
    }
}

/// The scale of a group of INT4: theory's and larger ones, and those that the largest weights ask for, with what they cut off.
///
/// `price` is what a unit of squared error costs in bits; `bits` what each integer costs, once that is known.
pub(crate) fn of_group(group: &[f32], ideal: f32, price: f32, bits: Option<&[f32; 256]>) -> f32 {
    let (low, high) = Format::Int4.range();
    let (largest, rms) = facts(group);
    if largest == 0.0 {
        return 1.0;
    }
    let full = largest / high as f32;
    let cost = |step: f32| -> f32 {
        let of = |&w: &f32| {
            let code = (w / step).round().clamp(low as f32, high as f32);
            price * (w - code * step).powi(2) + bits.map_or(0.0, |bits| bits[code as i8 as u8 as usize])
        };
        group.iter().map(of).sum()
    };
    let around = ideal.clamp(0.8 * full, COARSEST * rms.max(full));
    let tried = FACTORS.map(|f| f * around).into_iter().chain([1.0, 0.94, 0.88].map(|f| f * full));
    tried.min_by(|&a, &b| cost(a).total_cmp(&cost(b))).unwrap_or(full)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantize::testing::uniform;

    /// Weights like a normal distribution's.
    fn normal(n: usize) -> Vec<f32> {
        let mut uniform = uniform(7);
        (0..n).map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0).collect()
    }

    #[test]
    fn small_steps_are_those_of_theory() {
        let values = normal(1 << 13);
        let steps = of_rows(&values, 1 << 10, &[0.1; 8], false);
        assert!(steps.iter().all(|s| (0.08..0.13).contains(s)), "{steps:?}");
        let halves = of_rows(&values, 1 << 10, &[0.1; 8], true);
        assert!(halves.iter().zip(&steps).all(|(h, s)| (h / s - 0.566).abs() < 0.001), "{halves:?}");
    }

    #[test]
    fn rows_of_zeros_and_with_an_outlier_have_steps_that_reach() {
        let mut values = normal(1 << 12);
        values[..1024].fill(0.0);
        values[2000] = 1000.0;
        let steps = of_rows(&values, 1 << 10, &[0.1; 4], false);
        assert_eq!(steps[0], 1.0);
        assert!(steps[1] >= 1000.0 / 127.0, "{steps:?}");
        assert!(steps[2] < 1.0);
    }

    #[test]
    fn a_group_reaches_its_largest_weight_or_cuts_off_little() {
        let group = normal(128);
        let (largest, _) = facts(&group);
        let step = of_group(&group, 0.01, 1.0, None);
        assert!((0.55..1.01).contains(&(step * 7.0 / largest)), "{step} {largest}");
        assert_eq!(of_group(&[0.0; 32], 0.01, 1.0, None), 1.0);
        // Where bits are dear steps are larger.
        assert!(of_group(&group, 1.5, 1.0, Some(&std::array::from_fn(|i| (i as u8 as i8).unsigned_abs() as f32))) > step);
    }
}
