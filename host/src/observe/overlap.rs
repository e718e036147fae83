//! How much of one stage's time passes while another is at work.

use super::{Span, Stage, Timeline};

/// Times in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Overlap {
    /// When at least one span of the stage was going on.
    pub busy: f64,
    /// Of that, when one of the other stage was too.
    pub covered: f64,
}

impl Overlap {
    /// The share that was not covered; 0 of nothing.
    pub fn uncovered_share(&self) -> f64 {
        if self.busy > 0.0 { (self.busy - self.covered) / self.busy } else { 0.0 }
    }
}

impl Timeline {
    /// How much of `of` passed while `with` was going on.
    pub fn overlap(&self, of: Stage, with: Stage) -> Overlap {
        let spans = self.spans();
        let (of, with) = (union(&spans, of), union(&spans, with));
        let length = |intervals: &[(f64, f64)]| intervals.iter().map(|(a, b)| b - a).sum();
        let (mut covered, mut from) = (0.0, 0);
        for &(a, b) in &of {
            while from < with.len() && with[from].1 <= a {
                from += 1;
            }
            covered += with[from..].iter().take_while(|w| w.0 < b).map(|w| w.1.min(b) - w.0.max(a)).sum::<f64>();
        }
        Overlap { busy: length(&of), covered }
    }
}

/// When a stage was at work: disjoint intervals in order.
fn union(spans: &[Span], stage: Stage) -> Vec<(f64, f64)> {
    let mut union: Vec<(f64, f64)> = Vec::new();
    for span in spans.iter().filter(|s| s.stage == stage && s.end_us > s.start_us) {
        match union.last_mut() {
            Some(last) if span.start_us <= last.1 => last.1 = last.1.max(span.end_us),
            _ => union.push((span.start_us, span.end_us)),
        }
    }
    union
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, Instant};

    proptest! {
        /// Against a count of every microsecond.
        #[test]
        fn as_counted(spans in prop::collection::vec((any::<bool>(), 0u64..200, 0u64..40), 0..30)) {
            let timeline = Timeline::new();
            let began = Instant::now() + Duration::from_millis(1);
            let (mut read, mut decode) = ([false; 300], [false; 300]);
            for (is_read, start, len) in spans {
                let stage = if is_read { Stage::Read } else { Stage::Decode };
                timeline.record(stage, 0, "", began + Duration::from_micros(start), began + Duration::from_micros(start + len), 0);
                let row = if is_read { &mut read } else { &mut decode };
                row[start as usize..(start + len) as usize].fill(true);
            }
            let overlap = timeline.overlap(Stage::Decode, Stage::Read);
            let busy = decode.iter().filter(|d| **d).count() as f64;
            let covered = decode.iter().zip(&read).filter(|(d, r)| **d && **r).count() as f64;
            prop_assert!((overlap.busy - busy).abs() < 0.1, "{overlap:?} {busy}");
            prop_assert!((overlap.covered - covered).abs() < 0.1, "{overlap:?} {covered}");
        }
    }
}
