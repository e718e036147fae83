//! How a lane's four symbols become output, one implementation for each layout and mode.
//!
//! `entries` are decode-table entries: the low byte is the symbol, what is above it is of no meaning. Bytes are put together by `prmt`,
//! one instruction for any four of eight.

use super::intrinsics::{global, permute};
use crate::job::{SIDE_PLANES, TileJob};
use crate::planes::unrotate;

/// What [`decode`](super::stream::decode) has to know of a layout. All sizes are of a *run*: four symbols of one lane.
pub(super) trait Join {
    /// Elements of a run.
    const RUN: u32;
    /// 32-bit words of output of a run.
    const WORDS: usize = (Self::RUN * Self::ELEMENT_BYTES / 4) as usize;
    /// Bytes of an element.
    const ELEMENT_BYTES: u32;
    /// Other planes that are joined with the stream's.
    const SIDES: usize;
    /// Bytes that each of them has for a run.
    const SIDE_BYTES: u32;
    /// Whether a symbol is a pair of elements.
    const PAIRS: bool = false;

    /// Chunks between two tests of the loop; `SLACK` has room for as many.
    const TOGETHER: u32 = if Self::PAIRS { 1 } else { 2 };

    /// Symbols of a tile.
    #[inline(always)]
    fn symbols(elements: u32) -> u32 {
        if Self::PAIRS { elements.div_ceil(2) } else { elements }
    }

    /// Where the other planes' bytes for this lane's first run lie.
    #[inline(always)]
    fn side(job: &TileJob, lane: u32) -> [u64; SIDE_PLANES] {
        job.planes.map(|p| p + (lane * Self::SIDE_BYTES) as u64)
    }

    /// Moves on by a chunk.
    #[inline(always)]
    fn advance(side: &mut [u64; SIDE_PLANES]) {
        let mut i = 0;
        while i < Self::SIDES {
            side[i] += 32 * Self::SIDE_BYTES as u64;
            i += 1;
        }
    }

    /// The other planes' bytes for a run, two words for each plane.
    ///
    /// # Safety
    /// Whole runs lie at `side`.
    #[inline(always)]
    unsafe fn load(side: &[u64; SIDE_PLANES]) -> [u32; 2 * SIDE_PLANES] {
        let mut words = [0; 2 * SIDE_PLANES];
        let mut i = 0;
        while i < Self::SIDES {
            // SAFETY: by contract; planes are aligned to 16 bytes.
            unsafe {
                match Self::SIDE_BYTES {
                    8 => [words[2 * i], words[2 * i + 1]] = global::load2(side[i]),
                    4 => words[2 * i] = global::load1(side[i]),
                    _ => words[2 * i] = global::load_half(side[i]),
                }
            }
            i += 1;
        }
        words
    }

    /// The run's output.
    fn join(entries: &[u32; 4], side: &[u32; 2 * SIDE_PLANES], base: u32) -> [u32; 8];

    /// One element, the stream's plane having `byte` for it.
    ///
    /// # Safety
    /// The element is the tile's.
    unsafe fn element(job: &TileJob, i: u32, byte: u32) -> u32;

    /// Puts `byte` where the stream's plane has this element's, at `address`.
    ///
    /// # Safety
    /// The element is the tile's.
    unsafe fn patch(address: u64, byte: u32);
}

/// Byte `i` of a plane.
#[inline(always)]
unsafe fn plane_byte(job: &TileJob, plane: usize, i: u32) -> u32 {
    // SAFETY: by the callers' contract.
    unsafe { global::load_byte(job.planes[plane] + i as u64) }
}

/// The element that element `i` gets its sign from: the next one around the word that they share, or itself where the tile has no
/// whole word left.
#[inline(always)]
fn sign_of(job: &TileJob, i: u32, share: u32) -> u32 {
    let word = i / share * share;
    if word + share <= job.elements { word + (i + 1) % share } else { i }
}

/// A BF16 from its exponent.
#[inline(always)]
unsafe fn bf16(job: &TileJob, i: u32, exponent: u32) -> u32 {
    // SAFETY: by the callers' contract.
    unsafe { exponent << 7 | plane_byte(job, 0, i) >> 1 | plane_byte(job, 0, sign_of(job, i, 2)) << 15 }
}

/// An FP32 from its exponent.
#[inline(always)]
unsafe fn f32(job: &TileJob, i: u32, exponent: u32) -> u32 {
    // SAFETY: by the callers' contract.
    unsafe { unrotate(exponent << 24 | plane_byte(job, 0, i) << 16 | plane_byte(job, 1, i) << 8 | plane_byte(job, 2, i)) }
}

/// An FP8 from its exponent.
#[inline(always)]
unsafe fn f8e4(job: &TileJob, i: u32, exponent: u32) -> u32 {
    let nibble = |i: u32| {
        // SAFETY: by the callers' contract.
        unsafe { plane_byte(job, 0, i / 2) >> (i % 2 * 4) & 15 }
    };
    exponent << 3 | nibble(i) >> 1 | nibble(sign_of(job, i, 4)) << 7
}

/// The low bytes of four entries as one word.
#[inline(always)]
pub(super) fn pack(e: &[u32; 4]) -> u32 {
    permute::<0x5410>(permute::<0x0040>(e[0], e[1]), permute::<0x0040>(e[2], e[3]))
}

/// Two BF16 from a pair symbol and `others`, whose bytes 0 and 2 are the raw plane's and 1 and 3 the base: ranks are added to them
/// without a carry, as a base is at most 240.
#[inline(always)]
fn bf16_pair(entry: u32, others: u32) -> u32 {
    let ranks = (entry & 0x0f) << 8 | (entry & 0xf0) << 20;
    unrotate(others + ranks)
}

/// Stores the `mask`ed bits of `value` into the byte at `address`.
#[inline(always)]
unsafe fn set_bits(address: u64, mask: u32, value: u32) {
    // SAFETY: by the callers' contract; only this lane writes the element.
    unsafe { global::store_byte(address, global::load_byte(address) & !mask | value & mask) }
}

/// BF16 and FP32: puts an exponent into the element whose upper 16 bits lie at `address`.
#[inline(always)]
unsafe fn set_exponent(address: u64, exponent: u32) {
    // SAFETY: by the callers' contract.
    unsafe {
        set_bits(address, 0x80, exponent << 7);
        set_bits(address + 1, 0x7f, exponent >> 1);
    }
}

/// One plane of bytes: INT8, packed INT4, FP8, and any plane on its way to scratch memory.
pub(super) struct Bytes;

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
pub(super) struct Columns2;

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

/// BF16, exponents in pairs.
pub(super) struct Bf16Pairs;

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
pub(super) struct Bf16Bytes;

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

/// FP32, exponents in pairs.
pub(super) struct F32Pairs;

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
pub(super) struct F32Bytes;

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

/// FP8 with four exponent bits, exponents in pairs.
pub(super) struct F8e4Pairs;

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
pub(super) struct F8e4Bytes;

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
