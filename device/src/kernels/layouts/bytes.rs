//! One plane of bytes, and records of two bytes.
//!
//! ```text
//! bytes:     word  = s3 s2 s1 s0                          pack: three prmt
//! columns2:  words = s1 b1 s0 b0, s3 b3 s2 b2              b: the raw lower bytes; two prmt for the symbols, one a word
//! ```

use super::{Join, pack, plane_byte};
use crate::job::TileJob;
use crate::kernels::intrinsics::{global, permute};

/// One plane of bytes: INT8, packed INT4, FP8, and any plane on its way to scratch memory.
pub(in crate::kernels) struct Bytes;

impl Join for Bytes {
    const RUN: u32 = 4;
    const ELEMENT_BYTES: u32 = 1;
    const SIDES: usize = 0;
    const SIDE_BYTES: u32 = 0;

    #[inline(always)]
    fn join(e: &[u32; 4], _: &[u32; 6], _: u32) -> [u32; 8] {
        [pack(e), 0, 0, 0, 0, 0, 0, 0]
    }

    #[inline(always)]
    unsafe fn element(_: &TileJob, _: u32, byte: u32) -> u32 {
        byte
    }

    #[inline(always)]
    unsafe fn patch(address: u64, byte: u32) {
        // SAFETY: by contract.
        unsafe { global::store_byte(address, byte) }
    }
}

/// Records of two bytes (FP16, INT16) of which the stream has the upper.
pub(in crate::kernels) struct Columns2;

impl Join for Columns2 {
    const RUN: u32 = 4;
    const ELEMENT_BYTES: u32 = 2;
    const SIDES: usize = 1;
    const SIDE_BYTES: u32 = 4;

    #[inline(always)]
    fn join(e: &[u32; 4], side: &[u32; 6], _: u32) -> [u32; 8] {
        let (high01, high23) = (permute::<0x0040>(e[0], e[1]), permute::<0x0040>(e[2], e[3]));
        let (w0, w1) = (permute::<0x5140>(side[0], high01), permute::<0x5342>(side[0], high23));
        [w0, w1, 0, 0, 0, 0, 0, 0]
    }

    #[inline(always)]
    unsafe fn element(job: &TileJob, i: u32, byte: u32) -> u32 {
        // SAFETY: by contract.
        unsafe { plane_byte(job, 0, i) | byte << 8 }
    }

    #[inline(always)]
    unsafe fn patch(address: u64, byte: u32) {
        // SAFETY: by contract.
        unsafe { global::store_byte(address + 1, byte) }
    }
}
