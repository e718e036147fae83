//! Barriers of a block.

use super::block::{Pause, Runner};
use super::warp::State;
use crate::isa::{Barrier, Operands, Reduction};
use crate::sanitize::{Fault, FaultKind};

/// Barriers that a block has.
const NUMBER: usize = 16;

/// The block's barriers.
#[derive(Debug, Default)]
pub(super) struct Barriers([Arrivals; NUMBER]);

/// Who is at a barrier.
#[derive(Debug, Default)]
struct Arrivals {
    /// Threads that have arrived; whole warps count, as the hardware counts them.
    threads: u32,
    /// Threads to wait for; none for all of the block.
    expected: Option<u32>,
    waiting: Vec<usize>,
    /// Threads whose predicate was set, and threads that had one.
    votes: (u32, u32),
}

impl<const SANITIZE: bool, const COUNT: bool> Runner<'_, SANITIZE, COUNT> {
    /// A warp arrives with the lanes of `mask`.
    pub(super) fn arrive(
        &mut self,
        warp: usize,
        barrier: &Barrier,
        operands: &Operands,
        mask: u32,
    ) -> Result<Option<Pause>, Fault> {
        let fault = |runner: &Self, detail: String| Err(runner.fault(warp, FaultKind::BarrierDivergence, None, None, detail));
        let state = &self.warps[warp];
        if mask != state.alive {
            let missing = state.alive & !mask;
            return fault(
                self,
                format!("the warp's lanes {missing:#010x} are not at the barrier that lanes {mask:#010x} are at"),
            );
        }
        let first = mask.trailing_zeros() as usize;
        let number = state.registers.get::<u32>(barrier.id)[first];
        let expected = barrier.threads.map(|slot| state.registers.get::<u32>(slot)[first]);
        let votes = state.registers.predicate(operands.a) & mask;
        if number as usize >= NUMBER {
            return fault(self, format!("there is no barrier {number}"));
        }
        if expected.is_some_and(|threads| threads == 0 || threads % 32 != 0) {
            return fault(self, format!("a barrier for {} threads, no multiple of 32", expected.unwrap_or(0)));
        }
        let arrivals = &mut self.barriers.0[number as usize];
        if arrivals.threads != 0 && arrivals.expected != expected {
            let before = arrivals.expected;
            return fault(self, format!("barrier {number} for {expected:?} threads, where others wait for {before:?}"));
        }
        arrivals.expected = expected;
        arrivals.threads += 32;
        arrivals.votes.0 += votes.count_ones();
        arrivals.votes.1 += mask.count_ones();
        self.warps[warp].current.pc += 1;
        if barrier.waits {
            self.barriers.0[number as usize].waiting.push(warp);
            self.warps[warp].state = State::Waiting(number);
        }
        self.complete(number as usize)?;
        Ok(barrier.waits.then_some(Pause::Barrier))
    }

    /// Lets the warps at a barrier go if all have arrived.
    fn complete(&mut self, number: usize) -> Result<(), Fault> {
        let arrivals = &self.barriers.0[number];
        if arrivals.threads == 0 {
            return Ok(());
        }
        // Warps that have ended are not waited for.
        let ended = self.warps.iter().filter(|warp| warp.state == State::Done).count() as u32;
        let complete = match arrivals.expected {
            Some(threads) => arrivals.threads >= threads,
            None => arrivals.threads / 32 + ended == self.plan.warps,
        };
        if !complete {
            return Ok(());
        }
        let here = arrivals.votes.1;
        if SANITIZE && arrivals.expected.is_none() && here != self.plan.threads {
            let warp = arrivals.waiting.first().copied().unwrap_or(0);
            self.warps[warp].current.pc -= 1;
            let detail =
                format!("{here} of the block's {} threads are at barrier {number}, the others have ended", self.plan.threads);
            return Err(self.fault(warp, FaultKind::BarrierDivergence, None, None, detail));
        }
        let Arrivals { waiting, votes: (yes, all), .. } = std::mem::take(&mut self.barriers.0[number]);
        self.epoch += 1;
        for warp in waiting {
            let warp = &mut self.warps[warp];
            warp.state = State::Ready;
            let op = &self.plan.kernel.ops[warp.current.pc as usize - 1];
            let crate::isa::Action::Barrier(Barrier { reduction: Some(reduction), .. }) = op.action else { continue };
            let mask = warp.current.mask;
            match reduction {
                Reduction::Popc => warp.registers.set(op.operands.d, mask, &[yes; 32]),
                Reduction::And => warp.registers.set_predicate(op.operands.d, mask, u32::from(yes == all).wrapping_neg()),
                Reduction::Or => warp.registers.set_predicate(op.operands.d, mask, u32::from(yes != 0).wrapping_neg()),
            }
        }
        Ok(())
    }

    /// A warp has ended: barriers that only waited for it are complete.
    pub(super) fn warp_ended(&mut self) -> Result<(), Fault> {
        (0..NUMBER).try_for_each(|number| self.complete(number))
    }

    /// All warps that are left wait for others that never come.
    pub(super) fn deadlock(&mut self, warp: usize) -> Fault {
        let State::Waiting(number) = self.warps[warp].state else { unreachable!("warps that are ready make progress") };
        let Arrivals { threads, expected, .. } = &self.barriers.0[number as usize];
        let expected = expected.unwrap_or(self.plan.threads);
        let detail =
            format!("{threads} threads wait at barrier {number} for {expected}, the others wait elsewhere or have ended");
        self.warps[warp].current.pc -= 1;
        self.fault(warp, FaultKind::BarrierDivergence, None, None, detail)
    }
}
