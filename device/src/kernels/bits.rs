//! How many bits each plane of a tile has, which categories tell, and whether the planes are as long.
//!
//! ```text
//! floats     all numbers have a bit in all planes: only the categories are looked at
//! integers   32 categories at a time: for each plane one ballot of those that have a bit in it; lane j counts those of plane j
//! lane j     compares plane j's length, or tells its stream how many symbols it has
//! ```

use super::intrinsics::{ballot, global, lane_id};
use crate::bitplanes::Form;
use crate::job::{BitsPart, NumbersJob, TileJob, status};

/// Planes of integers: a sign, and at most 14 bits.
const PLANES: u32 = 15;

/// Reads the part of plane `p`.
///
/// # Safety
/// There is such a part.
#[inline(always)]
pub(super) unsafe fn part(job: &NumbersJob, p: u32) -> BitsPart {
    // SAFETY: by contract.
    let [low, high, len, job] = unsafe { global::load4(job.parts + 16 * p as u64) };
    BitsPart { bytes: low as u64 | (high as u64) << 32, len, job }
}

/// Looks at a tile's categories and the lengths of its planes; returns its status, the same in all lanes. All 32 lanes call it.
///
/// # Safety
/// The job's addresses are valid for the tile, and `jobs` are the streams' jobs.
#[inline(always)]
pub(super) unsafe fn count(job: &NumbersJob, jobs: u64) -> u32 {
    let lane = lane_id();
    let form = job.form();
    let last = form.last_category() as u32;
    let (mut bad, mut bits) = (false, 0);
    let mut first = 0;
    while first < job.elements {
        let i = first + lane;
        // SAFETY: by contract.
        let c = if i < job.elements { unsafe { global::load_byte(job.categories + i as u64) } } else { 0 };
        bad |= c > last;
        if let Form::Integer { .. } = form {
            let mut p = 0;
            while p < PLANES {
                let having = ballot(form.has(c as u8, p as usize)).count_ones();
                bits += if p == lane { having } else { 0 };
                p += 1;
            }
        }
        first += 32;
    }
    if let (Form::Integer { .. }, true) = (form, lane <= job.planes) {
        let bytes = bits.div_ceil(8);
        // SAFETY: the planes are as many; a stream's job is nobody else's, and its plane has room for as many bytes.
        unsafe {
            let part = part(job, lane);
            bad |= part.len != BitsPart::ANY && part.len != bytes.next_multiple_of(16);
            if part.job != BitsPart::ANY {
                bad |= bytes == 0;
                let stream = &mut *(jobs as *mut TileJob).add(part.job as usize);
                (stream.elements, stream.width, stream.stride) = (bytes, bytes, bytes as u64);
            }
        }
    }
    if ballot(bad) == 0 { status::OK } else { status::BITS }
}
