//! Instructions that compute on registers, lane by lane or across lanes.

use super::super::statement::{Operand, Statement};
use super::{Lowering, PtxError};
use crate::count::Pipe;
use crate::isa::{self, Action, Alu, Operands, Ty, Width, find_warp, pack};

impl Lowering<'_> {
    /// Decodes an instruction that computes, if it is one.
    pub(super) fn compute(&mut self, statement: &Statement, modifiers: &[&str]) -> Result<bool, PtxError> {
        let name = statement.name.as_str();
        if name == "mov" && self.vector_move(statement, modifiers)? || name == "set" && self.set(statement, modifiers)? {
            return Ok(true);
        }
        if let Some(alu) = isa::find(name, modifiers) {
            self.alu(&alu, &statement.operands)?;
            return Ok(true);
        }
        self.across_lanes(statement, modifiers)
    }

    fn alu(&mut self, alu: &Alu, operands: &[Operand]) -> Result<(), PtxError> {
        let Some((target, sources)) = operands.split_first() else { return self.error("operands are missing") };
        if sources.len() != alu.sources.len() + usize::from(alu.constant) {
            return self.error(format!("{} source operands", sources.len()));
        }
        let mut slots = [0; 4];
        for ((slot, source), ty) in slots.iter_mut().zip(sources).zip(&alu.sources) {
            *slot = self.source(source, *ty, alu.relaxed)?;
        }
        // A predicate that a compare reads takes the third place even if it is not the third source.
        let mut imm = alu.imm;
        if alu.sources.len() == 4 {
            imm = slots[3];
        }
        if alu.constant {
            let Some(Operand::Integer(value)) = sources.last() else { return self.error("the last operand must be a constant") };
            imm = *value as u32;
        }
        let (first, second) = match target {
            Operand::Pair(first, second) if alu.targets.len() == 2 => (first.as_ref(), Some(second.as_ref())),
            target => (target, None),
        };
        let target = self.target(first, alu.targets[0], alu.relaxed)?;
        let e = match (alu.targets.get(1), second) {
            (Some(ty), second) => self.target(second.unwrap_or(&Operand::Sink), *ty, false)?.slot,
            (None, _) => 0,
        };
        let [a, b, c, _] = slots;
        self.emit_alu(alu, Operands { d: target.slot, e, a, b, c, imm })?;
        self.widen(&target)
    }

    /// `set` is a compare, and a choice by its result.
    fn set(&mut self, statement: &Statement, modifiers: &[&str]) -> Result<bool, PtxError> {
        let [comparison @ .., to, from] = modifiers else { return Ok(false) };
        let Some(compare) = isa::find("setp", &[comparison, &[*from]].concat()) else { return Ok(false) };
        let (yes, ty) = match *to {
            "u32" | "s32" => (u32::MAX, Ty::B32),
            "f32" => (1f32.to_bits(), Ty::B32),
            _ => return Ok(false),
        };
        let Some((target, sources)) = statement.operands.split_first() else { return self.error("operands are missing") };
        if sources.len() != compare.sources.len() {
            return self.error(format!("{} source operands", sources.len()));
        }
        let mut slots = [0; 3];
        for ((slot, source), ty) in slots.iter_mut().zip(sources).zip(&compare.sources) {
            *slot = self.source(source, *ty, false)?;
        }
        let [a, b, c] = slots;
        let (d, e) = (self.new_slot(Width::Pred), self.new_slot(Width::Pred));
        self.emit_alu(&compare, Operands { d, e, a, b, c, imm: compare.imm })?;
        let target = self.target(target, ty, false)?;
        let (a, b) = (self.bits(yes.into(), Width::W32), self.bits(0, Width::W32));
        let select = isa::find("selp", &["b32"]).expect("it is in the table");
        self.emit_alu(&select, Operands { d: target.slot, a, b, c: d, ..Operands::default() })?;
        Ok(true)
    }

    /// Moves that put narrower registers together or take them apart, and those that read what changes while a warp runs.
    fn vector_move(&mut self, statement: &Statement, modifiers: &[&str]) -> Result<bool, PtxError> {
        let ([ty], [target, source]) = (modifiers, statement.operands.as_slice()) else { return Ok(false) };
        let Some(ty) = Ty::parse(ty) else { return Ok(false) };
        match (target, source) {
            (_, Operand::Vector(parts)) => {
                let target = self.target(target, ty, false)?;
                self.pack(target.slot, ty, parts)?;
                Ok(true)
            }
            (Operand::Vector(parts), _) => {
                let source = self.source(source, ty, false)?;
                self.unpack(source, ty, parts)?;
                Ok(true)
            }
            (_, Operand::Name(name, 0)) if matches!(name.as_str(), "%clock" | "%clock64" | "%clock_hi" | "%globaltimer") => {
                let wide = ty.width() == Width::W64;
                let width = if wide { Ty::B64 } else { Ty::B32 };
                let target = self.target(target, width, false)?;
                if (name.as_str() == "%clock") == wide || name == "%clock_hi" {
                    return self.error(format!("{name} cannot be read as {ty:?}"));
                }
                self.emit(Action::Clock { wide }, Operands { d: target.slot, ..Operands::default() }, Pipe::Alu)?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn pack(&mut self, d: u32, ty: Ty, parts: &[Operand]) -> Result<(), PtxError> {
        let part = match (ty.bytes(), parts.len()) {
            (4, 2) | (8, 4) => Ty::B16,
            (8, 2) => Ty::B32,
            _ => return self.error(format!("a vector of {} in {ty:?}", parts.len())),
        };
        let mut slots = Vec::new();
        for operand in parts {
            slots.push(self.source(operand, part, false)?);
        }
        if slots.len() == 4 {
            for pair in 0..2 {
                let whole = self.new_slot(Width::W32);
                self.emit_alu(&pack::pack16(), Operands { d: whole, a: slots[pair], b: slots[pair + 1], ..Operands::default() })?;
                slots.splice(pair..pair + 2, [whole]);
            }
        }
        let pack = if ty.bytes() == 8 { pack::pack32() } else { pack::pack16() };
        self.emit_alu(&pack, Operands { d, a: slots[0], b: slots[1], ..Operands::default() })
    }

    fn unpack(&mut self, a: u32, ty: Ty, parts: &[Operand]) -> Result<(), PtxError> {
        let part = match (ty.bytes(), parts.len()) {
            (4, 2) | (8, 4) => Ty::B16,
            (8, 2) => Ty::B32,
            _ => return self.error(format!("a vector of {} from {ty:?}", parts.len())),
        };
        // All parts are read before any is written: a part may be a half's own register.
        let mut halves = vec![a];
        if parts.len() == 4 {
            halves = vec![self.new_slot(Width::W32), self.new_slot(Width::W32)];
            for (high, &d) in [false, true].into_iter().zip(&halves) {
                self.emit_alu(&pack::unpack32(high), Operands { d, a, ..Operands::default() })?;
            }
        }
        for (index, operand) in parts.iter().enumerate().filter(|(_, operand)| **operand != Operand::Sink) {
            let (half, high) = (halves[index / 2], index % 2 == 1);
            let unpack = if part == Ty::B32 { pack::unpack32(high) } else { pack::unpack16(high) };
            let target = self.target(operand, part, false)?;
            self.emit_alu(&unpack, Operands { d: target.slot, a: half, ..Operands::default() })?;
        }
        Ok(())
    }

    fn across_lanes(&mut self, statement: &Statement, modifiers: &[&str]) -> Result<bool, PtxError> {
        if (statement.name.as_str(), modifiers) == ("activemask", &["b32"][..]) {
            let [target] = statement.operands.as_slice() else { return self.error("one operand is expected") };
            let target = self.target(target, Ty::B32, false)?;
            self.emit(Action::ActiveMask, Operands { d: target.slot, ..Operands::default() }, Pipe::Warp)?;
            return Ok(true);
        }
        let Some(shape) = find_warp(&statement.name, modifiers) else { return Ok(false) };
        let [target, sources @ .., members] = statement.operands.as_slice() else { return self.error("operands are missing") };
        if sources.len() != shape.sources.len() {
            return self.error(format!("{} source operands besides the mask", sources.len()));
        }
        let mut slots = [0; 3];
        for ((slot, source), ty) in slots.iter_mut().zip(sources).zip(&shape.sources) {
            *slot = self.source(source, *ty, false)?;
        }
        let members = self.source(members, Ty::U32, false)?;
        let (first, second) = match target {
            Operand::Pair(first, second) if shape.targets.len() == 2 => (first.as_ref(), second.as_ref()),
            target => (target, &Operand::Sink),
        };
        let d = self.target(first, shape.targets[0], false)?.slot;
        let e = match shape.targets.get(1) {
            Some(ty) => self.target(second, *ty, false)?.slot,
            None => 0,
        };
        let [a, b, c] = slots;
        self.emit(Action::Warp { run: shape.run, members }, Operands { d, e, a, b, c, imm: 0 }, Pipe::Warp)?;
        Ok(true)
    }
}
