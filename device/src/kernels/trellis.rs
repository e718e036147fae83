//! Makes numbers of what a trellis stores, in columns of a tile.
//!
//! ```text
//! a lane has four columns, or one where rows do not lie on whole words; it goes down them, its states in a register
//! eight rows are loaded before the first of them is needed
//! ```

use super::intrinsics::{global, lane_id};
use crate::job::TrellisJob;
use crate::trellis::{Taps, four};

/// Rows that are loaded together.
const AHEAD: u32 = 8;

/// Makes the numbers of a job. All lanes call it.
///
/// # Safety
/// The job's addresses are valid for what it says.
#[inline(always)]
pub(super) unsafe fn undo(job: &TrellisJob) {
    let odd = (job.output | job.stride | job.stored | job.pitch as u64) as u32 | job.width;
    // SAFETY: by contract.
    unsafe { if odd % 4 == 0 { columns::<4>(job) } else { columns::<1>(job) } }
}

/// `BYTES` columns a lane.
#[inline(always)]
unsafe fn columns<const BYTES: u32>(job: &TrellisJob) {
    let taps = Taps(job.taps as u8, (job.taps >> 8) as u8);
    let mut column = lane_id() * BYTES;
    while column < job.width {
        let (mut stored, mut output) = (job.stored + column as u64, job.output + column as u64);
        let (mut states, mut row) = (0, 0);
        while row < job.rows {
            let n = AHEAD.min(job.rows - row);
            let mut k = [0; AHEAD as usize];
            // SAFETY: rows and columns of the tile.
            unsafe {
                // Unrolled: an array that is indexed by a register would lie in memory.
                macro_rules! each {
                    ($body:expr) => {
                        each!($body, 0 1 2 3 4 5 6 7)
                    };
                    ($body:expr, $($i:literal)*) => {$(if $i < n { $body($i) })*};
                }
                each!(|i: usize| {
                    k[i] = load::<BYTES>(stored);
                    stored += job.pitch as u64;
                });
                each!(|i: usize| {
                    let (numbers, next) = four(taps, states, k[i]);
                    states = next;
                    store::<BYTES>(output, numbers);
                    output += job.stride;
                });
            }
            row += n;
        }
        column += 32 * BYTES;
    }
}

#[inline(always)]
unsafe fn load<const BYTES: u32>(at: u64) -> u32 {
    // SAFETY: by the caller's contract.
    unsafe { if BYTES == 4 { global::load1(at) } else { global::load_byte(at) } }
}

#[inline(always)]
unsafe fn store<const BYTES: u32>(at: u64, x: u32) {
    // SAFETY: by the caller's contract.
    unsafe { if BYTES == 4 { global::store1(at, x) } else { global::store_byte(at, x & 255) } }
}
