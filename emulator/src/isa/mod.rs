//! The instruction set: registers, and what each instruction does to 32 lanes of them. Pure functions of registers; memory,
//! branches and barriers are the executor's.
//!
//! Each file has one family of instructions, found by mnemonic, modifiers and type. What is not in a table is not supported.

#[macro_use]
mod lanes;
mod access;
mod arithmetic;
mod bits;
mod carry;
mod compare;
mod convert;
mod float;
mod half;
mod logic;
mod multiply;
mod op;
pub(crate) mod pack;
mod packed;
mod permute;
mod registers;
mod round;
mod shift;
pub(crate) mod space;
#[cfg(test)]
mod spellings;
mod types;
mod warp;

pub(crate) use access::{Access, Atomic, Kind, Space};
pub(crate) use lanes::{Alu, Exec};
pub(crate) use op::*;
pub(crate) use registers::Registers;
pub(crate) use types::{Ty, Width};
pub(crate) use warp::find as find_warp;

/// The instruction `name.modifiers`, if it is one that computes on registers lane by lane.
pub(crate) fn find(name: &str, modifiers: &[&str]) -> Option<Alu> {
    arithmetic::find(name, modifiers)
        .or_else(|| multiply::find(name, modifiers))
        .or_else(|| carry::find(name, modifiers))
        .or_else(|| logic::find(name, modifiers))
        .or_else(|| shift::find(name, modifiers))
        .or_else(|| bits::find(name, modifiers))
        .or_else(|| permute::find(name, modifiers))
        .or_else(|| packed::find(name, modifiers))
        .or_else(|| compare::find(name, modifiers))
        .or_else(|| convert::find(name, modifiers))
        .or_else(|| float::find(name, modifiers))
        .or_else(|| half::find(name, modifiers))
        .or_else(|| space::find(name, modifiers))
}
