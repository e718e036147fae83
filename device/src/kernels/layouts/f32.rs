//! FP32: exponents from the stream, 24 other bits from three raw planes.
//!
//! ```text
//! for each element: word = rotate(exponent p1 p2 p3, right by one)
//! pairs: the planes' bytes of two elements are shifted down together, `p3 p2` of both made by one prmt
//! ```
//!
//! A lane's run of pairs is 32 bytes, two stores: neighbours exchange halves first (`stream.rs`), so that each store fills whole sectors.

use super::{Join, plane_byte, set_exponent};
use crate::job::TileJob;
use crate::kernels::intrinsics::permute;
use crate::planes::unrotate;

/// An FP32 from its exponent.
#[inline(always)]
unsafe fn f32(job: &TileJob, i: u32, exponent: u32) -> u32 {
    // SAFETY: by the callers' contract.
    unsafe { unrotate(exponent << 24 | plane_byte(job, 0, i) << 16 | plane_byte(job, 1, i) << 8 | plane_byte(job, 2, i)) }
}

/// FP32, exponents in pairs.
pub(in crate::kernels) struct F32Pairs;

impl Join for F32Pairs {
    const RUN: u32 = 8;
    const ELEMENT_BYTES: u32 = 4;
    const SIDES: usize = 3;
    const SIDE_BYTES: u32 = 8;
    const PAIRS: bool = true;

    #[inline(always)]
    fn join(e: &[u32; 4], side: &[u32; 6], base: u32) -> [u32; 8] {
        let mut out = [0; 8];
        let mut j = 0;
        while j < 4 {
            let half = j / 2;
            let shift = (j % 2 * 16) as u32;
            let (p1, p2, p3) = (side[half] >> shift, side[2 + half] >> shift, side[4 + half] >> shift);
            let (e0, e1) = ((e[j] & 15) + base, (e[j] >> 4 & 15) + base);
            // Bytes p3, p2 of both elements, then p1 and exponent of each.
            let low = permute::<0x5140>(p3, p2);
            out[2 * j] = unrotate(permute::<0x5410>(low, permute::<0x0040>(p1, e0)));
            out[2 * j + 1] = unrotate(permute::<0x5432>(low, permute::<0x0041>(p1, e1)));
            j += 1;
        }
        out
    }

    #[inline(always)]
    unsafe fn element(job: &TileJob, i: u32, byte: u32) -> u32 {
        // SAFETY: by contract.
        unsafe { f32(job, i, byte) }
    }

    #[inline(always)]
    unsafe fn patch(address: u64, byte: u32) {
        // SAFETY: by contract.
        unsafe { set_exponent(address + 2, byte) }
    }
}

/// FP32, an exponent a byte.
pub(in crate::kernels) struct F32Bytes;

impl Join for F32Bytes {
    const RUN: u32 = 4;
    const ELEMENT_BYTES: u32 = 4;
    const SIDES: usize = 3;
    const SIDE_BYTES: u32 = 4;

    #[inline(always)]
    fn join(e: &[u32; 4], side: &[u32; 6], _: u32) -> [u32; 8] {
        let mut out = [0; 8];
        let mut j = 0;
        while j < 4 {
            let shift = 8 * j as u32;
            let low = permute::<0x0040>(side[4] >> shift, side[2] >> shift);
            out[j] = unrotate(permute::<0x5410>(low, permute::<0x0040>(side[0] >> shift, e[j])));
            j += 1;
        }
        out
    }

    #[inline(always)]
    unsafe fn element(job: &TileJob, i: u32, byte: u32) -> u32 {
        // SAFETY: by contract.
        unsafe { f32(job, i, byte) }
    }

    #[inline(always)]
    unsafe fn patch(address: u64, byte: u32) {
        // SAFETY: by contract.
        unsafe { set_exponent(address + 2, byte) }
    }
}
