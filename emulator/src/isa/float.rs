//! Arithmetic on 32-bit and 64-bit floats, rounded to nearest even. Approximate instructions are not here: what they return is the
//! hardware's own.

use super::lanes::Alu;

/// The NaN that 32-bit float instructions return, whatever came in.
const NAN: f32 = f32::from_bits(0x7fff_ffff);

/// Subnormals to zero of the same sign: `.ftz`.
#[inline(always)]
pub(super) fn flush(value: f32) -> f32 {
    if value.is_subnormal() { 0f32.copysign(value) } else { value }
}

/// To [0, 1], NaN to 0: `.sat`.
#[inline(always)]
pub(super) fn saturate(value: f32) -> f32 {
    if value > 0.0 { value.min(1.0) } else { 0.0 }
}

/// Every NaN is the one that GPUs make. On the bits: to the compiler one NaN is as good as another, and it drops a choice between them.
#[inline(always)]
fn canonical(value: f32) -> f32 {
    let bits = value.to_bits();
    if bits & 0x7fff_ffff > f32::INFINITY.to_bits() { NAN } else { f32::from_bits(bits) }
}

/// The lesser: of a number and a NaN the number; -0 is less than +0.
#[inline(always)]
fn lesser(a: f32, b: f32) -> f32 {
    match (a.is_nan(), b.is_nan()) {
        (true, _) => canonical(b),
        (_, true) => a,
        _ if a == b => f32::from_bits(a.to_bits() | b.to_bits()),
        _ if a < b => a,
        _ => b,
    }
}

#[inline(always)]
fn greater(a: f32, b: f32) -> f32 {
    match (a.is_nan(), b.is_nan()) {
        (true, _) => canonical(b),
        (_, true) => a,
        _ if a == b => f32::from_bits(a.to_bits() & b.to_bits()),
        _ if a > b => a,
        _ => b,
    }
}

#[inline(always)]
fn lesser64(a: f64, b: f64) -> f64 {
    if a == b { f64::from_bits(a.to_bits() | b.to_bits()) } else { a.min(b) }
}

#[inline(always)]
fn greater64(a: f64, b: f64) -> f64 {
    if a == b { f64::from_bits(a.to_bits() & b.to_bits()) } else { a.max(b) }
}

/// An f32 instruction with and without `.ftz` and `.sat`.
macro_rules! single {
    ($flush:expr, $sat:expr, $pipe:ident; ($($a:ident),*) $f:expr) => {
        match ($flush, $sat) {
            (false, false) => alu!($pipe; ($($a: f32),*) -> f32 { canonical($f) }),
            (true, false) => alu!($pipe; ($($a: f32),*) -> f32 { $(let $a = flush($a);)* canonical(flush($f)) }),
            (false, true) => alu!($pipe; ($($a: f32),*) -> f32 { saturate($f) }),
            (true, true) => alu!($pipe; ($($a: f32),*) -> f32 { $(let $a = flush($a);)* saturate(flush($f)) }),
        }
    };
}

fn single(name: &str, rounding: Option<&str>, flushing: bool, sat: bool) -> Option<Alu> {
    // Sums and products round to nearest if they do not say; the others must say.
    let unsaid = rounding.is_none();
    Some(match name {
        "add" => single!(flushing, sat, Fma; (a, b) a + b),
        "sub" => single!(flushing, sat, Fma; (a, b) a - b),
        "mul" => single!(flushing, sat, Fma; (a, b) a * b),
        "fma" | "mad" if !unsaid => single!(flushing, sat, Fma; (a, b, c) a.mul_add(b, c)),
        "div" if !unsaid && !sat => single!(flushing, false, Xu; (a, b) a / b),
        "sqrt" if !unsaid && !sat => single!(flushing, false, Xu; (a) a.sqrt()),
        "rcp" if !unsaid && !sat => single!(flushing, false, Xu; (a) 1.0 / a),
        "min" if unsaid && !sat => single!(flushing, false, Alu; (a, b) lesser(a, b)),
        "max" if unsaid && !sat => single!(flushing, false, Alu; (a, b) greater(a, b)),
        "abs" if unsaid && !sat => match flushing {
            false => alu!(Alu; (a: f32) -> f32 { a.abs() }),
            true => alu!(Alu; (a: f32) -> f32 { flush(a).abs() }),
        },
        "neg" if unsaid && !sat => match flushing {
            false => alu!(Alu; (a: f32) -> f32 { -a }),
            true => alu!(Alu; (a: f32) -> f32 { -flush(a) }),
        },
        _ => return None,
    })
}

fn double(name: &str, rounding: Option<&str>) -> Option<Alu> {
    let unsaid = rounding.is_none();
    Some(match name {
        "add" => alu!(Fp64; (a: f64, b: f64) -> f64 { a + b }),
        "sub" => alu!(Fp64; (a: f64, b: f64) -> f64 { a - b }),
        "mul" => alu!(Fp64; (a: f64, b: f64) -> f64 { a * b }),
        "fma" | "mad" if !unsaid => alu!(Fp64; (a: f64, b: f64, c: f64) -> f64 { a.mul_add(b, c) }),
        "div" if !unsaid => alu!(Fp64; (a: f64, b: f64) -> f64 { a / b }),
        "sqrt" if !unsaid => alu!(Fp64; (a: f64) -> f64 { a.sqrt() }),
        "rcp" if !unsaid => alu!(Fp64; (a: f64) -> f64 { 1.0 / a }),
        "min" if unsaid => alu!(Fp64; (a: f64, b: f64) -> f64 { lesser64(a, b) }),
        "max" if unsaid => alu!(Fp64; (a: f64, b: f64) -> f64 { greater64(a, b) }),
        "abs" if unsaid => alu!(Fp64; (a: f64) -> f64 { a.abs() }),
        "neg" if unsaid => alu!(Fp64; (a: f64) -> f64 { -a }),
        _ => return None,
    })
}

pub(super) fn find(name: &str, modifiers: &[&str]) -> Option<Alu> {
    match (name, modifiers) {
        ("copysign", ["f32"]) => return Some(alu!(Alu; (sign: f32, magnitude: f32) -> f32 { magnitude.copysign(sign) })),
        ("copysign", ["f64"]) => return Some(alu!(Alu; (sign: f64, magnitude: f64) -> f64 { magnitude.copysign(sign) })),
        ("min", ["NaN", "f32"]) => {
            return Some(alu!(Alu; (a: f32, b: f32) -> f32 { if a.is_nan() || b.is_nan() { NAN } else { lesser(a, b) } }));
        }
        ("max", ["NaN", "f32"]) => {
            return Some(alu!(Alu; (a: f32, b: f32) -> f32 { if a.is_nan() || b.is_nan() { NAN } else { greater(a, b) } }));
        }
        _ => {}
    }
    let (ty, rest) = modifiers.split_last()?;
    let (rounding, rest) = match rest {
        ["rn", rest @ ..] => (Some("rn"), rest),
        rest => (None, rest),
    };
    let (flushing, rest) = match rest {
        ["ftz", rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    match (*ty, rest) {
        ("f32", []) => single(name, rounding, flushing, false),
        ("f32", ["sat"]) => single(name, rounding, flushing, true),
        ("f64", []) if !flushing => double(name, rounding),
        _ => None,
    }
}
