//! Counting, finding and moving bits and bit fields.

use super::lanes::Alu;
use super::types::Ty;

pub(super) fn find(name: &str, modifiers: &[&str]) -> Option<Alu> {
    let (last, modifiers) = modifiers.split_last()?;
    let ty = Ty::parse(last)?;
    match (name, modifiers) {
        ("popc", []) => by_type!(ty; T: B32 u32, B64 u64 => alu!(Xu; (a: T) -> u32 { a.count_ones() })),
        ("clz", []) => by_type!(ty; T: B32 u32, B64 u64 => alu!(Xu; (a: T) -> u32 { a.leading_zeros() })),
        ("brev", []) => by_type!(ty; T: B32 u32, B64 u64 => alu!(Xu; (a: T) -> T { a.reverse_bits() })),
        ("bfind", []) => by_type!(ty; T: U32 u32, U64 u64, S32 i32, S64 i64 => alu!(Xu; (a: T) -> u32 { a.find(false) })),
        ("bfind", ["shiftamt"]) => {
            by_type!(ty; T: U32 u32, U64 u64, S32 i32, S64 i64 => alu!(Xu; (a: T) -> u32 { a.find(true) }))
        }
        ("fns", []) if ty == Ty::B32 => {
            Some(alu!(Xu; (mask: u32, base: u32, offset: i32) -> u32 { find_nth_set(mask, base, offset) }))
        }
        ("bfe", []) => by_type!(ty; T: U32 u32, U64 u64, S32 i32, S64 i64 => alu!(Alu; (a: T, position: u32, length: u32) -> T {
            a.extract(position & 0xff, length & 0xff)
        })),
        ("bmsk", ["clamp"]) if ty == Ty::B32 => Some(alu!(Alu; (a: u32, b: u32) -> u32 { mask(a, b) })),
        ("bmsk", ["wrap"]) if ty == Ty::B32 => Some(alu!(Alu; (a: u32, b: u32) -> u32 { mask(a & 31, b & 31) })),
        ("szext", ["clamp"]) => by_type!(ty; T: U32 u32, S32 i32 => alu!(Alu; (a: T, n: u32) -> T { a.extract(0, n.min(32)) })),
        ("szext", ["wrap"]) => by_type!(ty; T: U32 u32, S32 i32 => alu!(Alu; (a: T, n: u32) -> T { a.extract(0, n & 31) })),
        _ => None,
    }
}

/// `bfi` has four sources, one more than the others: the position and the length are packed into one by [`super::permute`].
#[inline(always)]
pub(super) fn insert64(field: u64, into: u64, position: u32, length: u32) -> u64 {
    let (position, length) = (position & 0xff, length & 0xff);
    let ones = if length >= 64 { u64::MAX } else { (1 << length) - 1 };
    let (ones, field) = if position >= 64 { (0, 0) } else { (ones << position, field << position) };
    field & ones | into & !ones
}

/// Bits `from..from + count` set.
#[inline(always)]
fn mask(from: u32, count: u32) -> u32 {
    let ones = if count >= 32 { u32::MAX } else { (1 << count) - 1 };
    if from >= 32 { 0 } else { ones << from }
}

/// Position of the `offset`-th set bit (from 1; down if negative; `base` itself if zero) of `mask` from bit `base`; all ones if there is none.
#[inline(always)]
fn find_nth_set(mask: u32, base: u32, offset: i32) -> u32 {
    let (mut left, step) = if offset == 0 { (1, 0) } else { (offset.unsigned_abs(), offset.signum()) };
    let mut position = base as i32;
    while (0..32).contains(&position) {
        left -= mask >> position & 1;
        if left == 0 {
            return position as u32;
        }
        if step == 0 {
            break;
        }
        position += step;
    }
    u32::MAX
}

trait Field: Copy {
    /// The most significant bit that differs from the sign (for unsigned: that is set): its position, or how far it is from the top;
    /// all ones if there is none.
    fn find(self, from_top: bool) -> u32;
    /// `length` bits from `position`, extended by zeros or the field's sign; the sign bit is the value's own when the field passes its end.
    fn extract(self, position: u32, length: u32) -> Self;
}

macro_rules! field {
    ($($unsigned:ty, $signed:ty);*) => {$(
        impl Field for $unsigned {
            #[inline(always)]
            fn find(self, from_top: bool) -> u32 {
                let zeros = self.leading_zeros();
                if self == 0 { u32::MAX } else if from_top { zeros } else { <$unsigned>::BITS - 1 - zeros }
            }
            #[inline(always)]
            fn extract(self, position: u32, length: u32) -> Self {
                let field = if position < <$unsigned>::BITS { self >> position } else { 0 };
                let ones = if length < <$unsigned>::BITS { (1 << length) - 1 } else { <$unsigned>::MAX };
                field & ones
            }
        }
        impl Field for $signed {
            #[inline(always)]
            fn find(self, from_top: bool) -> u32 {
                (if self < 0 { !self } else { self } as $unsigned).find(from_top)
            }
            #[inline(always)]
            fn extract(self, position: u32, length: u32) -> Self {
                if length == 0 {
                    return 0;
                }
                let field = self >> position.min(<$signed>::BITS - 1);
                let above = <$signed>::BITS - length.min(<$signed>::BITS);
                field << above >> above
            }
        }
    )*};
}

field!(u32, i32; u64, i64);
