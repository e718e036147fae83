//! How numbers fall into a category, a sign and bits of refinement: see `docs/format.md`, section 8.3.

/// What is known of a type's numbers.
///
/// A number is worked on as a *word*: of floats their bits, of integers the magnitude with the sign in bit 31, where −0 stands for the
/// most negative number, whose magnitude no other has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The category is the exponent, refinement the mantissa.
    Float {
        /// Bits of a number.
        bits: u32,
        /// Bits of the mantissa.
        mantissa: u32,
    },
    /// The category is the bit length of the magnitude, refinement the bits below its highest.
    Integer {
        /// Bits of a number.
        bits: u32,
    },
}

/// An integer word's sign.
pub const SIGN: u32 = 1 << 31;

impl Form {
    /// Bits of a number.
    #[inline(always)]
    pub fn bits(self) -> u32 {
        match self {
            Self::Float { bits, .. } | Self::Integer { bits } => bits,
        }
    }

    /// Bytes of a number.
    #[inline(always)]
    pub fn bytes(self) -> usize {
        self.bits() as usize / 8
    }

    /// Planes of refinement.
    #[inline(always)]
    pub fn planes(self) -> usize {
        match self {
            Self::Float { mantissa, .. } => mantissa as usize,
            Self::Integer { bits } => bits as usize - 2,
        }
    }

    /// The highest category.
    #[inline(always)]
    pub fn last_category(self) -> u8 {
        match self {
            Self::Float { bits, mantissa } => ((1u32 << (bits - 1 - mantissa)) - 1) as u8,
            Self::Integer { bits } => bits as u8,
        }
    }

    /// Whether numbers of category `c` have a bit in plane `plane` (0: the sign, then refinement).
    #[inline(always)]
    pub fn has(self, c: u8, plane: usize) -> bool {
        match self {
            Self::Float { .. } => true,
            // The most negative number is the only one of its category.
            Self::Integer { bits } => plane < c as usize && (c as u32) < bits,
        }
    }

    /// The word of an element.
    #[inline(always)]
    pub fn word(self, element: u32) -> u32 {
        let Self::Integer { bits } = self else { return element };
        let d = (element << (32 - bits)) as i32 >> (32 - bits);
        let sign = (d as u32) & SIGN;
        // Without its highest bit the most negative number's magnitude is 0.
        sign | (d.unsigned_abs() & ((1 << (bits - 1)) - 1))
    }

    /// The element that a word stands for, its upper bits undefined.
    #[inline(always)]
    pub fn element(self, word: u32) -> u32 {
        let Self::Integer { bits } = self else { return word };
        let magnitude = word & !SIGN;
        match (word & SIGN != 0, magnitude) {
            (true, 0) => 1 << (bits - 1),
            (true, magnitude) => magnitude.wrapping_neg(),
            (false, magnitude) => magnitude,
        }
    }

    /// The category of a word.
    #[inline(always)]
    pub fn category(self, word: u32) -> u8 {
        match self {
            Self::Float { mantissa, .. } => (word >> mantissa) as u8 & self.last_category(),
            Self::Integer { bits } if word == SIGN => bits as u8,
            Self::Integer { .. } => (32 - (word & !SIGN).leading_zeros()) as u8,
        }
    }

    /// The position in a word of its bit in plane `plane`, which a word of category `c` has.
    #[inline(always)]
    pub fn position(self, c: u8, plane: usize) -> u32 {
        match (self, plane) {
            (Self::Float { bits, .. }, 0) => bits - 1,
            (Self::Float { mantissa, .. }, _) => mantissa - plane as u32,
            (Self::Integer { .. }, 0) => 31,
            (Self::Integer { .. }, _) => c as u32 - 1 - plane as u32,
        }
    }

    /// The word of category `c` of which nothing else is known.
    #[inline(always)]
    pub fn of_category(self, c: u8) -> u32 {
        match self {
            Self::Float { mantissa, .. } => (c as u32) << mantissa,
            Self::Integer { bits } if c as u32 == bits => SIGN,
            Self::Integer { .. } if c == 0 => 0,
            Self::Integer { .. } => 1 << (c - 1),
        }
    }

    /// Bits of a word of category `c` that `planes` planes of refinement leave unknown, where the middle of the interval is to stand for
    /// them: not for zeros, subnormals, infinities and NaNs.
    #[inline(always)]
    pub fn unknown(self, c: u8, planes: usize) -> u32 {
        match self {
            Self::Float { .. } if c == 0 || c == self.last_category() => 0,
            Self::Float { mantissa, .. } => mantissa.saturating_sub(planes as u32),
            Self::Integer { bits } if c as u32 == bits => 0,
            Self::Integer { .. } => (c as u32).saturating_sub(1 + planes as u32),
        }
    }

    /// The bits of a word of category `c` that `planes` planes of refinement make known.
    #[inline(always)]
    pub fn known(self, c: u8, planes: usize) -> u32 {
        let unknown = match self {
            Self::Float { mantissa, .. } => mantissa.saturating_sub(planes as u32),
            Self::Integer { .. } => self.unknown(c, planes),
        };
        u32::MAX << unknown
    }
}

/// Bit `c` of byte `r` to bit `r` of byte `c`.
#[inline(always)]
pub fn transposed(mut x: u64) -> u64 {
    let mut exchange = |mask: u64, by: u32| {
        let t = (x ^ x >> by) & mask;
        x ^= t ^ t << by;
    };
    exchange(0x00aa_00aa_00aa_00aa, 7);
    exchange(0x0000_cccc_0000_cccc, 14);
    exchange(0x0000_0000_f0f0_f0f0, 28);
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_transposed() {
        for (r, c) in (0..8).flat_map(|r| (0..8).map(move |c| (r, c))) {
            assert_eq!(transposed(1 << (8 * r + c)), 1 << (8 * c + r));
        }
    }
}
