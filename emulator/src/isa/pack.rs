//! Registers made of narrower ones, and taken apart: what `mov` does with vectors.

use super::lanes::Alu;

/// Two 16-bit values in 32 bits.
pub(crate) fn pack16() -> Alu {
    alu!(Move; (low: u16, high: u16) -> u32 { u32::from(low) | u32::from(high) << 16 })
}

/// Two 32-bit values in 64 bits.
pub(crate) fn pack32() -> Alu {
    alu!(Move; (low: u32, high: u32) -> u64 { u64::from(low) | u64::from(high) << 32 })
}

/// One of the two 16-bit values in 32 bits.
pub(crate) fn unpack16(high: bool) -> Alu {
    match high {
        false => alu!(Move; (a: u32) -> u16 { a as u16 }),
        true => alu!(Move; (a: u32) -> u16 { (a >> 16) as u16 }),
    }
}

/// One of the two 32-bit values in 64 bits.
pub(crate) fn unpack32(high: bool) -> Alu {
    match high {
        false => alu!(Move; (a: u64) -> u32 { a as u32 }),
        true => alu!(Move; (a: u64) -> u32 { (a >> 32) as u32 }),
    }
}

/// A 32-bit value in 64 bits, by its sign if `signed`.
pub(crate) fn extend32(signed: bool) -> Alu {
    match signed {
        false => alu!(Move; (a: u32) -> u64 { u64::from(a) }),
        true => alu!(Move; (a: i32) -> i64 { i64::from(a) }),
    }
}
