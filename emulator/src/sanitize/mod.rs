//! What can go wrong in a kernel, and the shadow state that finds it.

mod fault;
mod races;

pub use fault::{Fault, FaultKind};
pub(crate) use races::{GlobalRaces, Races, Who};
