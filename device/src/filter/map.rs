//! Elements to signed integers whose order is that of the values, and back.

use super::Ring;

/// How elements are numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Map {
    /// Two's complement.
    Signed,
    /// Sign and magnitude, as floats are: negative ones are turned round.
    Float,
    /// The upper half comes after the lower one.
    Unsigned,
}

impl Map {
    /// The map of this number.
    #[inline(always)]
    pub fn from_u8(v: u8) -> Option<Self> {
        Some(match v {
            0 => Self::Signed,
            1 => Self::Float,
            2 => Self::Unsigned,
            _ => return None,
        })
    }

    /// From an element (sign-extended) to an integer; its own inverse.
    #[inline(always)]
    pub fn apply(self, ring: Ring, x: i32) -> i32 {
        match self {
            Self::Signed => x,
            // Bits below the sign, inverted where it is set.
            Self::Float => x ^ ((x >> 31) & ring.most()),
            Self::Unsigned => ring.wrap(x ^ !ring.most()),
        }
    }
}

/// `0, -1, 1, -2, …` as `0, 1, 2, 3, …`.
#[inline(always)]
pub fn zigzag(x: i32) -> i32 {
    x << 1 ^ x >> 31
}

/// Inverse of [`zigzag`]; bits above the ring's do not count.
#[inline(always)]
pub fn unzigzag(ring: Ring, z: i32) -> i32 {
    let z = z as u32 & ring.mask();
    (z >> 1) as i32 ^ -((z & 1) as i32)
}
