//! Runs launches: blocks in order over host threads, the warps of a block in turns, 32 lanes at once.

mod access;
mod address;
mod atomic;
mod barrier;
mod block;
mod plan;
mod step;
mod transfer;
mod warp;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use self::block::Runner;
use self::plan::Plan;
use crate::count::{Counters, Tally};
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
    kernel: &Kernel,
    globals: &LoadedGlobals,
    memory: &Memory,
    launch: &Launch,
    options: &Options,
) -> Result<Outcome, Fault> {
    let plan = Plan::new(kernel, globals, memory, launch, options)?;
    match (options.sanitize, options.count) {
        (false, false) => run_as::<false, false>(&plan, options),
        (false, true) => run_as::<false, true>(&plan, options),
        (true, false) => run_as::<true, false>(&plan, options),
        (true, true) => run_as::<true, true>(&plan, options),
    }
}

/// What the threads of a launch share.
struct Progress {
    /// Number of the next block to run.
    next: AtomicU64,
    faulted: AtomicBool,
    /// The fault of the first block, in the grid's order, that has one.
    fault: Mutex<Option<(u64, Fault)>>,
    thread_instructions: AtomicU64,
    tally: Mutex<Tally>,
}

fn run_as<const SANITIZE: bool, const COUNT: bool>(plan: &Plan<'_>, options: &Options) -> Result<Outcome, Fault> {
    let blocks: u64 = plan.grid.iter().map(|&axis| u64::from(axis)).product();
    let progress = Progress {
        next: AtomicU64::new(0),
        faulted: AtomicBool::new(false),
        fault: Mutex::new(None),
        thread_instructions: AtomicU64::new(0),
        tally: Mutex::new(Tally::new(if COUNT { plan.kernel.ops.len() } else { 0 })),
    };
    let threads = (options.threads.max(1) as u64).min(blocks);
    // One thread's work is done by the caller.
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|| work::<SANITIZE, COUNT>(plan, &progress, blocks));
        }
        work::<SANITIZE, COUNT>(plan, &progress, blocks);
    });
    if let Some((_, fault)) = progress.fault.into_inner().expect("no holder panics") {
        return Err(fault);
    }
    let tally = progress.tally.into_inner().expect("no holder panics");
    Ok(Outcome {
        counters: COUNT.then(|| tally.counters(plan.kernel)),
        thread_instructions: progress.thread_instructions.into_inner(),
    })
}

/// Runs blocks as long as there are any.
fn work<const SANITIZE: bool, const COUNT: bool>(plan: &Plan<'_>, progress: &Progress, blocks: u64) {
    let mut runner = Runner::<SANITIZE, COUNT>::new(plan);
    while !progress.faulted.load(Relaxed) {
        let number = progress.next.fetch_add(1, Relaxed);
        if number >= blocks {
            break;
        }
        if let Err(fault) = runner.run(number) {
            progress.faulted.store(true, Relaxed);
            let mut first = progress.fault.lock().expect("no holder panics");
            if first.as_ref().is_none_or(|(known, _)| number < *known) {
                *first = Some((number, fault));
            }
        }
    }
    progress.thread_instructions.fetch_add(runner.thread_instructions, Relaxed);
    if COUNT {
        progress.tally.lock().expect("no holder panics").add(&runner.tally);
    }
}
