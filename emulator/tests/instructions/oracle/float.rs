//! Floats of 32 and 64 bits, as the host has them, and what chooses among values by a condition.

use super::half::Format;
use super::{bits, low, number};

/// A subnormal of 32 bits as zero.
pub fn flushed(value: f32) -> f32 {
    if value.is_subnormal() { f32::from_bits(value.to_bits() & 0x8000_0000) } else { value }
}

/// The result of a 32-bit instruction.
pub fn finish(value: f32, flush: bool, saturate: bool) -> u64 {
    let value = if flush { flushed(value) } else { value };
    let bits = match (value.is_nan(), saturate) {
        (true, true) => 0,
        (true, false) => 0x7fff_ffff,
        (false, true) => {
            if value > 1.0 {
                1f32.to_bits()
            } else if value > 0.0 {
                value.to_bits()
            } else {
                0
            }
        }
        (false, false) => value.to_bits(),
    };
    bits.into()
}

fn single(name: &str, modifiers: &[&str], operands: [u64; 3]) -> u64 {
    let is = |modifier: &str| modifiers.contains(&modifier);
    let [a, b, c] =
        operands.map(|value| f32::from_bits(value as u32)).map(|value| if is("ftz") { flushed(value) } else { value });
    let result = match name {
        "add" => a + b,
        "sub" => a - b,
        "mul" => a * b,
        "fma" | "mad" => a.mul_add(b, c),
        "div" => a / b,
        "sqrt" => a.sqrt(),
        "rcp" => 1.0 / a,
        // The sign alone changes, of NaNs too.
        "abs" => return u64::from(a.to_bits() & 0x7fff_ffff),
        "neg" => return u64::from(a.to_bits() ^ 0x8000_0000),
        "copysign" => return u64::from(b.to_bits() & 0x7fff_ffff | a.to_bits() & 0x8000_0000),
        "min" | "max" => match (a.is_nan(), b.is_nan()) {
            (true, true) => f32::NAN,
            (true, false) => {
                if is("NaN") {
                    f32::NAN
                } else {
                    b
                }
            }
            (false, true) => {
                if is("NaN") {
                    f32::NAN
                } else {
                    a
                }
            }
            _ => {
                if a.total_cmp(&b).is_le() == (name == "min") {
                    a
                } else {
                    b
                }
            }
        },
        _ => panic!("no oracle of {name}.f32"),
    };
    finish(result, is("ftz"), is("sat"))
}

fn double(name: &str, operands: [u64; 3]) -> u64 {
    let [a, b, c] = operands.map(f64::from_bits);
    let result = match name {
        "add" => a + b,
        "sub" => a - b,
        "mul" => a * b,
        "fma" | "mad" => a.mul_add(b, c),
        "div" => a / b,
        "sqrt" => a.sqrt(),
        "rcp" => 1.0 / a,
        "abs" => return a.to_bits() & (u64::MAX >> 1),
        "neg" => return a.to_bits() ^ 1 << 63,
        "copysign" => return b.to_bits() & (u64::MAX >> 1) | a.to_bits() & 1 << 63,
        "min" | "max" if a.is_nan() => b,
        "min" | "max" if b.is_nan() => a,
        "min" | "max" => {
            if a.total_cmp(&b).is_le() == (name == "min") {
                a
            } else {
                b
            }
        }
        _ => panic!("no oracle of {name}.f64"),
    };
    result.to_bits()
}

pub fn arithmetic(name: &str, modifiers: &[&str], operands: [u64; 3]) -> u64 {
    if modifiers.contains(&"f64") { double(name, operands) } else { single(name, modifiers, operands) }
}

/// A float operand of any type.
pub fn value(ty: &str, value: u64) -> f64 {
    if ty == "f64" { f64::from_bits(value) } else { Format::of(ty).read(value) }
}

fn holds(comparison: &str, ty: &str, flush: bool, a: u64, b: u64) -> bool {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let order = match ty {
        "f16" | "bf16" | "f64" => value(ty, a).partial_cmp(&value(ty, b)),
        "f32" => {
            let [a, b] = [a, b].map(|bits| f32::from_bits(bits as u32)).map(|v| if flush { flushed(v) } else { v });
            a.partial_cmp(&b)
        }
        _ => Some(number(ty, a).cmp(&number(ty, b))),
    };
    let Some(order) = order else { return comparison.ends_with('u') || comparison == "nan" };
    match comparison {
        "eq" | "equ" => order == Equal,
        "ne" | "neu" => order != Equal,
        "lt" | "ltu" | "lo" => order == Less,
        "le" | "leu" | "ls" => order != Greater,
        "gt" | "gtu" | "hi" => order == Greater,
        "ge" | "geu" | "hs" => order != Less,
        "num" => true,
        "nan" => false,
        _ => panic!("no oracle of {comparison}"),
    }
}

fn setp(modifiers: &[&str], ty: &str, [a, b, c]: [u64; 3]) -> u64 {
    let (flush, c) = (modifiers.contains(&"ftz"), c & 1);
    let holds = u64::from(holds(modifiers[0], ty, flush, a, b));
    let combine = |bit: u64| match modifiers[1] {
        "and" => bit & c,
        "or" => bit | c,
        "xor" => bit ^ c,
        _ => bit,
    };
    if modifiers.len() == 1 { holds } else { combine(holds) | combine(1 - holds) << 1 }
}

fn testp(test: &str, ty: &str, a: u64) -> u64 {
    let (exponent, fraction) = match ty {
        "f32" => (a >> 23 & 255, a & 0x7f_ffff),
        _ => (a >> 52 & 2047, a & (u64::MAX >> 12)),
    };
    let top = if ty == "f32" { 255 } else { 2047 };
    let answer = match test {
        "finite" => exponent != top,
        "infinite" => exponent == top && fraction == 0,
        "number" => exponent != top || fraction == 0,
        "notanumber" => exponent == top && fraction != 0,
        "subnormal" => exponent == 0 && fraction != 0,
        _ => exponent != top && (exponent != 0 || fraction == 0),
    };
    answer.into()
}

/// Moves, selections and compares.
pub fn choices(name: &str, modifiers: &[&str], operands: [u64; 3]) -> u64 {
    let ty = *modifiers.last().unwrap();
    let [a, b, c] = operands;
    let of = |ty: &str, value: u64| low(value.into(), if ty == "pred" { 1 } else { bits(ty) });
    match name {
        "mov" => of(ty, a),
        "selp" => of(ty, if c & 1 != 0 { a } else { b }),
        "slct" => {
            let chosen = match ty {
                "s32" => c as i32 >= 0,
                _ => {
                    let c = f32::from_bits(c as u32);
                    (if modifiers.contains(&"ftz") { flushed(c) } else { c }) >= 0.0
                }
            };
            of(modifiers[modifiers.len() - 2], if chosen { a } else { b })
        }
        "setp" => {
            let result = setp(modifiers, ty, operands);
            if modifiers.len() <= 2 || modifiers[1] == "ftz" { result & 1 | (1 - (result & 1)) << 1 } else { result }
        }
        _ => testp(modifiers[0], ty, a),
    }
}
