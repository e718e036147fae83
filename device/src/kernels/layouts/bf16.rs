//! BF16: exponents from the stream, sign and mantissa from a raw plane.
//!
//! ```text
//! pairs, for each symbol (two exponent ranks, a nibble each) and two raw bytes:
//!     others = base b1 base b0                            prmt: base and raw bytes together
//!     word   = rotate(others + (rank1 << 24 | rank0 << 8), right by one)
//! bytes: as FP16's, then a rotation
//! ```
//!
//! 1. The base is added once for two elements, with their ranks: a base is at most 240, so a rank's sum stays in its byte.
//! 2. A raw byte has the mantissa above the *next* element's sign (around the word): rotating the word puts all four fields where they
//!    belong at once.

use super::{Columns2, Join, plane_byte, set_bits, set_exponent, sign_of};
use crate::job::TileJob;
use crate::kernels::intrinsics::{global, permute};
use crate::planes::unrotate;

/// A BF16 from its exponent.
#[inline(always)]
unsafe fn bf16(job: &TileJob, i: u32, exponent: u32) -> u32 {
    // SAFETY: by the callers' contract.
    unsafe { exponent << 7 | plane_byte(job, 0, i) >> 1 | plane_byte(job, 0, sign_of(job, i, 2)) << 15 }
}

/// Two BF16 from a pair symbol and `others`, whose bytes 0 and 2 are the raw plane's and 1 and 3 the base: ranks are added to them
/// without a carry, as a base is at most 240.
#[inline(always)]
fn bf16_pair(entry: u32, others: u32) -> u32 {
    let ranks = (entry & 0x0f) << 8 | (entry & 0xf0) << 20;
    unrotate(others + ranks)
}

/// BF16, exponents in pairs.
pub(in crate::kernels) struct Bf16Pairs;

impl Join for Bf16Pairs {
    const RUN: u32 = 8;
    const ELEMENT_BYTES: u32 = 2;
    const SIDES: usize = 1;
    const SIDE_BYTES: u32 = 8;
    const PAIRS: bool = true;

    #[inline(always)]
    fn join(e: &[u32; 4], side: &[u32; 6], base: u32) -> [u32; 8] {
        let w0 = bf16_pair(e[0], permute::<0x4140>(side[0], base));
        let w1 = bf16_pair(e[1], permute::<0x4342>(side[0], base));
        let w2 = bf16_pair(e[2], permute::<0x4140>(side[1], base));
        let w3 = bf16_pair(e[3], permute::<0x4342>(side[1], base));
        [w0, w1, w2, w3, 0, 0, 0, 0]
    }

    #[inline(always)]
    unsafe fn element(job: &TileJob, i: u32, byte: u32) -> u32 {
        // SAFETY: by contract.
        unsafe { bf16(job, i, byte) }
    }

    #[inline(always)]
    unsafe fn patch(address: u64, byte: u32) {
        // SAFETY: by contract.
        unsafe { set_exponent(address, byte) }
    }
}

/// BF16, an exponent a byte.
pub(in crate::kernels) struct Bf16Bytes;

impl Join for Bf16Bytes {
    const RUN: u32 = 4;
    const ELEMENT_BYTES: u32 = 2;
    const SIDES: usize = 1;
    const SIDE_BYTES: u32 = 4;

    #[inline(always)]
    fn join(e: &[u32; 4], side: &[u32; 6], base: u32) -> [u32; 8] {
        Columns2::join(e, side, base).map(unrotate)
    }

    #[inline(always)]
    unsafe fn element(job: &TileJob, i: u32, byte: u32) -> u32 {
        // SAFETY: by contract.
        unsafe { bf16(job, i, byte) }
    }

    #[inline(always)]
    unsafe fn patch(address: u64, byte: u32) {
        // SAFETY: by contract.
        unsafe { set_exponent(address, byte) }
    }
}
