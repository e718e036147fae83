//! Tiles: payload to planes to rows of the output.
//!
//! In two steps, so that streams of several tiles are decoded side by side: [`decode_planes`] leaves every plane of a group of tiles
//! in scratch buffers, [`join_tile`] puts one tile's planes together.

use super::join::{self, Exponents};
use super::{Backend, Body, Job, Stream, StreamFault};
use wcodec_device::layout::{MAX_TILE_BYTES, PlaneMode, TILE_ALIGN, TilePlane};
use wcodec_device::planes::Layout;
use wcodec_device::rans::{Entry, LANES, SLOTS, STATE_BYTES};

/// A decode table.
pub(crate) type Table = [Entry; SLOTS];

/// Why a tile cannot be decoded.
#[derive(Debug)]
pub(crate) enum TileFault {
    /// The payload is shorter or longer than its planes.
    Length,
    /// A plane's mode, base or patch position is impossible.
    Plane(usize, &'static str),
    /// A plane names a table that the file does not have.
    Table(usize, u16),
    /// Patches that are not in ascending order.
    Patches,
    /// A stream failed its own checks.
    Stream(usize, StreamFault),
}

impl std::fmt::Display for TileFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Length => write!(f, "the payload's length is not that of its planes"),
            Self::Plane(p, what) => write!(f, "plane {p}: {what}"),
            Self::Table(p, t) => write!(f, "plane {p}: frequency table {t} does not exist"),
            Self::Patches => write!(f, "patches out of order"),
            Self::Stream(p, fault) => write!(f, "plane {p}: {}", fault.message()),
        }
    }
}

/// What a tile is, apart from its bytes.
#[derive(Clone, Copy)]
pub(crate) struct TileShape {
    pub layout: Layout,
    pub rows: usize,
    /// Bytes of a row inside the tile, a multiple of the record.
    pub width: usize,
}

impl TileShape {
    pub(crate) fn bytes(&self) -> usize {
        self.rows * self.width
    }

    fn elements(&self) -> usize {
        self.bytes() / self.layout.record_bytes()
    }
}

/// A tile to decode: what it is, how its planes are coded, its bytes.
pub(crate) struct TileInput<'a> {
    pub shape: TileShape,
    pub planes: &'a [TilePlane],
    pub payload: &'a [u8],
}

/// Tiles that are worth decoding together.
pub(crate) const GROUP: usize = 4;

/// Buffers that a thread keeps from tile to tile: planes for each tile of a group, and a tile without gaps.
#[derive(Default)]
pub(crate) struct Scratch {
    planes: [Vec<Vec<u8>>; GROUP],
    linear: Vec<u8>,
}

/// A plane after its symbols are decoded.
#[derive(Clone, Copy)]
enum Ready<'a> {
    Slice(&'a [u8]),
    /// In the scratch buffer of the same number.
    Scratch,
    /// Pair symbols in the scratch buffer of the same number; the base; patches to the joined elements.
    Pairs(u8, Patches<'a>),
}

/// A tile whose planes are decoded.
pub(crate) struct TileReady<'a> {
    shape: TileShape,
    planes: [Ready<'a>; MAX_PLANES],
}

#[derive(Clone, Copy)]
struct Patches<'a> {
    positions: &'a [[u8; 2]],
    values: &'a [u8],
}

impl Patches<'_> {
    fn iter(&self) -> impl Iterator<Item = (usize, u8)> + '_ {
        self.positions.iter().map(|&p| u16::from_le_bytes(p) as usize).zip(self.values.iter().copied())
    }

    fn first(&self) -> Option<(usize, u8)> {
        self.iter().next()
    }

    /// Overwrites bytes of a plane.
    fn apply(&self, plane: &mut [u8]) -> Result<(), &'static str> {
        for (at, value) in self.iter() {
            *plane.get_mut(at).ok_or(PATCH_OUTSIDE)? = value;
        }
        Ok(())
    }
}

const PATCH_OUTSIDE: &str = "a patch lies outside the tile";

/// Takes fields off the front of a payload.
struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], TileFault> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or(TileFault::Length)?;
        self.rest = rest;
        Ok(head)
    }

    /// Skips what is left of a plane's last 16 bytes.
    fn align(&mut self, used: usize) -> Result<(), TileFault> {
        self.take(used.next_multiple_of(TILE_ALIGN) - used).map(|_| ())
    }
}

/// Decodes the planes of up to [`GROUP`] tiles into `scratch`. The error names the tile that failed.
pub(crate) fn decode_planes<'a>(
    backend: Backend,
    tables: impl Fn(u16) -> Option<&'a Table>,
    tiles: &[TileInput<'a>],
    scratch: &mut Scratch,
) -> Result<Vec<TileReady<'a>>, (usize, TileFault)> {
    let mut ready = Vec::with_capacity(tiles.len());
    // Streams to decode, whose they are, and the patches to the bytes they give.
    let mut jobs: Vec<Job<'_, '_>> = Vec::with_capacity(GROUP);
    let mut owners = Vec::with_capacity(GROUP);
    for (t, (tile, buffers)) in tiles.iter().zip(&mut scratch.planes).enumerate() {
        let layout = tile.shape.layout;
        let elements = tile.shape.elements();
        buffers.resize_with(buffers.len().max(tile.planes.len()), Vec::new);
        let mut cursor = Cursor { rest: tile.payload };
        let mut planes = [Ready::Scratch; MAX_PLANES];
        for (p, (plane, buffer)) in tile.planes.iter().zip(buffers).enumerate() {
            let bytes = layout.plane_bytes(p, elements);
            let fail = |fault| (t, fault);
            match PlaneMode::from_u8(plane.mode) {
                Some(PlaneMode::Raw) => {
                    planes[p] = Ready::Slice(cursor.take(bytes).map_err(fail)?);
                    cursor.align(bytes).map_err(fail)?;
                }
                Some(PlaneMode::Constant) => resize_for(buffer, bytes).fill(plane.base),
                Some(mode @ (PlaneMode::Bytes | PlaneMode::Pairs)) => {
                    let table = tables(plane.table).ok_or((t, TileFault::Table(p, plane.table)))?;
                    let (stream, patches) = take_stream(&mut cursor, plane, table).map_err(fail)?;
                    let symbols = if mode == PlaneMode::Pairs {
                        check_pairs(layout, p, plane.base).map_err(|why| (t, TileFault::Plane(p, why)))?;
                        planes[p] = Ready::Pairs(plane.base, patches);
                        elements.div_ceil(2)
                    } else {
                        bytes
                    };
                    jobs.push((stream, resize_for(buffer, symbols)));
                    owners.push((t, p, patches));
                }
                Some(PlaneMode::PerTile) | None => return Err((t, TileFault::Plane(p, "unknown mode"))),
            }
        }
        if !cursor.rest.is_empty() {
            return Err((t, TileFault::Length));
        }
        ready.push(TileReady { shape: tile.shape, planes });
    }
    backend.decode_symbols(&mut jobs).map_err(|(job, fault)| (owners[job].0, TileFault::Stream(owners[job].1, fault)))?;
    for ((_, buffer), (t, p, patches)) in jobs.into_iter().zip(owners) {
        if let Ready::Scratch = ready[t].planes[p] {
            patches.apply(buffer).map_err(|why| (t, TileFault::Plane(p, why)))?;
        }
    }
    Ok(ready)
}

/// Where decoded bytes are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stores {
    /// In the caches: they are few, or used at once.
    Cached,
    /// In memory: they are more than the caches hold.
    Stream,
}

/// Joins the planes of tile `t` of a group into `out`, whose rows begin `stride` bytes apart and which ends with the last row.
pub(crate) fn join_tile(
    backend: Backend,
    t: usize,
    ready: &TileReady<'_>,
    scratch: &mut Scratch,
    out: &mut [u8],
    stride: usize,
    stores: Stores,
) -> Result<(), TileFault> {
    let TileReady { shape, planes } = ready;
    if let Ready::Pairs(_, patches) = planes[0]
        && patches.iter().last().is_some_and(|(at, _)| at >= shape.elements())
    {
        return Err(TileFault::Plane(0, PATCH_OUTSIDE));
    }
    let Scratch { planes: buffers, linear } = scratch;
    let view = View { layout: shape.layout, ready: planes, buffers: &buffers[t] };
    let contiguous = stride == shape.width || shape.rows == 1;
    if contiguous {
        view.join_rows(backend, &mut out[..shape.bytes()], shape.bytes(), shape.bytes(), stores);
    } else if shape.width.is_multiple_of(shape.layout.group_bytes()) {
        view.join_rows(backend, out, shape.width, stride, stores);
    } else {
        let linear = resize_for(linear, shape.bytes());
        view.join_rows(backend, linear, shape.bytes(), shape.bytes(), Stores::Cached);
        for (out, row) in out.chunks_mut(stride).zip(linear.chunks(shape.width)) {
            out[..shape.width].copy_from_slice(row);
        }
    }
    Ok(())
}

/// Most planes of any layout.
const MAX_PLANES: usize = 64;

/// `buffer`'s first `n` bytes; the buffer only grows, and never above a tile.
fn resize_for(buffer: &mut Vec<u8>, n: usize) -> &mut [u8] {
    debug_assert!(n <= MAX_TILE_BYTES);
    if buffer.len() < n {
        buffer.resize(n, 0);
    }
    &mut buffer[..n]
}

fn check_pairs(layout: Layout, plane: usize, base: u8) -> Result<(), &'static str> {
    match layout {
        Layout::Bf16 | Layout::F32 if plane == 0 && base <= 240 => Ok(()),
        Layout::F8E4 if plane == 0 && base == 0 => Ok(()),
        _ => Err("pair symbols where there can be none"),
    }
}

fn take_stream<'a>(cursor: &mut Cursor<'a>, plane: &TilePlane, table: &'a Table) -> Result<(Stream<'a>, Patches<'a>), TileFault> {
    let states = cursor.take(STATE_BYTES)?.first_chunk::<{ 4 * LANES }>().ok_or(TileFault::Length)?;
    let bytes = cursor.rest;
    let words = cursor.take(2 * plane.words as usize)?.len();
    let patches = plane.patches as usize;
    let positions = cursor.take(2 * patches)?.as_chunks::<2>().0;
    let values = cursor.take(patches)?;
    cursor.align(2 * plane.words as usize + 3 * patches)?;
    if !positions.is_sorted_by(|a, b| u16::from_le_bytes(*a) < u16::from_le_bytes(*b)) {
        return Err(TileFault::Patches);
    }
    Ok((Stream { table, states, bytes, words }, Patches { positions, values }))
}

fn set_exponent(layout: Layout, element: &mut [u8], value: u8) {
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
struct View<'a> {
    layout: Layout,
    ready: &'a [Ready<'a>],
    buffers: &'a [Vec<u8>],
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

    /// Joins all rows, compiled for the backend: `width` bytes each, `stride` apart.
    fn join_rows(&self, backend: Backend, out: &mut [u8], width: usize, stride: usize, stores: Stores) {
        // The portable backend knows no streaming.
        let stores = if backend == Backend::Portable { Stores::Cached } else { stores };
        backend.run(JoinRows { view: self, out, width, stride, stores, backend });
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
struct JoinRows<'v, 'a, 'o> {
    view: &'v View<'a>,
    out: &'o mut [u8],
    width: usize,
    stride: usize,
    stores: Stores,
    backend: Backend,
}

/// Bytes joined at a time before they are streamed out: they stay in the first-level cache.
const STREAM: usize = 1024;

impl Body for JoinRows<'_, '_, '_> {
    #[inline(always)]
    fn run(self) {
        let record = self.view.layout.record_bytes();
        let columns = self.width / record;
        let mut patches = self.view.patches();
        #[cfg(target_arch = "x86_64")]
        if self.stores == Stores::Stream {
            let fence = super::x86::Fence;
            let wide = super::x86::Avx512::new().filter(|_| self.backend == Backend::Avx512);
            let step = STREAM / self.view.layout.group_bytes() * self.view.layout.group_bytes();
            let mut buffer = [0; STREAM];
            for (row, out) in self.out.chunks_mut(self.stride).enumerate() {
                for (i, out) in out[..self.width].chunks_mut(step).enumerate() {
                    let joined = &mut buffer[..out.len()];
                    self.view.join(row * columns + i * step / record, joined, &mut patches);
                    super::x86::stream_copy(out, joined, &fence, wide);
                }
            }
            return;
        }
        for (row, out) in self.out.chunks_mut(self.stride).enumerate() {
            self.view.join(row * columns, &mut out[..self.width], &mut patches);
        }
    }
}
