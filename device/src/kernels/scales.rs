//! The map of contexts of a plane of numbers in blocks with a step and a minimum (Q4_1, Q5_1).
//!
//! ```text
//! lane l takes the blocks l, l + 32, ...: the rank of zero from the four planes of scales, as often as the block has symbols in the plane
//! ```
//!
//! What a context is stands in [`affine`](crate::planes::affine).

use super::intrinsics::{global, lane_id};
use crate::job::TileJob;
use crate::planes::affine::zero;

/// Writes the map to the job's output (4-byte aligned): `words` symbols a block, a multiple of 4.
///
/// # Safety
/// The job's list names four planes with a byte for each of its `elements` blocks; the output has room.
#[inline(always)]
pub(super) unsafe fn map(job: &TileJob) {
    // SAFETY: by contract.
    let byte = |p: u64, i: u32| unsafe {
        let [low, high] = global::load2(job.stream + 8 * p);
        global::load_byte((low as u64 | (high as u64) << 32) + i as u64)
    };
    let quarter = job.words / 4;
    let mut i = lane_id();
    while i < job.elements {
        let (step, minimum) = (byte(0, i) | byte(1, i) << 8, byte(2, i) | byte(3, i) << 8);
        let context = zero(step as u16, minimum as u16) as u32 * 0x0101_0101;
        let mut k = 0;
        while k < quarter {
            // SAFETY: by contract.
            unsafe { global::store1(job.output + ((i * quarter + k) * 4) as u64, context) };
            k += 1;
        }
        i += 32;
    }
}
