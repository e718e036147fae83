//! Operands to slots.

use super::super::statement::Operand;
use super::scope::Symbol;
use super::{Lowering, PtxError};
use crate::isa::{Action, Alu, Input, Operands, Slot, Special, TRUE, Ty, Width, pack};

/// A register that an instruction writes: where the result goes, and how it gets into the register if that is wider.
pub(super) struct Target {
    pub(super) slot: Slot,
    widened: Option<(Slot, bool)>,
}

impl Lowering<'_> {
    /// What a name stands for, registers being given a slot on their first use.
    pub(super) fn symbol(&mut self, name: &str) -> Option<Symbol> {
        for depth in (0..self.scopes.len()).rev() {
            if let Some(symbol) = self.scopes[depth].get(name) {
                return Some(symbol.clone());
            }
            if let Some(ty) = self.scopes[depth].undiscovered(name) {
                let symbol = Symbol::Register(ty, self.new_slot(ty.width()));
                self.scopes[depth].declare(name, symbol.clone());
                return Some(symbol);
            }
        }
        if self.module.variables.contains(name) {
            return Some(Symbol::Variable);
        }
        let (variable, dynamic) = *self.module.shared.get(name)?;
        if dynamic {
            return Some(Symbol::DynamicShared);
        }
        // Only what a kernel names takes room in its shared memory.
        if !self.shared.contains_key(name) {
            let offset = self.shared(variable).ok()?;
            self.shared.insert(name.to_owned(), offset);
        }
        Some(Symbol::Shared(self.shared[name]))
    }

    pub(super) fn input(&mut self, input: Input) -> Slot {
        if let Some(&slot) = self.inputs.get(&input) {
            return slot;
        }
        let wide = match &input {
            Input::Bits32(_) => false,
            Input::Bits64(_) => true,
            Input::Param { wide, .. } | Input::Variable { wide, .. } | Input::DynamicShared { wide, .. } => *wide,
            Input::Special(special) => special.is_wide(),
        };
        let slot = self.new_slot(if wide { Width::W64 } else { Width::W32 });
        self.inputs.insert(input, slot);
        slot
    }

    pub(super) fn bits(&mut self, value: u64, width: Width) -> Slot {
        match width {
            Width::W64 => self.input(Input::Bits64(value)),
            _ => self.input(Input::Bits32(value as u32)),
        }
    }

    /// The predicate of this name.
    pub(super) fn predicate(&mut self, name: &str) -> Result<Slot, PtxError> {
        match self.symbol(name) {
            Some(Symbol::Register(Ty::Pred, slot)) => Ok(slot),
            _ => self.error(format!("{name} is no predicate")),
        }
    }

    /// The slot of an operand that is read as `ty`. With `relaxed`, a wider register gives its low bits.
    pub(super) fn source(&mut self, operand: &Operand, ty: Ty, relaxed: bool) -> Result<Slot, PtxError> {
        let width = ty.width();
        match operand {
            Operand::Not(name) => {
                let source = self.predicate(name)?;
                self.inverted(source)
            }
            Operand::Integer(value) if width == Width::Pred => match *value != 0 {
                true => Ok(TRUE),
                false => self.inverted(TRUE),
            },
            Operand::Integer(value) => Ok(self.bits(truncate(*value, ty), width)),
            Operand::Float(value, single) => self.float(*value, *single, ty),
            Operand::Name(name, offset) => self.named(name, *offset, ty, relaxed),
            _ => self.error(format!("an operand that is no {ty:?}: {operand:?}")),
        }
    }

    fn inverted(&mut self, source: Slot) -> Result<Slot, PtxError> {
        let target = self.new_slot(Width::Pred);
        let not = crate::isa::find("not", &["pred"]).expect("it is in the table");
        self.emit_alu(&not, Operands { d: target, a: source, ..Operands::default() })?;
        Ok(target)
    }

    fn float(&mut self, value: f64, single: Option<u32>, ty: Ty) -> Result<Slot, PtxError> {
        match (ty.width(), single, ty.bytes()) {
            (Width::W64, _, _) => Ok(self.bits(value.to_bits(), Width::W64)),
            (Width::W32, Some(bits), 4) => Ok(self.bits(bits.into(), Width::W32)),
            (Width::W32, None, 4) => Ok(self.bits((value as f32).to_bits().into(), Width::W32)),
            _ => self.error(format!("a float constant where {ty:?} is read")),
        }
    }

    fn named(&mut self, name: &str, offset: i64, ty: Ty, relaxed: bool) -> Result<Slot, PtxError> {
        let width = ty.width();
        match self.symbol(name) {
            Some(Symbol::Register(declared, slot)) if offset == 0 => {
                let wider = declared.bytes() > ty.bytes() && ty != Ty::Pred;
                if declared.bytes() != ty.bytes() && !(relaxed && wider) {
                    return self.error(format!("{name} is a register of {declared:?} where {ty:?} is read"));
                }
                if declared.width() == width {
                    return Ok(slot);
                }
                let narrow = self.new_slot(width);
                self.emit_alu(&pack::unpack32(false), Operands { d: narrow, a: slot, ..Operands::default() })?;
                Ok(narrow)
            }
            Some(Symbol::Shared(at) | Symbol::Local(at) | Symbol::Param(at) | Symbol::CallParam(at)) if ty.bytes() >= 4 => {
                Ok(self.bits(i64::from(at).wrapping_add(offset) as u64, width))
            }
            Some(Symbol::DynamicShared) if ty.bytes() >= 4 => {
                Ok(self.input(Input::DynamicShared { offset, wide: width == Width::W64 }))
            }
            Some(Symbol::Variable) if width == Width::W64 => {
                Ok(self.input(Input::Variable { name: name.to_owned(), offset, wide: true }))
            }
            None if name == "WARP_SZ" => Ok(self.bits(32, width)),
            None => self.special(name, ty),
            Some(_) => self.error(format!("{name} cannot be read as {ty:?}")),
        }
    }

    fn special(&mut self, name: &str, ty: Ty) -> Result<Slot, PtxError> {
        let Some(special) = Special::parse(name) else { return self.error(format!("unknown name or special register: {name}")) };
        let slot = self.input(Input::Special(special));
        match (special.is_wide(), ty.width(), ty.bytes()) {
            (false, Width::W32, _) | (true, Width::W64, _) => Ok(slot),
            (false, Width::W64, _) => {
                let wide = self.new_slot(Width::W64);
                self.emit_alu(&pack::extend32(false), Operands { d: wide, a: slot, ..Operands::default() })?;
                Ok(wide)
            }
            _ => self.error(format!("{name} cannot be read as {ty:?}")),
        }
    }

    /// The slot of an operand that is written as `ty`. With `relaxed`, a wider register is written in full by [`Self::widen`].
    pub(super) fn target(&mut self, operand: &Operand, ty: Ty, relaxed: bool) -> Result<Target, PtxError> {
        let name = match operand {
            Operand::Sink => return Ok(Target { slot: self.new_slot(ty.width()), widened: None }),
            Operand::Name(name, 0) => name,
            _ => return self.error(format!("an operand that cannot be written: {operand:?}")),
        };
        let Some(Symbol::Register(declared, slot)) = self.symbol(name) else {
            return self.error(format!("{name} is no register"));
        };
        let wider = declared.bytes() > ty.bytes() && ty != Ty::Pred;
        if declared.bytes() != ty.bytes() && !(relaxed && wider) {
            return self.error(format!("{name} is a register of {declared:?} where {ty:?} is written"));
        }
        match declared.width() == ty.width() {
            true => Ok(Target { slot, widened: None }),
            false => Ok(Target { slot: self.new_slot(ty.width()), widened: Some((slot, ty.is_signed())) }),
        }
    }

    /// Brings a result into the register it is for, after the instruction that computed it.
    pub(super) fn widen(&mut self, target: &Target) -> Result<(), PtxError> {
        let Some((slot, signed)) = target.widened else { return Ok(()) };
        self.emit_alu(&pack::extend32(signed), Operands { d: slot, a: target.slot, ..Operands::default() })
    }

    pub(super) fn emit_alu(&mut self, alu: &Alu, operands: Operands) -> Result<(), PtxError> {
        self.emit(Action::Alu(alu.exec), operands, alu.pipe)
    }
}

/// The low bits of an integer constant, extended as values of the type lie in registers.
fn truncate(value: i128, ty: Ty) -> u64 {
    match (ty.bytes(), ty.is_signed()) {
        (1, false) => u64::from(value as u8),
        (1, true) => value as i8 as u64,
        (2, false) => u64::from(value as u16),
        (2, true) => value as i16 as u64,
        (4, _) => u64::from(value as u32),
        _ => value as u64,
    }
}

/// A 64-bit move between registers of one width, or a 32-bit one.
pub(super) fn move_of(width: Width) -> Alu {
    let ty = if width == Width::W64 { "b64" } else { "b32" };
    crate::isa::find("mov", &[ty]).expect("it is in the table")
}
