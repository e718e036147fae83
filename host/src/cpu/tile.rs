//! Tiles: payload to planes to rows of the output.
//!
//! In two steps, so that streams of several tiles are decoded side by side: every plane of a group of tiles is decoded to scratch buffers,
//! then each tile's planes are put together. Where a tile has one stream and lines of the output to itself, the second step is part of the
//! first: see `fused.rs`.

use super::contexts::ContextStream;
use super::fused::{Fusion, Place, Sink};
use super::view::{Line, PATCH_OUTSIDE, Patches, Ready, Stores, View};
use super::{Backend, Job, Stream, StreamFault};
use crate::container::base_contexts::TileContexts;
use crate::container::block_contexts::SCALES;
use crate::container::contexts::{self, Contexts};
use crate::container::tables::TablePool;
use crate::filter::Filter;
use crate::filter::modes::Modes;
use miniz_oxide::inflate::decompress_slice_iter_to_slice;
use wcodec_device::job::status;
use wcodec_device::layout::{MAX_TILE_BYTES, PlaneMode, TILE_ALIGN, TilePlane};
use wcodec_device::planes::Layout;
use wcodec_device::rans::{CHUNK, Entry, LANES, SLOTS, STATE_BYTES};

/// A decode table.
pub(crate) type Table = [Entry; SLOTS];

/// Why a tile cannot be decoded.
#[derive(Debug)]
pub(crate) enum TileFault {
    /// The payload's checksum is another.
    Checksum,
    /// The payload is shorter or longer than its planes.
    Length,
    /// A plane's mode, base or patch position is impossible.
    Plane(usize, &'static str),
    /// What it says of its filter is impossible.
    Modes(&'static str),
    /// A plane names a table that the file does not have.
    Table(usize, u16),
    /// Patches that are not in ascending order.
    Patches,
    /// A stream failed its own checks.
    Stream(usize, StreamFault),
    /// A stream failed a kernel's checks: plane and status.
    Device(usize, u32),
}

impl std::fmt::Display for TileFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Checksum => write!(f, "damaged: its checksum differs"),
            Self::Length => write!(f, "the payload's length is not that of its planes"),
            Self::Plane(p, what) => write!(f, "plane {p}: {what}"),
            Self::Modes(what) => write!(f, "{what}"),
            Self::Table(p, t) => write!(f, "plane {p}: frequency table {t} does not exist"),
            Self::Patches => write!(f, "patches out of order"),
            Self::Stream(p, fault) => write!(f, "plane {p}: {}", fault.message()),
            Self::Device(_, status::MODES) => write!(f, "modes that there are not, or of another length than they take"),
            Self::Device(_, status::BITS) => {
                write!(f, "a category that there is not, or a plane of another length than its bits take")
            }
            Self::Device(p, status) => write!(f, "plane {p}: {}", describe_status(*status)),
        }
    }
}

/// What a kernel's status means.
fn describe_status(s: u32) -> &'static str {
    match s {
        status::EXHAUSTED => StreamFault::Exhausted.message(),
        status::SURPLUS => StreamFault::Surplus.message(),
        status::STATE => StreamFault::State.message(),
        status::START => StreamFault::Start.message(),
        status::PATCH => "a patch outside the plane, or out of order",
        status::CHECKSUM => "its checksum differs",
        _ => "the device did not decode it",
    }
}

/// A tile to decode: how its planes are coded, its bytes, where its rows go.
pub(crate) struct TileInput<'a> {
    pub layout: Layout,
    pub planes: &'a [TilePlane],
    pub payload: &'a [u8],
    /// `width` is a multiple of the record.
    pub place: Place,
    /// The tensor's contexts, if it has any.
    pub contexts: Option<TileContexts<'a>>,
}

impl TileInput<'_> {
    fn elements(&self) -> usize {
        self.place.rows * self.place.width / self.layout.record_bytes()
    }
}

/// Tiles that are worth decoding together.
pub(crate) const GROUP: usize = 4;

/// Buffers that a thread keeps from tile to tile: planes for each tile of a group, and a tile without gaps.
#[derive(Default)]
pub(crate) struct Scratch {
    planes: [Vec<Vec<u8>>; GROUP],
    linear: Vec<u8>,
    line: Line,
    contexts: Vec<u8>,
    values: Vec<i32>,
    /// Of whoever puts bitplanes together.
    pub(crate) bitplanes: crate::archive::Buffers,
}

impl Scratch {
    /// Turns a tile's residuals, rows of `width` bytes `stride` apart, back into elements.
    pub(crate) fn undo(&mut self, filter: &Filter, modes: &Modes, out: &mut [u8], width: usize, stride: usize) {
        let linear = resize_for(&mut self.linear, modes.rows * width);
        for (row, out) in linear.chunks_mut(width).zip(out.chunks(stride)) {
            row.copy_from_slice(&out[..width]);
        }
        filter.undo(modes, &mut self.values, linear);
        for (row, out) in linear.chunks(width).zip(out.chunks_mut(stride)) {
            out[..width].copy_from_slice(row);
        }
    }
}

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

/// Decodes up to [`GROUP`] tiles to their places in `out`. The error names the tile that failed.
pub(crate) fn decode_tiles<'a>(
    backend: Backend,
    pool: &'a TablePool,
    tiles: &[TileInput<'a>],
    scratch: &mut Scratch,
    out: &mut [u8],
    stores: Stores,
) -> Result<(), (usize, TileFault)> {
    let mut ready = Vec::with_capacity(tiles.len());
    // Streams to decode, whose they are, and the patches to the bytes they give.
    let mut jobs: Vec<Job<'_, '_>> = Vec::with_capacity(GROUP);
    let mut owners = Vec::with_capacity(GROUP);
    // Streams with contexts, which come after those without, one by one.
    let mut deferred: Vec<(usize, usize, RawStream<'_>)> = Vec::new();
    for (t, (tile, buffers)) in tiles.iter().zip(&mut scratch.planes).enumerate() {
        let layout = tile.layout;
        let elements = tile.elements();
        buffers.resize_with(buffers.len().max(tile.planes.len()), Vec::new);
        let mut cursor = Cursor { rest: tile.payload };
        let mut planes = vec![Ready::Scratch; tile.planes.len()];
        for (p, (plane, buffer)) in tile.planes.iter().zip(buffers).enumerate() {
            let bytes = layout.plane_bytes(p, elements);
            let fail = |fault| (t, fault);
            match PlaneMode::from_u8(plane.mode) {
                Some(PlaneMode::Raw) => {
                    let raw = cursor.take(bytes).map_err(fail)?;
                    planes[p] = Ready::Slice(raw);
                    cursor.align(bytes).map_err(fail)?;
                    if let (Some(TileContexts::Scales(_)), true) = (&tile.contexts, p < SCALES) {
                        // Others have contexts by it.
                        resize_for(buffer, bytes).copy_from_slice(raw);
                    }
                }
                Some(PlaneMode::Constant) => resize_for(buffer, bytes).fill(plane.base),
                Some(mode @ (PlaneMode::Bytes | PlaneMode::Pairs)) => {
                    let table = pool.get(plane.table).ok_or((t, TileFault::Table(p, plane.table)))?;
                    let RawStream { states, bytes: words, words: len, patches } =
                        take_stream(&mut cursor, plane).map_err(fail)?;
                    let stream = Stream { table, states, bytes: words, words: len };
                    let symbols = if mode == PlaneMode::Pairs {
                        check_pairs(layout, p, plane.base).map_err(|why| (t, TileFault::Plane(p, why)))?;
                        planes[p] = Ready::Pairs(plane.base, patches);
                        elements.div_ceil(2)
                    } else {
                        bytes
                    };
                    if patches.iter().last().is_some_and(|(at, _)| at >= bytes) {
                        return Err((t, TileFault::Plane(p, PATCH_OUTSIDE)));
                    }
                    jobs.push((stream, resize_for(buffer, symbols)));
                    owners.push((t, p, patches));
                }
                Some(PlaneMode::Contexts) => {
                    check_tile_contexts(tile, p).map_err(|why| (t, TileFault::Plane(p, why)))?;
                    let stream = take_stream(&mut cursor, plane).map_err(fail)?;
                    if stream.patches.iter().last().is_some_and(|(at, _)| at >= bytes) {
                        return Err((t, TileFault::Plane(p, PATCH_OUTSIDE)));
                    }
                    resize_for(buffer, bytes);
                    deferred.push((t, p, stream));
                }
                Some(PlaneMode::Deflated) => {
                    let stream = cursor.take(2 * plane.words as usize).map_err(fail)?;
                    cursor.align(stream.len()).map_err(fail)?;
                    inflate(stream, resize_for(buffer, bytes)).map_err(|why| (t, TileFault::Plane(p, why)))?;
                }
                Some(PlaneMode::PerTile) | None => return Err((t, TileFault::Plane(p, "unknown mode"))),
            }
        }
        if !cursor.rest.is_empty() {
            return Err((t, TileFault::Length));
        }
        ready.push(planes);
    }
    let sinks = if stores == Stores::Stream { sinks(tiles, &ready, &owners, out) } else { None };
    let fault = |(job, fault): (usize, StreamFault)| (owners[job].0, TileFault::Stream(owners[job].1, fault));
    let joined = match &sinks {
        Some(sinks) => backend.decode_fused(&mut jobs, sinks, out).map_err(fault)? * CHUNK * sinks[0].fusion.elements(),
        None => backend.decode_symbols(&mut jobs).map(|()| 0).map_err(fault)?,
    };
    for ((_, buffer), &(t, p, patches)) in jobs.into_iter().zip(&owners) {
        if let Ready::Scratch = ready[t][p] {
            patches.apply(buffer);
        }
    }
    for (t, p, stream) in deferred {
        let fault = |fault| (t, TileFault::Stream(p, fault));
        decode_contexts(backend, pool.all(), &tiles[t], p, &stream, &mut scratch.planes[t], &mut scratch.contexts)
            .map_err(fault)?;
    }
    for (t, (tile, planes)) in tiles.iter().zip(&ready).enumerate() {
        join_tile(backend, t, tile, planes, joined, scratch, out, stores);
    }
    Ok(())
}

/// Where the tiles' streams go if each tile has one, of a kind that can be joined as it is decoded, and all are of the same kind.
fn sinks<'a>(
    tiles: &[TileInput<'a>],
    ready: &[Vec<Ready<'a>>],
    owners: &[(usize, usize, Patches<'a>)],
    out: &[u8],
) -> Option<Vec<Sink<'a>>> {
    if owners.len() != tiles.len() {
        return None;
    }
    let sinks = owners.iter().enumerate().map(|(i, &(t, p, patches))| {
        let (fusion, base, raw) = match (tiles[t].layout, &ready[t][..]) {
            (Layout::Bf16, &[Ready::Pairs(base, _), Ready::Slice(raw)]) => (Fusion::Bf16Pairs, base, raw),
            (Layout::Bf16, &[Ready::Scratch, Ready::Slice(raw)]) => (Fusion::Bf16Bytes, 0, raw),
            (Layout::Columns(2), &[Ready::Slice(raw), Ready::Scratch]) => (Fusion::Upper, 0, raw),
            (Layout::Columns(1), &[Ready::Scratch]) => (Fusion::Bytes, 0, &[][..]),
            _ => return None,
        };
        debug_assert!(p < 2);
        // One stream a tile, in the order of tiles.
        (t == i).then(|| Sink::new(fusion, base, raw, patches, tiles[t].place, out))?
    });
    let sinks = sinks.collect::<Option<Vec<_>>>()?;
    sinks.iter().all(|s| s.fusion == sinks[0].fusion).then_some(sinks).filter(|s| !s.is_empty())
}

/// Joins the planes of tile `t` of a group, but for the first `joined` elements.
fn join_tile(
    backend: Backend,
    t: usize,
    tile: &TileInput<'_>,
    planes: &[Ready<'_>],
    joined: usize,
    scratch: &mut Scratch,
    out: &mut [u8],
    stores: Stores,
) {
    let place = tile.place.joined();
    let Scratch { planes: buffers, linear, line, .. } = scratch;
    let view = View { layout: tile.layout, ready: planes, buffers: &buffers[t] };
    let out = &mut out[place.first..place.end()];
    if place.rows == 1 || place.width.is_multiple_of(tile.layout.group_bytes()) {
        view.join_rows(backend, out, place, joined, stores, line);
    } else {
        let bytes = place.rows * place.width;
        let linear = resize_for(linear, bytes);
        let whole = Place { first: 0, rows: 1, width: bytes, stride: bytes };
        view.join_rows(backend, linear, whole, joined, Stores::Cached, line);
        for (out, row) in out.chunks_mut(place.stride).zip(linear.chunks(place.width)) {
            out[..place.width].copy_from_slice(row);
        }
    }
}

/// `buffer`'s first `n` bytes; the buffer only grows, and never above a tile.
fn resize_for(buffer: &mut Vec<u8>, n: usize) -> &mut [u8] {
    debug_assert!(n <= MAX_TILE_BYTES);
    if buffer.len() < n {
        buffer.resize(n, 0);
    }
    &mut buffer[..n]
}

/// Fills `out` from a raw DEFLATE stream, which must give that many bytes.
fn inflate(stream: &[u8], out: &mut [u8]) -> Result<(), &'static str> {
    match decompress_slice_iter_to_slice(out, std::iter::once(stream), false, true) {
        Ok(len) if len == out.len() => Ok(()),
        Ok(_) => Err("a DEFLATE stream that is too short"),
        Err(_) => Err("a damaged DEFLATE stream"),
    }
}

pub(crate) fn check_pairs(layout: Layout, plane: usize, base: u8) -> Result<(), &'static str> {
    match layout {
        Layout::Bf16 | Layout::F32 if plane == 0 && base <= 240 => Ok(()),
        Layout::F8E4 if plane == 0 && base == 0 => Ok(()),
        _ => Err("pair symbols where there can be none"),
    }
}

/// Whether plane `p` of a tile may be coded with contexts.
pub(crate) fn check_contexts(
    layout: Layout,
    planes: &[TilePlane],
    contexts: Option<&Contexts>,
    p: usize,
) -> Result<(), &'static str> {
    let Some(contexts) = contexts else { return Err("contexts where the tensor has none") };
    let leading = contexts::leading(layout);
    let deep = Some(p) == contexts::deep(layout) && !contexts.deep.is_empty();
    if p == leading || deep && planes[leading].mode == PlaneMode::Contexts as u8 { Ok(()) } else { Err(NO_CONTEXTS) }
}

const NO_CONTEXTS: &str = "contexts where there can be none";

/// Whether plane `p` may be coded with contexts that say for each plane what tables it has.
pub(crate) fn check_plane(planes: &[Vec<u16>], p: usize) -> Result<(), &'static str> {
    if planes.get(p).is_some_and(|tables| !tables.is_empty()) { Ok(()) } else { Err(NO_CONTEXTS) }
}

/// [`check_contexts`], of whichever kind the tile's are.
fn check_tile_contexts(tile: &TileInput<'_>, p: usize) -> Result<(), &'static str> {
    let classes = match &tile.contexts {
        Some(TileContexts::Base(contexts, _)) => return check_plane(&contexts.planes, p),
        Some(TileContexts::Blocks(..)) => return Ok(()),
        Some(TileContexts::Scales(contexts)) => return check_plane(&contexts.planes, p),
        Some(TileContexts::Classes(contexts, _)) => Some(*contexts),
        None => None,
    };
    check_contexts(tile.layout, tile.planes, classes, p)
}

/// Decodes plane `p`, which may be coded with contexts, to its buffer.
fn decode_contexts(
    backend: Backend,
    pool: &[Table],
    tile: &TileInput<'_>,
    p: usize,
    stream: &RawStream<'_>,
    buffers: &mut [Vec<u8>],
    scratch: &mut Vec<u8>,
) -> Result<(), StreamFault> {
    let Some(contexts) = &tile.contexts else { return Ok(()) };
    let leading = buffers.get(contexts::leading(tile.layout)).map(|b| &b[..]);
    let numbers = contexts.of_plane(p, tile.layout, leading, buffers, tile.elements(), scratch).ok_or(StreamFault::State)?;
    let out = &mut buffers[p][..scratch.len()];
    let RawStream { states, bytes, words, patches } = *stream;
    // Every number was looked up when the directory was read.
    let stream = ContextStream::new(pool, numbers, scratch, states, &bytes[..words]).ok_or(StreamFault::State)?;
    stream.decode(backend, out)?;
    patches.apply(out);
    Ok(())
}

/// A stream without its table, and what follows it.
#[derive(Clone, Copy)]
struct RawStream<'a> {
    states: &'a [u8; 4 * LANES],
    bytes: &'a [u8],
    words: usize,
    patches: Patches<'a>,
}

fn take_stream<'a>(cursor: &mut Cursor<'a>, plane: &TilePlane) -> Result<RawStream<'a>, TileFault> {
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
    Ok(RawStream { states, bytes, words, patches: Patches { positions, values } })
}
