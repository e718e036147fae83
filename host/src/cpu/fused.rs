//! Streams whose symbols are joined as they are decoded, in registers: the decoder waits for its table most of the time, and the join
//! fills that time. Only for what is written past the caches, rows of whole lines or one row; everything else takes the two steps of `tile.rs`.

use super::view::{Patches, set_exponent};
use wcodec_device::planes::Layout;
use wcodec_device::rans::CHUNK;

/// Bytes of a cache line.
pub(super) const LINE: usize = 64;
/// A part of one.
pub(super) const QUARTER: usize = 16;

/// What a symbol becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fusion {
    /// Two exponents of BF16, joined with two bytes of the raw plane.
    Bf16Pairs,
    /// An exponent of BF16, joined with a byte of the raw plane.
    Bf16Bytes,
    /// The upper of two bytes, the lower being raw.
    Upper,
    /// A byte.
    Bytes,
}

impl Fusion {
    /// Elements of a symbol.
    pub(super) const fn elements(self) -> usize {
        if matches!(self, Self::Bf16Pairs) { 2 } else { 1 }
    }

    /// Bytes of an element.
    const fn record(self) -> usize {
        if matches!(self, Self::Bytes) { 1 } else { 2 }
    }

    /// Bytes that a chunk of symbols becomes.
    pub(super) const fn chunk_bytes(self) -> usize {
        CHUNK * self.elements() * self.record()
    }

    /// Raw bytes that are joined with a chunk.
    pub(super) const fn chunk_raw(self) -> usize {
        if matches!(self, Self::Bytes) { 0 } else { CHUNK * self.elements() }
    }

    /// Patches element `at` of joined ones.
    pub(super) fn set(self, joined: &mut [u8], at: usize, value: u8) {
        let element = &mut joined[at * self.record()..][..self.record()];
        match (self, &mut *element) {
            (Self::Bf16Pairs | Self::Bf16Bytes, _) => set_exponent(Layout::Bf16, element, value),
            (_, [.., byte]) => *byte = value,
            (_, []) => {}
        }
    }
}

/// Where a tile's rows go: `rows` of `width` bytes from `first` of a buffer, `stride` bytes from one to the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub first: usize,
    pub rows: usize,
    pub width: usize,
    pub stride: usize,
}

impl Place {
    /// Rows without gaps are one row.
    pub(super) fn joined(self) -> Self {
        let bytes = self.rows * self.width;
        if self.rows == 1 || self.stride == self.width { Self { rows: 1, width: bytes, stride: bytes, ..self } } else { self }
    }

    /// Where it ends.
    pub(crate) fn end(self) -> usize {
        self.first + (self.rows - 1) * self.stride + self.width
    }

    /// Whether the rows are of whole lines, or one, and all begin the same multiple of [`QUARTER`] behind a cache line of `out`. (The
    /// system's allocator has large memory 16 bytes behind one.)
    pub(super) fn on_quarters(self, out: &[u8]) -> bool {
        let whole = self.rows == 1 || self.width.is_multiple_of(LINE) && self.stride.is_multiple_of(LINE);
        whole && self.behind(out).is_multiple_of(QUARTER)
    }

    /// Bytes from a cache line to the first row.
    pub(super) fn behind(self, out: &[u8]) -> usize {
        (out.as_ptr() as usize + self.first) % LINE
    }
}

/// What is joined with a stream's symbols, and where the outcome goes.
pub(super) struct Sink<'a> {
    pub fusion: Fusion,
    /// The base of pair symbols.
    pub base: u8,
    /// The plane that the symbols are joined with, if any.
    pub raw: &'a [u8],
    /// In ascending order.
    pub patches: Patches<'a>,
    /// [`joined`](Place::joined), and [on quarters](Place::on_quarters).
    pub place: Place,
}

impl<'a> Sink<'a> {
    /// A sink, if `place` is fit for one.
    pub(super) fn new(fusion: Fusion, base: u8, raw: &'a [u8], patches: Patches<'a>, place: Place, out: &[u8]) -> Option<Self> {
        let place = place.joined();
        (place.on_quarters(out) && place.end() <= out.len()).then_some(Self { fusion, base, raw, patches, place })
    }

    /// Chunks of the tile at most: what follows is not joined here.
    pub(super) fn chunks(&self) -> usize {
        let bytes = self.place.rows * self.place.width / self.fusion.chunk_bytes();
        match self.fusion.chunk_raw() {
            0 => bytes,
            raw => bytes.min(self.raw.len() / raw),
        }
    }
}
