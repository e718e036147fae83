//! Rounding to a binary format in any direction, for the conversions that the host's own instructions do not round as asked.

/// How a value between two neighbours is rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// To the nearest, ties to even: `.rn`.
    Nearest,
    /// Towards zero: `.rz`.
    Zero,
    /// Down: `.rm`.
    Down,
    /// Up: `.rp`.
    Up,
}

impl Direction {
    pub(super) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "rn" => Self::Nearest,
            "rz" => Self::Zero,
            "rm" => Self::Down,
            "rp" => Self::Up,
            _ => return None,
        })
    }
}

/// A binary interchange format: width of exponent and of fraction in bits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Format {
    exponent: u32,
    fraction: u32,
}

pub(super) const F16: Format = Format { exponent: 5, fraction: 10 };
pub(super) const BF16: Format = Format { exponent: 8, fraction: 7 };
pub(super) const F32: Format = Format { exponent: 8, fraction: 23 };
pub(super) const F64: Format = Format { exponent: 11, fraction: 52 };

impl Format {
    fn infinity(self) -> u64 {
        ((1 << self.exponent) - 1) << self.fraction
    }

    /// Bits of `magnitude * 2^scale`, negated if `negative`, rounded.
    pub(super) fn round(self, negative: bool, magnitude: u64, scale: i32, direction: Direction) -> u64 {
        let sign = u64::from(negative) << (self.exponent + self.fraction);
        if magnitude == 0 {
            return sign;
        }
        let bias = (1 << (self.exponent - 1)) - 1;
        // The exponent of the leading bit, but no less than the least normal one.
        let leading = 63 - magnitude.leading_zeros() as i32 + scale;
        let exponent = leading.max(1 - bias);
        // The weight of the last fraction bit is 2^(exponent - fraction).
        let shift = exponent - self.fraction as i32 - scale;
        let (kept, rest, half) = match shift {
            ..=0 => (magnitude << -shift, 0, 1),
            1..=63 => (magnitude >> shift, magnitude & ((1 << shift) - 1), 1 << (shift - 1)),
            64 => (0, magnitude, 1 << 63),
            _ => (0, 1, u64::MAX),
        };
        let up = match direction {
            Direction::Nearest => rest > half || rest == half && kept & 1 == 1,
            Direction::Zero => false,
            Direction::Down => negative && rest != 0,
            Direction::Up => !negative && rest != 0,
        };
        // A carry out of the fraction runs into the exponent, as it should. A subnormal has no leading bit to take away.
        let biased = (exponent + bias) as u64;
        let bits = ((biased - 1) << self.fraction) + kept + u64::from(up);
        let (infinity, inward) = (
            self.infinity(),
            match direction {
                Direction::Nearest => false,
                Direction::Zero => true,
                Direction::Down => !negative,
                Direction::Up => negative,
            },
        );
        sign | match bits >= infinity || biased as u32 >= (1 << self.exponent) - 1 {
            true => infinity - u64::from(inward),
            false => bits,
        }
    }

    /// Bits of a finite or infinite `value`, rounded.
    pub(super) fn round_f64(self, value: f64, direction: Direction) -> u64 {
        if value.is_infinite() {
            return u64::from(value < 0.0) << (self.exponent + self.fraction) | self.infinity();
        }
        let (bits, fraction) = (value.to_bits(), F64.fraction);
        let (exponent, low) = ((bits >> fraction & 0x7ff) as i32, bits & ((1 << fraction) - 1));
        let magnitude = if exponent == 0 { low } else { low | 1 << fraction };
        self.round(value.is_sign_negative(), magnitude, exponent.max(1) - 1075, direction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every bit pattern's low and high part in turn: a full-period generator, so that no crate is needed for it.
    fn samples() -> impl Iterator<Item = u64> {
        (0..200_000u64).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (i << 52).rotate_left((i % 64) as u32))
    }

    #[test]
    fn nearest_is_what_the_host_rounds_to() {
        for bits in samples() {
            let value = f64::from_bits(bits);
            if value.is_nan() {
                continue;
            }
            assert_eq!(F32.round_f64(value, Direction::Nearest) as u32, (value as f32).to_bits(), "{value:e}");
            assert_eq!(F64.round_f64(value, Direction::Nearest), bits);
            assert_eq!(F16.round_f64(value, Direction::Nearest) as u16, half::f16::from_f64(value).to_bits(), "{value:e}");
            assert_eq!(F32.round(false, bits, 0, Direction::Nearest) as u32, (bits as f32).to_bits());
            assert_eq!(F64.round(false, bits, 0, Direction::Nearest), (bits as f64).to_bits());
        }
    }

    #[test]
    fn directions_bracket_the_value() {
        for bits in samples() {
            let value = f64::from_bits(bits);
            if value.is_nan() || value.is_infinite() {
                continue;
            }
            let [down, up, zero] =
                [Direction::Down, Direction::Up, Direction::Zero].map(|d| f32::from_bits(F32.round_f64(value, d) as u32));
            assert!(f64::from(down) <= value && value <= f64::from(up), "{value:e}");
            assert!(down == up || down.next_up() == up, "{value:e}");
            assert_eq!(zero, if value < 0.0 { up } else { down });
        }
    }

    #[test]
    fn overflow_stops_at_the_largest_when_rounding_inward() {
        assert_eq!(F16.round_f64(1e9, Direction::Zero), 0x7bff);
        assert_eq!(F16.round_f64(1e9, Direction::Down), 0x7bff);
        assert_eq!(F16.round_f64(-1e9, Direction::Down), 0xfc00);
        assert_eq!(F16.round_f64(f64::INFINITY, Direction::Zero), 0x7c00);
        assert_eq!(F16.round_f64(1e-30, Direction::Up), 1);
    }
}
