//! Tensors as they follow from those of a base, eight bytes of both at a time: see `docs/format.md`, section 1.5.

/// How a tensor follows from the base's.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// It is the base's.
    Same = 0,
    /// Byte by byte, exclusive or.
    Xor = 1,
    /// Element by element, the difference of little-endian integers: of floats that is the difference of their magnitudes in units of the last
    /// place, and where the sign changes the half of the range besides.
    Subtract = 2,
}

impl Method {
    /// What a report calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Xor => "xor",
            Self::Subtract => "subtract",
        }
    }
}

/// The numbers of `unit` bytes (1, 2, 4 or 8) that `base` and the differences `z` give.
#[inline(always)]
pub fn undo(method: Method, unit: u32, z: u64, base: u64) -> u64 {
    match method {
        Method::Same => base,
        Method::Xor => z ^ base,
        Method::Subtract => add(unit, z, base),
    }
}

/// `base + (z >> 1 ^ -(z & 1))`, number by number: carries stop at each one's highest bit.
#[inline(always)]
fn add(unit: u32, z: u64, base: u64) -> u64 {
    let (lowest, ones) = match unit {
        1 => (0x0101_0101_0101_0101, 0xff),
        2 => (0x0001_0001_0001_0001, 0xffff),
        4 => (0x0000_0001_0000_0001, 0xffff_ffff),
        _ => (1, u64::MAX),
    };
    let highest = lowest << (8 * unit - 1);
    let d = (z >> 1 & !highest) ^ (z & lowest).wrapping_mul(ones);
    ((d & !highest) + (base & !highest)) ^ ((d ^ base) & highest)
}

/// The eight bits below the sign of an element whose highest bytes are `high` and, below it, `low`: 0 where it has only one.
#[inline(always)]
pub fn exponent(high: u32, low: u32) -> u32 {
    (high << 1 | low >> 7) & 255
}
