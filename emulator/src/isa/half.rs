//! Arithmetic on 16-bit floats, single and packed in pairs: computed wider, where the result is exact or rounds once to the same.

use half::{bf16, f16};

use super::lanes::Alu;
use super::round::{BF16, Direction, F16};
use super::types::{Ty, Value};

/// A 16-bit format.
trait Half: Copy + Value<Raw = u32> {
    const NAN: u16 = 0x7fff;
    fn wide(self) -> f64;
    fn round(value: f64) -> Self;
    fn bits(self) -> u16;
    fn of(bits: u16) -> Self;

    /// `round(value)`, the format's own NaN for a NaN.
    #[inline(always)]
    fn narrow(value: f64) -> Self {
        if value.is_nan() { Self::of(Self::NAN) } else { Self::round(value) }
    }
}

impl Half for f16 {
    #[inline(always)]
    fn wide(self) -> f64 {
        self.to_f64()
    }
    #[inline(always)]
    fn round(value: f64) -> Self {
        Self::from_bits(F16.round_f64(value, Direction::Nearest) as u16)
    }
    #[inline(always)]
    fn bits(self) -> u16 {
        self.to_bits()
    }
    #[inline(always)]
    fn of(bits: u16) -> Self {
        Self::from_bits(bits)
    }
}

impl Half for bf16 {
    #[inline(always)]
    fn wide(self) -> f64 {
        self.to_f64()
    }
    #[inline(always)]
    fn round(value: f64) -> Self {
        Self::from_bits(BF16.round_f64(value, Direction::Nearest) as u16)
    }
    #[inline(always)]
    fn bits(self) -> u16 {
        self.to_bits()
    }
    #[inline(always)]
    fn of(bits: u16) -> Self {
        Self::from_bits(bits)
    }
}

/// `a * b + c` of 16-bit floats, so that rounding it again to 16 bits rounds as if once: products are exact in f64, and a sum that is not
/// is made odd.
#[inline(always)]
fn fused(a: f64, b: f64, c: f64) -> f64 {
    let product = a * b;
    let sum = product + c;
    if !sum.is_finite() {
        return sum;
    }
    let of_c = sum - product;
    let error = (product - (sum - of_c)) + (c - of_c);
    if error == 0.0 || sum.to_bits() & 1 == 1 {
        return sum;
    }
    // The odd neighbour on the side where the exact sum lies.
    let away = (error > 0.0) == (sum > 0.0);
    f64::from_bits(if away { sum.to_bits() + 1 } else { sum.to_bits() - 1 })
}

#[inline(always)]
fn lesser<T: Half>(a: T, b: T) -> T {
    pick(a, b, |a, b| a < b, a.bits() | b.bits())
}

#[inline(always)]
fn greater<T: Half>(a: T, b: T) -> T {
    pick(a, b, |a, b| a > b, a.bits() & b.bits())
}

#[inline(always)]
fn pick<T: Half>(a: T, b: T, first: impl Fn(f64, f64) -> bool, equal: u16) -> T {
    let (x, y) = (a.wide(), b.wide());
    match (x.is_nan(), y.is_nan()) {
        (true, true) => T::of(T::NAN),
        (true, false) => b,
        (false, true) => a,
        _ if x == y => T::of(equal),
        _ if first(x, y) => a,
        _ => b,
    }
}

/// Applies to both halves.
#[inline(always)]
fn pair<T: Half>(sources: [u32; 3], f: impl Fn(T, T, T) -> T) -> u32 {
    let low = sources.map(|source| T::of(source as u16));
    let high = sources.map(|source| T::of((source >> 16) as u16));
    u32::from(f(low[0], low[1], low[2]).bits()) | u32::from(f(high[0], high[1], high[2]).bits()) << 16
}

/// The instruction on one value, and on a pair.
macro_rules! half {
    ($ty:expr, $pipe:ident, |$a:ident| $f:expr) => {
        match $ty {
            Ty::F16 => alu!($pipe; (a: f16) -> f16 { (|$a: f16| -> f16 { $f })(a) }),
            Ty::Bf16 => alu!($pipe; (a: bf16) -> bf16 { (|$a: bf16| -> bf16 { $f })(a) }),
            Ty::F16x2 => alu!($pipe; (a: u32) -> u32 { pair([a, 0, 0], |$a: f16, _, _| $f) }),
            Ty::Bf16x2 => alu!($pipe; (a: u32) -> u32 { pair([a, 0, 0], |$a: bf16, _, _| $f) }),
            _ => return None,
        }
    };
    ($ty:expr, $pipe:ident, |$a:ident, $b:ident| $f:expr) => {
        match $ty {
            Ty::F16 => alu!($pipe; (a: f16, b: f16) -> f16 { (|$a: f16, $b: f16| -> f16 { $f })(a, b) }),
            Ty::Bf16 => alu!($pipe; (a: bf16, b: bf16) -> bf16 { (|$a: bf16, $b: bf16| -> bf16 { $f })(a, b) }),
            Ty::F16x2 => alu!($pipe; (a: u32, b: u32) -> u32 { pair([a, b, 0], |$a: f16, $b: f16, _| $f) }),
            Ty::Bf16x2 => alu!($pipe; (a: u32, b: u32) -> u32 { pair([a, b, 0], |$a: bf16, $b: bf16, _| $f) }),
            _ => return None,
        }
    };
    ($ty:expr, $pipe:ident, |$a:ident, $b:ident, $c:ident| $f:expr) => {
        match $ty {
            Ty::F16 => alu!($pipe; (a: f16, b: f16, c: f16) -> f16 { (|$a: f16, $b: f16, $c: f16| -> f16 { $f })(a, b, c) }),
            Ty::Bf16 => alu!($pipe; (a: bf16, b: bf16, c: bf16) -> bf16 { (|$a: bf16, $b: bf16, $c: bf16| -> bf16 { $f })(a, b, c) }),
            Ty::F16x2 => alu!($pipe; (a: u32, b: u32, c: u32) -> u32 { pair([a, b, c], |$a: f16, $b: f16, $c: f16| $f) }),
            Ty::Bf16x2 => alu!($pipe; (a: u32, b: u32, c: u32) -> u32 { pair([a, b, c], |$a: bf16, $b: bf16, $c: bf16| $f) }),
            _ => return None,
        }
    };
}

pub(super) fn find(name: &str, modifiers: &[&str]) -> Option<Alu> {
    let (rounded, ty) = match modifiers {
        ["rn", ty] => (true, Ty::parse(ty)?),
        [ty] => (false, Ty::parse(ty)?),
        _ => return None,
    };
    let alu = match name {
        "add" => half!(ty, Fma, |a, b| Half::narrow(fused(a.wide(), 1.0, b.wide()))),
        "sub" => half!(ty, Fma, |a, b| Half::narrow(fused(a.wide(), 1.0, -b.wide()))),
        "mul" => half!(ty, Fma, |a, b| Half::narrow(a.wide() * b.wide())),
        "fma" if rounded => half!(ty, Fma, |a, b, c| Half::narrow(fused(a.wide(), b.wide(), c.wide()))),
        "min" if !rounded => half!(ty, Alu, |a, b| lesser(a, b)),
        "max" if !rounded => half!(ty, Alu, |a, b| greater(a, b)),
        "neg" if !rounded => half!(ty, Alu, |a| Half::of(a.bits() ^ 0x8000)),
        "abs" if !rounded => half!(ty, Alu, |a| Half::of(a.bits() & 0x7fff)),
        _ => return None,
    };
    let (targets, sources) = (vec![ty], vec![ty; alu.sources.len()]);
    Some(Alu { targets, sources, ..alu })
}
