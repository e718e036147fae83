//! The distribution of real weights, measured: where the constants of [`Distribution`] come from.

use crate::architectures::SourceTensor;
use crate::distribution::Distribution;
use crate::error::Result;
use crate::quantize::Rows;

/// The distribution of one tensor (`layers` is zero: one tensor does not tell), or `None` if it has too few weights, or nothing but zeros.
pub fn fit(tensor: &SourceTensor, rows: &dyn Rows) -> Result<Option<Distribution>> {
    let (columns, count) = (tensor.columns(), tensor.rows());
    let is_matrix = tensor.shape.len() >= 2 && count >= 16;
    if columns < 16 {
        return Ok(None);
    }
    let mut row = vec![0.0; columns];
    let (mut sum, mut total) = (0.0, 0.0);
    let mut row_means = Vec::with_capacity(count);
    let mut column_means = vec![0.0; columns];
    for n in 0..count {
        rows.fill(n, &mut row)?;
        sum += row.iter().map(|&v| f64::from(v)).sum::<f64>();
        row.iter().zip(&mut column_means).for_each(|(v, c)| *c += f64::from(v.abs()));
        row_means.push(row.iter().map(|v| f64::from(v.abs())).sum::<f64>());
    }
    let n = (count * columns) as f64;
    let mean = if is_matrix { 0.0 } else { sum / n };
    total += row_means.iter().sum::<f64>();
    if total == 0.0 {
        return Ok(None);
    }
    // Rows and columns divided out, mean magnitude over deviation is a function of ν alone.
    let factor = |means: &[f64], i: usize| if is_matrix { means[i] * means.len() as f64 / total } else { 1.0 };
    let (mut magnitude, mut square, mut plain) = (0.0, 0.0, 0.0);
    for r in 0..count {
        rows.fill(r, &mut row)?;
        for (c, &v) in row.iter().enumerate() {
            let v = f64::from(v) - mean;
            let scale = factor(&row_means, r) * factor(&column_means, c);
            plain += v * v;
            if scale > 0.0 {
                magnitude += (v / scale).abs();
                square += (v / scale).powi(2);
            }
        }
    }
    let nu = degrees(magnitude / n / (square / n).sqrt());
    let unit = if tensor.shape.len() < 2 { 1.0 } else { (columns as f64).sqrt() };
    let noise = |samples: usize| ((square / n) / (magnitude / n).powi(2) - 1.0) / samples as f64;
    let spread = |means: &[f64], samples: usize| if is_matrix { log_spread(means, noise(samples)) } else { 0.0 };
    Ok(Some(Distribution {
        mean,
        deviation: (plain / n).sqrt() * unit,
        nu,
        rows: spread(&row_means, columns),
        columns: spread(&column_means, count),
        layers: 0.0,
    }))
}

/// The deviation of logarithms, less what the means of that few samples have of their own.
fn log_spread(means: &[f64], noise: f64) -> f64 {
    let logs: Vec<f64> = means.iter().filter(|&&m| m > 0.0).map(|m| m.ln()).collect();
    let n = logs.len().max(1) as f64;
    let mean = logs.iter().sum::<f64>() / n;
    let variance = logs.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / n;
    (variance - noise).max(0.0).sqrt()
}

/// The ν at which Student's t has that mean magnitude over its deviation, within 2.2 and 200.
fn degrees(ratio: f64) -> f64 {
    let (mut low, mut high) = (2.2, 200.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if mean_magnitude(middle) < ratio { low = middle } else { high = middle }
    }
    low
}

/// The mean magnitude of Student's t of unit variance.
fn mean_magnitude(nu: f64) -> f64 {
    // Γ((ν+1)/2) / Γ(ν/2) by its asymptotic series, eight steps up where it is exact, and back by Γ(x+1) = xΓ(x).
    let steps = 8;
    let big = nu / 2.0 + f64::from(steps);
    let series = big.sqrt() * (1.0 - 1.0 / (8.0 * big) + 1.0 / (128.0 * big * big) + 5.0 / (1024.0 * big.powi(3)));
    let gamma = (0..steps).map(f64::from).fold(series, |g, i| g * (nu / 2.0 + i) / (nu / 2.0 + 0.5 + i));
    2.0 * (nu - 2.0).sqrt() / (nu - 1.0) / std::f64::consts::PI.sqrt() * gamma
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distribution::Synthetic;

    #[test]
    fn mean_magnitudes_are_right() {
        for (nu, expected) in [(3.0, std::f64::consts::FRAC_2_PI), (5.0, 0.7351), (200.0, 0.7969)] {
            assert!((mean_magnitude(nu) - expected).abs() < 1e-4, "{nu}: {}", mean_magnitude(nu));
        }
        assert!((degrees(mean_magnitude(7.5)) - 7.5).abs() < 1e-6);
    }

    #[test]
    fn a_synthetic_tensor_has_the_distribution_it_was_made_with() {
        let tensor = SourceTensor::new("layers.0.up_proj.weight", vec![600, 800]);
        let made = Distribution { mean: 0.0, deviation: 1.5, nu: 6.0, rows: 0.2, columns: 0.3, layers: 0.0 };
        let found = fit(&tensor, &Synthetic::with(&tensor, &made, 7)).expect("reads").expect("enough weights");
        for (name, a, b, within) in [
            ("deviation", found.deviation, made.deviation, 0.08),
            ("nu", found.nu, made.nu, 0.6),
            ("rows", found.rows, made.rows, 0.02),
            ("columns", found.columns, made.columns, 0.03),
        ] {
            assert!((a - b).abs() < within, "{name}: {a} {b}");
        }
    }
}
