//! What a load did, and when: a recording of spans, written as a Chrome trace or drawn as a picture.

mod chrome;
mod overlap;
mod svg;

pub use overlap::Overlap;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// The index and the directories were read, the load planned.
    Open,
    /// A unit was read.
    Read,
    /// A unit was copied to the device.
    Copy,
    /// A unit was decoded.
    Decode,
    /// A tensor became ready: no span but a moment.
    Ready,
    /// The model ran.
    Forward,
    /// Something of the caller's.
    Other(&'static str),
}

impl Stage {
    /// A word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Read => "read",
            Self::Copy => "copy",
            Self::Decode => "decode",
            Self::Ready => "ready",
            Self::Forward => "forward",
            Self::Other(name) => name,
        }
    }
}

/// One thing that was done.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// What.
    pub stage: Stage,
    /// By which slot, stage buffer, lane or thread.
    pub track: u32,
    /// To what.
    pub name: String,
    /// Microseconds from the beginning of the recording.
    pub start_us: f64,
    /// See [`start_us`](Self::start_us).
    pub end_us: f64,
    /// Bytes that came of it.
    pub bytes: u64,
}

/// A recording that threads add to. Clones share it.
#[derive(Clone, Debug)]
pub struct Timeline(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    began: Instant,
    spans: Mutex<Vec<Span>>,
}

impl Default for Timeline {
    fn default() -> Self {
        Self::new()
    }
}

impl Timeline {
    /// An empty recording that begins now.
    pub fn new() -> Self {
        Self(Arc::new(Inner { began: Instant::now(), spans: Mutex::default() }))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Span>> {
        // A panic while a span is pushed leaves a recording without it.
        self.0.spans.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Adds a span, and tells `tracing` of it.
    pub fn record(&self, stage: Stage, track: u32, name: impl Into<String>, start: Instant, end: Instant, bytes: u64) {
        let name = name.into();
        let micros = |t: Instant| t.saturating_duration_since(self.0.began).as_secs_f64() * 1e6;
        let (start_us, end_us) = (micros(start), micros(end));
        tracing::debug!(target: "wcodec::load", stage = stage.name(), track, name, start_us, micros = end_us - start_us, bytes);
        self.lock().push(Span { stage, track, name, start_us, end_us, bytes });
    }

    /// All spans, in the order of their starts.
    pub fn spans(&self) -> Vec<Span> {
        let mut spans = self.lock().clone();
        spans.sort_by(|a, b| a.start_us.total_cmp(&b.start_us).then(a.end_us.total_cmp(&b.end_us)));
        spans
    }
}
