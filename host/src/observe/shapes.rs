//! From spans to what is drawn: pixels, runs of spans too narrow to be seen, ticks of the axis.

use super::Span;
use super::overlap::{length, union};

/// From microseconds to pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    /// What is at the left end of the axis.
    pub(super) first_us: f64,
    /// Where that is.
    pub(super) left: f64,
    pub(super) pixels_per_us: f64,
}

impl Scale {
    pub(super) fn x(&self, us: f64) -> f64 {
        self.left + (us - self.first_us) * self.pixels_per_us
    }
}

/// A rectangle of the picture.
#[derive(Debug)]
pub(super) struct Shape<'a> {
    pub(super) first: &'a Span,
    pub(super) last: &'a Span,
    /// How many spans it stands for.
    pub(super) spans: usize,
    /// Where it begins and ends, in pixels.
    pub(super) x: (f64, f64),
    /// Microseconds in which any of its spans ran.
    pub(super) busy_us: f64,
    /// That as a share of its width; 1 if it has none.
    pub(super) density: f64,
    pub(super) bytes: u64,
}

/// The shapes of one row, whose `spans` are sorted by start. Spans that are `4 × near` wide or wider stay themselves; narrower ones become
/// runs with their neighbours of that kind where less than `near` is between them. A run is cut once it is `16 × near` wide, since a
/// shape shows one density and its title one time: over a long load, both change.
///
/// With `near` at half a pixel, nothing that could be told apart is merged.
pub(super) fn shapes<'a>(spans: &[&'a Span], scale: &Scale, near: f64) -> Vec<Shape<'a>> {
    let x = |span: &Span| (scale.x(span.start_us), scale.x(span.end_us));
    let narrow = |span: &Span| x(span).1 - x(span).0 < 4.0 * near;
    let mut shapes = Vec::new();
    let mut rest = spans;
    while let [first, ..] = rest {
        let mut end = x(first).1;
        let mut taken = 1;
        while narrow(first) {
            let Some(next) = rest.get(taken).filter(|next| narrow(next) && x(next).0 - end < near) else { break };
            if end - x(first).0 >= 16.0 * near {
                // Up to where the next piece begins: a cut must not look like a pause.
                end = end.max(x(next).0);
                break;
            }
            end = end.max(x(next).1);
            taken += 1;
        }
        let (run, after) = rest.split_at(taken);
        let busy_us = length(&union(run.iter().map(|s| (s.start_us, s.end_us)).collect()));
        let width_us = (end - x(first).0) / scale.pixels_per_us;
        shapes.push(Shape {
            first,
            last: run[taken - 1],
            spans: taken,
            x: (x(first).0, end),
            busy_us,
            density: if width_us > 0.0 { (busy_us / width_us).min(1.0) } else { 1.0 },
            bytes: run.iter().fold(0, |sum, s| sum.saturating_add(s.bytes)),
        });
        rest = after;
    }
    shapes
}

/// Multiples of 1, 2 or 5 times a power of ten from `first` to `last`, about ten of them.
pub(super) fn ticks(first: f64, last: f64) -> Vec<f64> {
    let raw = (last - first) / 10.0;
    let power = 10f64.powf(raw.log10().floor());
    let step = power * [1.0, 2.0, 5.0].into_iter().find(|step| raw <= step * power * 1.01).unwrap_or(10.0);
    // A span of nanoseconds years after the start would have more steps than a floating-point number has values.
    let (from, to) = ((first / step).ceil(), (last / step).floor());
    if !(step > 0.0 && to - from <= 20.0) {
        return vec![first];
    }
    (0..=(to - from) as usize).map(|i| (from + i as f64) * step).collect()
}
