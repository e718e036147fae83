//! How much of a stage's time was hidden behind another's.

use super::{Span, Stage};
use serde::Serialize;

/// How much of one stage's time was hidden behind another's. Time is counted once, however many tracks were at work in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Overlap {
    /// Microseconds in which the one stage ran.
    pub total_us: f64,
    /// Those of them in which the other ran, too.
    pub covered_us: f64,
}

impl Overlap {
    /// Microseconds in which the one ran and the other did not.
    #[must_use]
    pub fn exposed_us(&self) -> f64 {
        self.total_us - self.covered_us
    }

    /// [`exposed_us`](Self::exposed_us) as a share of `total_us`, from 0 to 1; 0 if the stage took no time. Of the whole load's time:
    /// [`Timeline::exposed_share`](super::Timeline::exposed_share).
    #[must_use]
    pub fn exposed_share(&self) -> f64 {
        if self.total_us > 0.0 { self.exposed_us() / self.total_us } else { 0.0 }
    }

    pub(super) fn between(spans: &[Span], of: Stage, with: Stage) -> Self {
        let (of, with) = (busy(spans, of), busy(spans, with));
        // Rounding may make the sum of the parts larger than the whole.
        Self { total_us: length(&of), covered_us: common(&of, &with).min(length(&of)) }
    }
}

/// When a stage ran: intervals by start, none touching the next.
pub(super) fn busy(spans: &[Span], stage: Stage) -> Vec<(f64, f64)> {
    union(spans.iter().filter(|s| s.stage == stage).map(|s| (s.start_us, s.end_us)).collect())
}

/// The same points as intervals by start, none touching the next.
pub(super) fn union(mut intervals: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    intervals.sort_by(|a, b| a.0.total_cmp(&b.0));
    intervals.dedup_by(|next, last| {
        let touches = next.0 <= last.1;
        if touches {
            last.1 = last.1.max(next.1);
        }
        touches
    });
    intervals
}

pub(super) fn length(intervals: &[(f64, f64)]) -> f64 {
    intervals.iter().map(|(start, end)| end - start).sum()
}

/// The time that is in both. Each pass leaves behind the interval that ends first, which nothing later can meet.
fn common(mut a: &[(f64, f64)], mut b: &[(f64, f64)]) -> f64 {
    let mut sum = 0.0;
    while let ([x, rest_a @ ..], [y, rest_b @ ..]) = (a, b) {
        sum += (x.1.min(y.1) - x.0.max(y.0)).max(0.0);
        if x.1 < y.1 { a = rest_a } else { b = rest_b }
    }
    sum
}
