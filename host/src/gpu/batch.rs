//! Which tiles are decoded together.

use super::base::{OfBase, items_within};
use super::context::Gpu;
use super::launch::{Batch, Failure};
use super::numbers::Numbers;
use super::plan::{Plan, Tile, TileContexts};
use super::verdict::{Place, verdict};
use crate::archive::{Directory, EMPTY_PLANE, Tensor};
use crate::checksum;
use crate::container::grid::TileRect;
use crate::cpu::tile::TileFault;
use crate::error::{Error, ErrorKind, Result};
use crate::filter::modes::Modes;
use std::ops::Range;
use wcodec_device::job::SLACK;

/// Tiles of a tensor, and where their tensor's (or piece's) bytes go.
pub(super) struct Work<'a> {
    pub tensor: Tensor<'a>,
    pub directory: &'a Directory<'a>,
    pub tiles: Range<u64>,
    pub target: Target,
}

impl Work<'_> {
    /// Where a tile's first byte goes, and bytes from row to row there.
    fn place(&self, tile: u64, rect: TileRect) -> (u64, u64) {
        let grid = &self.tensor.entry.grid;
        match self.target {
            Target::InTensor(start) => (start.wrapping_add(rect.row * grid.row_bytes + rect.column), grid.row_bytes),
            Target::Apart(start) => (start + (tile - self.tiles.start) * TILE_SPACE, rect.width as u64),
        }
    }
}

/// Where tiles are put.
#[derive(Clone, Copy)]
pub(super) enum Target {
    /// Each where it belongs in the tensor, of which byte 0 would lie at this (wrapping) address.
    InTensor(u64),
    /// One after the other without gaps, 64 KiB apart, from this address.
    Apart(u64),
}

/// Bytes between tiles that are put [`Apart`](Target::Apart).
pub(super) const TILE_SPACE: u64 = wcodec_device::layout::MAX_TILE_BYTES as u64;

/// How payloads' checksums are verified.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Integrity {
    /// By the CPU, which has the bytes at hand as it stages them.
    Host,
    /// By the GPU.
    Device,
}

/// Decodes the tiles of `work` and waits until that is done.
pub(super) fn run(gpu: &Gpu, work: &[Work<'_>], integrity: Integrity) -> Result<(), Failure> {
    let prepared = prepare(gpu, work, integrity)?;
    if let Some(batch) = &prepared.batch {
        batch.launch(gpu)?;
    }
    prepared.verdict(gpu, work)
}

/// A batch that can be launched.
pub(super) struct Prepared {
    /// `None` where there is nothing to decode.
    pub batch: Option<Batch>,
    places: Vec<Place>,
    /// Why planning ended before the last tile. What comes before that may be damaged, too, which only decoding tells.
    fault: Option<Error>,
}

impl Prepared {
    /// Waits for the batch, which was launched, and says what went wrong.
    pub(super) fn verdict(self, gpu: &Gpu, work: &[Work<'_>]) -> Result<(), Failure> {
        if let Some(batch) = &self.batch {
            verdict(gpu, work, batch, &self.places)?;
        }
        self.fault.map_or(Ok(()), |e| Err(e.into()))
    }
}

/// Bytes of bases that a batch of a stage brings to the device at most, but for an item by itself.
const BASES: u64 = 64 << 20;

/// [`run`] for payloads that are on the device already, each item's at an address of its own (16-byte aligned, [`SLACK`] readable bytes behind the
/// last), their checksums verified there.
pub(super) fn run_staged(gpu: &Gpu, mut work: &[Work<'_>], mut payloads: &[u64]) -> Result<(), Failure> {
    // What lies between the tiles of a slice comes with its base, too.
    while !work.is_empty() {
        let n = items_within(work, BASES);
        run_some(gpu, &work[..n], &payloads[..n])?;
        (work, payloads) = (&work[n..], &payloads[n..]);
    }
    Ok(())
}

fn run_some(gpu: &Gpu, work: &[Work<'_>], payloads: &[u64]) -> Result<(), Failure> {
    let mut plan = Plan::default();
    let mut places = Vec::new();
    let bases = OfBase::fetch(gpu, work)?;
    let planned = work.iter().zip(payloads).enumerate().try_for_each(|(w, (item, at))| {
        add(item, w, There { payload: *at, own: None, numbers: None }, &bases, &mut plan, &mut places)
    });
    let batch = if plan.is_empty() { None } else { Some(Batch::upload(gpu, None, plan, tables(work), bases)?) };
    if let Some(batch) = &batch {
        batch.launch(gpu)?;
    }
    Prepared { batch, places, fault: planned.err() }.verdict(gpu, work)
}

/// The frequency tables that all of `work` use: they are of one archive.
fn tables<'a>(work: &[Work<'a>]) -> &'a [u8] {
    bytemuck::cast_slice(work[0].tensor.archive.index.tables.freqs())
}

/// Uploads what decoding `work` takes.
pub(super) fn prepare(gpu: &Gpu, work: &[Work<'_>], integrity: Integrity) -> Result<Prepared, Failure> {
    let mut payload = Vec::new();
    let mut plan = Plan::default();
    let mut places = Vec::new();
    let bases = OfBase::fetch(gpu, work)?;
    let planned = work.iter().enumerate().try_for_each(|(w, item)| {
        let bytes = item.tensor.payload(item.directory, item.tiles.clone())?;
        let base = payload.len() as u64;
        payload.extend_from_slice(&bytes);
        // The last segment of an archive may end anywhere, a payload always on 16 bytes.
        payload.resize(payload.len().next_multiple_of(16), 0);
        let planes = item.tensor.planes_for(item.directory, &item.tiles)?;
        let numbers = planes.map(|(form, planes)| Numbers::gather(form, &planes, &item.tiles, &mut payload));
        let there = There { payload: base, own: (integrity == Integrity::Host).then_some(&bytes[..]), numbers };
        add(item, w, there, &bases, &mut plan, &mut places)
    });
    payload.resize(payload.len() + SLACK, 0);
    let batch = if plan.is_empty() { None } else { Some(Batch::upload(gpu, Some(&payload), plan, tables(work), bases)?) };
    Ok(Prepared { batch, places, fault: planned.err() })
}

/// Where an item's payload is.
struct There<'a> {
    /// Its place in the payload buffer.
    payload: u64,
    /// Its bytes, if checksums are verified here, and not on the device.
    own: Option<&'a [u8]>,
    /// The planes, if it is split.
    numbers: Option<Numbers>,
}

/// Plans the tiles of `item`; of an error, those before the tile that it is of, and as much of that as comes before what is wrong.
fn add(
    item: &Work<'_>,
    number: usize,
    mut there: There<'_>,
    bases: &OfBase,
    plan: &mut Plan,
    places: &mut Vec<Place>,
) -> Result<()> {
    let entry = item.tensor.entry;
    item.tensor.need_gpu_decodes()?;
    let range = item.tensor.payload_range(item.directory, &item.tiles)?;
    let mut next = 0;
    for tile in item.tiles.clone() {
        let rect = entry.grid.rect(tile);
        let (output, stride) = item.place(tile, rect);
        let difference = bases.of(number, item, rect);
        if entry.is_same() {
            // Nothing of it is stored.
            plan.same(&rect, entry.layout, output, stride, difference);
            continue;
        }
        let own = item.tensor.payload_range(item.directory, &(tile..tile + 1))?;
        let fail = |why: String| item.tensor.fault(item.directory, tile, why);
        let at = own.start - range.start;
        if own.start < range.start || own.end > range.end || at < next {
            return Err(fail("its payload is out of order".into()));
        }
        next = own.end - range.start;
        let mut planes = [EMPTY_PLANE; 64];
        let head = item.directory.read_tile(tile, entry, &mut planes);
        let len = (own.end - own.start) as usize;
        if there.own.is_some_and(|bytes| checksum(&bytes[at as usize..][..len]) != head.crc) {
            return Err(fail(TileFault::Checksum.to_string()));
        }
        let tile_job = Tile {
            layout: entry.layout,
            rows: rect.rows,
            width: rect.width,
            planes: &planes[..entry.planes.len()],
            payload: there.payload + at,
            payload_len: len,
            crc: head.crc,
            output,
            stride,
            contexts: contexts(item.directory, tile, rect),
            difference,
            trellis: item.directory.trellis,
            filter: item.directory.filter.as_deref().map(|filter| (filter, item.directory.filter_entry(tile))),
        };
        let tables = item.tensor.archive.index.tables.freqs().len();
        places.push(Place { work: number, tile });
        match &mut there.numbers {
            Some(numbers) => numbers.add(item, tile, &tile_job, tables, there.own.is_none(), plan)?,
            None => plan.add(&tile_job, tables, there.own.is_none()).map_err(|fault| fail(fault.to_string()))?,
        }
    }
    Ok(())
}

/// What tells the contexts of a tile.
fn contexts<'a>(directory: &'a Directory<'_>, tile: u64, rect: TileRect) -> Option<TileContexts<'a>> {
    if let (Some(contexts), Some(_)) = (directory.base_contexts.as_deref(), &directory.difference) {
        return Some(TileContexts::Base(contexts));
    }
    if let Some(filter) = directory.filter.as_deref() {
        let modes = Modes::read_entry(filter, directory.filter_entry(tile));
        // What is wrong with the entry is told where the tile is planned.
        return modes.ok().flatten().filter(|(_, _, classes)| *classes).map(|_| TileContexts::Bands(filter));
    }
    if let Some(contexts) = directory.block_contexts.as_deref() {
        return Some(TileContexts::Scales(contexts));
    }
    directory.contexts.as_ref().map(|contexts| TileContexts::Classes(contexts, rect))
}

/// Runs `work` in batches of at most `batch` decoded bytes, halving that while device memory is short.
pub(super) fn run_batches(gpu: &Gpu, work: &[Work<'_>], integrity: Integrity, batch: &mut u64) -> Result<()> {
    let size = |w: &Work<'_>| {
        let grid = &w.tensor.entry.grid;
        w.tiles.clone().map(|t| grid.rect(t)).map(|r| (r.rows * r.width) as u64).sum::<u64>()
    };
    let mut rest = work;
    while !rest.is_empty() {
        let mut bytes = 0;
        let n = rest.iter().take_while(|w| {
            bytes += size(w);
            bytes <= *batch
        });
        let n = n.count().max(1);
        match run(gpu, &rest[..n], integrity) {
            Ok(()) => rest = &rest[n..],
            Err(f) if f.is_memory() && n > 1 => *batch = (rest[..n].iter().map(size).sum::<u64>() / 2).max(1),
            Err(f) => return Err(f.into_error()),
        }
    }
    Ok(())
}

/// An error of the device that concerns a tensor.
pub(super) fn too_large(bytes: u64) -> Error {
    Error::new(ErrorKind::Device, format!("{bytes} bytes do not fit the address space"))
}
