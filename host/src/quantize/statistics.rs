//! What is known of a tensor beside its weights: what goes in, and how much its outputs matter.
//!
//! The loss is taken to second order around the model as it is, and its curvature as a Kronecker product (Martens, Grosse: *Optimizing Neural
//! Networks with Kronecker-factored Approximate Curvature*, 2015): an error E of a matrix costs ½ Σ g_i · e_i H e_iᵀ nats a token, where e_i is a row of E,
//! H the second moments of the inputs and g_i the mean square of the loss's gradient in output i. With labels drawn from the model itself the loss is
//! the divergence from the model's own predictions.

use crate::error::Result;
use std::sync::Arc;

/// Statistics of a model's tensors, measured on a text.
pub trait Statistics: Sync {
    /// Those of a tensor, by name; `None` if there are none. Asked for tensor by tensor: it need not hold all of them in memory.
    ///
    /// # Errors
    /// Where they cannot be read.
    fn of(&self, tensor: &str) -> Result<Option<TensorStatistics>>;
}

/// Statistics of a matrix whose product with a vector of `columns` inputs has `rows` outputs.
#[derive(Clone, Debug)]
pub struct TensorStatistics {
    /// Mean products of two inputs, `columns × columns`, row after row; of tokens weighted by how much they matter, where that is known, and then scaled such that the sum of
    /// squares times that of the outputs is as without weights.
    pub inputs: Arc<[f32]>,
    /// Mean square of the loss's gradient in each of the `rows` outputs, nats² a token.
    pub outputs: Vec<f32>,
    /// Where rows are looked up too (an embedding that is the output matrix as well, or one that is not): by row, how often, times the mean square of the
    /// loss's gradient in an element of what is looked up.
    pub lookups: Vec<f32>,
}

/// How much a row's error matters, as a tensor's error is priced: nats a token and unit of squared error, by which errors weighted with the moments
/// (scaled to a mean diagonal of one) are multiplied.
#[derive(Clone, Debug)]
pub(crate) struct Sensitivity {
    /// Of each row.
    pub rows: Vec<f32>,
    /// Second moments, scaled; `None` if all inputs count the same.
    pub moments: Option<Arc<[f32]>>,
}

/// How much less than its tensor's mean the sensitivity of a row is taken to be at the least: a text of some ten thousand tokens says little of what
/// it does not contain, and a row must not be lost for that.
const LEAST: f32 = 1.0 / 16.0;

impl Sensitivity {
    /// From statistics.
    pub(crate) fn measured(statistics: &TensorStatistics, columns: usize) -> Self {
        let TensorStatistics { inputs, outputs, lookups } = statistics;
        let trace: f64 = (0..columns).map(|i| inputs[i * (columns + 1)] as f64).sum();
        let mean = (trace / columns as f64) as f32;
        let mut rows: Vec<f32> = outputs.iter().map(|g| 0.5 * g * mean).collect();
        if !lookups.is_empty() {
            rows.iter_mut().zip(lookups).for_each(|(row, lookup)| *row += 0.5 * lookup);
        }
        let average = (rows.iter().map(|&s| s as f64).sum::<f64>() / rows.len().max(1) as f64) as f32;
        rows.iter_mut().for_each(|row| *row = row.max(LEAST * average));
        let moments = (mean > 0.0 && mean.is_finite()).then(|| inputs.clone());
        Self { rows, moments }
    }

    /// Without statistics: errors relative to the mean square of the tensor's weights, as a share of the model's `elements`.
    pub(crate) fn relative(rows: usize, mean_square: f64, elements: u64) -> Self {
        let each = (1.0 / (mean_square.max(1e-30) * elements.max(1) as f64)) as f32;
        Self { rows: vec![each.clamp(1e-30, 1e30); rows], moments: None }
    }
}
