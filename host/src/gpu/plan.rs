//! From tiles to jobs, without a GPU.
//!
//! Planes that are coded become jobs. One stream of a tile is *fused*: its kernel joins it with the other planes while it decodes. Those must
//! lie decoded in memory by then, so their own streams (rare) go to scratch memory in an earlier launch. A tile without a fused stream is
//! joined at the end.
//!
//! Planes with contexts are decoded to scratch memory too, leading ones before those under them (`contexts.rs`); their tiles are joined at the
//! end, as no other stream of theirs is one that is fused. What comes before what is a [`Stage`]; what is done besides streams, `steps.rs`.
//!
//! Addresses are not known here: a job says where in the payload, scratch, lists, classes or output buffer a thing lies ([`Plan::finish`]).

mod contexts;
mod numbers;
mod owner;
mod steps;

use super::context::Kernel;
use crate::container::difference::Method;
use crate::container::trellis::Trellis;
use crate::cpu::tile::{TileFault, check_pairs};
use crate::filter::Filter;
use crate::filter::modes::{self, Modes};
pub(super) use contexts::{Sets, TileContexts};
pub(super) use numbers::Bits;
pub(super) use owner::{Owner, Part};
use std::collections::BTreeMap;
pub(super) use steps::Steps;
use wcodec_device::job::{BitsPart, BlockJob, CheckJob, SIDE_PLANES, TileJob, WARPS};
use wcodec_device::layout::{PlaneMode, TILE_ALIGN, TilePlane};
use wcodec_device::planes::Layout;
use wcodec_device::rans::STATE_BYTES;

/// Which buffer an address lies in, until it is relocated: the top bits.
const PARTS: u64 = 1 << 60;
const CLASSES: u64 = 1 << 61;
const SCRATCH: u64 = 1 << 62;
const LISTS: u64 = 1 << 63;
/// No address at all.
const NOWHERE: u64 = u64::MAX;

/// A tile to decode.
pub(super) struct Tile<'a> {
    pub layout: Layout,
    pub rows: usize,
    /// Bytes of one of its rows.
    pub width: usize,
    pub planes: &'a [TilePlane],
    /// Its payload's place in the payload buffer (16-byte aligned), and length.
    pub payload: u64,
    pub payload_len: usize,
    /// CRC-32C that the payload must have.
    pub crc: u32,
    /// Where its first byte goes, a device address, and bytes from row to row there.
    pub output: u64,
    pub stride: u64,
    /// What tells the contexts of its symbols, if anything does.
    pub contexts: Option<TileContexts<'a>>,
    /// How it is filtered, if it may be, and what the directory says of that.
    pub filter: Option<(&'a Filter, [u8; modes::ENTRY])>,
    /// How it follows from the base, if it does.
    pub difference: Option<FromBase>,
    /// What tells the lowest bits of its numbers, if something does.
    pub trellis: Option<Trellis>,
}

/// A tile's difference from the base's.
#[derive(Clone, Copy)]
pub(super) struct FromBase {
    pub method: Method,
    /// Bytes of a number.
    pub unit: usize,
    /// Device address of the base's byte for the tile's first, and bytes from row to row there.
    pub base: u64,
    pub stride: u64,
}

/// When a stream is decoded: others may need its plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Whatever needs no other stream.
    First,
    /// What needs planes of the first: mantissas their exponents, scales of blocks others.
    Second,
    /// Numbers of blocks, which need scales of the second.
    Numbers,
    /// What is joined with planes of any stage.
    Fused,
}

/// A job and what it needs besides.
struct Planned {
    stage: Stage,
    kernel: Kernel,
    table: u16,
    job: TileJob,
}

/// Jobs for a batch of tiles.
#[derive(Default)]
pub(super) struct Plan {
    planned: Vec<Planned>,
    steps: Steps,
    lists: Vec<u64>,
    parts: Vec<BitsPart>,
    /// Payloads whose checksums the device verifies.
    pub checks: Vec<CheckJob>,
    /// For each job's status, whose it is.
    pub owners: Vec<Owner>,
    /// Bytes of scratch memory.
    pub scratch: usize,
    /// Bytes of scratch memory to be filled with a value: planes that are constant.
    pub fills: BTreeMap<u8, (u64, usize)>,
    /// What streams with contexts need.
    pub sets: Sets,
    tiles: u32,
}

/// Where the buffers of a batch are, as device addresses.
#[derive(Clone, Copy)]
pub(super) struct Bases {
    pub payload: u64,
    pub scratch: u64,
    pub lists: u64,
    pub classes: u64,
    pub parts: u64,
}

/// A launch: its kernel and which blocks of the batch are its.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Launch {
    pub stage: Stage,
    pub kernel: Kernel,
    pub blocks: std::ops::Range<usize>,
}

impl Plan {
    /// Reserves 16-byte aligned scratch memory.
    fn reserve(&mut self, bytes: usize) -> u64 {
        let at = self.scratch.next_multiple_of(TILE_ALIGN);
        self.scratch = at + bytes;
        SCRATCH | at as u64
    }

    /// Adds a tile. `tables` is the number of frequency tables.
    ///
    /// # Errors
    /// What is wrong with the tile's planes; nothing has been added then that would be launched.
    pub(super) fn add(&mut self, tile: &Tile<'_>, tables: usize, check: bool) -> Result<(), TileFault> {
        let number = self.tiles;
        self.tiles += 1;
        let elements = tile.rows * tile.width / tile.layout.record_bytes();
        // Where each plane lies, and how much of the payload it takes; modes come before the first.
        let mut at = tile.filter.map_or(0, |(_, entry)| Modes::len(entry));
        let mut starts = [0; 64];
        for (p, plane) in tile.planes.iter().enumerate() {
            starts[p] = tile.payload + at as u64;
            let len = match PlaneMode::from_u8(plane.mode) {
                Some(PlaneMode::Raw) => tile.layout.plane_bytes(p, elements),
                Some(PlaneMode::Constant) => 0,
                Some(mode @ (PlaneMode::Bytes | PlaneMode::Pairs)) => {
                    if plane.table as usize >= tables {
                        return Err(TileFault::Table(p, plane.table));
                    }
                    if mode == PlaneMode::Pairs {
                        check_pairs(tile.layout, p, plane.base).map_err(|why| TileFault::Plane(p, why))?;
                    }
                    stream_len(plane)
                }
                Some(PlaneMode::Contexts) => {
                    contexts::check(tile, p).map_err(|why| TileFault::Plane(p, why))?;
                    stream_len(plane)
                }
                Some(PlaneMode::Deflated | PlaneMode::PerTile) | None => return Err(TileFault::Plane(p, "unknown mode")),
            };
            at += len.next_multiple_of(TILE_ALIGN);
        }
        if at != tile.payload_len {
            return Err(TileFault::Length);
        }
        if check {
            self.check(tile);
        }
        let job = TileJob {
            output: tile.output,
            stride: tile.stride,
            width: tile.width as u32,
            elements: elements as u32,
            planes: [NOWHERE; SIDE_PLANES],
            ..TileJob::default()
        };
        let (map, job) = match (tile.filter, tile.difference) {
            (Some((filter, entry)), _) => self.filter(number, tile, filter, entry, job)?,
            (None, Some(from)) => self.difference(tile, from, job),
            (None, None) => (NOWHERE, tile.trellis.map_or(job, |trellis| self.trellis(tile, trellis, job))),
        };
        let fused = fuse(tile.layout, tile.planes);
        // Where each plane will lie.
        let mut at = [NOWHERE; 64];
        for (p, plane) in tile.planes.iter().enumerate().filter(|&(p, _)| fused.is_none_or(|(_, f)| f != p)) {
            let bytes = tile.layout.plane_bytes(p, elements);
            at[p] = match PlaneMode::from_u8(plane.mode) {
                Some(PlaneMode::Raw) => starts[p],
                Some(PlaneMode::Constant) => self.constant(plane.base, bytes),
                _ => self.reserve(bytes),
            };
        }
        for (p, plane) in tile.planes.iter().enumerate() {
            let mode = PlaneMode::from_u8(plane.mode);
            if fused.is_some_and(|(_, f)| f == p) || !mode.is_some_and(PlaneMode::is_coded) {
                continue;
            }
            let bytes = tile.layout.plane_bytes(p, elements) as u32;
            let job = TileJob { output: at[p], stride: bytes as u64, width: bytes, elements: bytes, ..job };
            let (stage, kernel, job) = match (mode, &tile.contexts) {
                (Some(PlaneMode::Contexts), Some(contexts)) => self.in_contexts(tile, contexts, p, &at, map, job),
                _ => (Stage::First, Kernel::Bytes, job),
            };
            self.stream(Owner { tile: number, part: Part::Plane(p as u8) }, (stage, kernel), plane, starts[p], job);
        }
        match fused {
            Some((kernel, f)) => {
                let mut planes = [NOWHERE; SIDE_PLANES];
                let others = (0..tile.planes.len()).filter(|&p| p != f).map(|p| at[p]);
                planes.iter_mut().zip(others).for_each(|(plane, at)| *plane = at);
                // A plane by itself needs no other.
                let stage = if kernel == Kernel::Bytes { Stage::First } else { Stage::Fused };
                let owner = Owner { tile: number, part: Part::Plane(f as u8) };
                self.stream(owner, (stage, kernel), &tile.planes[f], starts[f], TileJob { planes, ..job });
            }
            None => self.join(tile.layout, &at[..tile.planes.len()], job),
        }
        Ok(())
    }

    /// Has the device verify a tile's checksum.
    fn check(&mut self, tile: &Tile<'_>) {
        self.checks.push(CheckJob { payload: tile.payload, len: tile.payload_len as u32, crc: tile.crc });
    }

    /// The position of a status, whose owner this is.
    fn status(&mut self, owner: Owner) -> u32 {
        self.owners.push(owner);
        self.owners.len() as u32 - 1
    }

    fn stream(&mut self, owner: Owner, (stage, kernel): (Stage, Kernel), plane: &TilePlane, at: u64, job: TileJob) {
        let status = self.status(owner);
        let (words, patches) = (plane.words as u32, plane.patches as u32);
        let base = if plane.mode == PlaneMode::Pairs as u8 { plane.base as u32 } else { 0 };
        // What has a table for each context has none of its own.
        let table = if plane.mode == PlaneMode::Contexts as u8 { 0 } else { plane.table };
        self.planned.push(Planned { stage, kernel, table, job: TileJob { stream: at, words, patches, base, status, ..job } });
    }

    /// A list of addresses.
    fn list(&mut self, places: &[u64]) -> u64 {
        let list = LISTS | (self.lists.len() * 8) as u64;
        self.lists.extend(places);
        list
    }

    /// Scratch memory that holds `bytes` times `value`: one run for each value, as long as the longest plane.
    fn constant(&mut self, value: u8, bytes: usize) -> u64 {
        use wcodec_device::layout::MAX_TILE_BYTES;
        if let Some((at, _)) = self.fills.get(&value) {
            return *at;
        }
        debug_assert!(bytes <= MAX_TILE_BYTES);
        let at = self.reserve(MAX_TILE_BYTES);
        self.fills.insert(value, (at, MAX_TILE_BYTES));
        at
    }

    /// Sorts jobs into blocks that share kernel and table, and makes addresses of places. Returns what is to be uploaded.
    pub(super) fn finish(mut self, bases: Bases) -> Ready {
        let relocate = |place: u64| match place {
            p if p & LISTS != 0 => bases.lists + (p & !LISTS),
            p if p & SCRATCH != 0 => bases.scratch + (p & !SCRATCH),
            p if p & CLASSES != 0 => bases.classes + (p & !CLASSES),
            p if p & PARTS != 0 => bases.parts + (p & !PARTS),
            p => bases.payload + p,
        };
        // Long streams first: the blocks that come last are short, and no SM works long alone.
        self.planned.sort_by_key(|p| (p.stage, p.kernel, p.table, std::cmp::Reverse(p.job.words)));
        let mut ready = Ready::default();
        for group in self.planned.chunk_by(|a, b| (a.stage, a.kernel, a.table) == (b.stage, b.kernel, b.table)) {
            let (stage, kernel) = (group[0].stage, group[0].kernel);
            let first_block = ready.blocks.len();
            for jobs in group.chunks(WARPS as usize) {
                let (first, count) = (ready.jobs.len() as u32, jobs.len() as u32);
                ready.blocks.push(BlockJob { table: group[0].table as u32, first, jobs: count, reserved: 0 });
                for planned in jobs {
                    let mut job = planned.job;
                    job.stream = relocate(job.stream);
                    job.output = if job.output & SCRATCH != 0 { relocate(job.output) } else { job.output };
                    job.planes = job.planes.map(|p| if p == NOWHERE { 0 } else { relocate(p) });
                    ready.jobs.push(job);
                }
            }
            match ready.launches.last_mut() {
                Some(last) if (last.stage, last.kernel) == (stage, kernel) => last.blocks.end = ready.blocks.len(),
                _ => ready.launches.push(Launch { stage, kernel, blocks: first_block..ready.blocks.len() }),
            }
        }
        ready.steps = self.steps;
        ready.steps.relocate(relocate);
        // Parts name jobs by their status.
        let mut order = vec![BitsPart::ANY; if self.parts.is_empty() { 0 } else { self.owners.len() }];
        if !order.is_empty() {
            ready.jobs.iter().zip(0..).for_each(|(job, at)| order[job.status as usize] = at);
        }
        let part = |p: BitsPart| BitsPart {
            bytes: relocate(p.bytes),
            job: if p.job == BitsPart::ANY { p.job } else { order[p.job as usize] },
            ..p
        };
        ready.parts = self.parts.iter().copied().map(part).collect();
        ready.lists = self.lists.into_iter().map(relocate).collect();
        ready.checks = self.checks;
        ready.checks.iter_mut().for_each(|c| c.payload = relocate(c.payload));
        ready.fills = self.fills.into_iter().map(|(value, (at, len))| (value, relocate(at), len)).collect();
        (ready.owners, ready.sets) = (self.owners, self.sets);
        ready
    }

    /// Bytes that the parts of bitplanes take.
    pub(super) fn part_bytes(&self) -> usize {
        size_of_val(&self.parts[..])
    }

    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.tiles == 0 && self.steps.differences.is_empty()
    }

    /// Bytes that the lists of plane addresses take.
    pub(super) fn list_bytes(&self) -> usize {
        self.lists.len() * 8
    }
}

/// Bytes that a coded plane takes of the payload.
fn stream_len(plane: &TilePlane) -> usize {
    STATE_BYTES + 2 * plane.words as usize + 3 * plane.patches as usize
}

/// A plan with addresses.
#[derive(Default)]
pub(super) struct Ready {
    pub launches: Vec<Launch>,
    pub blocks: Vec<BlockJob>,
    pub jobs: Vec<TileJob>,
    pub steps: Steps,
    pub parts: Vec<BitsPart>,
    pub lists: Vec<u64>,
    pub checks: Vec<CheckJob>,
    /// Value, address, bytes.
    pub fills: Vec<(u8, u64, usize)>,
    pub owners: Vec<Owner>,
    pub sets: Sets,
}

/// The kernel that decodes a stream of this tile and joins it with the other planes, and which plane the stream is.
fn fuse(layout: Layout, planes: &[TilePlane]) -> Option<(Kernel, usize)> {
    let mode = |p: usize| PlaneMode::from_u8(planes[p].mode);
    let (pairs, bytes) = match layout {
        Layout::Columns(1) if mode(0) == Some(PlaneMode::Bytes) => return Some((Kernel::Bytes, 0)),
        Layout::Columns(2) if mode(1) == Some(PlaneMode::Bytes) => return Some((Kernel::Columns2, 1)),
        Layout::Columns(_) | Layout::Blocks(_) => return None,
        Layout::Bf16 => (Kernel::Bf16Pairs, Kernel::Bf16Bytes),
        Layout::F32 => (Kernel::F32Pairs, Kernel::F32Bytes),
        Layout::F8E4 => (Kernel::F8e4Pairs, Kernel::F8e4Bytes),
    };
    match mode(0) {
        Some(PlaneMode::Pairs) => Some((pairs, 0)),
        Some(PlaneMode::Bytes) => Some((bytes, 0)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
