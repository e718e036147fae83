//! Integer addition, difference, extrema, division.

use super::lanes::Alu;
use super::types::Ty;

/// `a / b`, truncated. Division by zero gives all ones, as the hardware's sequence does; the ISA leaves it open.
trait Divide: Copy {
    fn quotient(self, by: Self) -> Self;
    fn remainder(self, by: Self) -> Self;
}

macro_rules! divide {
    ($($t:ty),*) => {$(impl Divide for $t {
        #[inline(always)]
        fn quotient(self, by: Self) -> Self {
            if by == 0 { !0 } else { self.wrapping_div(by) }
        }
        #[inline(always)]
        fn remainder(self, by: Self) -> Self {
            if by == 0 { self } else { self.wrapping_rem(by) }
        }
    })*};
}

divide!(u16, u32, u64, i16, i32, i64);

pub(super) fn find(name: &str, modifiers: &[&str]) -> Option<Alu> {
    if let ("add" | "sub", ["sat", "s32"]) = (name, modifiers) {
        return Some(match name {
            "add" => alu!(Alu; (a: i32, b: i32) -> i32 { a.saturating_add(b) }),
            _ => alu!(Alu; (a: i32, b: i32) -> i32 { a.saturating_sub(b) }),
        });
    }
    let [ty] = modifiers else { return None };
    let ty = Ty::parse(ty)?;
    match name {
        "add" => integers!(ty; T => alu!(Alu; (a: T, b: T) -> T { a.wrapping_add(b) })),
        "sub" => integers!(ty; T => alu!(Alu; (a: T, b: T) -> T { a.wrapping_sub(b) })),
        "min" => integers!(ty; T => alu!(Alu; (a: T, b: T) -> T { a.min(b) })),
        "max" => integers!(ty; T => alu!(Alu; (a: T, b: T) -> T { a.max(b) })),
        "sad" => integers!(ty; T => alu!(Alu; (a: T, b: T, c: T) -> T {
            c.wrapping_add(if a < b { b.wrapping_sub(a) } else { a.wrapping_sub(b) })
        })),
        "div" => integers!(ty; T => alu!(Xu; (a: T, b: T) -> T { a.quotient(b) })),
        "rem" => integers!(ty; T => alu!(Xu; (a: T, b: T) -> T { a.remainder(b) })),
        "abs" => by_type!(ty; T: S16 i16, S32 i32, S64 i64 => alu!(Alu; (a: T) -> T { a.wrapping_abs() })),
        "neg" => by_type!(ty; T: S16 i16, S32 i32, S64 i64 => alu!(Alu; (a: T) -> T { a.wrapping_neg() })),
        _ => None,
    }
}
