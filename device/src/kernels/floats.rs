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
        let count = RUN.min(job.elements - run * RUN);
        // Sign and mantissa, eight bits at a time.
        let mut parts = [0u32; RUN as usize];
        let mut low = 0;
        while low <= m {
            let mut square = 0u64;
            let mut b = 0;
            while b < 8 {
                // The bit of this place: the sign above the mantissa, whose highest bit is in plane 1.
                let (place, plane) = (low + b, m.wrapping_sub(low + b));
                if place <= m && plane <= job.planes {
                    // SAFETY: the plane has a byte for the run.
                    square |= unsafe { global::load_byte(part(job, plane).bytes + run as u64) as u64 } << (8 * b);
                }
                b += 1;
            }
            let square = transposed(square);
            let mut k = 0;
            while k < RUN {
                parts[k as usize] |= ((square >> (8 * k)) as u32 & 255) << low;
                k += 1;
            }
            low += 8;
        }
        let first = run * RUN;
        let mut k = 0;
        while k < RUN {
            if k < count {
                // SAFETY: a number of the tile.
                unsafe {
                    let c = global::load_byte(job.categories + (first + k) as u64);
                    let rest = parts[k as usize];
                    let known = (rest >> m & 1) << (bits - 1) | c << m | rest & ((1 << m) - 1);
                    let number = known | if c == 0 || c == last { 0 } else { middle };
                    store(job, (first + k) * bytes, bytes, number);
                }
            }
            k += 1;
        }
        run += 32;
    }
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
