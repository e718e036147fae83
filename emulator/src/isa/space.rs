//! The windows of the generic address space through which shared, local and parameter memory are seen, and the conversions.

use super::lanes::Alu;
use super::op::Operands;
use super::types::Ty;
use super::{Exec, Registers};
use crate::count::Pipe;

/// Generic address of byte 0 of the block's shared memory. All windows are above device memory, which starts at 2^49.
pub(crate) const SHARED_WINDOW: u64 = 1 << 50;
/// Generic address of byte 0 of the thread's local memory.
pub(crate) const LOCAL_WINDOW: u64 = SHARED_WINDOW + WINDOW;
/// Generic address of byte 0 of the parameter block.
pub(crate) const PARAM_WINDOW: u64 = LOCAL_WINDOW + WINDOW;
/// Bytes of address space of each window.
pub(crate) const WINDOW: u64 = 1 << 32;

#[inline(always)]
fn within(registers: &mut Registers, operands: &Operands, mask: u32, f: impl Fn(u64) -> bool) {
    let a = registers.get::<u64>(operands.a);
    let bits = super::lanes::collect(|lane| f(a[lane]));
    registers.set_predicate(operands.d, mask, bits);
}

fn to_generic(space: &str) -> Option<Alu> {
    Some(match space {
        "global" | "const" => alu!(Move; (a: u64) -> u64 { a }),
        "shared" | "shared::cta" => alu!(Move; (a: u64) -> u64 { a.wrapping_add(SHARED_WINDOW) }),
        "local" => alu!(Move; (a: u64) -> u64 { a.wrapping_add(LOCAL_WINDOW) }),
        "param" | "param::entry" => alu!(Move; (a: u64) -> u64 { a.wrapping_add(PARAM_WINDOW) }),
        _ => return None,
    })
}

fn from_generic(space: &str) -> Option<Alu> {
    Some(match space {
        "global" | "const" => alu!(Move; (a: u64) -> u64 { a }),
        "shared" | "shared::cta" => alu!(Move; (a: u64) -> u64 { a.wrapping_sub(SHARED_WINDOW) }),
        "local" => alu!(Move; (a: u64) -> u64 { a.wrapping_sub(LOCAL_WINDOW) }),
        "param" | "param::entry" => alu!(Move; (a: u64) -> u64 { a.wrapping_sub(PARAM_WINDOW) }),
        _ => return None,
    })
}

fn is_in(space: &str) -> Option<Exec> {
    Some(match space {
        "global" => exec!(|r, o, m| within(r, o, m, |a| a < SHARED_WINDOW)),
        "shared" | "shared::cta" => exec!(|r, o, m| within(r, o, m, |a| a.wrapping_sub(SHARED_WINDOW) < WINDOW)),
        "local" => exec!(|r, o, m| within(r, o, m, |a| a.wrapping_sub(LOCAL_WINDOW) < WINDOW)),
        "param" | "param::entry" => exec!(|r, o, m| within(r, o, m, |a| a.wrapping_sub(PARAM_WINDOW) < WINDOW)),
        _ => return None,
    })
}

pub(super) fn find(name: &str, modifiers: &[&str]) -> Option<Alu> {
    match (name, modifiers) {
        ("cvta", ["to", space, "u64"]) => from_generic(space),
        ("cvta", [space, "u64"]) => to_generic(space),
        ("isspacep", [space]) => Some(Alu::new(Pipe::Alu, is_in(space)?, &[Ty::Pred], &[Ty::U64])),
        _ => None,
    }
}
