//! How often each byte of each plane is there.

use super::{Anchor, Svg};
use crate::report::PlaneHistogram;
use std::fmt::Write;

const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 150.0;

pub(crate) fn draw(plane: &PlaneHistogram) -> String {
    let (left, right, top, bottom) = (8.0, WIDTH - 8.0, 12.0, HEIGHT - 26.0);
    let signed = plane.dtype.starts_with('I') && plane.byte + 1 == plane.of;
    let total = plane.counts.iter().sum::<u64>().max(1) as f64;
    let shift = if signed { 128 } else { 0 };
    let shares: Vec<f64> = (0..256).map(|n| plane.counts[(n + shift) % 256] as f64 / total).collect();
    let most = shares.iter().copied().fold(0.0, f64::max).max(1e-9);
    let step = (right - left) / 256.0;
    let mut d = String::new();
    for (n, share) in shares.iter().enumerate().filter(|(_, s)| **s > 0.0) {
        // What is there is seen.
        let height = ((bottom - top) * share / most).max(0.6);
        let _ = write!(d, "M{:.2} {bottom:.1}v-{height:.2}h{step:.2}v{height:.2}z", left + step * n as f64);
    }
    let mut svg = Svg::new(WIDTH, HEIGHT);
    svg.line((left, bottom), (right, bottom), "axis");
    let (most_at, low) = (shares.iter().position(|s| *s == most).unwrap_or(0), if signed { -128 } else { 0 });
    svg.path(&d, "mark bars", &format!("most frequent: {} ({:.2} %)", most_at as i64 + low, 100.0 * most));
    for n in [0, 64, 128, 192, 255] {
        let anchor = match n {
            0 => Anchor::Start,
            255 => Anchor::End,
            _ => Anchor::Middle,
        };
        svg.text(left + step * (n as f64 + 0.5), bottom + 16.0, anchor, "small", &format!("{}", n + low).replace('-', "−"));
    }
    let description = format!("A bar for each value of the byte; the most frequent has {:.2} %.", 100.0 * most);
    svg.finish("", &format!("Histogram of {}", title(plane)), &description)
}

/// The share of the most frequent value.
pub(crate) fn peak(plane: &PlaneHistogram) -> f64 {
    let total = plane.counts.iter().sum::<u64>().max(1) as f64;
    plane.counts.iter().copied().max().unwrap_or(0) as f64 / total
}

/// What a plane is.
pub(crate) fn title(plane: &PlaneHistogram) -> String {
    let part = match (plane.dtype.as_str(), plane.of, plane.byte) {
        ("BF16" | "F16" | "F32", of, byte) if byte + 1 == of => "sign and exponent",
        ("BF16", _, _) => "exponent's last bit, mantissa",
        (_, 1, _) => "the byte",
        (_, of, byte) if byte + 1 == of => "high byte",
        (_, _, 0) => "low byte",
        _ => "middle byte",
    };
    format!("{}: {part}", plane.dtype)
}
