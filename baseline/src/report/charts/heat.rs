//! Bits per weight by kind and layer, as one coder stores them.

use super::{Anchor, NARROW, Svg};
use crate::kind::Kind;
use crate::report::Report;
use std::fmt::Write;

/// A cell that has room for its number.
const ROOM: f64 = 38.0;

pub(crate) fn draw(report: &Report, width: f64, class: &str, coder: usize) -> String {
    let narrow = width <= NARROW;
    let left = if narrow { 86.0 } else { 118.0 };
    let row = 26.0;
    let mut layers: Vec<Option<u32>> = report.cells.iter().map(|c| c.layer).collect();
    layers.sort_unstable();
    layers.dedup();
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|k| report.cells.iter().any(|c| c.kind == *k)).collect();
    let column = ((width - left) / layers.len().max(1) as f64).min(130.0);
    let (low, high) = range(report, coder);

    let top = 26.0;
    let bottom = top + row * kinds.len() as f64;
    let mut svg = Svg::new(width, bottom + 58.0);
    let every = (26.0 / column).ceil().max(1.0) as usize;
    for (n, layer) in layers.iter().enumerate() {
        let label = layer.map_or_else(|| "–".to_owned(), |l| l.to_string());
        if layer.is_none_or(|l| (l as usize).is_multiple_of(every)) {
            svg.text(left + column * (n as f64 + 0.5), top - 8.0, Anchor::Middle, "small", &label);
        }
    }
    svg.text(left - 8.0, top - 8.0, Anchor::End, "small", "layer");
    for (r, kind) in kinds.iter().enumerate() {
        svg.text(left - 8.0, top + row * (r as f64 + 0.5) + 4.0, Anchor::End, "label", kind.label());
    }
    for cell in &report.cells {
        let (Some(c), Some(r)) = (layers.iter().position(|l| *l == cell.layer), kinds.iter().position(|k| *k == cell.kind))
        else {
            continue;
        };
        let bits = cell.bits_per_weight[coder];
        let share = ((bits - low) / (high - low)).clamp(0.0, 1.0);
        let (x, y) = (left + column * c as f64, top + row * r as f64);
        let place = cell.layer.map_or_else(|| "outside of layers".to_owned(), |l| format!("layer {l}"));
        let mut text = String::new();
        let _ = writeln!(
            text,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" class=\"mark heat\" fill-opacity=\"{:.3}\"><title>{}, {place}: \
             {bits:.3} bits per weight</title></rect>",
            x + 0.5,
            y + 0.5,
            (column - 1.0).max(0.5),
            row - 1.0,
            opacity(share),
            cell.kind,
        );
        svg.raw(&text);
        if column >= ROOM {
            let class = if share > 0.5 { "cell on" } else { "cell" };
            svg.text(x + column / 2.0, y + row / 2.0 + 4.0, Anchor::Middle, class, &format!("{bits:.2}"));
        }
    }
    scale(&mut svg, left, width, bottom + 16.0, (low, high));
    let description = format!(
        "A row for each kind of tensor, a column for each layer; the darker, the more bits {} needs for a weight, scales included.",
        report.total.coders[coder].coder
    );
    svg.finish(class, "Bits per weight by kind and layer", &description)
}

/// Ends of the scale: those of matrices, beside which vectors do not matter.
fn range(report: &Report, coder: usize) -> (f64, f64) {
    let all = || report.cells.iter().filter(|c| !matches!(c.kind, Kind::Norm | Kind::Bias)).map(|c| c.bits_per_weight[coder]);
    let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
    if low > high {
        return (0.0, 16.0);
    }
    let low = (low * 10.0).floor() / 10.0;
    (low, ((high * 10.0).ceil() / 10.0).max(low + 0.2))
}

fn opacity(share: f64) -> f64 {
    0.10 + 0.90 * share
}

/// What the colours mean.
fn scale(svg: &mut Svg, left: f64, width: f64, y: f64, (low, high): (f64, f64)) {
    let length = (width - left - 60.0).min(240.0);
    let count = 24;
    for n in 0..count {
        let share = f64::from(n) / f64::from(count - 1);
        let step = length / f64::from(count);
        svg.raw(&format!(
            "<rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.2}\" height=\"10\" class=\"heat\" fill-opacity=\"{:.3}\"/>\n",
            left + step * f64::from(n),
            step + 0.1,
            opacity(share)
        ));
    }
    svg.text(left, y + 26.0, Anchor::Start, "small", &format!("{low:.1}"));
    svg.text(left + length / 2.0, y + 26.0, Anchor::Middle, "small", "bits per weight");
    svg.text(left + length, y + 26.0, Anchor::End, "small", &format!("{high:.1}"));
}
