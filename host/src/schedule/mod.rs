//! What to do next while an archive is loaded: a state machine that is told what has happened and says what to start.
//!
//! ```text
//! unit    waiting ─ reading ─ read ─ copying ─ copied ─ decoding ─ decoded
//! slot              └──────────────────────┘
//! stage                              └──────────────────────────┘
//! lane                                                └─────────┘
//! ```
//!
//! It does no I/O, knows no clock, no thread and no GPU: whoever drives it starts what it says and reports what is done. That is
//! why every order of events can be tried (`tests/`), and why the model of a load (`benches/load_model.rs`) runs this very code.
//!
//! - **Back-pressure** is the pool of slots: a unit is read only into a free one.
//! - **No deadlock**: a unit that holds a slot waits for a stage, one that holds either waits for a lane, and what holds a lane waits for
//!   nothing, so the wait has no cycle.
//! - **Priority**: units are in the order in which the model needs them. They are read in that order; of those that can be copied or
//!   decoded, the lowest goes first.
//! - **The end**: after a failure or a cancellation nothing new is started, what is in flight is awaited (it owns its memory), and only
//!   then is everything [finished](Action::Finished).
//!
//! Public only for that model, and hidden: no part of the library's interface.

mod machine;
#[cfg(test)]
mod tests;

pub use machine::Scheduler;

use std::fmt;

/// One coalesced read, in the order of priority.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Unit {
    /// The tensors, by number, of which the unit holds parts. One that is named twice counts twice, which does no harm.
    pub tensors: Vec<u32>,
}

/// How much of everything there is. More than there are units is the same as one for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Host buffers that reads fill.
    pub slots: usize,
    /// Reads in flight at most.
    pub reads: usize,
    /// Device buffers that slots are copied to; 0: units are decoded straight from their slots, as the CPU does.
    pub stages: usize,
    /// Decodes in flight at most: CUDA streams, or CPU workers.
    pub lanes: usize,
}

/// Where a decode finds its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    Slot(u32),
    Stage(u32),
}

/// What to do now. Those that start something are answered by `read_done`, `copy_done` or `decode_done`, once each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Read the unit into the slot.
    Read { unit: u32, slot: u32 },
    /// Copy the slot to the device. When it is done the slot is free again.
    Copy { unit: u32, slot: u32, stage: u32 },
    /// Decode the unit. When it is done the slot or stage, and the lane, are free again.
    Decode { unit: u32, from: Place, lane: u32 },
    /// All units of the tensor are decoded. Once for each tensor.
    Ready { tensor: u32 },
    /// Nothing is in flight any more, and nobody holds anything. Once, and last.
    Finished(Outcome),
}

/// How it ended. What stopped it first counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Every tensor is ready.
    Complete,
    Cancelled,
    /// A read, copy or decode failed; the driver knows why.
    Failed,
}

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Progress {
    pub units: usize,
    pub units_read: usize,
    pub units_decoded: usize,
    pub tensors: usize,
    pub tensors_ready: usize,
    /// Reads in flight.
    pub reads: usize,
    pub slots_in_use: usize,
    pub stages_in_use: usize,
    pub lanes_in_use: usize,
}

/// Why nothing can be scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Impossible {
    /// The limit named is zero.
    Zero(&'static str),
    /// A unit names a tensor that is not there.
    NoSuchTensor { unit: usize, tensor: u32 },
    /// More units than are counted.
    TooManyUnits(usize),
}

impl fmt::Display for Impossible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero(what) => write!(f, "no {what}: at least one is needed"),
            Self::NoSuchTensor { unit, tensor } => write!(f, "unit {unit} holds parts of tensor {tensor}, which does not exist"),
            Self::TooManyUnits(n) => write!(f, "{n} units: at most {} can be scheduled", u32::MAX),
        }
    }
}

impl std::error::Error for Impossible {}
