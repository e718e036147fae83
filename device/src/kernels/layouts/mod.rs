//! How a lane's four symbols become output, one implementation for each layout and mode.
//!
//! ```text
//! others = the lane's bytes of the other planes            one load a plane, of 2, 4 or 8 bytes: asked for before the four steps
//! s0, s1, s2, s3 = the symbols of four steps
//! words = join(s0..s3, others)                              prmt, shifts, a rotation
//! ```
//!
//! 1. `entries` are decode-table entries: the low byte is the symbol, what is above it is of no meaning. `join` picks that byte as it
//!    puts the output together, by `prmt`, one instruction for any four bytes of eight: no mask is needed.
//! 2. Signs lie at the bottom of the raw planes (`planes/`), so that all that is left for a word of output is one rotation of 32 bits, by a
//!    funnel shift, however many elements it holds.
//! 3. `element` and `patch` do the same for one element, anywhere: what runs that are partial or not aligned need (`scatter`), and patches.

mod bf16;
mod bytes;
mod f32;
mod f8e4;

pub(super) use bf16::{Bf16Bytes, Bf16Pairs};
pub(super) use bytes::{Bytes, Columns2};
pub(super) use f8e4::{F8e4Bytes, F8e4Pairs};
pub(super) use f32::{F32Bytes, F32Pairs};

use super::intrinsics::{global, permute};
use crate::job::{SIDE_PLANES, TileJob};

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

/// The low bytes of four entries as one word.
#[inline(always)]
pub(super) fn pack(e: &[u32; 4]) -> u32 {
    permute::<0x5410>(permute::<0x0040>(e[0], e[1]), permute::<0x0040>(e[2], e[3]))
}

/// Stores the `mask`ed bits of `value` into the byte at `address`.
#[inline(always)]
unsafe fn set_bits(address: u64, mask: u32, value: u32) {
    // SAFETY: by the callers' contract; only this lane writes the element.
    unsafe { global::store_byte(address, global::load_byte(address) & !mask | value & mask) }
}

/// BF16 and FP32: puts an exponent into the element whose upper 16 bits lie at `address`.
///
/// In one store where that is aligned, which is always so with what the host plans: a store of two bytes apart asks for its sector twice.
#[inline(always)]
unsafe fn set_exponent(address: u64, exponent: u32) {
    // SAFETY: by the callers' contract; only this lane writes the element.
    unsafe {
        if address & 1 == 0 {
            global::store_half(address, global::load_half(address) & 0x807f | exponent << 7);
        } else {
            set_bits(address, 0x80, exponent << 7);
            set_bits(address + 1, 0x7f, exponent >> 1);
        }
    }
}
