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
    /// With lookups: mean products of the loss's gradients in two elements of what is looked up, `columns × columns`, up to a factor. Without, all elements
    /// count the same there.
    pub gradients: Option<Arc<[f32]>>,
}

/// How much a row's error matters, as a tensor's error is priced: nats a token and unit of squared error, by which errors weighted with the moments
/// (scaled to a mean diagonal of one) are multiplied.
#[derive(Clone, Debug)]
pub(crate) struct Sensitivity {
    /// Of each row.
    pub rows: Vec<f32>,
    /// Second moments of each class of rows, scaled; none if all inputs count the same.
    pub moments: Vec<Arc<[f32]>>,
    /// The class of each row; empty if there is but one.
    pub classes: Vec<u8>,
}

/// How much less than its tensor's mean the sensitivity of a row is taken to be at the least: a text of some ten thousand tokens says little of what
/// it does not contain, and a row must not be lost for that.
const LEAST: f32 = 1.0 / 16.0;
/// Classes of rows that are looked up as well: from one to the next four times as much of the loss is in that.
const CLASSES: i32 = 5;

impl Sensitivity {
    /// From statistics.
    pub(crate) fn measured(statistics: &TensorStatistics, columns: usize) -> Self {
        let TensorStatistics { inputs, outputs, lookups, gradients } = statistics;
        let mean = mean_of(inputs, columns);
        let mut rows: Vec<f32> = outputs.iter().map(|g| 0.5 * g * mean).collect();
        let (mut moments, mut classes) = (Vec::new(), Vec::new());
        let known = |mean: f32| mean > 0.0 && mean.is_finite();
        if lookups.is_empty() {
            moments.extend(known(mean).then(|| inputs.clone()));
        } else {
            let class = |(row, lookup): (&f32, &f32)| {
                let octaves = (lookup.max(f32::MIN_POSITIVE) / (2.0 * row).max(f32::MIN_POSITIVE)).log2();
                ((0.5 * octaves).round() as i32).clamp(-CLASSES / 2, CLASSES / 2) + CLASSES / 2
            };
            let wanted: Vec<i32> = rows.iter().zip(lookups).map(class).collect();
            let (inputs, gradients) = (scaled(Some(inputs), columns), scaled(gradients.as_deref(), columns));
            for class in (0..CLASSES).filter(|class| wanted.contains(class)) {
                let ratio = 4f32.powi(class - CLASSES / 2);
                let share = ratio / (1.0 + ratio);
                moments.push(inputs.iter().zip(&gradients).map(|(i, g)| (1.0 - share) * i + share * g).collect());
            }
            let number = |class: &i32| (0..*class).filter(|c| wanted.contains(c)).count() as u8;
            classes = wanted.iter().map(number).collect();
            rows.iter_mut().zip(lookups).for_each(|(row, lookup)| *row += 0.5 * lookup);
        }
        let average = (rows.iter().map(|&s| s as f64).sum::<f64>() / rows.len().max(1) as f64) as f32;
        rows.iter_mut().for_each(|row| *row = row.max(LEAST * average));
        Self { rows, moments, classes }
    }

    /// Without statistics: errors relative to the mean square of the tensor's weights, as a share of the model's `elements`.
    pub(crate) fn relative(rows: usize, mean_square: f64, elements: u64) -> Self {
        let each = (1.0 / (mean_square.max(1e-30) * elements.max(1) as f64)) as f32;
        Self { rows: vec![each.clamp(1e-30, 1e30); rows], moments: Vec::new(), classes: Vec::new() }
    }
}

/// The mean of a matrix's diagonal.
fn mean_of(moments: &[f32], columns: usize) -> f32 {
    let trace: f64 = (0..columns).map(|i| moments[i * (columns + 1)] as f64).sum();
    (trace / columns.max(1) as f64) as f32
}

/// Moments, scaled to a mean diagonal of one; where they are not known all elements count the same.
fn scaled(moments: Option<&[f32]>, columns: usize) -> Vec<f32> {
    let known = moments.map(|m| (m, mean_of(m, columns)));
    match known.filter(|(m, mean)| *mean > 0.0 && m.iter().all(|v| (v / mean).is_finite())) {
        Some((moments, mean)) => moments.iter().map(|v| v / mean).collect(),
        None => (0..columns * columns).map(|k| (k % (columns + 1) == 0) as u8 as f32).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagonal(values: [f32; 3]) -> Arc<[f32]> {
        (0..9).map(|k| if k % 4 == 0 { values[k / 4] } else { 0.0 }).collect()
    }

    #[test]
    fn rows_that_are_looked_up_have_moments_of_both() {
        let statistics = TensorStatistics {
            inputs: diagonal([2.0, 4.0, 6.0]),
            outputs: vec![1.0, 1.0, 1.0, 0.0],
            // What the head has of rows, four times that, hardly any; the last is only looked up.
            lookups: vec![4.0, 16.0, 1e-9, 1.0],
            gradients: Some(diagonal([30.0, 0.0, 0.0])),
        };
        let Sensitivity { rows, moments, classes } = Sensitivity::measured(&statistics, 3);
        assert_eq!(classes, [1, 2, 0, 3]);
        assert!((rows[0] - 4.0).abs() < 1e-6 && (rows[1] - 10.0).abs() < 1e-6, "{rows:?}");
        let at = |class: usize| [0, 4, 8].map(|k| moments[class][k]);
        // Half of (2, 4, 6) / 4, half of (3, 0, 0).
        assert_eq!(at(1), [1.75, 0.5, 0.75]);
        assert!((at(2)[0] - (0.2 * 0.5 + 0.8 * 3.0)).abs() < 1e-6, "{:?}", at(2));
        // A mean diagonal of one, whatever the class, and whatever is no number.
        let broken = TensorStatistics { inputs: diagonal([f32::NAN, 1.0, f32::INFINITY]), ..statistics.clone() };
        assert!(Sensitivity::measured(&broken, 3).moments.iter().flat_map(|m| m.iter()).all(|v| v.is_finite()));
        (0..4).for_each(|class| assert!((mean_of(&moments[class], 3) - 1.0).abs() < 1e-6));
    }

    #[test]
    fn without_a_head_or_without_gradients() {
        let lookups = vec![1.0, 2.0];
        let statistics = TensorStatistics {
            inputs: diagonal([1.0; 3]),
            outputs: vec![0.0; 2],
            lookups,
            gradients: Some(diagonal([1.0, 2.0, 3.0])),
        };
        let Sensitivity { moments, classes, .. } = Sensitivity::measured(&statistics, 3);
        assert_eq!((moments.len(), classes), (1, vec![0, 0]));
        assert!(moments[0][0] < 0.6 && moments[0][8] > 1.4, "{moments:?}");
        let alike = Sensitivity::measured(&TensorStatistics { gradients: None, ..statistics }, 3);
        assert!((alike.moments[0][0] - 1.0).abs() < 1e-6 && alike.moments[0][1] == 0.0);
    }
}
