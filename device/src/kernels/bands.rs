//! The map of contexts of a filtered tile: of each of the layout's elements its block's class, and where that went through a transform, the band
//! that it is in.
//!
//! ```text
//! a lane makes four neighbours of a row at a time: they are in one row of one sub-block, where rows are aligned
//! ```

use super::intrinsics::{global, lane_id};
use super::numbers::Block;
use crate::filter::{Transform, band};
use crate::job::FilterJob;

/// Writes the map.
///
/// # Safety
/// The tile's modes have been read, and there is room for the map.
#[inline(always)]
pub(super) unsafe fn map(job: &FilterJob) {
    let (height, width, across) = job.grid();
    // Numbers of an element.
    let packed = if job.bits == 4 { 2 } else { 1 };
    let records = job.columns / packed;
    let (run, runs) = if records % 4 == 0 { (4, records / 4) } else { (1, records) };
    let runs = runs.max(1);
    let mut i = lane_id();
    while i < job.rows * runs {
        let (r, c) = (i / runs, i % runs * run * packed);
        // SAFETY: a block of the tile.
        let block = unsafe { Block::load(job, r / height * across + c / width) };
        let whole = r / 8 * 8 + 8 <= job.rows && c / 8 * 8 + 8 <= job.columns;
        let bands = whole && block.transform((height, width), r, c) != Transform::None;
        let mut contexts = 0;
        let mut k = 0;
        while k < run {
            let band = if bands { band((r % 8) as usize, ((c + k * packed) % 8) as usize) as u32 } else { 0 };
            contexts |= (block.class() + band * job.classes as u32) << (8 * k);
            k += 1;
        }
        let at = job.contexts + (i * run) as u64;
        // SAFETY: by contract; runs of four are aligned.
        unsafe {
            if run == 4 {
                global::store1(at, contexts);
            } else {
                global::store_byte(at, contexts);
            }
        }
        i += 32;
    }
}
