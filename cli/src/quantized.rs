//! What `inspect` says of matrices that are stored as integers with scales.

use crate::output::plain;
use serde::Serialize;
use wcodec::quantize::{Dequantized, Quantized};
use wcodec::{Archive, TensorReport};

/// A matrix of integers.
#[derive(Serialize)]
pub(crate) struct QuantizedReport {
    /// Its name in the model.
    name: String,
    /// INT8 or INT4.
    format: &'static str,
    /// Rows and columns.
    shape: [u64; 2],
    /// Weights of a row that share a scale.
    group_size: u64,
    /// Bits that the integers take in the archive, for each weight.
    bits_per_weight: f64,
    /// Its scales; null where there are none or they cannot be read (as those that are coded against a base).
    step: Option<Step>,
}

#[derive(Serialize)]
struct Step {
    min: f32,
    median: f32,
    max: f32,
}

/// Reports of what is quantized in an archive: of all, or of those whose integers are among these tensors of the archive. Nothing where
/// integers and scales do not go together: what it is then is not for `inspect` to say.
pub(crate) fn reports(archive: &Archive, tensors: &[TensorReport], names: &[String]) -> Vec<QuantizedReport> {
    let Ok(model) = Dequantized::new(archive) else { return Vec::new() };
    let wanted = |q: &Quantized| names.is_empty() || names.contains(&q.stored_as);
    let report = |q: Quantized| {
        let coded = tensors.iter().find(|t| t.name == q.stored_as)?.coded_bytes;
        let weights = (q.rows * q.columns).max(1);
        Some(QuantizedReport {
            step: model.scales(&q.name).ok().and_then(step),
            format: q.format.name(),
            shape: [q.rows, q.columns],
            group_size: q.group,
            bits_per_weight: 8.0 * coded as f64 / weights as f64,
            name: q.name,
        })
    };
    let mut reports: Vec<_> = model.quantized().filter(wanted).filter_map(report).collect();
    // As the tensors are.
    let place = |q: &QuantizedReport| tensors.iter().position(|t| t.name.strip_suffix("_packed").unwrap_or(&t.name) == q.name);
    reports.sort_by_cached_key(place);
    reports
}

fn step(mut scales: Vec<f32>) -> Option<Step> {
    scales.sort_by(f32::total_cmp);
    let (min, max) = (*scales.first()?, *scales.last()?);
    Some(Step { min, median: scales[scales.len() / 2], max })
}

/// The rows of a table, its head first.
pub(crate) fn rows(reports: &[QuantizedReport]) -> Vec<[String; 8]> {
    let head = ["QUANTIZED", "FORMAT", "SHAPE", "GROUP", "BITS", "STEP MIN", "MEDIAN", "MAX"].map(String::from);
    let row = |q: &QuantizedReport| {
        let step = |of: fn(&Step) -> f32| q.step.as_ref().map_or("-".into(), |s| format!("{:.3e}", of(s)));
        [
            plain(&q.name),
            q.format.to_owned(),
            format!("{:?}", q.shape),
            if q.group_size == q.shape[1] { "row".into() } else { q.group_size.to_string() },
            format!("{:.3}", q.bits_per_weight),
            step(|s| s.min),
            step(|s| s.median),
            step(|s| s.max),
        ]
    };
    std::iter::once(head).chain(reports.iter().map(row)).collect()
}
