//! Filters, one value at a time: integers that wrap, predictions, 8 × 8 transforms, and how a tile says which of them it has.

mod linear;
mod map;
pub mod modes;
mod predict;
mod transform;

pub use linear::{NEIGHBOURS, Values, WEIGHT_BYTES, WEIGHT_SHIFT, Weights};
pub use map::{Map, unzigzag, zigzag};
pub use predict::{Near, Plane, Predictor, guess, on_plane};
pub use transform::{SIDE, Transform, band, forward_line, inverse_line};

/// Most classes of blocks.
pub const CLASSES: usize = 16;
/// Bands: not transformed, then low, middle and high coefficients.
pub const BANDS: usize = 4;

/// Integers of some bits, sign-extended, that wrap round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    shift: u32,
}

impl Ring {
    /// Of `bits` bits, 4 to 32.
    #[inline(always)]
    pub fn new(bits: u32) -> Self {
        Self { shift: 32 - bits }
    }

    /// Bits of a number.
    #[inline(always)]
    pub fn bits(self) -> u32 {
        32 - self.shift
    }

    /// The largest number.
    #[inline(always)]
    pub fn most(self) -> i32 {
        i32::MAX >> self.shift
    }

    /// The bits that an element has.
    #[inline(always)]
    pub fn mask(self) -> u32 {
        u32::MAX >> self.shift
    }

    /// The number that has the same low bits.
    #[inline(always)]
    pub fn wrap(self, x: i32) -> i32 {
        x << self.shift >> self.shift
    }

    /// `x + y`.
    #[inline(always)]
    pub fn add(self, x: i32, y: i32) -> i32 {
        self.wrap(x.wrapping_add(y))
    }

    /// `x - y`.
    #[inline(always)]
    pub fn sub(self, x: i32, y: i32) -> i32 {
        self.wrap(x.wrapping_sub(y))
    }
}
