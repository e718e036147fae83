//! Floats from their planes of bits.
//!
//! ```text
//! a lane takes eight numbers at a time: a byte of each plane holds their bits
//! eight planes' bytes are a square of 8 × 8 bits: transposed, each byte holds eight bits of one number (one square for BF16 and FP8, two for
//! FP16, three for FP32)
//! number = sign, category, mantissa; the middle of the interval for planes that are not there
//! ```

use super::bits::part;
use super::intrinsics::{global, lane_id};
use crate::bitplanes::transposed;
use crate::job::NumbersJob;

/// Numbers of a lane.
const RUN: u32 = 8;

/// Joins the planes of a tile whose categories and planes are right.
///
/// # Safety
/// The job's addresses are valid for the tile.
#[inline(always)]
pub(super) unsafe fn join(job: &NumbersJob) {
    let (bits, m) = (job.bits, job.mantissa & 31);
    let last = (1 << (bits - 1 - m)) - 1;
    // Of the mantissa: what the planes do not tell, and its middle.
    let middle = (1u32 << m.saturating_sub(job.planes)) >> 1;
    let bytes = bits / 8;
    let mut run = lane_id();
    while run * RUN < job.elements {
        let first = run * RUN;
        // Sign and mantissa, eight bits at a time.
        let mut parts = [0u32; RUN as usize];
        let mut low = 0;
        while low <= m {
            // SAFETY: by contract.
            let square = transposed(unsafe { square(job, m, low, run) });
            parts = each(|k| parts[k] | ((square >> (8 * k)) as u32 & 255) << low);
            low += 8;
        }
        each(|k| {
            let i = first + k as u32;
            if i < job.elements {
                // SAFETY: a number of the tile.
                unsafe {
                    let c = global::load_byte(job.categories + i as u64);
                    let known = (parts[k] >> m & 1) << (bits - 1) | c << m | parts[k] & ((1 << m) - 1);
                    store(job, i * bytes, bytes, known | if c == 0 || c == last { 0 } else { middle });
                }
            }
        });
        run += 32;
    }
}

/// What `f` says of each number of a run; all of it in registers.
#[inline(always)]
fn each<T>(f: impl Fn(usize) -> T) -> [T; RUN as usize] {
    [f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7)]
}

/// A byte of each of the eight planes whose bits have the places from `low` on in sign and mantissa; 0 for planes that are not there.
#[inline(always)]
unsafe fn square(job: &NumbersJob, m: u32, low: u32, run: u32) -> u64 {
    let mut square = 0;
    let mut b = 0;
    while b < 8 {
        // The sign is above the mantissa, whose highest bit is in plane 1.
        let (place, plane) = (low + b, m.wrapping_sub(low + b));
        if place <= m && plane <= job.planes {
            // SAFETY: the plane has a byte for the run.
            square |= unsafe { global::load_byte(part(job, plane).bytes + run as u64) as u64 } << (8 * b);
        }
        b += 1;
    }
    square
}

/// Stores a number of `bytes` bytes, of which byte `at` of the tile is the first.
///
/// # Safety
/// It is the tile's.
#[inline(always)]
pub(super) unsafe fn store(job: &NumbersJob, at: u32, bytes: u32, number: u32) {
    let address = job.locate(at);
    // SAFETY: by contract.
    unsafe {
        if bytes == 2 && address & 1 == 0 {
            global::store_half(address, number);
        } else if bytes == 4 && address & 3 == 0 {
            global::store1(address, number);
        } else {
            let mut k = 0;
            while k < bytes {
                global::store_byte(address + k as u64, number >> (8 * k));
                k += 1;
            }
        }
    }
}
