//! Runs launches.

use crate::count::Counters;
use crate::memory::Memory;
use crate::ptx::{Kernel, LoadedGlobals};
use crate::sanitize::Fault;

/// What to run a kernel on.
#[derive(Debug, Clone, Default)]
pub struct Launch {
    /// Blocks of the grid.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Bytes of shared memory besides what the kernel declares.
    pub dynamic_shared: u32,
    /// The parameter block: each parameter at its offset.
    pub params: Vec<u8>,
}

/// How to run it.
#[derive(Debug, Clone)]
pub struct Options {
    /// Look for uninitialised reads, races and barriers that not all threads reach. Bounds, alignment, masks are always checked.
    pub sanitize: bool,
    /// Count events.
    pub count: bool,
    /// Host threads to run blocks on, at least 1.
    pub threads: usize,
    /// Instructions after which a warp counts as hung.
    pub instruction_limit: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self { sanitize: false, count: false, threads: 1, instruction_limit: None }
    }
}

/// What came of a launch.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// The events, if they were counted.
    pub counters: Option<Counters>,
    /// Instructions executed, summed over the lanes that were active in each.
    pub thread_instructions: u64,
}

/// Runs a launch to its end. The first fault ends it; memory is then left as it is.
pub fn run(
    _kernel: &Kernel,
    _globals: &LoadedGlobals,
    _memory: &Memory,
    _launch: &Launch,
    _options: &Options,
) -> Result<Outcome, Fault> {
    todo!()
}
