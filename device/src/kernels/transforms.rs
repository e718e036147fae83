//! Undoes the transforms of a filtered tile's sub-blocks, in its residuals.
//!
//! ```text
//! a warp takes four sub-blocks at a time, eight lanes each: a lane has a row of eight values in registers
//! transpose (three exchanges of halves by shuffles), undo the columns' transform, transpose, undo the rows'
//! ```

use super::intrinsics::{ballot, lane_id, shuffle_xor};
use super::numbers::{Block, load, store_anywhere};
use crate::filter::{Ring, SIDE, Transform, inverse_line, unzigzag, zigzag};
use crate::job::FilterJob;

/// Of each pair of values `HALF` apart one stays, the other is exchanged with the lane `HALF` away. All 32 lanes call it.
#[inline(always)]
fn exchanged<const HALF: usize>(mut x: [i32; SIDE]) -> [i32; SIDE] {
    let upper = lane_id() & HALF as u32 != 0;
    let mut pair = 0;
    while pair < SIDE / 2 {
        let i = pair / HALF * 2 * HALF + pair % HALF;
        let j = i + HALF;
        let given = if upper { x[i] } else { x[j] };
        let got = shuffle_xor(given as u32, HALF as u32) as i32;
        (x[i], x[j]) = if upper { (got, x[j]) } else { (x[i], got) };
        pair += 1;
    }
    x
}

/// Values of eight lanes, eight each, transposed. All 32 lanes call it.
#[inline(always)]
fn transposed(x: [i32; SIDE]) -> [i32; SIDE] {
    exchanged::<1>(exchanged::<2>(exchanged::<4>(x)))
}

/// Undoes the transforms of a tile whose modes have been read. All 32 lanes call it.
///
/// # Safety
/// The job's addresses are valid for what it says.
#[inline(always)]
pub(super) unsafe fn undo<const BITS: u32>(job: &FilterJob) {
    let ring = Ring::new(BITS);
    let (height, width, across) = job.grid();
    let down = if job.columns < 8 { 0 } else { job.rows / 8 };
    let beside = (job.columns / 8).max(1);
    let lane = lane_id();
    let row_bytes = job.columns as u64 * BITS as u64 / 8;
    let mut first = 0;
    while first < down * beside {
        let i = first + lane / 8;
        first += 4;
        let (mut kind, mut at) = (Transform::None, 0);
        if i < down * beside {
            let (r, c) = (i / beside * 8, i % beside * 8);
            // SAFETY: a block of the tile.
            let block = unsafe { Block::load(job, r / height * across + c / width) };
            kind = block.transform((height, width), r, c);
            at = job.residuals + (r + lane % 8) as u64 * row_bytes + (c * BITS / 8) as u64;
        }
        if ballot(kind != Transform::None) == 0 {
            continue;
        }
        let mut x = [0; SIDE];
        if kind != Transform::None {
            // SAFETY: a row of a sub-block; residuals are aligned, and rows whole elements.
            let number = |k: u32| unzigzag(ring, unsafe { load::<BITS>(at, k) } as i32);
            x = [number(0), number(1), number(2), number(3), number(4), number(5), number(6), number(7)];
        }
        x = inverse_line(ring, kind, transposed(x));
        x = inverse_line(ring, kind, transposed(x));
        if kind != Transform::None {
            // SAFETY: as above.
            unsafe { store::<BITS>(at, &x) };
        }
    }
}

/// Stores a row of residuals.
#[inline(always)]
unsafe fn store<const BITS: u32>(at: u64, x: &[i32; SIDE]) {
    let z = x.map(|x| zigzag(x) as u32);
    let mut k = 0;
    // SAFETY: by the caller's contract.
    unsafe {
        while k < SIDE / 2 {
            let (first, second) = (2 * k as u32, 2 * k as u32 + 1);
            if BITS == 4 {
                store_anywhere::<8>(at, k as u32, z[2 * k] & 15 | z[2 * k + 1] << 4);
            } else {
                store_anywhere::<BITS>(at, first, z[2 * k]);
                store_anywhere::<BITS>(at, second, z[2 * k + 1]);
            }
            k += 1;
        }
    }
}
