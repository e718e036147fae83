//! What a quantization came to.

use super::matrix::Quantized;
use super::scheme::Format;
use super::step::facts;
use serde::Serialize;

/// A tensor that was quantized.
#[derive(Clone, Debug, Serialize)]
pub struct TensorQuantization {
    /// Its name in the source.
    pub name: String,
    /// `INT8` or `INT4`.
    pub format: &'static str,
    /// Outputs.
    pub rows: u64,
    /// Inputs.
    pub columns: u64,
    /// Bits of an integer, by the codec's tables, scales not included.
    pub bits_per_weight: f64,
    /// Least, middle and greatest step.
    pub steps: [f32; 3],
    /// Largest error of a weight.
    pub largest_error: f32,
    /// The same as a share of the tensor's largest weight.
    pub largest_relative_error: f32,
    /// Root mean square of the errors, as a share of that of the weights.
    pub relative_error: f64,
    /// Predicted loss: with calibration in what was measured (nats a token; of sentence encoders one less the cosine), else the share of the model's squared weights.
    /// Where what was lost before is made good, that of rounding alone.
    pub loss: f64,
}

impl TensorQuantization {
    /// What became of a tensor.
    pub(crate) fn of(name: &str, shape: &[u64], format: Format, values: &[f32], quantized: &Quantized) -> Self {
        let (largest, rms) = facts(values);
        let mut steps: Vec<f32> = quantized.scales.iter().map(|s| s.to_f32()).collect();
        steps.sort_by(f32::total_cmp);
        let share = |x: f64, of: f64| if of > 0.0 { x / of } else { 0.0 };
        let n = values.len().max(1) as f64;
        Self {
            name: name.to_owned(),
            format: format.name(),
            rows: shape[0],
            columns: shape[1],
            bits_per_weight: quantized.bits / n,
            steps: [steps[0], steps[steps.len() / 2], steps[steps.len() - 1]],
            largest_error: quantized.largest_error,
            largest_relative_error: share(quantized.largest_error as f64, largest as f64) as f32,
            relative_error: share((quantized.square_error / n).sqrt(), rms as f64),
            loss: quantized.loss,
        }
    }
}

/// A model that was quantized.
#[derive(Clone, Debug, Serialize)]
pub struct QuantizeReport {
    /// The tensors that were, in the source's order.
    pub tensors: Vec<TensorQuantization>,
    /// How many were kept as they are.
    pub kept: usize,
    /// Weights of all tensors.
    pub weights: u64,
    /// Bytes of the source's safetensors files.
    pub source_bytes: u64,
    /// Bytes of the quantized checkpoint before it is archived, by its tensors: what other tools store.
    pub flat_bytes: u64,
    /// Bytes of the archive, everything included.
    pub archive_bytes: u64,
    /// Loss that a bit was let cost, times the weights.
    pub lambda: f64,
    /// Predicted loss of all tensors.
    pub loss: f64,
    /// Whether statistics of a text went into it.
    pub calibrated: bool,
}

impl QuantizeReport {
    /// Bits of the archive for each weight of the model.
    pub fn bits_per_weight(&self) -> f64 {
        8.0 * self.archive_bytes as f64 / self.weights.max(1) as f64
    }

    /// The archive's bytes for each of the checkpoint as it is restored.
    pub fn ratio(&self) -> f64 {
        self.archive_bytes as f64 / self.flat_bytes.max(1) as f64
    }
}

impl Format {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int8 => "INT8",
            Self::Int4 => "INT4",
        }
    }
}
