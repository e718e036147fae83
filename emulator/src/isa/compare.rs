//! Compares, tests, and selection by their results.

use half::{bf16, f16};

use super::lanes::{Alu, Exec, collect};
use super::registers::{LANES, Lane};
use super::types::{Ty, Value};
use super::{Operands, Registers};
use crate::count::Pipe;

/// How a result is combined with operand `c`: `imm` of a `setp`.
const COMBINATIONS: [&str; 4] = ["", "and", "or", "xor"];

/// Writes the combination of `f` to `d`, of its negation to `e`.
#[inline(always)]
fn compare<T: Value<Raw: Lane>>(registers: &mut Registers, operands: &Operands, mask: u32, f: impl Fn(T, T) -> bool) {
    let (a, b) = (registers.get::<T::Raw>(operands.a), registers.get::<T::Raw>(operands.b));
    let holds = collect(|lane| f(T::from_raw(a[lane]), T::from_raw(b[lane])));
    let c = registers.predicate(operands.c);
    let combine = |bits: u32| match operands.imm {
        0 => bits,
        1 => bits & c,
        2 => bits | c,
        _ => bits ^ c,
    };
    // The second one is the sink if there is only one destination, so the first is written last: it may be the same register.
    registers.set_predicate(operands.e, mask, combine(!holds));
    registers.set_predicate(operands.d, mask, combine(holds));
}

/// Writes `a` where predicate `c` holds, else `b`.
#[inline(always)]
fn select<T: Value<Raw: Lane>>(registers: &mut Registers, operands: &Operands, mask: u32) {
    use super::types::Raw;
    let (a, b, c) = (registers.get::<T::Raw>(operands.a), registers.get::<T::Raw>(operands.b), registers.predicate(operands.c));
    let d: [T::Raw; LANES] = std::array::from_fn(|lane| a[lane].blend(b[lane], c >> lane & 1 != 0));
    registers.set(operands.d, mask, &d);
}

macro_rules! comparison {
    ($T:ty, |$a:ident, $b:ident| $f:expr) => {
        Some(exec!(|r, o, m| compare(r, o, m, |$a: $T, $b: $T| $f)))
    };
}

fn order(ty: Ty, comparison: &str) -> Option<Exec> {
    macro_rules! ordered {
        ($f:expr, $($name:ident $T:ty),*) => {
            match ty {
                $(Ty::$name => Some(exec!(|r, o, m| compare::<$T>(r, o, m, $f))),)*
                _ => None,
            }
        };
    }
    macro_rules! integer {
        ($f:expr) => { ordered!($f, U16 u16, U32 u32, U64 u64, S16 i16, S32 i32, S64 i64) };
    }
    macro_rules! unsigned {
        ($f:expr) => { ordered!($f, U16 u16, U32 u32, U64 u64) };
    }
    match comparison {
        "eq" => ordered!(|a, b| a == b, U16 u16, U32 u32, U64 u64, S16 u16, S32 u32, S64 u64, B16 u16, B32 u32, B64 u64),
        "ne" => ordered!(|a, b| a != b, U16 u16, U32 u32, U64 u64, S16 u16, S32 u32, S64 u64, B16 u16, B32 u32, B64 u64),
        "lt" => integer!(|a, b| a < b),
        "le" => integer!(|a, b| a <= b),
        "gt" => integer!(|a, b| a > b),
        "ge" => integer!(|a, b| a >= b),
        "lo" => unsigned!(|a, b| a < b),
        "ls" => unsigned!(|a, b| a <= b),
        "hi" => unsigned!(|a, b| a > b),
        "hs" => unsigned!(|a, b| a >= b),
        _ => None,
    }
}

// NaN is neither less nor equal nor greater: what clippy would simplify is meant.
#[allow(clippy::double_comparisons, clippy::neg_cmp_op_on_partial_ord)]
fn float_order(ty: Ty, comparison: &str, flush: bool) -> Option<Exec> {
    // In f64 every type compares as it does in its own precision.
    macro_rules! of {
        (|$a:ident, $b:ident| $f:expr) => {
            match (ty, flush) {
                (Ty::F32, false) => comparison!(f32, |$a, $b| $f),
                (Ty::F32, true) => comparison!(f32, |x, y| {
                    let ($a, $b) = (super::float::flush(x), super::float::flush(y));
                    $f
                }),
                (Ty::F64, false) => comparison!(f64, |$a, $b| $f),
                (Ty::F16, false) => comparison!(f16, |x, y| {
                    let ($a, $b) = (x.to_f32(), y.to_f32());
                    $f
                }),
                (Ty::Bf16, false) => comparison!(bf16, |x, y| {
                    let ($a, $b) = (x.to_f32(), y.to_f32());
                    $f
                }),
                _ => None,
            }
        };
    }
    match comparison {
        "eq" => of!(|a, b| a == b),
        "ne" => of!(|a, b| a < b || a > b),
        "lt" => of!(|a, b| a < b),
        "le" => of!(|a, b| a <= b),
        "gt" => of!(|a, b| a > b),
        "ge" => of!(|a, b| a >= b),
        "equ" => of!(|a, b| !(a < b || a > b)),
        "neu" => of!(|a, b| a != b),
        "ltu" => of!(|a, b| !(a >= b)),
        "leu" => of!(|a, b| !(a > b)),
        "gtu" => of!(|a, b| !(a <= b)),
        "geu" => of!(|a, b| !(a < b)),
        "num" => of!(|a, b| !a.is_nan() && !b.is_nan()),
        "nan" => of!(|a, b| a.is_nan() || b.is_nan()),
        _ => None,
    }
}

fn setp(modifiers: &[&str]) -> Option<Alu> {
    let (comparison, rest) = modifiers.split_first()?;
    let (imm, rest) = match rest {
        [combination @ ("and" | "or" | "xor"), rest @ ..] => (COMBINATIONS.iter().position(|name| name == combination)?, rest),
        rest => (0, rest),
    };
    let (flush, ty) = match rest {
        ["ftz", ty] => (true, Ty::parse(ty)?),
        [ty] => (false, Ty::parse(ty)?),
        _ => return None,
    };
    let exec = if ty.is_float() { float_order(ty, comparison, flush)? } else { order(ty, comparison).filter(|_| !flush)? };
    let sources = [ty, ty, Ty::Pred];
    let alu = Alu::new(Pipe::Alu, exec, &[Ty::Pred, Ty::Pred], &sources[..if imm == 0 { 2 } else { 3 }]);
    Some(Alu { imm: imm as u32, ..alu })
}

fn selp(ty: Ty) -> Option<Alu> {
    let exec = match ty.bytes() {
        2 => exec!(|r, o, m| select::<u16>(r, o, m)),
        4 => exec!(|r, o, m| select::<u32>(r, o, m)),
        8 => exec!(|r, o, m| select::<u64>(r, o, m)),
        _ => return None,
    };
    Some(Alu::new(Pipe::Alu, exec, &[ty], &[ty, ty, Ty::Pred]))
}

fn slct(modifiers: &[&str]) -> Option<Alu> {
    let (ty, by) = match modifiers {
        [ty, by @ ("s32" | "f32")] => (Ty::parse(ty)?, *by),
        ["ftz", ty, "f32"] => (Ty::parse(ty)?, "ftz"),
        _ => return None,
    };
    macro_rules! slct {
        ($T:ty) => {
            match by {
                "s32" => alu!(Alu; (a: $T, b: $T, c: i32) -> $T { if c >= 0 { a } else { b } }),
                "f32" => alu!(Alu; (a: $T, b: $T, c: f32) -> $T { if c >= 0.0 { a } else { b } }),
                _ => alu!(Alu; (a: $T, b: $T, c: f32) -> $T { if super::float::flush(c) >= 0.0 { a } else { b } }),
            }
        };
    }
    let alu = match ty.bytes() {
        2 => slct!(u16),
        4 => slct!(u32),
        8 => slct!(u64),
        _ => return None,
    };
    Some(Alu { targets: vec![ty], sources: vec![ty, ty, alu.sources[2]], ..alu })
}

fn testp(modifiers: &[&str]) -> Option<Alu> {
    let [test, ty] = modifiers else { return None };
    let ty = Ty::parse(ty)?;
    macro_rules! test {
        (|$a:ident| $f:expr) => {
            match ty {
                Ty::F32 => exec!(|r, o, m| compare(r, o, m, |$a: f32, _: f32| $f)),
                Ty::F64 => exec!(|r, o, m| compare(r, o, m, |$a: f64, _: f64| $f)),
                _ => return None,
            }
        };
    }
    let exec = match *test {
        "finite" => test!(|a| a.is_finite()),
        "infinite" => test!(|a| a.is_infinite()),
        "number" => test!(|a| !a.is_nan()),
        "notanumber" => test!(|a| a.is_nan()),
        // Zeros count as normal.
        "normal" => test!(|a| a.is_normal() || a == 0.0),
        "subnormal" => test!(|a| a.is_subnormal()),
        _ => return None,
    };
    Some(Alu::new(Pipe::Alu, exec, &[Ty::Pred, Ty::Pred], &[ty]))
}

pub(super) fn find(name: &str, modifiers: &[&str]) -> Option<Alu> {
    match (name, modifiers) {
        ("setp", _) => setp(modifiers),
        ("selp", [ty]) => selp(Ty::parse(ty)?),
        ("slct", _) => slct(modifiers),
        ("testp", _) => testp(modifiers),
        _ => None,
    }
}
