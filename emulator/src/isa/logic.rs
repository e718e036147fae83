//! Bitwise logic, of registers and of predicates.

use super::lanes::Alu;
use super::types::Ty;
use super::{Operands, Registers};
use crate::count::Pipe;

macro_rules! bits {
    ($ty:expr; $T:ident => $alu:expr) => {
        by_type!($ty; $T: B16 u16, B32 u32, B64 u64 => $alu)
    };
}

/// `f` of predicates, all lanes at once.
#[inline(always)]
fn predicates(registers: &mut Registers, operands: &Operands, mask: u32, f: impl Fn(u32, u32) -> u32) {
    let bits = f(registers.predicate(operands.a), registers.predicate(operands.b));
    registers.set_predicate(operands.d, mask, bits);
}

fn of_predicates(name: &str) -> Option<Alu> {
    let exec = match name {
        "and" => exec!(|r, o, m| predicates(r, o, m, |a, b| a & b)),
        "or" => exec!(|r, o, m| predicates(r, o, m, |a, b| a | b)),
        "xor" => exec!(|r, o, m| predicates(r, o, m, |a, b| a ^ b)),
        "not" => exec!(|r, o, m| predicates(r, o, m, |a, _| !a)),
        "mov" => exec!(|r, o, m| predicates(r, o, m, |a, _| a)),
        _ => return None,
    };
    let sources = if matches!(name, "not" | "mov") { 1 } else { 2 };
    Some(Alu::new(Pipe::Alu, exec, &[Ty::Pred], &[Ty::Pred, Ty::Pred][..sources]))
}

pub(super) fn find(name: &str, modifiers: &[&str]) -> Option<Alu> {
    let [ty] = modifiers else { return None };
    let ty = Ty::parse(ty)?;
    if ty == Ty::Pred {
        return of_predicates(name);
    }
    match name {
        "and" => bits!(ty; T => alu!(Alu; (a: T, b: T) -> T { a & b })),
        "or" => bits!(ty; T => alu!(Alu; (a: T, b: T) -> T { a | b })),
        "xor" => bits!(ty; T => alu!(Alu; (a: T, b: T) -> T { a ^ b })),
        "not" => bits!(ty; T => alu!(Alu; (a: T) -> T { !a })),
        "cnot" => bits!(ty; T => alu!(Alu; (a: T) -> T { T::from(a == 0) })),
        "mov" => by_type!(ty; T: B16 u16, U16 u16, S16 i16, F16 u16, Bf16 u16, B32 u32, U32 u32, S32 i32, F32 u32, F16x2 u32,
            Bf16x2 u32, B64 u64, U64 u64, S64 i64, F64 u64 => alu!(Move; (a: T) -> T { a }))
        .map(|alu| Alu { targets: vec![ty], sources: vec![ty], ..alu }),
        "lop3" if ty == Ty::B32 => {
            let exec = exec!(|r, o, m| {
                // The table's eight bits select among the minterms; each is one mask for all lanes.
                let terms = std::array::from_fn::<u32, 8, _>(|term| (o.imm >> term & 1).wrapping_neg());
                super::lanes::map3(r, o, m, |a: u32, b: u32, c: u32| -> u32 {
                    let of_c = |term: usize| terms[term] & !c | terms[term + 1] & c;
                    let of_b = |term: usize| of_c(term) & !b | of_c(term + 2) & b;
                    of_b(0) & !a | of_b(4) & a
                });
            });
            Some(Alu { constant: true, ..Alu::new(Pipe::Alu, exec, &[Ty::B32], &[Ty::B32; 3]) })
        }
        _ => None,
    }
}
