//! Decoded planes, and how rows of elements are made of them.

use super::fused::Place;
use super::join::{self, Exponents};
use super::{Backend, Body};
use wcodec_device::planes::Layout;

/// A plane after its symbols are decoded.
#[derive(Clone, Copy)]
pub(super) enum Ready<'a> {
    Slice(&'a [u8]),
    /// In the scratch buffer of the same number.
    Scratch,
    /// Pair symbols in the scratch buffer of the same number; the base; patches to the joined elements.
    Pairs(u8, Patches<'a>),
}

#[derive(Clone, Copy)]
pub(super) struct Patches<'a> {
    pub(super) positions: &'a [[u8; 2]],
    pub(super) values: &'a [u8],
}

impl Patches<'_> {
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, u8)> + '_ {
        self.positions.iter().map(|&p| u16::from_le_bytes(p) as usize).zip(self.values.iter().copied())
    }

    fn first(&self) -> Option<(usize, u8)> {
        self.iter().next()
    }

    /// Position of patch `number`, or one that no element has.
    #[inline]
    pub(super) fn position(&self, number: usize) -> usize {
        self.positions.get(number).map_or(usize::MAX, |&p| u16::from_le_bytes(p) as usize)
    }

    /// Drops those before element `at`.
    fn drop_before(&mut self, at: usize) {
        let n = self.positions.partition_point(|&p| (u16::from_le_bytes(p) as usize) < at);
        *self = Self { positions: &self.positions[n..], values: &self.values[n..] };
    }

    /// Overwrites bytes of a plane, all of which exist.
    pub(super) fn apply(&self, plane: &mut [u8]) {
        for (at, value) in self.iter() {
            plane[at] = value;
        }
    }
}

pub(super) const PATCH_OUTSIDE: &str = "a patch lies outside the tile";

/// Where decoded bytes are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stores {
    /// In the caches: they are few, or used at once.
    Cached,
    /// In memory: they are more than the caches hold.
    Stream,
}

pub(super) fn set_exponent(layout: Layout, element: &mut [u8], value: u8) {
    match (layout, element) {
        (Layout::Bf16, [lo, hi]) | (Layout::F32, [_, _, lo, hi]) => {
            *lo = *lo & 0x7f | value << 7;
            *hi = *hi & 0x80 | value >> 1;
        }
        (Layout::F8E4, [byte]) => *byte = *byte & 0x87 | (value & 15) << 3,
        _ => {}
    }
}

/// Planes ready to be joined.
pub(super) struct View<'a> {
    pub(super) layout: Layout,
    pub(super) ready: &'a [Ready<'a>],
    pub(super) buffers: &'a [Vec<u8>],
}

impl<'a> View<'a> {
    /// `count` bytes of plane `p` from `from`.
    #[inline(always)]
    fn bytes(&self, p: usize, from: usize, count: usize) -> &'a [u8] {
        match self.ready[p] {
            Ready::Slice(s) => &s[from..from + count],
            _ => &self.buffers[p][from..from + count],
        }
    }

    /// Exponents of `count` elements from the even element `from`.
    #[inline(always)]
    fn exponents(&self, from: usize, count: usize) -> Exponents<'a> {
        match self.ready[0] {
            Ready::Pairs(base, _) => Exponents::Pairs(&self.buffers[0][from / 2..(from + count).div_ceil(2)], base),
            _ => Exponents::Bytes(self.bytes(0, from, count)),
        }
    }

    /// One exponent.
    #[inline(always)]
    fn exponent(&self, at: usize) -> u8 {
        match self.exponents(at & !1, 1 + (at & 1)) {
            Exponents::Pairs(s, base) => base.wrapping_add(if at & 1 == 1 { s[0] >> 4 } else { s[0] & 15 }),
            Exponents::Bytes(e) => e[at & 1],
        }
    }

    /// Joins all rows, which go to `place` (of which `out` begins with the first), but for the first `from` elements, which end a
    /// group. Compiled for the backend.
    pub(super) fn join_rows(&self, backend: Backend, out: &mut [u8], place: Place, from: usize, stores: Stores, line: &mut Line) {
        // The portable backend knows no streaming.
        let stores = if backend == Backend::Portable { Stores::Cached } else { stores };
        backend.run(JoinRows { view: self, out, place, from, stores, backend, line });
    }

    /// Patches to joined elements, those of bytes being applied already.
    fn patches(&self) -> Patches<'a> {
        match self.ready[0] {
            Ready::Pairs(_, patches) => patches,
            _ => Patches { positions: &[], values: &[] },
        }
    }

    /// Joins the elements from `from` (the first of a group) that fill `out`, and takes the patches that belong there off the front.
    #[inline(always)]
    fn join(&self, from: usize, out: &mut [u8], patches: &mut Patches<'_>) {
        self.join_planes(from, out);
        let record = self.layout.record_bytes();
        let end = from + out.len() / record;
        while let Some((at, value)) = patches.first().filter(|&(at, _)| at < end) {
            set_exponent(self.layout, &mut out[(at - from) * record..][..record], value);
            *patches = Patches { positions: &patches.positions[1..], values: &patches.values[1..] };
        }
    }

    /// Joins the elements from `from` that fill `out`.
    #[inline(always)]
    fn join_planes(&self, from: usize, out: &mut [u8]) {
        let n = out.len() / self.layout.record_bytes();
        match self.layout {
            Layout::Columns(1) => out.copy_from_slice(self.bytes(0, from, n)),
            Layout::Columns(2) => join::columns2(self.bytes(0, from, n), self.bytes(1, from, n), out),
            Layout::Columns(4) => {
                let p = |i| self.bytes(i, from, n);
                join::columns4(p(0), p(1), p(2), p(3), out)
            }
            Layout::Columns(columns) => {
                for p in 0..columns as usize {
                    let plane = self.bytes(p, from, n);
                    for (record, &byte) in out.chunks_exact_mut(columns as usize).zip(plane) {
                        record[p] = byte;
                    }
                }
            }
            Layout::Blocks(blocks) => {
                let mut first = 0;
                for (p, &width) in blocks.fields().iter().enumerate() {
                    let width = width as usize;
                    join::fields(self.bytes(p, from * width, n * width), width, first, blocks.bytes(), out);
                    first += width;
                }
            }
            Layout::Bf16 => {
                let (whole, tail) = out.split_at_mut(n / 2 * 4);
                let raw = self.bytes(1, from, n);
                match self.exponents(from, n) {
                    Exponents::Pairs(s, base) => join::bf16_pairs(s, base, raw, whole),
                    Exponents::Bytes(e) => join::bf16_bytes(e, raw, whole),
                }
                if n & 1 == 1 {
                    let word = u16::from_le_bytes([raw[n - 1], self.exponent(from + n - 1)]);
                    tail.copy_from_slice(&word.rotate_right(1).to_le_bytes());
                }
            }
            Layout::F32 => {
                let even = n & !1;
                let (whole, tail) = out.split_at_mut(even * 4);
                let p = |i| self.bytes(i, from, even);
                match self.exponents(from, n) {
                    Exponents::Pairs(s, base) => join::f32_pairs(s, base, p(1), p(2), p(3), whole),
                    Exponents::Bytes(e) => join::f32_bytes(&e[..even], p(1), p(2), p(3), whole),
                }
                if n & 1 == 1 {
                    let last = |i| self.bytes(i, from + even, 1)[0];
                    let word = u32::from_le_bytes([last(3), last(2), last(1), self.exponent(from + even)]);
                    tail.copy_from_slice(&word.rotate_right(1).to_le_bytes());
                }
            }
            Layout::F8E4 => {
                let (whole, tail) = out.split_at_mut(n & !3);
                let raw = self.bytes(1, from / 2, n.div_ceil(2));
                match self.exponents(from, n) {
                    Exponents::Pairs(s, _) => join::f8e4_pairs(s, raw, whole),
                    Exponents::Bytes(e) => join::f8e4_bytes(e, raw, whole),
                }
                for (i, byte) in tail.iter_mut().enumerate().map(|(i, b)| ((n & !3) + i, b)) {
                    let nibble = raw[i / 2] >> (4 * (i & 1)) & 15;
                    *byte = (self.exponent(from + i) << 4 | nibble).rotate_right(1);
                }
            }
        }
    }
}

/// [`View::join`] of every row.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
struct JoinRows<'v, 'a, 'o> {
    view: &'v View<'a>,
    out: &'o mut [u8],
    place: Place,
    from: usize,
    stores: Stores,
    backend: Backend,
    line: &'o mut Line,
}

/// Bytes joined at a time before they are streamed out: they stay in the first-level cache.
const STREAM: usize = 4096;

/// Where they are joined.
#[repr(align(64))]
pub(super) struct Line([u8; STREAM]);

impl Default for Line {
    fn default() -> Self {
        Self([0; STREAM])
    }
}

impl Body for JoinRows<'_, '_, '_> {
    #[inline(always)]
    fn run(self) {
        let Place { width, stride, .. } = self.place;
        let record = self.view.layout.record_bytes();
        let columns = width / record;
        let mut patches = self.view.patches();
        patches.drop_before(self.from);
        // What is left of a row that is begun.
        let (begun, at) = (self.from / columns, self.from % columns * record);
        let mut first = begun;
        if at > 0 {
            self.view.join(self.from, &mut self.out[begun * stride..][at..width], &mut patches);
            first += 1;
        }
        if first == self.place.rows {
            return;
        }
        let out = &mut self.out[first * stride..];
        #[cfg(target_arch = "x86_64")]
        if self.stores == Stores::Stream {
            let fence = super::x86::Fence;
            let wide = super::x86::Avx512::new().filter(|_| self.backend == Backend::Avx512);
            let buffer = &mut self.line.0;
            if width > STREAM {
                let step = STREAM / self.view.layout.group_bytes() * self.view.layout.group_bytes();
                for (row, out) in out.chunks_mut(stride).enumerate() {
                    for (i, out) in out[..width].chunks_mut(step).enumerate() {
                        let joined = &mut buffer[..out.len()];
                        self.view.join((first + row) * columns + i * step / record, joined, &mut patches);
                        super::x86::stream_copy(out, joined, &fence, wide);
                    }
                }
                return;
            }
            // Several rows at a time: their elements follow each other in the planes.
            let rows = STREAM / width;
            for (i, out) in out.chunks_mut(rows * stride).enumerate() {
                let joined = &mut buffer[..out.len().div_ceil(stride) * width];
                self.view.join((first + i * rows) * columns, joined, &mut patches);
                for (out, joined) in out.chunks_mut(stride).zip(joined.chunks(width)) {
                    super::x86::stream_copy(&mut out[..width], joined, &fence, wide);
                }
            }
            return;
        }
        for (row, out) in out.chunks_mut(stride).enumerate() {
            self.view.join((first + row) * columns, &mut out[..width], &mut patches);
        }
    }
}
