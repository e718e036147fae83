//! Tiles that follow from the base's: the map of their contexts, and differences undone.
//!
//! ```text
//! map    lane l takes the elements l, l + 32, ...: the eight bits below the base's sign, a byte each
//! undo   lane l takes the eight bytes l, l + 32, ... of a row where both sides are aligned to them, else number after number
//! ```

use super::intrinsics::{global, lane_id};
use crate::difference::{Method, exponent, undo as numbers};
use crate::job::DifferenceJob;

/// Writes the map of a tile's contexts, if it wants one.
///
/// # Safety
/// The job's addresses are valid for the tile.
#[inline(always)]
pub(super) unsafe fn map(job: &DifferenceJob) {
    if job.map == 0 {
        return;
    }
    let record = job.record.max(1);
    let columns = (job.width / record).max(1);
    let mut i = lane_id();
    while i < job.rows * columns {
        let element = job.base + (i / columns) as u64 * job.base_stride + (i % columns * record) as u64;
        // SAFETY: by contract.
        unsafe {
            let high = global::load_byte(element + (record - 1) as u64);
            let low = if record > 1 { global::load_byte(element + (record - 2) as u64) } else { 0 };
            global::store_byte(job.map + i as u64, exponent(high, low));
        }
        i += 32;
    }
}

/// Makes numbers of a tile's differences.
///
/// # Safety
/// The job's addresses are valid for the tile.
#[inline(always)]
pub(super) unsafe fn undo(job: &DifferenceJob) {
    let method = match job.method {
        0 => Method::Same,
        1 => Method::Xor,
        _ => Method::Subtract,
    };
    let odd = (job.output | job.stride | job.base | job.base_stride) as u32 | job.width;
    let aligned = odd % 8 == 0;
    // What is the base's has no differences to read.
    let differs = method != Method::Same;
    // Whole numbers, as many bytes as are moved at once.
    let step = if aligned { 8 } else { job.unit.clamp(1, 8) };
    let across = (job.width / step).max(1);
    let mut i = lane_id();
    while i < job.rows * across {
        let (row, at) = ((i / across) as u64, (i % across * step) as u64);
        let (output, base) = (job.output + row * job.stride + at, job.base + row * job.base_stride + at);
        let z = job.differences + row * job.width as u64 + at;
        // SAFETY: by contract.
        unsafe {
            if aligned {
                let word = |[low, high]: [u32; 2]| low as u64 | (high as u64) << 32;
                let x = numbers(method, job.unit, if differs { word(global::load2(z)) } else { 0 }, word(global::load2(base)));
                global::store2(output, [x as u32, (x >> 32) as u32]);
            } else {
                let x = numbers(method, job.unit, if differs { bytes(z, step) } else { 0 }, bytes(base, step));
                let mut k = 0;
                while k < step {
                    global::store_byte(output + k as u64, (x >> (8 * k)) as u32);
                    k += 1;
                }
            }
        }
        i += 32;
    }
}

/// The number of `n` bytes at `at`.
#[inline(always)]
unsafe fn bytes(at: u64, n: u32) -> u64 {
    let mut x = 0;
    let mut k = 0;
    while k < n {
        // SAFETY: by the caller's contract.
        x |= unsafe { global::load_byte(at + k as u64) as u64 } << (8 * k);
        k += 1;
    }
    x
}
