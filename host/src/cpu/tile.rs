//! Tiles: payload to planes to rows of the output.
//!
//! In two steps, so that streams of several tiles are decoded side by side: [`decode_planes`] leaves every plane of a group of tiles
//! in scratch buffers, [`join_tile`] puts one tile's planes together.

use super::view::{Line, PATCH_OUTSIDE, Patches, Ready, Stores, View};
use super::{Backend, Job, Stream, StreamFault};
use wcodec_device::job::status;
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
    /// A stream failed a kernel's checks: plane and status.
    Device(usize, u32),
}

impl std::fmt::Display for TileFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Length => write!(f, "the payload's length is not that of its planes"),
            Self::Plane(p, what) => write!(f, "plane {p}: {what}"),
            Self::Table(p, t) => write!(f, "plane {p}: frequency table {t} does not exist"),
            Self::Patches => write!(f, "patches out of order"),
            Self::Stream(p, fault) => write!(f, "plane {p}: {}", fault.message()),
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
    line: Line,
}

/// A tile whose planes are decoded.
pub(crate) struct TileReady<'a> {
    shape: TileShape,
    planes: Vec<Ready<'a>>,
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
        let mut planes = vec![Ready::Scratch; tile.planes.len()];
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
    let Scratch { planes: buffers, linear, line } = scratch;
    let view = View { layout: shape.layout, ready: planes, buffers: &buffers[t] };
    let contiguous = stride == shape.width || shape.rows == 1;
    if contiguous {
        view.join_rows(backend, &mut out[..shape.bytes()], shape.bytes(), shape.bytes(), stores, line);
    } else if shape.width.is_multiple_of(shape.layout.group_bytes()) {
        view.join_rows(backend, out, shape.width, stride, stores, line);
    } else {
        let linear = resize_for(linear, shape.bytes());
        view.join_rows(backend, linear, shape.bytes(), shape.bytes(), Stores::Cached, line);
        for (out, row) in out.chunks_mut(stride).zip(linear.chunks(shape.width)) {
            out[..shape.width].copy_from_slice(row);
        }
    }
    Ok(())
}

/// `buffer`'s first `n` bytes; the buffer only grows, and never above a tile.
fn resize_for(buffer: &mut Vec<u8>, n: usize) -> &mut [u8] {
    debug_assert!(n <= MAX_TILE_BYTES);
    if buffer.len() < n {
        buffer.resize(n, 0);
    }
    &mut buffer[..n]
}

pub(crate) fn check_pairs(layout: Layout, plane: usize, base: u8) -> Result<(), &'static str> {
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
