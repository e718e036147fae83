//! The scheduler against a checker that keeps its own books: in every order of events for small cases, in random ones for large.

mod checker;
mod explore;
mod faults;
mod order;

use super::{Limits, Scheduler, Unit};

/// What is loaded and with what.
#[derive(Clone, Debug)]
struct Case {
    /// The tensors of each unit.
    units: Vec<Vec<u32>>,
    tensors: u32,
    limits: Limits,
}

impl Case {
    fn scheduler(&self) -> Scheduler {
        let units = self.units.iter().map(|tensors| Unit { tensors: tensors.clone() }).collect();
        Scheduler::new(units, self.tensors, self.limits).expect("the case is possible")
    }
}

/// What happens to the scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Read(u32, bool),
    Copied(u32, bool),
    Decoded(u32, bool),
    Cancel,
}

impl Event {
    fn tell(self, scheduler: &mut Scheduler) {
        match self {
            Self::Read(unit, ok) => scheduler.read_done(unit, ok),
            Self::Copied(unit, ok) => scheduler.copy_done(unit, ok),
            Self::Decoded(unit, ok) => scheduler.decode_done(unit, ok),
            Self::Cancel => scheduler.cancel(),
        }
    }
}
