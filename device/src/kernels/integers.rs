//! Integers from their planes of bits.
//!
//! ```text
//! a warp takes 32 numbers at a time, a lane each
//! for each plane: one ballot of the numbers that have a bit in it tells each where that is; lane j keeps how many came before in plane j
//! number = highest bit of its category, the bits below, the middle of the interval for planes that are not there; then the sign
//! ```

use super::bits::part;
use super::floats::store;
use super::intrinsics::{ballot, global, lane_id, lanes_below, shuffle};
use crate::job::NumbersJob;

/// Joins the planes of a tile whose categories and planes are right. All 32 lanes call it.
///
/// # Safety
/// The job's addresses are valid for the tile.
#[inline(always)]
pub(super) unsafe fn join(job: &NumbersJob) {
    let (lane, below) = (lane_id(), lanes_below());
    let form = job.form();
    let bytes = job.bits / 8;
    // Bits of plane `lane` that came before, and where its bytes are.
    let mut before = 0;
    let mut first = 0;
    while first < job.elements {
        let i = first + lane;
        let exists = i < job.elements;
        // SAFETY: by contract.
        let c = if exists { unsafe { global::load_byte(job.categories + i as u64) as u8 } } else { 0 };
        let mut word = form.of_category(c);
        let mut p = 0;
        while p <= job.planes {
            let has = form.has(c, p as usize);
            let having = ballot(has);
            let at = shuffle(before, p) + (having & below).count_ones();
            before += if lane == p { having.count_ones() } else { 0 };
            if has {
                // SAFETY: the plane has as many bits.
                let byte = unsafe { global::load_byte(part(job, p).bytes + (at / 8) as u64) };
                word |= (byte >> (at % 8) & 1) << form.position(c, p as usize);
            }
            p += 1;
        }
        if exists {
            let middle = (1u32 << form.unknown(c, job.planes as usize)) >> 1;
            // SAFETY: a number of the tile.
            unsafe { store(job, i * bytes, bytes, form.element(word | middle)) };
        }
        first += 32;
    }
}
