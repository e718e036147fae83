//! Branches, exits, barriers, fences.

use super::super::graph::Flow;
use super::super::statement::{Operand, Statement};
use super::scope::Symbol;
use super::{Lowering, PtxError};
use crate::count::Pipe;
use crate::isa::{Action, Barrier, NOWHERE, Op, Operands, Reduction, TRUE, Ty};

/// Where lanes go from an instruction.
pub(super) fn flow(op: &Op, tables: &[Vec<u32>]) -> Flow {
    let guarded = op.guard != TRUE;
    match &op.action {
        Action::Branch { target, .. } => Flow { next: guarded, targets: vec![*target], exits: false },
        Action::BranchTable { table, .. } => Flow { next: guarded, targets: tables[*table as usize].clone(), exits: false },
        Action::Exit => Flow { next: guarded, targets: Vec::new(), exits: !guarded },
        Action::Trap => Flow { next: guarded, targets: Vec::new(), exits: false },
        _ => Flow { next: true, targets: Vec::new(), exits: false },
    }
}

impl Lowering<'_> {
    /// Decodes an instruction that directs lanes, if it is one.
    pub(super) fn control(&mut self, statement: &Statement, modifiers: &[&str]) -> Result<bool, PtxError> {
        let operands = statement.operands.as_slice();
        let (action, a) = match (statement.name.as_str(), modifiers, operands) {
            ("bra", [] | ["uni"], [Operand::Name(label, 0)]) => (Action::Branch { target: self.label(label)?, meet: NOWHERE }, 0),
            ("brx", ["idx"] | ["idx", "uni"], [index, Operand::Name(list, 0)]) => {
                let Some(Symbol::Targets(labels)) = self.symbol(list) else {
                    return self.error(format!("{list} is no list of branch targets"));
                };
                let mut targets = Vec::new();
                for label in &labels {
                    targets.push(self.label(label)?);
                }
                let a = self.source(index, Ty::U32, false)?;
                self.tables.push(targets);
                (Action::BranchTable { table: self.tables.len() as u32 - 1, meet: NOWHERE }, a)
            }
            ("ret", [] | ["uni"], []) => match self.calls.last() {
                Some(&(_, after)) => (Action::Branch { target: after, meet: NOWHERE }, 0),
                None => (Action::Exit, 0),
            },
            ("exit", [], []) => (Action::Exit, 0),
            ("trap", [], []) => (Action::Trap, 0),
            ("bar" | "barrier", ["warp", "sync"], [members]) => {
                (Action::WarpBarrier { members: self.source(members, Ty::U32, false)? }, 0)
            }
            ("bar" | "barrier", _, _) => return self.barrier(statement, modifiers),
            ("membar" | "fence" | "prefetch" | "prefetchu" | "nanosleep" | "discard" | "applypriority" | "pmevent", _, _) => {
                (Action::Nothing, 0)
            }
            _ => return Ok(false),
        };
        self.emit(action, Operands { a, ..Operands::default() }, Pipe::Control)?;
        Ok(true)
    }

    fn label(&mut self, name: &str) -> Result<u32, PtxError> {
        match self.symbol(name) {
            Some(Symbol::Label(label)) => Ok(label),
            _ => self.error(format!("{name} is no label")),
        }
    }

    /// `bar` is the aligned `barrier`. Of either, all threads of a warp must be there at once: what the hardware does with the others is
    /// nothing to rely on.
    fn barrier(&mut self, statement: &Statement, modifiers: &[&str]) -> Result<bool, PtxError> {
        let rest = match modifiers {
            ["cta", rest @ ..] => rest,
            rest => rest,
        };
        let (form, rest) = match rest {
            ["red", reduction @ ("popc" | "and" | "or"), rest @ ..] => (*reduction, rest),
            [form @ ("sync" | "arrive"), rest @ ..] => (*form, rest),
            _ => return Ok(false),
        };
        // The grammar has both orders of `aligned` and the reduction.
        let rest: Vec<&str> = rest.iter().copied().filter(|part| !matches!(*part, "u32" | "pred")).collect();
        if !matches!(rest[..], [] | ["aligned"]) {
            return Ok(false);
        }
        let reduction = match form {
            "popc" => Some(Reduction::Popc),
            "and" => Some(Reduction::And),
            "or" => Some(Reduction::Or),
            _ => None,
        };
        let mut operands = statement.operands.as_slice();
        let mut slots = Operands::default();
        if let Some(reduction) = reduction {
            let [target, middle @ .., predicate] = operands else { return self.error("operands are missing") };
            let ty = if reduction == Reduction::Popc { Ty::U32 } else { Ty::Pred };
            slots.d = self.target(target, ty, false)?.slot;
            slots.a = self.source(predicate, Ty::Pred, false)?;
            operands = middle;
        }
        let (id, threads) = match operands {
            [id] => (self.source(id, Ty::U32, false)?, None),
            [id, threads] => (self.source(id, Ty::U32, false)?, Some(self.source(threads, Ty::U32, false)?)),
            _ => return self.error("a barrier has one or two operands"),
        };
        let barrier = Barrier { id, threads, waits: form != "arrive", reduction };
        self.emit(Action::Barrier(barrier), slots, Pipe::Control)?;
        Ok(true)
    }
}
