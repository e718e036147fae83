//! 32-way interleaved range asymmetric numeral systems (rANS), as J. Duda describes them in arXiv:1311.2540.
//!
//! One stream is 32 states, one a lane, that share a sequence of 16-bit words. A state is a `u32` that rests in `[2^16, 2^32)`.
//! Probabilities are multiples of `2^-12`, so that decoding a symbol shrinks a state by at most 12 bits and one word always
//! brings it back. Words are handed out in lane order within a step, hence a warp finds its words by ballot and popcount.
//!
//! Symbols are dealt to lanes four at a time: symbol `128c + 4l + j` is step `j` of chunk `c` in lane `l`. Four consecutive
//! symbols a lane make one 32-bit store (and, as pairs of BF16 weights, one 16-byte store).

mod encode;
mod table;

pub use encode::{SymbolCode, encode_step};
pub use table::{Entry, SCALE_BITS, SLOTS, TableError, expand_table};

/// Lanes of a stream: the width of a warp.
pub const LANES: usize = 32;
/// Consecutive symbols of one lane in a chunk.
pub const LANE_RUN: usize = 4;
/// Symbols in a full chunk.
pub const CHUNK: usize = LANES * LANE_RUN;
/// Lower bound of a resting state. The encoder starts each lane from it plus two carried symbols (or nothing, in a stream of less
/// than a chunk), and there the decoder must end.
pub const FLOOR: u32 = 1 << 16;
/// Bytes that the states take at the head of a stream.
pub const STATE_BYTES: usize = LANES * 4;

/// One decoding step of one lane, before renormalisation: the new state.
#[inline(always)]
pub fn advance(state: u32, entry: Entry) -> u32 {
    entry.freq().wrapping_mul(state >> SCALE_BITS).wrapping_add(entry.offset())
}

/// Whether a lane takes a word after [`advance`].
#[inline(always)]
pub fn needs_word(state: u32) -> bool {
    state < FLOOR
}

/// The state after taking a word.
#[inline(always)]
pub fn refill(state: u32, word: u16) -> u32 {
    (state << 16) | word as u32
}

/// The slot that names the next symbol.
#[inline(always)]
pub fn slot(state: u32) -> usize {
    (state as usize) & (SLOTS - 1)
}
