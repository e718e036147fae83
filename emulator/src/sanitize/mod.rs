//! What can go wrong in a kernel, and the shadow state that finds it.

mod fault;

pub use fault::{Fault, FaultKind};
