//! What a load did and when: recorded by every stage, looked at as a picture, in Perfetto, or as numbers.
//!
//! ```text
//! timeline   the recording that threads share; each span is a `tracing` event, too (target `wcodec::load`)
//! overlap    how much of one stage's time was hidden behind another's
//! chrome     for chrome://tracing and ui.perfetto.dev
//! svg        the picture of the document; shapes: what is drawn for spans too narrow to be seen
//! ```
//!
//! Whether reads, copies and decodes overlap is the claim that the runtime makes; this room is how anyone can check it.

mod chrome;
mod overlap;
mod shapes;
mod svg;
#[cfg(test)]
mod tests;
mod timeline;

pub use overlap::Overlap;
pub use timeline::Timeline;

use serde::{Serialize, Serializer};
use std::fmt;

/// What a stage did and when.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Span {
    /// What was done.
    pub stage: Stage,
    /// Who did it: the slot, the staging buffer, the lane or the thread. Tracks of different stages have nothing to do with each other.
    pub track: u32,
    /// The tensor or unit it was done for.
    pub name: String,
    /// When it began: microseconds from the start of the recording, negative if before.
    pub start_us: f64,
    /// When it ended. As early as `start_us` for what takes no time.
    pub end_us: f64,
    /// Bytes read, copied, or made by decoding; 0 where none are counted.
    pub bytes: u64,
}

impl Span {
    /// Microseconds from start to end.
    #[must_use]
    pub fn duration_us(&self) -> f64 {
        self.end_us - self.start_us
    }
}

/// The stages of a load, in the order in which a byte meets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Stage {
    /// Opening the archive, reading and checking its index.
    Open,
    /// A read from storage into a slot.
    Read,
    /// A copy from a slot to the device.
    Copy,
    /// Decoding.
    Decode,
    /// A tensor is complete: a moment, not a span.
    Ready,
    /// The model's forward pass.
    Forward,
    /// Something else of the program that loads.
    Other(&'static str),
}

impl Stage {
    /// The stage in a lower-case word.
    #[must_use]
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

    /// What a track of this stage is, as people call it.
    fn track_name(self, track: u32) -> String {
        let what = match self {
            Self::Read => "slot",
            Self::Copy => "buffer",
            Self::Decode => "lane",
            Self::Ready => "tensors",
            Self::Open | Self::Forward | Self::Other(_) => "thread",
        };
        format!("{what} {track}")
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Stage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
