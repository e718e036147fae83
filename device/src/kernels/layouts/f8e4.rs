//! FP8 with four exponent bits: exponents from the stream, nibbles of sign and mantissa from a raw plane, two to a byte.
//!
//! ```text
//! for four elements: nibbles = n3 n2 n1 n0                a byte each: prmt doubles the two bytes, masks take one nibble of each
//!                    word    = rotate(exponents << 4 | nibbles, right by one)
//! ```
//!
//! In pair symbols the even element's rank is a low nibble and the odd one's a high nibble already: doubled by prmt, each is masked where it
//! stands. No base is added: four bits hold every exponent.

use super::{Join, pack, plane_byte, set_bits, sign_of};
use crate::job::TileJob;
use crate::kernels::intrinsics::permute;
use crate::planes::unrotate;

/// An FP8 from its exponent, whose upper four bits are of no meaning.
#[inline(always)]
unsafe fn f8e4(job: &TileJob, i: u32, exponent: u32) -> u32 {
    let nibble = |i: u32| {
        // SAFETY: by the callers' contract.
        unsafe { plane_byte(job, 0, i / 2) >> (i % 2 * 4) & 15 }
    };
    exponent << 3 & 0x78 | nibble(i) >> 1 | nibble(sign_of(job, i, 4)) << 7
}

/// FP8 with four exponent bits, exponents in pairs.
pub(in crate::kernels) struct F8e4Pairs;

impl Join for F8e4Pairs {
    const RUN: u32 = 8;
    const ELEMENT_BYTES: u32 = 1;
    const SIDES: usize = 1;
    const SIDE_BYTES: u32 = 4;
    const PAIRS: bool = true;

    #[inline(always)]
    fn join(e: &[u32; 4], side: &[u32; 6], _: u32) -> [u32; 8] {
        [f8e4_quad(e[0], e[1], side[0]), f8e4_quad(e[2], e[3], side[0] >> 16), 0, 0, 0, 0, 0, 0]
    }

    #[inline(always)]
    unsafe fn element(job: &TileJob, i: u32, byte: u32) -> u32 {
        // SAFETY: by contract.
        unsafe { f8e4(job, i, byte) }
    }

    #[inline(always)]
    unsafe fn patch(address: u64, byte: u32) {
        // SAFETY: by contract.
        unsafe { set_bits(address, 0x78, byte << 3) }
    }
}

/// Four FP8 from two pair symbols and two bytes of nibbles: even elements in bytes 0 and 2, odd ones in 1 and 3.
#[inline(always)]
fn f8e4_quad(e0: u32, e1: u32, raw: u32) -> u32 {
    let s = permute::<0x5410>(permute::<0x4400>(e0, 0), permute::<0x4400>(e1, 0));
    let r = permute::<0x1100>(raw, 0);
    unrotate((s << 4) & 0x00f0_00f0 | s & 0xf000_f000 | r & 0x000f_000f | (r >> 4) & 0x0f00_0f00)
}

/// FP8 with four exponent bits, an exponent a byte.
pub(in crate::kernels) struct F8e4Bytes;

impl Join for F8e4Bytes {
    const RUN: u32 = 4;
    const ELEMENT_BYTES: u32 = 1;
    const SIDES: usize = 1;
    const SIDE_BYTES: u32 = 2;

    #[inline(always)]
    fn join(e: &[u32; 4], side: &[u32; 6], _: u32) -> [u32; 8] {
        let r = permute::<0x1100>(side[0], 0);
        let nibbles = r & 0x000f_000f | (r >> 4) & 0x0f00_0f00;
        [unrotate((pack(e) << 4) & 0xf0f0_f0f0 | nibbles), 0, 0, 0, 0, 0, 0, 0]
    }

    #[inline(always)]
    unsafe fn element(job: &TileJob, i: u32, byte: u32) -> u32 {
        // SAFETY: by contract.
        unsafe { f8e4(job, i, byte) }
    }

    #[inline(always)]
    unsafe fn patch(address: u64, byte: u32) {
        // SAFETY: by contract.
        unsafe { set_bits(address, 0x78, byte << 3) }
    }
}
