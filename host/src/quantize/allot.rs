//! Bits allotted among tensors: one price for all.
//!
//! Where loss and rate of every row are traded at the same λ, no bit would gain more elsewhere (Shoham, Gersho: *Efficient Bit Allocation for an Arbitrary Set of
//! Quantizers*, 1988). Left to find is the λ of a size, which a sample of each tensor tells to a few per cent.

use super::path;
use super::scheme::Format;
use super::step::{bounded, facts, ideal};
use crate::encode::frequency::entropy;

/// Weights of a tensor that are looked at, at most.
const SAMPLE: usize = 1 << 14;

/// A sample of a tensor.
pub(crate) struct Sample {
    format: Format,
    /// Whether its integers may be a trellis's.
    trellis: bool,
    /// Weights of the tensor.
    pub elements: u64,
    groups: Vec<SampledGroup>,
}

/// Weights that share a step.
struct SampledGroup {
    weights: Vec<f32>,
    largest: f32,
    rms: f32,
    /// As in `ideal`.
    sensitivity: f32,
}

impl Sample {
    /// Of a matrix, whose rows' squared errors have these prices.
    pub(crate) fn of(values: &[f32], columns: usize, format: Format, trellis: bool, prices: &[f32]) -> Self {
        let count = values.len() / columns;
        let taken = (SAMPLE / columns).clamp(1, count.max(1)).min(count);
        let group = format.group(columns).unwrap_or(columns);
        let groups = (0..taken).map(|i| i * count / taken).flat_map(|number| {
            let row = &values[number * columns..][..columns];
            row.chunks_exact(group).map(move |group| {
                let (largest, rms) = facts(group);
                let weights = group.iter().step_by(columns.div_ceil(SAMPLE)).copied().collect();
                SampledGroup { weights, largest, rms, sensitivity: prices[number] }
            })
        });
        Self { format, trellis: trellis && format == Format::Int8, elements: values.len() as u64, groups: groups.collect() }
    }

    /// Bits of the whole tensor at a λ.
    pub(crate) fn bits(&self, lambda: f32) -> f64 {
        let (low, high) = self.format.range();
        let (mut histogram, mut seen) = ([0u32; 256], 0u64);
        let excess = |g: &SampledGroup| path::excess(ideal(lambda, g.sensitivity), (g.largest, g.rms));
        let trellis = self.trellis && lambda > 0.0 && self.groups.iter().map(excess).sum::<f32>() < 0.0;
        // From one integer of a state to the next.
        let apart = if trellis { 2.0 } else { 1.0 };
        for group in &self.groups {
            let step = apart * bounded(ideal(lambda, group.sensitivity), group.largest, group.rms, high, trellis);
            let step = step.max(f32::MIN_POSITIVE);
            for w in &group.weights {
                histogram[(w / step).round().clamp(low as f32, high as f32) as i8 as u8 as usize] += 1;
            }
            seen += group.weights.len() as u64;
        }
        entropy(&histogram) as f64 * self.elements as f64 / seen.max(1) as f64
    }
}

/// Bits of all tensors at a λ.
pub(crate) fn total_bits(samples: &[Sample], lambda: f32) -> f64 {
    samples.iter().map(|sample| sample.bits(lambda)).sum()
}

/// The λ at which all tensors have so many bits, or the nearest there is.
pub(crate) fn lambda_for(samples: &[Sample], bits: f64) -> f32 {
    // In octaves; a bit less for each weight is four times the λ.
    let (mut low, mut high) = (-120f32, 60f32);
    for _ in 0..40 {
        let middle = 0.5 * (low + high);
        if total_bits(samples, middle.exp2()) > bits {
            low = middle;
        } else {
            high = middle;
        }
    }
    high.exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_its_price() {
        let values: Vec<f32> =
            (0..1 << 14).map(|i: u32| ((i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32) - 0.5).collect();
        let at = |sensitivity: f32| Sample::of(&values, 256, Format::Int8, false, &[sensitivity; 64]);
        let samples = [at(1.0), at(16.0)];
        let n = values.len() as f64;
        let lambda = lambda_for(&samples, 8.0 * n);
        let bits = samples.each_ref().map(|s| s.bits(lambda) / n);
        // Four times the step at a sixteenth of the sensitivity.
        assert!((bits[0] - 3.0).abs() < 0.1 && (bits[1] - 5.0).abs() < 0.1, "{bits:?}");
        // More than there are: as many as there can be.
        assert!(total_bits(&samples, lambda_for(&samples, 100.0 * n)) < 16.0 * n);
    }
}
