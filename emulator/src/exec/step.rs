//! The interpreter: one warp, instruction after instruction, all active lanes at once.

use super::block::{Pause, Runner};
use super::warp::State;
use crate::isa::{Action, NOWHERE, Op, Slot, TRUE};
use crate::sanitize::{Fault, FaultKind};

impl<const SANITIZE: bool, const COUNT: bool> Runner<'_, SANITIZE, COUNT> {
    /// Executes instructions of a warp until it pauses, `budget` at most.
    pub(super) fn advance(&mut self, warp: usize, budget: u64) -> Result<Pause, Fault> {
        let plan = self.plan;
        let ops = plan.kernel.ops.as_slice();
        let mut executed = 0;
        let mut thread_instructions = 0;
        let mut outcome = Ok(Pause::Turn);
        while executed < budget {
            let state = &mut self.warps[warp];
            let current = state.current;
            if current.pc == current.meet {
                state.resume();
                continue;
            }
            let op = &ops[current.pc as usize];
            let mask = current.mask & (state.registers.predicate(op.guard) ^ op.unless);
            executed += 1;
            thread_instructions += u64::from(mask.count_ones());
            if COUNT {
                self.tally.instruction(current.pc as usize, op.pipe, mask);
            }
            if let Action::Alu(exec) = op.action {
                exec.run(&mut state.registers, &op.operands, mask);
                state.current.pc += 1;
                continue;
            }
            if mask == 0 {
                state.current.pc += 1;
                continue;
            }
            match self.other(warp, op, mask, executed) {
                Ok(None) => {}
                Ok(Some(pause)) => {
                    outcome = Ok(pause);
                    break;
                }
                Err(fault) => {
                    outcome = Err(fault);
                    break;
                }
            }
        }
        self.warps[warp].spent += executed;
        self.thread_instructions += thread_instructions;
        self.clock += executed;
        outcome
    }

    /// Executes an instruction that does more than compute on registers.
    #[inline(never)]
    fn other(&mut self, warp: usize, op: &Op, mask: u32, executed: u64) -> Result<Option<Pause>, Fault> {
        match &op.action {
            Action::Memory(index) => self.access(warp, *index as usize, mask)?,
            Action::Branch { target, meet } => {
                self.branch(warp, *target, *meet, mask);
                return Ok(self.ended(warp));
            }
            Action::BranchTable { table, meet } => {
                self.branch_table(warp, op, *table, *meet, mask)?;
                return Ok(self.ended(warp));
            }
            Action::Exit => {
                let state = &mut self.warps[warp];
                state.current.pc += 1;
                state.retire(mask);
                return Ok(self.ended(warp));
            }
            Action::Alu(exec) => exec.run(&mut self.warps[warp].registers, &op.operands, mask),
            Action::Warp { run, members } => {
                self.check_members(warp, *members, mask)?;
                run(&mut self.warps[warp].registers, &op.operands, mask);
            }
            Action::WarpBarrier { members } => {
                self.check_members(warp, *members, mask)?;
                self.warps[warp].epoch += 1;
            }
            Action::Barrier(barrier) => return self.arrive(warp, barrier, &op.operands, mask),
            Action::Trap => {
                return Err(self.fault(warp, FaultKind::Trap, Some(mask.trailing_zeros()), None, "trap was executed".to_owned()));
            }
            Action::Clock { wide } => {
                let (clock, registers) = (self.clock + executed, &mut self.warps[warp].registers);
                match wide {
                    true => registers.set(op.operands.d, mask, &[clock; 32]),
                    false => registers.set(op.operands.d, mask, &[clock as u32; 32]),
                }
            }
            Action::ActiveMask => self.warps[warp].registers.set(op.operands.d, mask, &[mask; 32]),
            Action::Nothing => {}
        }
        self.warps[warp].current.pc += 1;
        Ok(None)
    }

    fn ended(&self, warp: usize) -> Option<Pause> {
        (self.warps[warp].state == State::Done).then_some(Pause::Done)
    }

    #[inline(always)]
    fn branch(&mut self, warp: usize, target: u32, meet: u32, mask: u32) {
        let state = &mut self.warps[warp];
        if mask == state.current.mask {
            state.current.pc = target;
            return;
        }
        let next = state.current.pc + 1;
        let rest = state.current.mask & !mask;
        self.part(warp, &mut [(target, mask), (next, rest)], meet);
    }

    fn branch_table(&mut self, warp: usize, op: &Op, table: u32, meet: u32, mask: u32) -> Result<(), Fault> {
        let targets = &self.plan.kernel.tables[table as usize];
        let state = &self.warps[warp];
        let picks = *state.registers.get::<u32>(op.operands.a);
        let mut sides: Vec<(u32, u32)> = Vec::new();
        if state.current.mask != mask {
            sides.push((state.current.pc + 1, state.current.mask & !mask));
        }
        for lane in super::transfer::lanes(mask) {
            let Some(&target) = targets.get(picks[lane] as usize) else {
                let detail = format!("branch {} of a table of {}", picks[lane], targets.len());
                return Err(self.fault(warp, FaultKind::OutOfBounds, Some(lane as u32), None, detail));
            };
            match sides.iter_mut().find(|(pc, _)| *pc == target) {
                Some((_, lanes)) => *lanes |= 1 << lane,
                None => sides.push((target, 1 << lane)),
            }
        }
        match sides[..] {
            [(target, _)] => self.warps[warp].current.pc = target,
            _ => self.part(warp, &mut sides, meet),
        }
        Ok(())
    }

    /// Lanes go different ways. Those that only exit do so at once, as they would on hardware: nobody waits for them.
    fn part(&mut self, warp: usize, sides: &mut [(u32, u32)], meet: u32) {
        for (pc, lanes) in sides.iter_mut() {
            if self.only_exits(*pc) {
                let state = &mut self.warps[warp];
                state.alive &= !*lanes;
                state.current.mask &= !*lanes;
                state.waiting.iter_mut().for_each(|group| group.mask &= !*lanes);
                *lanes = 0;
            }
        }
        self.warps[warp].part(sides, meet);
    }

    fn only_exits(&self, mut pc: u32) -> bool {
        // Compilers jump to the exit in one step or two.
        for _ in 0..3 {
            match self.plan.kernel.ops.get(pc as usize) {
                Some(Op { action: Action::Exit, guard: TRUE, .. }) => return true,
                Some(Op { action: Action::Branch { target, .. }, guard: TRUE, .. }) => pc = *target,
                _ => return false,
            }
        }
        debug_assert_ne!(pc, NOWHERE);
        false
    }

    /// A `.sync` instruction is executed by the lanes of `mask`: they must be the ones it names that have not ended.
    fn check_members(&self, warp: usize, members: Slot, mask: u32) -> Result<(), Fault> {
        let state = &self.warps[warp];
        let named = state.registers.get::<u32>(members);
        let first = mask.trailing_zeros() as usize;
        if named[first] & state.alive == mask
            && (mask == u32::MAX || super::transfer::lanes(mask).all(|lane| named[lane] == named[first]))
        {
            // With a full mask, one more look: a register may hold different masks.
            if mask != u32::MAX || named.iter().all(|lanes| *lanes == named[first]) {
                return Ok(());
            }
        }
        for lane in super::transfer::lanes(mask) {
            let detail =
                format!("the mask {:#010x} of the lane, executing are {mask:#010x}, living {:#010x}", named[lane], state.alive);
            if named[lane] >> lane & 1 == 0 || named[lane] != named[first] {
                return Err(self.fault(warp, FaultKind::WrongMask, Some(lane as u32), None, detail));
            }
            if named[lane] & state.alive & !mask != 0 {
                return Err(self.fault(warp, FaultKind::DivergentSync, Some(lane as u32), None, detail));
            }
        }
        // What is left: the mask names fewer lanes than execute, and no lane of theirs is missing.
        Ok(())
    }
}
