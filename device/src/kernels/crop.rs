//! Copies a rectangle of a decoded tile to where a slice wants it.
//!
//! ```text
//! unit = 4 if the addresses, strides and the width are all multiples of 4, else 1
//! lane l copies the units l, l + 32, ... of the rectangle, its rows put one after the other
//! ```
//!
//! Tiles are decoded whole, with the fast loop, and cropped afterwards: a decoder that knew of rectangles would pay for them in that loop.
//! Neighbouring lanes copy neighbouring units, across the ends of rows too, so narrow rectangles keep all lanes busy.

use super::intrinsics::{global, lane_id};
use crate::job::CropJob;

/// Copies the rectangle of `job`, words where everything is aligned, else bytes.
///
/// # Safety
/// Source and destination are valid for the rectangle.
#[inline(always)]
pub(super) unsafe fn crop(job: &CropJob) {
    let odd = (job.source | job.source_stride | job.output | job.stride) as u32 | job.width;
    let unit = if odd % 4 == 0 { 4 } else { 1 };
    let per_row = (job.width / unit).max(1);
    let count = per_row * job.rows;
    let mut i = lane_id();
    while i < count {
        let (row, column) = ((i / per_row) as u64, (i % per_row * unit) as u64);
        let (from, to) = (job.source + row * job.source_stride + column, job.output + row * job.stride + column);
        // SAFETY: by contract.
        unsafe {
            if unit == 4 {
                global::store1(to, global::load1(from));
            } else {
                global::store_byte(to, global::load_byte(from));
            }
        }
        i += 32;
    }
}
