//! What a load does next: a pure, deterministic state machine.
//!
//! It knows units (a read each), slots (buffers that are read into), stages (device buffers) and lanes (who decodes), by number only: no I/O, no
//! threads, no clocks, no CUDA, so that every order of events can be explored (`tests.rs`).
//!
//! ```text
//! unit:   waiting → reading → read → (copying → staged →) decoding → done
//! holds:            slot      slot    slot+stage  stage    slot or stage, and a lane
//! ```
//!
//! Units are read in their order, which is the order in which tensors are wanted, and decoded lowest first of those that are there. A unit that
//! fails, or a cancellation, stops all that is not in flight; then what is in flight is awaited, and no tensor becomes ready any more.

mod machine;
#[cfg(test)]
mod tests;

pub(crate) use machine::Scheduler;

/// One read, and the tensors (by number) of which it holds parts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Unit {
    pub tensors: Vec<u32>,
}

/// How much of everything there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Limits {
    /// Buffers to read into.
    pub slots: usize,
    /// Reads in flight at most.
    pub reads: usize,
    /// Device buffers; 0: units are decoded from their slots.
    pub stages: usize,
    /// Decodes in flight at most: CUDA streams, or threads.
    pub lanes: usize,
}

/// Where a unit's bytes are when it is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Slot(u32),
    Stage(u32),
}

/// How a load ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// Every tensor became ready.
    Complete,
    /// [`Scheduler::cancel`] was called before.
    Cancelled,
    /// Something failed.
    Failed,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// Read a unit into a slot; [`Scheduler::read_done`] when it is.
    Read { unit: u32, slot: u32 },
    /// Copy a slot to a stage; [`Scheduler::copy_done`] when it is, and the slot is free again.
    Copy { unit: u32, slot: u32, stage: u32 },
    /// Decode a unit; [`Scheduler::decode_done`] when it is, and slot or stage are free again.
    Decode { unit: u32, from: Place, lane: u32 },
    /// All units of a tensor are decoded.
    Ready { tensor: u32 },
    /// Nothing is in flight, and nothing will be.
    Finished(Outcome),
}

/// Limits with which nothing could ever be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Impossible;
