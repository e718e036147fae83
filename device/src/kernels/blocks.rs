//! Joins planes of blocks of quantized numbers: field by field to where it lies in each block.
//!
//! ```text
//! for each pair of fields of a byte (a half-precision scale): a lane puts both bytes of a block at once
//! for each other field: a lane moves 4, 2 or 1 bytes of it at a time, as blocks, field and output are aligned
//! ```
//!
//! Neighbouring lanes read neighbouring bytes of the plane. They write neighbouring ones within a block; what is between them in a sector the
//! other fields' passes put there, while it is still in the cache.

use super::intrinsics::{global, lane_id};
use crate::job::TileJob;

/// Where the blocks of a tile go.
struct Places {
    output: u64,
    stride: u64,
    /// Bytes of a block; blocks of a row of the tile.
    bytes: u32,
    across: u32,
}

impl Places {
    /// The address of byte `at` of a block.
    #[inline(always)]
    fn of(&self, block: u32, at: u32) -> u64 {
        self.output + (block / self.across) as u64 * self.stride + (block % self.across * self.bytes + at) as u64
    }
}

/// Bytes of field `p`, 0 after the last.
#[inline(always)]
fn field(fields: u64, p: u32) -> u32 {
    if p < 8 { (fields >> (8 * p)) as u32 & 255 } else { 0 }
}

/// Joins the tile of `job`: `elements` blocks, whose planes its list names.
///
/// # Safety
/// The addresses are valid for the tile; planes are 16-byte aligned.
#[inline(always)]
pub(super) unsafe fn join(job: &TileJob) {
    let fields = job.planes[0];
    let mut bytes = 0;
    let mut p = 0;
    while p < 8 {
        bytes += field(fields, p);
        p += 1;
    }
    let places =
        Places { output: job.output, stride: job.stride, bytes: bytes.max(1), across: (job.width / bytes.max(1)).max(1) };
    // What all blocks begin on multiples of, if it is 2 or 4.
    let odd = job.output as u32 | job.stride as u32 | bytes;
    let (mut p, mut first) = (0, 0);
    while field(fields, p) != 0 {
        let width = field(fields, p);
        // SAFETY: by contract.
        unsafe {
            let plane = address(job, p);
            if width == 1 && field(fields, p + 1) == 1 {
                halves(&places, job.elements, plane, address(job, p + 1), first, (odd | first) % 2 == 0);
                (p, first) = (p + 2, first + 2);
                continue;
            }
            match (odd | first | width) % 4 {
                0 => moved::<4>(&places, job.elements, plane, width, first),
                2 => moved::<2>(&places, job.elements, plane, width, first),
                _ => moved::<1>(&places, job.elements, plane, width, first),
            }
        }
        (p, first) = (p + 1, first + width);
    }
}

/// The address of plane `p`.
#[inline(always)]
unsafe fn address(job: &TileJob, p: u32) -> u64 {
    // SAFETY: by the caller's contract.
    let [low, high] = unsafe { global::load2(job.stream + 8 * p as u64) };
    low as u64 | (high as u64) << 32
}

/// Puts the bytes of two planes side by side, at byte `first` of each block.
#[inline(always)]
unsafe fn halves(places: &Places, blocks: u32, low: u64, high: u64, first: u32, even: bool) {
    let mut i = lane_id();
    while i < blocks {
        let to = places.of(i, first);
        // SAFETY: by the caller's contract.
        unsafe {
            let (low, high) = (global::load_byte(low + i as u64), global::load_byte(high + i as u64));
            if even {
                global::store_half(to, low | high << 8);
            } else {
                global::store_byte(to, low);
                global::store_byte(to + 1, high);
            }
        }
        i += 32;
    }
}

/// Moves a field of `width` bytes, a multiple of `UNIT`, to byte `first` of each block.
#[inline(always)]
unsafe fn moved<const UNIT: u32>(places: &Places, blocks: u32, plane: u64, width: u32, first: u32) {
    let units = (width / UNIT).max(1);
    // Most fields have a power of two.
    let shift = if units.is_power_of_two() { units.trailing_zeros() } else { 32 };
    let mut i = lane_id();
    while i < blocks * units {
        let block = if shift < 32 { i >> shift } else { i / units };
        let (from, to) = (plane + (i * UNIT) as u64, places.of(block, first + (i - block * units) * UNIT));
        // SAFETY: by the caller's contract.
        unsafe {
            match UNIT {
                4 => global::store1(to, global::load1(from)),
                2 => global::store_half(to, global::load_half(from)),
                _ => global::store_byte(to, global::load_byte(from)),
            }
        }
        i += 32;
    }
}
