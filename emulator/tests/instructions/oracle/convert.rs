//! Conversions.

use super::float::{finish, flushed, value};
use super::half::Format;
use super::{bits, low, number};

/// Rounds to an integer.
fn integral(value: f64, direction: &str) -> f64 {
    match direction {
        "rni" => value.round_ties_even(),
        "rzi" => value.trunc(),
        "rmi" => value.floor(),
        _ => value.ceil(),
    }
}

/// An integer as a float.
fn from_integer(integer: i128, to: &str, direction: &str) -> u64 {
    let magnitude = integer.unsigned_abs();
    if to != "f64" {
        // Candidates are compared as integers; below 1, nothing but 0 and 1 matters.
        let compare = |candidate: f64| match magnitude.cmp(&(candidate as u128)) {
            std::cmp::Ordering::Equal if candidate.fract() != 0.0 => std::cmp::Ordering::Less,
            order => order,
        };
        return Format::of(to).round(integer < 0, compare, direction);
    }
    let nearest = integer as f64;
    let up = match (nearest as i128).cmp(&integer) {
        std::cmp::Ordering::Less => 1,
        std::cmp::Ordering::Equal => return nearest.to_bits(),
        std::cmp::Ordering::Greater => -1,
    };
    let toward_zero = if integer < 0 { 1 } else { -1 };
    let wanted = match direction {
        "rn" => return nearest.to_bits(),
        "rz" => toward_zero,
        "rm" => -1,
        _ => 1,
    };
    match (up, wanted) {
        (1, 1) => nearest.next_up().to_bits(),
        (-1, -1) => nearest.next_down().to_bits(),
        _ => nearest.to_bits(),
    }
}

fn to_integer(value: f64, to: &str, direction: &str, wide: bool) -> u64 {
    let n = bits(to);
    let signed = to.starts_with('s');
    let integer = match integral(value, direction) {
        nan if nan.is_nan() => {
            if wide {
                1 << (n - 1)
            } else {
                0
            }
        }
        // Saturates at the range of i128, which is wider than that of any type.
        rounded => {
            let (least, most) = if signed { (-(1i128 << (n - 1)), (1 << (n - 1)) - 1) } else { (0, (1i128 << n) - 1) };
            (rounded as i128).clamp(least, most)
        }
    };
    in_register(number(to, integer as u64), to)
}

/// A number of a type in a register: 8 bits are extended to 32.
fn in_register(number: i128, to: &str) -> u64 {
    low(number as u128, bits(to).max(if bits(to) == 8 { 32 } else { 16 }))
}

fn to_float(value: f64, to: &str, direction: &str, flush: bool, saturate: bool) -> u64 {
    match to {
        "f64" if saturate => {
            if value > 0.0 {
                value.min(1.0).to_bits()
            } else {
                0
            }
        }
        "f64" => value.to_bits(),
        "f32" => finish(f32::from_bits(Format::of("f32").round_f64(value, direction) as u32), flush, saturate),
        _ if saturate && (value.is_nan() || value <= 0.0) => 0,
        _ => Format::of(to).round_f64(if saturate { value.min(1.0) } else { value }, direction),
    }
}

pub fn expected(modifiers: &[&str], [a, b, _]: [u64; 3]) -> u64 {
    let [said @ .., to, from] = modifiers else { panic!("no types") };
    let is = |modifier: &str| said.contains(&modifier);
    let direction = said.iter().copied().find(|modifier| modifier.starts_with('r')).unwrap_or("rn");
    let (to_is_float, from_is_float) = (to.contains('f'), from.contains('f'));
    if to.ends_with("x2") {
        let half = |value: u64| Format::of(to).round_f64(f32::from_bits(value as u32).into(), direction);
        return half(a) << 16 | half(b);
    }
    if !from_is_float {
        let integer = number(from, a);
        return match (to_is_float, is("sat")) {
            (true, _) => from_integer(integer, to, direction),
            (false, false) => in_register(number(to, integer as u64), to),
            (false, true) => {
                let n = bits(to);
                let (least, most) = match to.starts_with('s') {
                    true => (-(1i128 << (n - 1)), (1 << (n - 1)) - 1),
                    false => (0, (1i128 << n) - 1),
                };
                in_register(integer.clamp(least, most), to)
            }
        };
    }
    let operand = match (*from, is("ftz")) {
        ("f32", true) => flushed(f32::from_bits(a as u32)).into(),
        _ => value(from, a),
    };
    match to_is_float {
        false => to_integer(operand, to, direction, *from == "f64" || bits(to) == 64),
        true => {
            let integer = direction.ends_with('i');
            let operand = if integer { integral(operand, direction) } else { operand };
            to_float(operand, to, if integer { "rn" } else { direction }, is("ftz"), is("sat"))
        }
    }
}
