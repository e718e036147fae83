//! Loads, stores, atomics.

use super::super::statement::{Operand, Statement};
use super::operand::{Target, move_of};
use super::scope::Symbol;
use super::{Lowering, PtxError};
use crate::count::Pipe;
use crate::isa::{Access, Action, Atomic, Input, Kind, Operands, Slot, Space, Ty, Width};

/// What the modifiers of an access say.
struct Said<'a> {
    space: &'a str,
    strong: bool,
    count: u32,
    ty: Ty,
    operation: Option<&'a str>,
}

/// Reads modifiers; none if one is unknown.
fn read<'a>(modifiers: &[&'a str]) -> Option<Said<'a>> {
    let (ty, rest) = modifiers.split_last()?;
    let mut said = Said { space: "", strong: false, count: 1, ty: Ty::parse(ty)?, operation: None };
    for &modifier in rest {
        match modifier {
            "global" | "shared" | "local" | "param" | "const" => said.space = modifier,
            "shared::cta" => said.space = "shared",
            "param::entry" | "param::func" => said.space = "param",
            "volatile" | "relaxed" | "acquire" | "release" | "acq_rel" | "mmio" => said.strong = true,
            "weak" | "cta" | "cluster" | "gpu" | "sys" => {}
            "ca" | "cg" | "cs" | "lu" | "cv" | "wb" | "wt" | "nc" | "noftz" => {}
            "v2" => said.count = 2,
            "v4" => said.count = 4,
            "v8" => said.count = 8,
            hint if hint.starts_with("L1::") || hint.starts_with("L2::") => {}
            "add" | "min" | "max" | "and" | "or" | "xor" | "exch" | "cas" | "inc" | "dec" => said.operation = Some(modifier),
            _ => return None,
        }
    }
    Some(said)
}

fn atomic(operation: &str, ty: Ty) -> Option<Atomic> {
    let integer = matches!(ty, Ty::U32 | Ty::S32 | Ty::U64 | Ty::S64);
    let bits = matches!(ty, Ty::B32 | Ty::B64);
    Some(match operation {
        "add" if integer => Atomic::Add,
        "add" if matches!(ty, Ty::F32 | Ty::F64) => Atomic::AddFloat,
        "min" if integer => Atomic::Min { signed: ty.is_signed() },
        "max" if integer => Atomic::Max { signed: ty.is_signed() },
        "and" if bits => Atomic::And,
        "or" if bits => Atomic::Or,
        "xor" if bits => Atomic::Xor,
        "exch" if bits => Atomic::Exchange,
        "cas" if bits => Atomic::CompareExchange,
        "inc" if ty == Ty::U32 => Atomic::Increment,
        "dec" if ty == Ty::U32 => Atomic::Decrement,
        _ => return None,
    })
}

impl Lowering<'_> {
    /// Decodes a memory access, if it is one.
    pub(super) fn access(&mut self, statement: &Statement, modifiers: &[&str]) -> Result<bool, PtxError> {
        let name = statement.name.as_str();
        match name {
            "ld" | "ldu" | "st" | "atom" | "red" => {}
            "cp" => return self.copy(statement, modifiers),
            _ => return Ok(false),
        }
        let Some(said) = read(modifiers) else { return Ok(false) };
        if said.operation.is_some() != matches!(name, "atom" | "red") {
            return Ok(false);
        }
        match (name, statement.operands.as_slice()) {
            ("ld" | "ldu", [target, Operand::Address(base, offset), ..]) => self.load(&said, target, base.as_deref(), *offset)?,
            ("st", [Operand::Address(base, offset), value, ..]) => self.store(&said, base.as_deref(), *offset, value)?,
            ("atom", [target, Operand::Address(base, offset), values @ ..]) => {
                return self.atomic(&said, Some(target), base.as_deref(), *offset, values);
            }
            ("red", [Operand::Address(base, offset), values @ ..]) => {
                return self.atomic(&said, None, base.as_deref(), *offset, values);
            }
            _ => return self.error("operands do not fit the access"),
        }
        Ok(true)
    }

    fn load(&mut self, said: &Said<'_>, target: &Operand, base: Option<&str>, offset: i64) -> Result<(), PtxError> {
        let targets = self.elements(said, target)?;
        if let ("param", Some(Symbol::Param(at))) = (said.space, base.and_then(|name| self.symbol(name))) {
            return self.load_param(said, &targets, i64::from(at) + offset);
        }
        let mut registers = [0; 8];
        let mut written = Vec::new();
        for (register, operand) in registers.iter_mut().zip(&targets) {
            let target = self.target(operand, said.ty, true)?;
            *register = target.slot;
            written.push(target);
        }
        let kind = Kind::Load { signed: said.ty.is_signed() };
        self.emit_access(said, kind, base, offset, registers)?;
        written.iter().try_for_each(|target| self.widen(target))
    }

    /// Parameters of the kernel do not change: they lie in slots.
    fn load_param(&mut self, said: &Said<'_>, targets: &[Operand], offset: i64) -> Result<(), PtxError> {
        let Ok(mut offset) = u32::try_from(offset) else { return self.error("before the first parameter") };
        for operand in targets {
            let target: Target = self.target(operand, said.ty, true)?;
            let (bytes, signed) = (said.ty.bytes(), said.ty.is_signed());
            if offset.checked_add(bytes).is_none_or(|end| end > self.param_bytes) {
                return self.error("past the last parameter");
            }
            let wide = said.ty.width() == Width::W64;
            let a = self.input(Input::Param { offset, bytes, signed, wide });
            self.emit_alu(&move_of(said.ty.width()), Operands { d: target.slot, a, ..Operands::default() })?;
            self.widen(&target)?;
            offset += bytes;
        }
        Ok(())
    }

    fn store(&mut self, said: &Said<'_>, base: Option<&str>, offset: i64, value: &Operand) -> Result<(), PtxError> {
        let mut registers = [0; 8];
        for (register, operand) in registers.iter_mut().zip(&self.elements(said, value)?) {
            *register = self.source(operand, said.ty, true)?;
        }
        self.emit_access(said, Kind::Store, base, offset, registers)
    }

    /// The operands that an access moves, one for each element.
    fn elements(&self, said: &Said<'_>, operand: &Operand) -> Result<Vec<Operand>, PtxError> {
        let elements = match operand {
            Operand::Vector(elements) => elements.clone(),
            single => vec![single.clone()],
        };
        if elements.len() != said.count as usize || !matches!(said.ty.bytes(), 1 | 2 | 4 | 8) {
            return self.error(format!("{} elements of {:?}", elements.len(), said.ty));
        }
        if said.count * said.ty.bytes() > 32 {
            return self.error("an access of more than 32 bytes");
        }
        Ok(elements)
    }

    fn atomic(
        &mut self,
        said: &Said<'_>,
        target: Option<&Operand>,
        base: Option<&str>,
        offset: i64,
        values: &[Operand],
    ) -> Result<bool, PtxError> {
        let Some(operation) = said.operation.and_then(|operation| atomic(operation, said.ty)) else { return Ok(false) };
        if said.count != 1 || !matches!(said.space, "" | "global" | "shared") {
            return Ok(false);
        }
        let expected = if operation == Atomic::CompareExchange { 2 } else { 1 };
        if values.len() < expected {
            return self.error("operands are missing");
        }
        let mut registers = [0; 8];
        for (register, value) in registers.iter_mut().zip(&values[..expected]) {
            *register = self.source(value, said.ty, false)?;
        }
        let target = match target {
            Some(target) => Some(self.target(target, said.ty, false)?.slot),
            None => None,
        };
        let said = Said { strong: true, ..*said };
        self.emit_access(&said, Kind::Atomic { operation, target }, base, offset, registers)?;
        Ok(true)
    }

    /// Copies of 4, 8 or 16 bytes that a later wait would complete: here they are complete at once.
    fn copy(&mut self, statement: &Statement, modifiers: &[&str]) -> Result<bool, PtxError> {
        match modifiers {
            ["async", "commit_group" | "wait_group" | "wait_all"] => {
                self.emit(Action::Nothing, Operands::default(), Pipe::Control)?;
                return Ok(true);
            }
            ["async", "ca" | "cg", "shared" | "shared::cta", "global", hints @ ..]
                if hints.iter().all(|hint| hint.starts_with("L2::")) => {}
            _ => return Ok(false),
        }
        let [Operand::Address(to, to_offset), Operand::Address(Some(from), from_offset), Operand::Integer(size), rest @ ..] =
            statement.operands.as_slice()
        else {
            return self.error("operands do not fit the access");
        };
        if !matches!(size, 4 | 8 | 16) || rest.len() > 1 {
            return self.error("only copies of 4, 8 or 16 bytes without a cache policy are supported");
        }
        let limit = match rest {
            [limit] => Some(self.source(limit, Ty::U32, false)?),
            _ => None,
        };
        let from = self.source(&Operand::Name(from.clone(), 0), Ty::U64, false)?;
        let said = Said { space: "shared", strong: false, count: *size as u32 / 4, ty: Ty::B32, operation: None };
        let kind = Kind::Copy { from, from_offset: *from_offset, limit };
        self.emit_access(&said, kind, to.as_deref(), *to_offset, [0; 8])?;
        Ok(true)
    }

    fn emit_access(
        &mut self,
        said: &Said<'_>,
        kind: Kind,
        base: Option<&str>,
        offset: i64,
        registers: [Slot; 8],
    ) -> Result<(), PtxError> {
        let symbol = base.and_then(|name| self.symbol(name));
        let space = match (said.space, &symbol) {
            ("global" | "const", _) => Space::Global,
            ("shared", _) => Space::Shared,
            ("local", _) | ("param", Some(Symbol::CallParam(_))) => Space::Local,
            ("param", _) => Space::Param,
            _ => Space::Generic,
        };
        let (address, wide_address, offset) = match (base, symbol) {
            (None, _) => (self.bits(offset as u64, Width::W64), true, 0),
            (Some(_), Some(Symbol::Register(ty, slot))) if matches!(ty.bytes(), 4 | 8) => (slot, ty.bytes() == 8, offset),
            (Some(name), Some(_)) => {
                let address = self.source(&Operand::Name(name.to_owned(), offset), Ty::U64, false)?;
                // A variable named without its space is named by its place in that space.
                let address = match space {
                    Space::Generic => self.generic(name, address)?,
                    _ => address,
                };
                (address, true, 0)
            }
            (Some(name), None) => return self.error(format!("unknown name: {name}")),
        };
        let access = Access {
            kind,
            space,
            bytes: said.ty.bytes(),
            count: said.count,
            address,
            wide_address,
            offset,
            registers,
            strong: said.strong,
        };
        let pipe = if space == Space::Shared { Pipe::Shared } else { Pipe::Lsu };
        self.accesses.push(access);
        self.emit(Action::Memory(self.accesses.len() as u32 - 1), Operands::default(), pipe)
    }

    /// The generic address of a variable whose address in its own space is in slot `address`.
    fn generic(&mut self, name: &str, address: Slot) -> Result<Slot, PtxError> {
        let space = match self.symbol(name) {
            Some(Symbol::Shared(_) | Symbol::DynamicShared) => "shared",
            Some(Symbol::Local(_) | Symbol::CallParam(_)) => "local",
            Some(Symbol::Param(_)) => "param",
            _ => return Ok(address),
        };
        let d = self.new_slot(Width::W64);
        let convert = crate::isa::find("cvta", &[space, "u64"]).expect("it is in the table");
        self.emit_alu(&convert, Operands { d, a: address, ..Operands::default() })?;
        Ok(d)
    }
}
