//! CRC-32C of a payload, by one warp.
//!
//! ```text
//! shared: for each byte value and its place in a word, the CRC of that byte followed by the bytes above it
//! lane l takes the 16-byte pieces l, l + 32, ...: after each piece its CRC moves on by 31 pieces of zeros  (a table as well)
//! ```
//!
//! The lanes' CRCs, each moved on to the end of the payload, are added up (exclusive or). Moving on is linear, so it is a table look-up a byte
//! too: 8 KiB of shared memory hold both tables.

use super::intrinsics::{global, lane_id, shared, shuffle_xor, sync_block, thread};
use crate::job::{CheckJob, THREADS, status};

/// The Castagnoli polynomial, bits reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// Where the table that moves a CRC on by 31 pieces lies in shared memory; the one for a word begins it.
const SKIP: u32 = 1024;
/// Bytes from one piece of a lane to its next, less the piece.
const SKIPPED: u32 = 31 * 16;

/// Moves a CRC on by one zero bit.
#[inline(always)]
fn bit(crc: u32) -> u32 {
    crc >> 1 ^ POLYNOMIAL & (crc & 1).wrapping_neg()
}

/// Product of two polynomials (bits reversed) modulo the CRC's.
#[inline(always)]
fn multiply(a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut i = 0;
    while i < 32 {
        product ^= b & ((a >> (31 - i)) & 1).wrapping_neg();
        b = bit(b);
        i += 1;
    }
    product
}

/// `x` to the power `8 * bytes`: multiplying by it moves a CRC on by that many zero bytes.
#[inline(always)]
fn power(mut bytes: u32) -> u32 {
    // x^8, then its squares.
    let mut square = 0x0080_0000;
    let mut result = 0x8000_0000;
    while bytes != 0 {
        if bytes & 1 != 0 {
            result = multiply(result, square);
        }
        square = multiply(square, square);
        bytes >>= 1;
    }
    result
}

/// Fills the tables; all threads of the block call it.
#[inline(always)]
pub(super) fn prepare() {
    let t = thread();
    let mut crc = t;
    let mut i = 0;
    while i < 8 {
        crc = bit(crc);
        i += 1;
    }
    let skip = power(SKIPPED);
    let mut place = 0;
    let mut byte_last = crc;
    while place < 4 {
        // The byte in place 3 is followed by nothing, that in place 0 by three more.
        shared::store((3 - place) * THREADS + t, byte_last);
        shared::store(SKIP + place * THREADS + t, multiply(skip, t << (8 * place)));
        let mut i = 0;
        while i < 8 {
            byte_last = bit(byte_last);
            i += 1;
        }
        place += 1;
    }
    sync_block();
}

/// Looks the four bytes of `v` up in the table at `base`.
#[inline(always)]
fn look_up(base: u32, v: u32) -> u32 {
    shared::load(base + (v & 255))
        ^ shared::load(base + 256 + (v >> 8 & 255))
        ^ shared::load(base + 512 + (v >> 16 & 255))
        ^ shared::load(base + 768 + (v >> 24))
}

/// Verifies a payload; returns its status, the same in all lanes. All 32 lanes call it, after [`prepare`].
///
/// # Safety
/// The payload is readable.
#[inline(always)]
pub(super) unsafe fn check(job: &CheckJob) -> u32 {
    let lane = lane_id();
    let pieces = job.len / 16;
    let mut crc = 0;
    let mut i = lane;
    while i < pieces {
        // SAFETY: by contract.
        let v = unsafe { global::load4(job.payload + i as u64 * 16) };
        // The CRC begins with all ones.
        crc ^= v[0] ^ if i == 0 { u32::MAX } else { 0 };
        crc = look_up(0, crc);
        crc = look_up(0, crc ^ v[1]);
        crc = look_up(0, crc ^ v[2]);
        crc = look_up(0, crc ^ v[3]);
        i += 32;
        if i < pieces {
            crc = look_up(SKIP, crc);
        }
    }
    // `i - 32` was this lane's last piece; those after it are other lanes'.
    let after = if lane < pieces { pieces - 1 - (i - 32) } else { 0 };
    crc = multiply(power(after * 16), crc);
    let mut delta = 16;
    while delta > 0 {
        crc ^= shuffle_xor(crc, delta);
        delta /= 2;
    }
    if !crc == job.crc || pieces == 0 && job.crc == 0 { status::OK } else { status::CHECKSUM }
}
