//! How a tile says what each of its blocks went through: see `docs/format.md`, section 7.2.

use super::Ring;

/// Bytes of a tile's directory entry that tell of its filter.
pub const ENTRY: usize = 8;

/// Rows and columns of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// 16 × 16.
    #[default]
    Square,
    /// 8 × 32.
    Wide,
    /// 32 × 8.
    Tall,
}

impl Shape {
    /// All shapes, by their numbers.
    pub const ALL: [Self; 3] = [Self::Square, Self::Wide, Self::Tall];

    /// Rows and columns.
    #[inline(always)]
    pub fn size(self) -> (usize, usize) {
        match self {
            Self::Square => (16, 16),
            Self::Wide => (8, 32),
            Self::Tall => (32, 8),
        }
    }
}

/// Bytes that a plane's value and its slopes take.
#[inline(always)]
pub fn plane_bytes(ring: Ring) -> (usize, usize) {
    let n = (ring.bits() as usize).div_ceil(8);
    (n, if n > 1 { 4 } else { 2 })
}

/// The signed number that the low `bytes` bytes of `low` are, 1 to 4.
#[inline(always)]
pub fn signed(low: u32, bytes: usize) -> i32 {
    let shift = 32 - 8 * bytes as u32;
    (low << shift) as i32 >> shift
}
