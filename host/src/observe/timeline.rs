//! The recording.

use super::overlap::Overlap;
use super::{Span, Stage, chrome, svg};
use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A recording that threads add to. Clones share it.
///
/// Every span is kept until the last clone is dropped: about 100 bytes and its name, three spans or four for each MiB that is loaded.
///
/// ```
/// use std::time::Instant;
/// use wcodec::observe::{Stage, Timeline};
///
/// let timeline = Timeline::new();
/// let began = Instant::now();
/// // … read something …
/// timeline.record(Stage::Read, 0, "model.embed_tokens.weight", began, Instant::now(), 4096);
/// let mut picture = Vec::new();
/// timeline.write_svg(&mut picture)?;
/// assert!(picture.starts_with(b"<svg"));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Timeline(Arc<Recording>);

struct Recording {
    start: Instant,
    // One lock for all threads: spans come a few thousand a second, and pushing one takes tens of nanoseconds.
    spans: Mutex<Vec<Span>>,
}

impl Timeline {
    /// An empty recording that starts now.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Recording { start: Instant::now(), spans: Mutex::default() }))
    }

    /// Adds what a stage did from `start` to `end`, and tells `tracing`'s subscribers (target `wcodec::load`; moments and whole
    /// phases at level `DEBUG`, single reads, copies and decodes at `TRACE`).
    pub fn record(&self, stage: Stage, track: u32, name: impl Into<String>, start: Instant, end: Instant, bytes: u64) {
        let (start_us, end_us) = (self.microseconds(start), self.microseconds(end.max(start)));
        let span = Span { stage, track, name: name.into(), start_us, end_us, bytes };
        // Before the lock is taken: a subscriber may do anything, record a span of its own included.
        emit(&span);
        self.add(span);
    }

    /// Adds a span whose times come from elsewhere: of a model, or of a device's clock. Spans whose times are not finite are left out.
    pub fn add(&self, mut span: Span) {
        if !(span.start_us.is_finite() && span.end_us.is_finite()) {
            return;
        }
        span.end_us = span.end_us.max(span.start_us);
        self.lock().push(span);
    }

    /// All that was recorded so far, by start.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        let mut spans = self.lock().clone();
        spans.sort_by(|a, b| a.start_us.total_cmp(&b.start_us));
        spans
    }

    /// Microseconds from the first span's start to the last one's end: what shares of the load's time are shares of. 0 if there are none.
    #[must_use]
    pub fn elapsed_us(&self) -> f64 {
        extent(&self.lock()).map_or(0.0, |(first, last)| last - first)
    }

    /// Microseconds from the start of the recording.
    #[must_use]
    pub fn microseconds(&self, at: Instant) -> f64 {
        match at.checked_duration_since(self.0.start) {
            Some(after) => after.as_secs_f64() * 1e6,
            None => self.0.start.duration_since(at).as_secs_f64() * -1e6,
        }
    }

    /// Writes the trace event format of Chrome as JSON, which `chrome://tracing` and <https://ui.perfetto.dev> open.
    ///
    /// # Errors
    /// Those of `w`.
    pub fn write_chrome(&self, w: impl Write) -> io::Result<()> {
        chrome::write(&self.spans(), w)
    }

    /// Writes a picture: a row for each track, time in milliseconds, totals for each stage. It refers to nothing outside itself, and
    /// is smaller than 2 MB however much was recorded: spans that are too narrow to be seen are drawn together.
    ///
    /// # Errors
    /// Those of `w`.
    pub fn write_svg(&self, mut w: impl Write) -> io::Result<()> {
        w.write_all(svg::draw(&self.spans()).as_bytes())?;
        w.flush()
    }

    /// How much of the time in which any `of` ran was hidden behind `with`.
    #[must_use]
    pub fn overlap(&self, of: Stage, with: Stage) -> Overlap {
        Overlap::between(&self.lock(), of, with)
    }

    /// The share of the [elapsed time](Self::elapsed_us) in which `of` ran and `with` did not, from 0 to 1: by how much the load would be shorter
    /// if all of `of` were hidden behind `with`.
    #[must_use]
    pub fn exposed_share(&self, of: Stage, with: Stage) -> f64 {
        let elapsed = self.elapsed_us();
        if elapsed > 0.0 { (self.overlap(of, with).exposed_us() / elapsed).min(1.0) } else { 0.0 }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Span>> {
        // A panic of another thread leaves whole spans behind.
        self.0.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Timeline {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeline").field("spans", &self.lock().len()).finish_non_exhaustive()
    }
}

/// The first start and the last end.
pub(super) fn extent(spans: &[Span]) -> Option<(f64, f64)> {
    spans.iter().map(|s| (s.start_us, s.end_us)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
}

/// `tracing` fixes level and target where the event is written, so each level has its own.
fn emit(span: &Span) {
    macro_rules! event {
        ($level:ident) => {
            tracing::event!(
                target: "wcodec::load",
                tracing::Level::$level,
                stage = span.stage.name(),
                track = span.track,
                name = span.name.as_str(),
                start_us = span.start_us,
                duration_us = span.duration_us(),
                bytes = span.bytes,
            )
        };
    }
    match span.stage {
        Stage::Read | Stage::Copy | Stage::Decode => event!(TRACE),
        Stage::Open | Stage::Ready | Stage::Forward | Stage::Other(_) => event!(DEBUG),
    }
}
