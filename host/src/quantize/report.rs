//! What a quantization came to.

use super::scheme::Format;
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
    /// Predicted loss: with calibration nats a token, else the share of the model's squared weights.
    pub loss: f64,
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
