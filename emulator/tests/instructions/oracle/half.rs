//! Floats of 16 bits, and rounding to any format: by searching for the neighbours of the exact value.

use std::cmp::Ordering;

/// A binary format: bits, and how its patterns are read.
#[derive(Clone, Copy)]
pub struct Format {
    pub bits: u32,
    pub infinity: u64,
    value: fn(u64) -> f64,
}

impl Format {
    pub fn of(ty: &str) -> Self {
        match ty {
            "f16" | "f16x2" => Self { bits: 16, infinity: 0x7c00, value: |bits| half::f16::from_bits(bits as u16).to_f64() },
            "bf16" | "bf16x2" => Self { bits: 16, infinity: 0x7f80, value: |bits| half::bf16::from_bits(bits as u16).to_f64() },
            "f32" => Self { bits: 32, infinity: 0x7f80_0000, value: |bits| f32::from_bits(bits as u32).into() },
            _ => panic!("no format {ty}"),
        }
    }

    pub fn read(self, bits: u64) -> f64 {
        (self.value)(bits & (u64::MAX >> (64 - self.bits)))
    }

    /// The NaN that instructions make.
    pub fn nan(self) -> u64 {
        (1 << (self.bits - 1)) - 1
    }

    /// Of a finite number of which `compare` knows how its magnitude compares with others, the pattern it rounds to.
    pub fn round(self, negative: bool, compare: impl Fn(f64) -> Ordering, direction: &str) -> u64 {
        let sign = u64::from(negative) << (self.bits - 1);
        // The greatest pattern whose value is not above the number: patterns of magnitudes are in the order of their values.
        let (mut below, mut above) = (0, self.infinity);
        while above - below > 1 {
            let middle = below.midpoint(above);
            if compare(self.read(middle)).is_lt() { above = middle } else { below = middle }
        }
        if compare(self.read(below)).is_eq() {
            return sign | below;
        }
        // Beyond the greatest number, the grid goes on for one more step before infinity is nearer.
        let (low, step) = (self.read(below), self.read(below) - self.read(below - u64::from(below > 0)));
        let high = if above == self.infinity { low + step } else { self.read(above) };
        let up = match direction {
            "rn" => match compare(low.midpoint(high)) {
                Ordering::Equal => below & 1 != 0,
                order => order.is_gt(),
            },
            "rz" => false,
            "rm" => negative,
            _ => !negative,
        };
        sign | if up { above } else { below }
    }

    /// Of a number of 64 bits, whatever it is.
    pub fn round_f64(self, value: f64, direction: &str) -> u64 {
        self.round_sum(value, 0.0, direction)
    }

    /// Of `sum + error`, where the sum is what that rounds to in 64 bits.
    pub fn round_sum(self, sum: f64, error: f64, direction: &str) -> u64 {
        if sum.is_nan() {
            return self.nan();
        }
        if sum.is_infinite() {
            return u64::from(sum < 0.0) << (self.bits - 1) | self.infinity;
        }
        let error = if sum.is_sign_negative() { 0.0 - error } else { error };
        // Where the sum is not equal, what it was rounded from is on the same side: rounding keeps the order.
        let compare = |other: f64| sum.abs().total_cmp(&other).then(error.total_cmp(&0.0));
        self.round(sum.is_sign_negative(), compare, direction)
    }
}

/// A sum, and what was lost when it was rounded (Knuth's).
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let of_b = sum - a;
    let error = (a - (sum - of_b)) + (b - of_b);
    (sum, if error.is_nan() || error == 0.0 { 0.0 } else { error })
}

fn one(name: &str, format: Format, [a, b, c]: [u64; 3]) -> u64 {
    let [a, b, c] = [a, b, c].map(|bits| bits & 0xffff);
    let [x, y, z] = [a, b, c].map(|bits| format.read(bits));
    let (sum, error) = match name {
        "add" => two_sum(x, y),
        "sub" => two_sum(x, -y),
        "mul" => (x * y, 0.0),
        "fma" => two_sum(x * y, z),
        "neg" => return a ^ 0x8000,
        "abs" => return a & 0x7fff,
        "min" | "max" => {
            let first = if name == "min" { x.total_cmp(&y).is_le() } else { x.total_cmp(&y).is_ge() };
            return match (x.is_nan(), y.is_nan()) {
                (true, true) => format.nan(),
                (true, false) => b,
                (false, true) => a,
                _ => {
                    if first {
                        a
                    } else {
                        b
                    }
                }
            };
        }
        _ => panic!("no oracle of {name}"),
    };
    format.round_sum(sum, error, "rn")
}

pub fn expected(name: &str, ty: &str, operands: [u64; 3]) -> u64 {
    let format = Format::of(ty);
    let low = one(name, format, operands);
    if ty.ends_with("x2") { low | one(name, format, operands.map(|value| value >> 16)) << 16 } else { low }
}
