//! Joins planes that are all decoded: raw and constant ones, and what other kernels left in scratch memory.
//!
//! ```text
//! a lane makes 4 bytes of output at a time: 4, 2 or 1 elements of the fixed layouts, one byte each of other records
//! ```
//!
//! Only tiles without a stream of their own come here (noise, constants) and rare records, so this is one loop for all of them, bound by
//! memory as it is.

use super::intrinsics::lane_id;
use crate::job::TileJob;
use crate::planes::{Layout, join_bf16, join_f8e4, unrotate};

/// Joins the tile of `job`, whose `stream` is the list of plane addresses and whose `words` is the layout's number.
///
/// # Safety
/// The addresses are valid for the tile.
#[inline(always)]
pub(super) unsafe fn join(job: &TileJob) {
    let number = job.words as u8;
    // SAFETY: by contract: byte `i` of plane `p` exists where it is asked for.
    let byte = |p: u32, i: u32| unsafe { *((*(job.stream as *const u64).add(p as usize) + i as u64) as *const u8) };
    let layout = Layout::from_number(number);
    let (record, group) = match layout {
        Some(Layout::Bf16) => (2, 2),
        Some(Layout::F8E4) => (1, 4),
        Some(Layout::F32) => (4, 1),
        Some(Layout::Columns(n)) => (n as u32, if n == 1 { 4 } else { 1 }),
        // `join_blocks` joins blocks.
        Some(Layout::Blocks(_)) | None => return,
    };
    let mut first = lane_id() * group;
    while first < job.elements {
        let count = group.min(job.elements - first);
        let whole = count == group;
        if record <= 4 && group * record == 4 {
            let get = |p: u32, k: u32| if k < count { byte(p, first + k) } else { 0 };
            let word = match layout {
                Some(Layout::Bf16) => join_bf16([get(0, 0), get(0, 1)], [get(1, 0), get(1, 1)]),
                Some(Layout::F8E4) => {
                    let high = if count > 2 { byte(1, first / 2 + 1) } else { 0 };
                    join_f8e4([get(0, 0), get(0, 1), get(0, 2), get(0, 3)], [byte(1, first / 2), high])
                }
                Some(Layout::F32) => unrotate(u32::from_le_bytes([get(3, 0), get(2, 0), get(1, 0), get(0, 0)])),
                _ if record == 1 => u32::from_le_bytes([get(0, 0), get(0, 1), get(0, 2), get(0, 3)]),
                _ => u32::from_le_bytes([get(0, 0), get(1, 0), get(2, 0), get(3, 0)]),
            };
            let at = first * record;
            let column = at % job.width.max(1);
            let out = job.locate(at);
            if whole && column + 4 <= job.width && out % 4 == 0 {
                // SAFETY: four bytes of one row.
                unsafe { *(out as *mut u32) = word };
            } else {
                let rotates = matches!(layout, Some(Layout::Bf16 | Layout::F8E4)) && !whole;
                let bits = 8 * record;
                let mut k = 0;
                while k < count {
                    let source = if rotates { word.rotate_left(1) } else { word };
                    let v = source >> (k * bits);
                    let low = if bits == 32 { v } else { v & ((1 << bits) - 1) };
                    let v = if rotates { low >> 1 | low << (bits - 1) } else { low };
                    // SAFETY: an element of the tile.
                    unsafe { put(job, first + k, record, v) };
                    k += 1;
                }
            }
        } else {
            let mut p = 0;
            while p < record {
                // SAFETY: as above.
                unsafe { *(job.locate(first * record + p) as *mut u8) = byte(p, first) };
                p += 1;
            }
        }
        first += 32 * group;
    }
}

/// Stores the low bytes of `value` as an element.
#[inline(always)]
unsafe fn put(job: &TileJob, element: u32, record: u32, value: u32) {
    let mut k = 0;
    while k < record {
        // SAFETY: by the caller's contract.
        unsafe { *(job.locate(element * record + k) as *mut u8) = (value >> (8 * k)) as u8 };
        k += 1;
    }
}
