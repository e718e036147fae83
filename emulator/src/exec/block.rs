//! Runs blocks on one host thread: the warps of a block in turns, each until it waits at a barrier or its turn is over.

use super::barrier::Barriers;
use super::plan::Plan;
use super::warp::{State, Warp};
use crate::count::Tally;
use crate::memory::{Buffer, Written};
use crate::sanitize::{Fault, FaultKind, Races};

/// Instructions that a warp executes before another one gets its turn: warps may spin until another one writes.
const TURN: u64 = 1 << 16;
/// What shared memory holds before anything is written: nothing a kernel would take for data.
const POISON: u64 = 0xa5a5_a5a5_a5a5_a5a5;

/// One host thread's share of a launch.
pub(super) struct Runner<'a, const SANITIZE: bool, const COUNT: bool> {
    pub(super) plan: &'a Plan<'a>,
    pub(super) warps: Vec<Warp>,
    pub(super) shared: Buffer,
    /// Local memory of each warp: its lanes' one after the other.
    pub(super) local: Vec<Buffer>,
    /// For each access of the kernel, the region that it last went to.
    pub(super) caches: Vec<usize>,
    pub(super) tally: Tally,
    pub(super) shadow: Shadow,
    pub(super) barriers: Barriers,
    /// Number of the block that runs.
    pub(super) block: u64,
    /// Barriers that the block has passed.
    pub(super) epoch: u32,
    pub(super) thread_instructions: u64,
    pub(super) clock: u64,
}

/// What the sanitizer knows of the block's own memory.
pub(super) struct Shadow {
    pub(super) shared: Written,
    pub(super) local: Vec<Written>,
    pub(super) races: Races,
}

/// Why a warp's turn is over.
pub(super) enum Pause {
    Turn,
    Barrier,
    Done,
}

impl<'a, const SANITIZE: bool, const COUNT: bool> Runner<'a, SANITIZE, COUNT> {
    pub(super) fn new(plan: &'a Plan<'a>) -> Self {
        let (shared, local) = (u64::from(plan.shared_bytes), u64::from(plan.kernel.local_bytes) * 32);
        let buffer = |len| Buffer::zeroed(len).expect("memory for a block");
        let tracked = |len| if SANITIZE { len } else { 0 };
        Self {
            plan,
            warps: (0..plan.warps).map(|_| Warp::new(plan.registers.clone())).collect(),
            shared: buffer(shared),
            local: (0..plan.warps).map(|_| buffer(local)).collect(),
            caches: vec![0; plan.kernel.accesses.len()],
            tally: Tally::new(if COUNT { plan.kernel.ops.len() } else { 0 }),
            shadow: Shadow {
                shared: Written::none_of(tracked(shared)).expect("memory for a block"),
                local: (0..plan.warps).map(|_| Written::none_of(tracked(local)).expect("memory for a block")).collect(),
                races: Races::new(tracked(shared)).expect("memory for a block"),
            },
            barriers: Barriers::default(),
            block: 0,
            epoch: 0,
            thread_instructions: 0,
            clock: 0,
        }
    }

    /// Runs the block of this number to its end.
    pub(super) fn run(&mut self, number: u64) -> Result<(), Fault> {
        self.start(number);
        loop {
            let mut progress = false;
            for warp in 0..self.warps.len() {
                if self.warps[warp].state != State::Ready {
                    continue;
                }
                progress = true;
                if self.warps[warp].spent >= self.plan.limit {
                    let detail = format!("the warp has executed {} instructions", self.warps[warp].spent);
                    return Err(self.fault(warp, FaultKind::Hang, None, None, detail));
                }
                let budget = TURN.min(self.plan.limit - self.warps[warp].spent);
                match self.advance(warp, budget)? {
                    Pause::Turn | Pause::Barrier => {}
                    // Those who wait may have waited for this one only.
                    Pause::Done => self.warp_ended()?,
                }
            }
            if !progress {
                return match self.warps.iter().position(|warp| warp.state != State::Done) {
                    None => Ok(()),
                    Some(warp) => Err(self.deadlock(warp)),
                };
            }
        }
    }

    fn start(&mut self, number: u64) {
        (self.block, self.epoch) = (number, 0);
        self.barriers = Barriers::default();
        self.shared.fill(POISON);
        if SANITIZE {
            self.shadow.shared.clear();
            self.shadow.races.clear();
            self.shadow.local.iter().for_each(Written::clear);
        }
        let block = self.plan.block_index(number);
        for (index, warp) in (0..).zip(&mut self.warps) {
            self.plan.specialise(&mut warp.registers, index, block);
            let lanes = (self.plan.threads - index * 32).min(32);
            warp.start(if lanes == 32 { u32::MAX } else { (1 << lanes) - 1 });
        }
    }

    /// A fault of the instruction that the warp is at.
    pub(super) fn fault(&self, warp: usize, kind: FaultKind, lane: Option<u32>, address: Option<u64>, detail: String) -> Fault {
        let kernel = self.plan.kernel;
        let line = kernel.ops.get(self.warps[warp].current.pc as usize).map_or(0, |op| op.line);
        let block = self.plan.block_index(self.block);
        Fault { kind, kernel: kernel.name.clone(), line, block, warp: warp as u32, lane, address, detail }
    }
}
