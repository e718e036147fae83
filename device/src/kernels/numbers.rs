//! Numbers of 4 to 32 bits in a row that may begin anywhere, and what `read_modes` leaves of a block.

use super::intrinsics::global;
use crate::filter::{Predictor, Transform};
use crate::job::{FilterJob, MODE_BYTES};

/// Number `i`, of `BITS` bits, of those at `row`, its upper bits undefined.
///
/// # Safety
/// It is there; numbers of 16 and 32 bits are aligned.
#[inline(always)]
pub(super) unsafe fn load<const BITS: u32>(row: u64, i: u32) -> u32 {
    // SAFETY: by contract.
    unsafe {
        match BITS {
            4 => global::load_byte(row + (i / 2) as u64) >> (i % 2 * 4),
            8 => global::load_byte(row + i as u64),
            16 => global::load_half(row + (i * 2) as u64),
            _ => global::load1(row + (i * 4) as u64),
        }
    }
}

/// [`load`], of numbers that may lie on any byte.
///
/// # Safety
/// It is there.
#[inline(always)]
pub(super) unsafe fn load_anywhere<const BITS: u32>(row: u64, i: u32) -> u32 {
    // SAFETY: by contract.
    unsafe {
        if row & (BITS / 8).saturating_sub(1) as u64 == 0 {
            return load::<BITS>(row, i);
        }
        let at = row + (i * (BITS / 8)) as u64;
        let half = |at: u64| global::load_byte(at) | global::load_byte(at + 1) << 8;
        if BITS == 16 { half(at) } else { half(at) | half(at + 2) << 16 }
    }
}

/// Stores number `i` of 8 to 32 bits, at `row`, which may lie on any byte.
///
/// # Safety
/// There is room for it.
#[inline(always)]
pub(super) unsafe fn store_anywhere<const BITS: u32>(row: u64, i: u32, value: u32) {
    let at = row + (i * (BITS / 8)) as u64;
    // SAFETY: by contract.
    unsafe {
        match BITS {
            16 if at & 1 == 0 => global::store_half(at, value),
            32 if at & 3 == 0 => global::store1(at, value),
            _ => {
                global::store_byte(at, value);
                if BITS > 8 {
                    global::store_byte(at + 1, value >> 8);
                }
                if BITS > 16 {
                    global::store_byte(at + 2, value >> 16);
                    global::store_byte(at + 3, value >> 24);
                }
            }
        }
    }
}

/// What a block went through, as `read_modes` leaves it: in each byte from the lowest on the predictor, the transforms, the class.
#[derive(Clone, Copy)]
pub(super) struct Block(pub(super) u32);

impl Block {
    /// Block `i` of a tile.
    ///
    /// # Safety
    /// The tile has as many, and `read_modes` has been there.
    #[inline(always)]
    pub(super) unsafe fn load(job: &FilterJob, i: u32) -> Self {
        // SAFETY: by contract.
        Self(unsafe { global::load1(job.blocks + i as u64 * MODE_BYTES as u64) })
    }

    #[inline(always)]
    pub(super) fn predictor(self) -> Predictor {
        Predictor::from_u8(self.0 as u8).unwrap_or_default()
    }

    /// The transform of the sub-block that row `r` and column `c` of the tile are in, if that is whole.
    #[inline(always)]
    pub(super) fn transform(self, (height, width): (u32, u32), r: u32, c: u32) -> Transform {
        let (y, x) = (r % height / 8, c % width / 8);
        let i = y * (width / 8) + x;
        Transform::from_u8((self.0 >> (8 + 2 * i)) as u8 & 3).unwrap_or_default()
    }

    #[inline(always)]
    pub(super) fn class(self) -> u32 {
        self.0 >> 16 & 15
    }
}
