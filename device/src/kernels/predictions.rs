//! Turns the residuals of a filtered tile back into its elements.
//!
//! ```text
//! a value needs those to its left and above it: a warp takes 32 rows at a time, a lane each, every lane one column behind the one above
//! for each step: what the lane above has just made is above this lane's column     three shuffles: it, and what was above it
//!     the first lane reads what is above its row from the output                   where there is anything
//!     value = residual + prediction; the element goes to the output
//! ```
//!
//! So lanes rest only while the first rows begin and the last ones end. Tiles of few rows keep few lanes busy: each value waits for the one to
//! its left.

use super::intrinsics::{global, lane_id, shuffle_up, sync_warp};
use super::numbers::{Block, load, load_anywhere, store_anywhere};
use crate::filter::modes::{plane_bytes, signed};
use crate::filter::{Map, Near, Plane, Predictor, Ring, Values, Weights, guess, on_plane, unzigzag};
use crate::job::{FilterJob, MODE_BYTES};

/// Reads the plane of block `i`.
#[inline(always)]
unsafe fn plane(job: &FilterJob, ring: Ring, i: u32) -> Plane {
    // SAFETY: by the caller's contract.
    unsafe {
        let at = job.modes + global::load1(job.blocks + i as u64 * MODE_BYTES as u64 + 4) as u64;
        let number = |at: u64, bytes: usize| {
            let mut low = 0;
            let mut k = 0;
            while k < bytes {
                low |= global::load_byte(at + k as u64) << (8 * k);
                k += 1;
            }
            signed(low, bytes)
        };
        let (value, slope) = plane_bytes(ring);
        [number(at, value), number(at + value as u64, slope), number(at + (value + slope) as u64, slope)]
    }
}

/// Reads the weights of block `i`.
#[inline(always)]
unsafe fn weights(job: &FilterJob, i: u32) -> Weights {
    // SAFETY: by the caller's contract.
    unsafe {
        let at = job.modes + global::load1(job.blocks + i as u64 * MODE_BYTES as u64 + 4) as u64;
        let byte = |n: usize| global::load_byte(at + n as u64) << (8 * (n % 4));
        let word = |n: usize| byte(4 * n) | byte(4 * n + 1) | byte(4 * n + 2) | byte(4 * n + 3);
        Weights([word(0), word(1), word(2), word(3)])
    }
}

/// Undoes the predictions of a tile whose modes have been read and whose transforms are undone. All 32 lanes call it.
///
/// # Safety
/// The job's addresses are valid for what it says.
#[inline(always)]
pub(super) unsafe fn undo<const BITS: u32>(job: &FilterJob) {
    let ring = Ring::new(BITS);
    let map = Map::from_u8(job.map).unwrap_or(Map::Signed);
    let values = Values::new(map, ring, job.fraction as u32);
    let (height, width, across) = job.grid();
    let lane = lane_id();
    let row_bytes = job.columns as u64 * BITS as u64 / 8;
    let mut first = 0;
    while first < job.rows {
        let r = first + lane;
        let row = job.output + r as u64 * job.stride;
        let residuals = job.residuals + r as u64 * row_bytes;
        // Element `c` of the row `back` above this one, as a number.
        let above = |back: u32, c: u32| {
            // SAFETY: the tile has it where it is asked for.
            let element = unsafe { load_anywhere::<BITS>(row - back as u64 * job.stride, c) };
            map.apply(ring, ring.wrap(element as i32))
        };
        let (mut value, mut near) = (0, Near::default());
        let (mut predictor, mut on, mut times) = (Predictor::None, [0; 3], Weights::default());
        let mut low = 0;
        let steps = job.columns + 31.min(job.rows - first - 1);
        let mut step = 0;
        while step < steps {
            // Of the lane above: what it made of this column, and what was above that.
            let (top, top2, top3) = (
                shuffle_up(value as u32, 1) as i32,
                shuffle_up(near.top as u32, 1) as i32,
                shuffle_up(near.top2 as u32, 1) as i32,
            );
            let c = step.wrapping_sub(lane);
            step += 1;
            if r >= job.rows || c >= job.columns {
                continue;
            }
            near = Near {
                left: value,
                left2: near.left,
                corner: near.top,
                corner_left: near.corner,
                corner_top: near.top2,
                corner2: near.corner_top,
                top,
                top2,
                top3,
            };
            if lane == 0 {
                near.top = if r > 0 { above(1, c) } else { 0 };
                near.top2 = if r > 1 { above(2, c) } else { 0 };
                near.top3 = if r > 2 { above(3, c) } else { 0 };
            }
            if c % width == 0 {
                let block = r / height * across + c / width;
                // SAFETY: a block of the tile.
                unsafe {
                    predictor = Block::load(job, block).predictor();
                    if predictor == Predictor::Planar {
                        on = plane(job, ring, block);
                    }
                    if predictor == Predictor::Linear {
                        times = weights(job, block);
                    }
                }
            }
            let prediction = match predictor {
                Predictor::Planar => on_plane(ring, on, (r % height) as usize, (c % width) as usize),
                Predictor::Linear => values.map_or(0, |v| v.guess(times, near.all(r as usize, c as usize))),
                p => guess(ring, p, near.inside(r as usize, c as usize)),
            };
            // SAFETY: a number of the tile.
            let residual = unzigzag(ring, unsafe { load::<BITS>(residuals, c) } as i32);
            value = ring.add(residual, prediction);
            let element = map.apply(ring, value) as u32;
            // SAFETY: an element of the tile; rows are whole bytes.
            unsafe {
                if BITS > 4 {
                    store_anywhere::<BITS>(row, c, element);
                } else if c % 2 == 1 {
                    store_anywhere::<8>(row, c / 2, low | (element & 15) << 4);
                }
            }
            low = element & 15;
        }
        first += 32;
        // The next rows read what these have stored.
        sync_warp();
    }
}
