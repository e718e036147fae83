//! Conversions among integers and floats.

use half::{bf16, f16};

use super::float::{flush, saturate};
use super::lanes::{Alu, map1};
use super::round::{BF16, Direction, F16, F32, F64};
use super::types::Ty;

/// What a conversion's modifiers ask for.
#[derive(Debug, Clone, Copy)]
struct Asked<'a> {
    rounding: Option<&'a str>,
    flush: bool,
    saturate: bool,
    to: Ty,
    from: Ty,
}

pub(super) fn find(name: &str, modifiers: &[&str]) -> Option<Alu> {
    let [rest @ .., to, from] = modifiers else { return None };
    let (rounding, rest) = match rest {
        [rounding @ ("rn" | "rz" | "rm" | "rp" | "rni" | "rzi" | "rmi" | "rpi"), rest @ ..] => (Some(*rounding), rest),
        rest => (None, rest),
    };
    let (flush, saturate) = match rest {
        [] => (false, false),
        ["ftz"] => (true, false),
        ["sat"] => (false, true),
        ["ftz", "sat"] => (true, true),
        _ => return None,
    };
    let asked = Asked { rounding, flush, saturate, to: Ty::parse(to)?, from: Ty::parse(from)? };
    if name != "cvt" {
        return None;
    }
    let alu = match (asked.to.is_float(), asked.from.is_float()) {
        (false, false) => integer(asked),
        (true, false) => integer_to_float(asked),
        (false, true) => float_to_integer(asked),
        (true, true) => float(asked),
    }?;
    Some(Alu { relaxed: true, ..alu })
}

/// All integer types.
macro_rules! any_integer {
    ($ty:expr; $T:ident => $alu:expr) => {
        by_type!($ty; $T: U8 u8, U16 u16, U32 u32, U64 u64, S8 i8, S16 i16, S32 i32, S64 i64 => $alu)
    };
}

fn integer(asked: Asked<'_>) -> Option<Alu> {
    if asked.rounding.is_some() || asked.flush {
        return None;
    }
    match asked.saturate {
        false => any_integer!(asked.from; A => any_integer!(asked.to; D => alu!(Alu; (a: A) -> D { a as D }))?),
        true => any_integer!(asked.from; A => any_integer!(asked.to; D => alu!(Alu; (a: A) -> D {
            i128::from(a).clamp(i128::from(D::MIN), i128::from(D::MAX)) as D
        }))?),
    }
}

fn integer_to_float(asked: Asked<'_>) -> Option<Alu> {
    if asked.saturate || asked.flush {
        return None;
    }
    let direction = Direction::parse(asked.rounding?)?;
    let alu = match (asked.to, direction) {
        (Ty::F32, Direction::Nearest) => any_integer!(asked.from; A => alu!(Xu; (a: A) -> f32 { a as f32 })),
        (Ty::F64, Direction::Nearest) => any_integer!(asked.from; A => alu!(Xu; (a: A) -> f64 { a as f64 })),
        _ => {
            // Sign and magnitude say it all, whatever the type.
            macro_rules! rounded {
                ($D:ty, $format:expr, $bits:ty) => {
                    any_integer!(asked.from; A => {
                        let shape = alu!(Xu; (a: A) -> $D { <$D>::from_bits(a as $bits) });
                        let exec = exec!(|r, o, m| map1(r, o, m, |a: A| -> $D {
                            let (a, direction) = (i128::from(a), DIRECTIONS[o.imm as usize]);
                            <$D>::from_bits($format.round(a < 0, a.unsigned_abs() as u64, 0, direction) as $bits)
                        }));
                        Alu { exec, ..shape }
                    })
                };
            }
            match asked.to {
                Ty::F16 => rounded!(f16, F16, u16),
                Ty::Bf16 => rounded!(bf16, BF16, u16),
                Ty::F32 => rounded!(f32, F32, u32),
                Ty::F64 => rounded!(f64, F64, u64),
                _ => None,
            }
        }
    }?;
    Some(Alu { imm: direction as u32, ..alu })
}

const DIRECTIONS: [Direction; 4] = [Direction::Nearest, Direction::Zero, Direction::Down, Direction::Up];

/// Rounds to an integer: `imm` numbers the direction.
#[inline(always)]
fn integral(value: f64, imm: u32) -> f64 {
    match DIRECTIONS[imm as usize & 3] {
        Direction::Nearest => value.round_ties_even(),
        Direction::Zero => value.trunc(),
        Direction::Down => value.floor(),
        Direction::Up => value.ceil(),
    }
}

fn integral_direction(rounding: &str) -> Option<u32> {
    Some(Direction::parse(rounding.strip_suffix('i')?)? as u32)
}

/// A float, widened without loss.
trait Widen: Copy {
    fn widen(self) -> f64;
}

macro_rules! widen {
    ($($t:ty),*) => {$(impl Widen for $t {
        #[inline(always)]
        fn widen(self) -> f64 { self.into() }
    })*};
}

widen!(f16, bf16, f32, f64);

fn float_to_integer(asked: Asked<'_>) -> Option<Alu> {
    // Results clamp to the type's range without being asked. A NaN becomes 0, or the top bit alone where a 64-bit type takes part.
    let imm = integral_direction(asked.rounding?)?;
    let odd_nan = asked.from == Ty::F64 || asked.to.bytes() == 8;
    macro_rules! rounded {
        ($A:ty, $prepare:expr) => {
            any_integer!(asked.to; D => {
                let shape = alu!(Xu; (a: $A) -> D { Widen::widen(a) as D });
                let exec = match odd_nan {
                    false => exec!(|r, o, m| map1(r, o, m, |a: $A| -> D { integral($prepare(a).widen(), o.imm) as D })),
                    true => exec!(|r, o, m| map1(r, o, m, |a: $A| -> D {
                        let value = integral($prepare(a).widen(), o.imm);
                        if value.is_nan() { (1 as D) << (D::BITS - 1) } else { value as D }
                    })),
                };
                Alu { exec, ..shape }
            })
        };
    }
    let alu = match (asked.from, asked.flush) {
        (Ty::F16, false) => rounded!(f16, |a: f16| a),
        (Ty::Bf16, false) => rounded!(bf16, |a: bf16| a),
        (Ty::F32, false) => rounded!(f32, |a: f32| a),
        (Ty::F32, true) => rounded!(f32, flush),
        (Ty::F64, false) => rounded!(f64, |a: f64| a),
        _ => None,
    }?;
    Some(Alu { imm, ..alu })
}

fn float(asked: Asked<'_>) -> Option<Alu> {
    let Asked { rounding, flush: flushing, saturate: saturating, to, from } = asked;
    if let (Some(direction @ ("rn" | "rz")), Ty::F16x2 | Ty::Bf16x2, Ty::F32, false, false) =
        (rounding, to, from, flushing, saturating)
    {
        let alu = match to {
            Ty::F16x2 => alu!(Xu; (high: f32, low: f32) -> u32 { pack(high, low, |a| narrow16(a, 0)) }),
            _ => alu!(Xu; (high: f32, low: f32) -> u32 { pack(high, low, |a| narrow_b16(a, 0)) }),
        };
        let exec = match (to, direction) {
            (_, "rn") => alu.exec,
            (Ty::F16x2, _) => exec!(|r, o, m| super::lanes::map2(r, o, m, |a: f32, b: f32| pack(a, b, |a| narrow16(a, 1)))),
            _ => exec!(|r, o, m| super::lanes::map2(r, o, m, |a: f32, b: f32| pack(a, b, |a| narrow_b16(a, 1)))),
        };
        return Some(Alu { exec, ..alu });
    }
    // One `imm` says it all: the direction in the low bits, then whether to round to an integer, to flush, to saturate.
    let (direction, to_integer) = match rounding {
        None if from.bytes() <= to.bytes() => (0, false),
        None => return None,
        Some(name) => match integral_direction(name) {
            Some(direction) if to == from => (direction, true),
            Some(_) => return None,
            None if from.bytes() > to.bytes() || matches!((to, from), (Ty::Bf16, Ty::F16) | (Ty::F16, Ty::Bf16)) => {
                (Direction::parse(name)? as u32, false)
            }
            None => return None,
        },
    };
    if flushing && to != Ty::F32 && from != Ty::F32 || to == from && to.bytes() == 2 && !to_integer {
        return None;
    }
    let imm = direction | u32::from(to_integer) << 2 | u32::from(flushing) << 3 | u32::from(saturating) << 4;
    macro_rules! from {
        ($A:ty) => {
            match to {
                Ty::F16 => alu_from!($A, f16, |a: f64, imm: u32| f16::from_bits(narrow16f64(a, imm))),
                Ty::Bf16 => alu_from!($A, bf16, |a: f64, imm: u32| bf16::from_bits(narrow_b16f64(a, imm))),
                Ty::F32 => alu_from!($A, f32, narrow32),
                Ty::F64 => alu_from!($A, f64, |a: f64, imm: u32| if imm & SATURATE != 0 { a.clamp_unit() } else { a }),
                _ => return None,
            }
        };
    }
    macro_rules! alu_from {
        ($A:ty, $D:ty, $narrow:expr) => {{
            let shape = alu!(Xu; (a: $A) -> $D { let _ = a; <$D>::from_bits(0) });
            let exec = exec!(|r, o, m| map1(r, o, m, |a: $A| -> $D {
                let value = a.widen_flushed(o.imm);
                $narrow(if o.imm & TO_INTEGER != 0 { integral(value, o.imm) } else { value }, o.imm)
            }));
            Alu { exec, ..shape }
        }};
    }
    let alu = match from {
        Ty::F16 => from!(f16),
        Ty::Bf16 => from!(bf16),
        Ty::F32 => from!(f32),
        Ty::F64 => from!(f64),
        _ => return None,
    };
    Some(Alu { imm, ..alu })
}

const TO_INTEGER: u32 = 1 << 2;
const FLUSH: u32 = 1 << 3;
const SATURATE: u32 = 1 << 4;

/// A source as f64, its subnormals flushed if it is an f32 and `imm` asks for it.
trait Flushed: Widen {
    #[inline(always)]
    fn widen_flushed(self, _imm: u32) -> f64 {
        self.widen()
    }
}

impl Flushed for f16 {}
impl Flushed for bf16 {}
impl Flushed for f64 {}
impl Flushed for f32 {
    #[inline(always)]
    fn widen_flushed(self, imm: u32) -> f64 {
        (if imm & FLUSH != 0 { flush(self) } else { self }).into()
    }
}

trait Unit {
    /// To [0, 1], NaN to 0.
    fn clamp_unit(self) -> Self;
}

impl Unit for f64 {
    #[inline(always)]
    fn clamp_unit(self) -> Self {
        if self > 0.0 { self.min(1.0) } else { 0.0 }
    }
}

#[inline(always)]
fn narrow32(value: f64, imm: u32) -> f32 {
    let rounded = match DIRECTIONS[imm as usize & 3] {
        _ if value.is_nan() => f32::from_bits(0x7fff_ffff),
        Direction::Nearest => value as f32,
        direction => f32::from_bits(F32.round_f64(value, direction) as u32),
    };
    let rounded = if imm & FLUSH != 0 { flush(rounded) } else { rounded };
    if imm & SATURATE != 0 { saturate(rounded) } else { rounded }
}

#[inline(always)]
fn narrow16f64(value: f64, imm: u32) -> u16 {
    let value = if imm & SATURATE != 0 { value.clamp_unit() } else { value };
    if value.is_nan() { 0x7fff } else { F16.round_f64(value, DIRECTIONS[imm as usize & 3]) as u16 }
}

#[inline(always)]
fn narrow_b16f64(value: f64, imm: u32) -> u16 {
    let value = if imm & SATURATE != 0 { value.clamp_unit() } else { value };
    if value.is_nan() { 0x7fff } else { BF16.round_f64(value, DIRECTIONS[imm as usize & 3]) as u16 }
}

#[inline(always)]
fn narrow16(value: f32, imm: u32) -> u16 {
    narrow16f64(value.into(), imm)
}

#[inline(always)]
fn narrow_b16(value: f32, imm: u32) -> u16 {
    narrow_b16f64(value.into(), imm)
}

#[inline(always)]
fn pack(high: f32, low: f32, narrow: impl Fn(f32) -> u16) -> u32 {
    u32::from(narrow(high)) << 16 | u32::from(narrow(low))
}
