//! Shifts and funnel shifts. Amounts beyond the width clamp to it.

use super::lanes::Alu;
use super::types::Ty;

/// Shifts by any amount.
trait Shift: Copy {
    fn left(self, by: u32) -> Self;
    /// Fills with zeros, or with the sign for signed types.
    fn right(self, by: u32) -> Self;
}

macro_rules! shift {
    (unsigned $($t:ty),*) => {$(impl Shift for $t {
        #[inline(always)]
        fn left(self, by: u32) -> Self {
            if by < <$t>::BITS { self << by } else { 0 }
        }
        #[inline(always)]
        fn right(self, by: u32) -> Self {
            if by < <$t>::BITS { self >> by } else { 0 }
        }
    })*};
    (signed $($t:ty),*) => {$(impl Shift for $t {
        #[inline(always)]
        fn left(self, by: u32) -> Self {
            if by < <$t>::BITS { self << by } else { 0 }
        }
        #[inline(always)]
        fn right(self, by: u32) -> Self {
            self >> by.min(<$t>::BITS - 1)
        }
    })*};
}

shift!(unsigned u16, u32, u64);
shift!(signed i16, i32, i64);

pub(super) fn find(name: &str, modifiers: &[&str]) -> Option<Alu> {
    match (name, modifiers) {
        ("shl", [ty]) => {
            by_type!(Ty::parse(ty)?; T: B16 u16, B32 u32, B64 u64 => alu!(Alu; (a: T, by: u32) -> T { a.left(by) }))
        }
        ("shr", [ty]) => {
            by_type!(Ty::parse(ty)?; T: B16 u16, B32 u32, B64 u64, U16 u16, U32 u32, U64 u64, S16 i16, S32 i32, S64 i64
            => alu!(Alu; (a: T, by: u32) -> T { a.right(by) }))
        }
        // The operands are the lower and the upper word of what is shifted.
        ("shf", ["l", "wrap", "b32"]) => Some(alu!(Alu; (low: u32, high: u32, by: u32) -> u32 { left(low, high, by & 31) })),
        ("shf", ["l", "clamp", "b32"]) => Some(alu!(Alu; (low: u32, high: u32, by: u32) -> u32 { left(low, high, by.min(32)) })),
        ("shf", ["r", "wrap", "b32"]) => Some(alu!(Alu; (low: u32, high: u32, by: u32) -> u32 { right(low, high, by & 31) })),
        ("shf", ["r", "clamp", "b32"]) => Some(alu!(Alu; (low: u32, high: u32, by: u32) -> u32 { right(low, high, by.min(32)) })),
        _ => None,
    }
}

#[inline(always)]
fn left(low: u32, high: u32, by: u32) -> u32 {
    high.left(by) | low.right(32 - by)
}

#[inline(always)]
fn right(low: u32, high: u32, by: u32) -> u32 {
    high.left(32 - by) | low.right(by)
}
