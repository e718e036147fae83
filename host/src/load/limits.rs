//! How many buffers, reads and decodes a load has at once: pure.

use crate::schedule::Limits;

/// Reads in flight.
pub(super) const DEPTH: usize = 8;

/// Units given to each decoding thread: one that it decodes, and one that it finds without waiting for the driver to hear that it is done.
const GIVEN: usize = 2;

/// Streams of a GPU that decode at most: more gain nothing.
const GPU_LANES: usize = 4;

/// What limits depend on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Bytes of buffers at most.
    pub budget: u64,
    /// Bytes of the longest read.
    pub slot_bytes: u64,
    pub threads: usize,
    pub on_gpu: bool,
    pub units: usize,
}

impl Room {
    /// The limits, or how large the budget must be at least.
    pub(super) fn limits(&self) -> Result<Limits, u64> {
        // What a slot and a stage take besides: an alignment's page, the slack behind payloads.
        let buffer_bytes = self.slot_bytes + if self.on_gpu { 4096 } else { 0 };
        let buffers = usize::try_from(self.budget / buffer_bytes).unwrap_or(usize::MAX);
        // A slot, and a stage for a GPU.
        let least = if self.on_gpu { 2 } else { 1 };
        if buffers < least {
            return Err(least as u64 * buffer_bytes);
        }
        let workers = if self.on_gpu { self.threads.min(GPU_LANES) } else { self.threads };
        let lanes = if self.on_gpu { workers } else { GIVEN * workers };
        let stages = if self.on_gpu { (buffers / 2).min(lanes + 1) } else { 0 };
        let slots = (buffers - stages).min(DEPTH + 2 * workers).min(self.units.max(1));
        Ok(Limits { slots, reads: DEPTH.min(slots), stages, lanes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Room = Room { budget: 64 << 20, slot_bytes: 4 << 20, threads: 2, on_gpu: false, units: 100 };

    #[test]
    fn what_a_default_load_has() {
        assert_eq!(ROOM.limits(), Ok(Limits { slots: 12, reads: 8, stages: 0, lanes: 4 }));
        let gpu = Room { budget: 256 << 20, slot_bytes: 8 << 20, threads: 16, on_gpu: true, ..ROOM };
        assert_eq!(gpu.limits(), Ok(Limits { slots: 16, reads: 8, stages: 5, lanes: 4 }));
        assert_eq!(Room { units: 3, ..ROOM }.limits(), Ok(Limits { slots: 3, reads: 3, stages: 0, lanes: 4 }));
        // Nothing to load is no error.
        assert_eq!(Room { units: 0, ..ROOM }.limits().map(|l| l.slots), Ok(1));
    }

    #[test]
    fn buffers_never_exceed_the_budget() {
        for on_gpu in [false, true] {
            for threads in [1, 2, 5, 64] {
                for budget in (0..200).map(|i| i * 4096) {
                    let room = Room { budget, slot_bytes: 3 * 4096, threads, on_gpu, units: 1000 };
                    let buffer = room.slot_bytes + if on_gpu { 4096 } else { 0 };
                    match room.limits() {
                        Ok(l) => {
                            assert!((l.slots + l.stages) as u64 * buffer <= budget);
                            assert!(l.slots > 0 && (1..=l.slots).contains(&l.reads) && (l.stages > 0) == on_gpu && l.lanes > 0);
                        }
                        Err(needed) => {
                            assert!(needed > budget);
                            assert!(
                                Room { budget: needed, ..room }.limits().is_ok()
                                    && Room { budget: needed - 1, ..room }.limits().is_err()
                            );
                        }
                    }
                }
            }
        }
    }
}
