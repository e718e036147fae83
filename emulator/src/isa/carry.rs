//! Extended-precision arithmetic: the carry bit of the condition code, one a lane.

use super::lanes::Alu;
use super::op::CARRY;
use super::registers::{LANES, Lane};
use super::types::{Ty, Value};
use super::{Operands, Registers};

/// Sums that tell their carry.
trait Carrying: Value<Raw: Lane> + Default {
    /// `self + other + carry`, and whether it ran over.
    fn sum(self, other: Self, carry: bool) -> (Self, bool);
    fn product(self, by: Self, high: bool) -> Self;
    fn not(self) -> Self;
}

macro_rules! carrying {
    ($($t:ty, $wide:ty);*) => {$(impl Carrying for $t {
        #[inline(always)]
        fn sum(self, other: Self, carry: bool) -> (Self, bool) {
            let (sum, over) = self.overflowing_add(other);
            let (sum, again) = sum.overflowing_add(carry.into());
            (sum, over | again)
        }
        #[inline(always)]
        fn product(self, by: Self, high: bool) -> Self {
            let product = (self as $wide).wrapping_mul(by as $wide);
            (if high { product >> <$t>::BITS } else { product }) as $t
        }
        #[inline(always)]
        fn not(self) -> Self { !self }
    })*};
}

// `mad.hi` is of signed products for signed types, so sums are needed for both; a signed sum carries as its bits do.
carrying!(u32, u64; u64, u128);

/// Signed types sum as their bits, and differ in the upper half of products.
#[derive(Clone, Copy, Default)]
struct Signed<T>(T);

macro_rules! signed {
    ($($t:ty, $signed:ty, $wide:ty, $ty:ident);*) => {$(
        impl Value for Signed<$t> {
            type Raw = $t;
            const TY: Ty = Ty::$ty;
            #[inline(always)]
            fn from_raw(raw: $t) -> Self { Self(raw) }
            #[inline(always)]
            fn to_raw(self) -> $t { self.0 }
        }
        impl Carrying for Signed<$t> {
            #[inline(always)]
            fn sum(self, other: Self, carry: bool) -> (Self, bool) {
                let (sum, over) = self.0.sum(other.0, carry);
                (Self(sum), over)
            }
            #[inline(always)]
            fn product(self, by: Self, high: bool) -> Self {
                let product = <$wide>::from(self.0 as $signed) * <$wide>::from(by.0 as $signed);
                Self((if high { product >> <$t>::BITS } else { product }) as $t)
            }
            #[inline(always)]
            fn not(self) -> Self { Self(!self.0) }
        }
    )*};
}

signed!(u32, i32, i64, S32; u64, i64, i128, S64);

/// `f(lane, carry)` in every lane; the carry in is the condition code's if `reads`, `otherwise` if not; the carry out replaces it if
/// `writes`.
#[inline(always)]
fn map<T: Carrying>(
    registers: &mut Registers,
    operands: &Operands,
    mask: u32,
    (reads, otherwise, writes): (bool, bool, bool),
    f: impl Fn(T, T, T, bool) -> (T, bool),
) {
    let carry = if reads { registers.predicate(CARRY) } else { u32::from(otherwise).wrapping_neg() };
    let [a, b, c] = [operands.a, operands.b, operands.c].map(|slot| *registers.get::<T::Raw>(slot));
    let (mut d, mut out) = ([T::Raw::default(); LANES], 0);
    for lane in 0..LANES {
        let [a, b, c] = [a[lane], b[lane], c[lane]].map(T::from_raw);
        let (value, over) = f(a, b, c, carry >> lane & 1 != 0);
        d[lane] = value.to_raw();
        out |= u32::from(over) << lane;
    }
    registers.set(operands.d, mask, &d);
    if writes {
        registers.set_predicate(CARRY, mask, out);
    }
}

/// The instruction that carries as said, one version for each.
macro_rules! instruction {
    ($T:ty, $reads:expr, $otherwise:expr, $writes:expr, $sources:expr, |$a:ident, $b:ident, $c:ident, $carry:ident| $f:expr) => {{
        let ty = <$T as Value>::TY;
        let pipe = if $sources == 3 { crate::count::Pipe::Fma } else { crate::count::Pipe::Alu };
        let exec = match ($reads, $writes) {
            (false, true) => exec!(|r, o, m| map::<$T>(r, o, m, (false, $otherwise, true), |$a, $b, $c, $carry| $f)),
            (true, false) => exec!(|r, o, m| map::<$T>(r, o, m, (true, false, false), |$a, $b, $c, $carry| $f)),
            (true, true) => exec!(|r, o, m| map::<$T>(r, o, m, (true, false, true), |$a, $b, $c, $carry| $f)),
            (false, false) => return None,
        };
        Some(Alu::new(pipe, exec, &[ty], &[ty; 3][..$sources]))
    }};
}

macro_rules! carry_types {
    ($ty:expr; $T:ident => $instruction:expr) => {
        by_type!($ty; $T: U32 u32, B32 u32, U64 u64, B64 u64, S32 Signed<u32>, S64 Signed<u64> => $instruction?)
    };
}

pub(super) fn find(name: &str, modifiers: &[&str]) -> Option<Alu> {
    let (writes, rest) = match modifiers {
        ["cc", rest @ ..] => (true, rest.to_vec()),
        [half, "cc", rest @ ..] => (true, [&[*half], rest].concat()),
        rest => (false, rest.to_vec()),
    };
    let (half, ty) = match rest[..] {
        [ty] => ("", Ty::parse(ty)?),
        [half, ty] => (half, Ty::parse(ty)?),
        _ => return None,
    };
    let reads = matches!(name, "addc" | "subc" | "madc");
    match (name, half) {
        ("add" | "addc", "") => {
            carry_types!(ty; T => instruction!(T, reads, false, writes, 2, |a, b, _c, carry| a.sum(b, carry)))
        }
        // A borrow is a missing carry: a - b - 1 + carry is a + !b + carry, and the bit is kept as the ISA has it, as a borrow.
        ("sub" | "subc", "") => carry_types!(ty; T => instruction!(T, reads, false, writes, 2, |a, b, _c, borrow| {
            let (value, carry) = a.sum(b.not(), !borrow);
            (value, !carry)
        })),
        ("mad" | "madc", "lo") => {
            carry_types!(ty; T => instruction!(T, reads, false, writes, 3, |a, b, c, carry| a.product(b, false).sum(c, carry)))
        }
        ("mad" | "madc", "hi") => {
            carry_types!(ty; T => instruction!(T, reads, false, writes, 3, |a, b, c, carry| a.product(b, true).sum(c, carry)))
        }
        _ => None,
    }
}
