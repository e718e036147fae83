//! What names mean: registers, variables, parameters, labels, by the braces they are declared in.

use std::collections::HashMap;

use crate::isa::{Slot, Ty};

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Symbol {
    Register(Ty, Slot),
    /// Offset in shared memory.
    Shared(u32),
    /// Shared memory after what is declared: as much as the launch adds.
    DynamicShared,
    /// Offset in local memory.
    Local(u32),
    /// Offset in the parameter block of the kernel.
    Param(u32),
    /// Offset in local memory of a parameter of a function that is called.
    CallParam(u32),
    /// A variable of module scope in device memory.
    Variable,
    Label(u32),
    /// Labels that a branch picks from.
    Targets(Vec<String>),
}

/// A pair of braces. Registers get their slots when they are first used.
#[derive(Debug, Default)]
pub(super) struct Scope {
    symbols: HashMap<String, Symbol>,
    /// `.reg .b32 %r<9>` declares `%r0` to `%r8`.
    ranges: Vec<(String, u32, Ty)>,
    singles: HashMap<String, Ty>,
}

impl Scope {
    pub(super) fn declare(&mut self, name: &str, symbol: Symbol) {
        self.symbols.insert(name.to_owned(), symbol);
    }

    pub(super) fn declare_register(&mut self, name: &str, range: Option<u32>, ty: Ty) {
        match range {
            Some(count) => self.ranges.push((name.to_owned(), count, ty)),
            None => {
                self.singles.insert(name.to_owned(), ty);
            }
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Symbol> {
        self.symbols.get(name)
    }

    /// Type of a register that is declared here and has no slot yet.
    pub(super) fn undiscovered(&self, name: &str) -> Option<Ty> {
        self.singles.get(name).copied().or_else(|| {
            self.ranges.iter().find_map(|(prefix, count, ty)| {
                let number = name.strip_prefix(prefix.as_str())?;
                let canonical = number == "0" || !number.starts_with('0');
                (canonical && number.parse::<u32>().is_ok_and(|number| number < *count)).then_some(*ty)
            })
        })
    }
}
