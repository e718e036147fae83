//! Progressive archives: numbers plane by plane, level by level, after an index that is known before anything of that is written.
//!
//! Two passes: the first encodes everything and keeps lengths and checksums, the second encodes it again and writes each part to its
//! place. Memory stays at a batch whatever the tensors' sizes, and nothing is written anywhere else.

use super::batch::{Input, TileDone, batches, encode_piece, put_back, take};
use super::split::Rows;
use super::tile::{Look, Scratch, Tables, encode_tile, survey as look_at};
use super::write::{BATCH, Out, put_entries, required, sealed, superblock, uniform};
use super::{EncodeOptions, EncodeReport};
use crate::bitplanes::{Form, Parts, form_of, pack};
use crate::checksum;
use crate::container::grid::Piece;
use crate::container::index::{Entry, write_index};
use crate::container::tables::TablePool;
use crate::encode::frequency::Histogram;
use crate::error::{Error, Result};
use crate::filter::modes;
use crate::progress::Flow;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::io::{Seek, SeekFrom, Write};
use wcodec_device::layout::{PlaneMode, SUPERBLOCK_BYTES, TILE_ALIGN, TensorRecord, kind, source_kind, tool};
use wcodec_device::planes::Layout;
use xxhash_rust::xxh3::Xxh3;

/// Elements below which a tensor is not split: what norms and biases would save is less than what their planes' records take.
const LEAST: u64 = 4096;

type Progress<'a> = Option<&'a (dyn Fn(u64, u64) -> Flow + Send + Sync)>;

/// Says which tensors are split.
pub(super) fn choose(input: &mut Input<'_>, options: &EncodeOptions) -> Result<()> {
    if options.base.is_some() {
        return Err(Error::argument("a progressive archive has no base"));
    }
    if !options.effort.units().is_empty() {
        return Err(Error::argument("a progressive archive has no contexts, as profile max and efforts above 4 would"));
    }
    for ((form, layout), job) in input.forms.iter_mut().zip(&mut input.layouts).zip(input.jobs) {
        let of = form_of(job.dtype).filter(|f| job.kind == kind::TENSOR && job.grid.bytes() / f.bytes() as u64 >= LEAST);
        if let Some(f) = of {
            (*form, *layout) = (of, Layout::Columns(f.bytes() as u8));
        }
    }
    Ok(())
}

/// Shows the histograms of a stretch's parts that may be worth coding to `see`.
pub(super) fn survey(form: Form, bytes: &[u8], scratch: &mut Scratch, mut see: impl FnMut(Histogram)) {
    let mut parts = Parts::new();
    pack(form, bytes, &mut parts);
    for part in &parts {
        look_at(Layout::Columns(1), part, scratch, |look| {
            if let Look::Bytes(h) = look {
                see(*h);
            }
        });
    }
}

/// A piece, encoded: of each part the payload and its tiles.
struct PieceDone<'a> {
    job: usize,
    bytes: Cow<'a, [u8]>,
    parts: Vec<(Vec<u8>, Vec<TileDone>)>,
}

fn encode_parts<'a>(
    input: &Input<'_>,
    tables: &Tables,
    job: usize,
    piece: &Piece,
    bytes: Cow<'a, [u8]>,
) -> Result<PieceDone<'a>> {
    let Some(form) = input.forms[job] else {
        let done = encode_piece(input, tables, job, piece, bytes)?;
        return Ok(PieceDone { job, bytes: done.bytes, parts: vec![(done.payload, done.tiles)] });
    };
    let mut scratch = take(&input.scratch);
    let grid = &input.jobs[job].grid;
    let mut done: Vec<(Vec<u8>, Vec<TileDone>)> = (0..2 + form.planes()).map(|_| Default::default()).collect();
    let (mut elements, mut parts) = (Vec::new(), Parts::new());
    for tile in piece.tiles.clone() {
        Rows::of_tile(&bytes, grid, piece, grid.rect(tile)).gather(&mut elements);
        pack(form, &elements, &mut parts);
        for (part, (payload, tiles)) in parts.iter().zip(&mut done) {
            let start = payload.len();
            let planes = encode_tile(Layout::Columns(1), None, tables, Rows::whole(part), &mut scratch, payload);
            let crc = checksum(&payload[start..]);
            tiles.push(TileDone { len: payload.len() - start, crc, planes, filter: [0; modes::ENTRY] });
        }
    }
    put_back(&input.scratch, scratch);
    Ok(PieceDone { job, bytes, parts: done })
}

/// Encodes everything; `sink` sees the pieces in order.
fn pass(input: &Input<'_>, tables: &Tables, mut sink: impl FnMut(PieceDone<'_>) -> Result<()>) -> Result<()> {
    for batch in batches(input.jobs, BATCH) {
        let piece = |(job, piece): (usize, Piece)| {
            let bytes = input.read(job, piece.bytes.start, piece.len())?;
            encode_parts(input, tables, job, &piece, bytes)
        };
        let done: Vec<_> = batch.into_par_iter().map(piece).collect::<Result<_>>()?;
        done.into_iter().try_for_each(&mut sink)?;
    }
    Ok(())
}

/// What the first pass finds of a part: its tiles, and the bytes that they take.
#[derive(Default)]
struct Part {
    tiles: Vec<(u32, TileDone)>,
    len: u64,
}

/// What the first pass finds.
struct Found {
    /// Of each job.
    parts: Vec<Vec<Part>>,
    hashes: Vec<[u8; 16]>,
    sha: Sha256,
}

fn look(input: &Input<'_>, kind: u32, tables: &Tables, mut tell: impl FnMut(u64) -> Result<()>) -> Result<Found> {
    let count = |form: &Option<Form>| form.map_or(1, |f| 2 + f.planes());
    let parts = input.forms.iter().map(|form| (0..count(form)).map(|_| Part::default()).collect()).collect();
    let mut found = Found { parts, hashes: vec![Xxh3::new().digest128().to_le_bytes(); input.jobs.len()], sha: Sha256::new() };
    let (mut hash, mut of, mut seen) = (Xxh3::new(), 0, 0);
    pass(input, tables, |piece| {
        if std::mem::replace(&mut of, piece.job) != piece.job {
            hash.reset();
        }
        hash.update(&piece.bytes);
        // The last of a job's counts.
        found.hashes[piece.job] = hash.digest128().to_le_bytes();
        if kind != source_kind::TENSORS {
            found.sha.update(&piece.bytes);
        }
        for (part, (_, tiles)) in found.parts[piece.job].iter_mut().zip(piece.parts) {
            for tile in tiles {
                let offset16 = u32::try_from(part.len / TILE_ALIGN as u64).map_err(|_| {
                    let why = "a tensor of more than 64 GiB when compressed";
                    Error::argument(why).with_tensor(&input.jobs[piece.job].name)
                })?;
                part.len += tile.len as u64;
                part.tiles.push((offset16, tile));
            }
        }
        seen += piece.bytes.len() as u64;
        tell(seen)
    })?;
    Ok(found)
}

/// Parts in the order of the archive: what is whole and categories, then plane by plane.
fn order(found: &Found) -> Vec<(usize, usize)> {
    let most = found.parts.iter().map(Vec::len).max().unwrap_or(0);
    let of_part = |part: usize| {
        let has = move |(_, parts): &(usize, &Vec<Part>)| part < parts.len();
        found.parts.iter().enumerate().filter(has).map(move |(job, _)| (job, part))
    };
    (0..most).flat_map(of_part).collect()
}

/// The index's entry of a part, and its directory, appended to `directories`.
fn entry(input: &Input<'_>, found: &Found, (job, part): (usize, usize), directories: &mut Vec<u8>) -> Result<Entry> {
    let j = &input.jobs[job];
    let Part { tiles, len } = &found.parts[job][part];
    let layout = if part == 0 { input.layouts[job] } else { Layout::Columns(1) };
    let split = input.forms[job].is_some();
    let tools = if split { tool::PROGRESSIVE } else { 0 };
    let planes = uniform(if split { 1 } else { layout.planes() }, tiles);
    let start = directories.len();
    put_entries(&planes, tools, tiles, directories);
    // A plane says whose it is, and which, where a tensor has its dimensions.
    let shape = if part == 0 { j.shape.clone() } else { vec![job as u64, part as u64 - 1] };
    let name_len = u32::try_from(j.name.len()).map_err(|_| Error::argument("a name above 4 GiB"))?;
    let record = TensorRecord {
        rows: j.grid.rows,
        row_bytes: j.grid.row_bytes,
        segment_len: *len,
        hash: if part == 0 { found.hashes[job] } else { [0; 16] },
        directory_crc: checksum(&directories[start..]),
        tile_rows: j.grid.tile_rows as u32,
        tile_row_bytes: j.grid.tile_row_bytes as u32,
        dtype: j.dtype as u16,
        layout: layout.number(),
        kind: if part == 0 { j.kind } else { kind::PLANE },
        ndim: shape.len() as u8,
        name_len: if part == 0 { name_len } else { 0 },
        dtype_len: if j.dtype.name().is_none() { j.dtype_name.len() as u8 } else { 0 },
        tools,
        params16: 0,
    };
    let (name, dtype_name) = (j.name.clone(), j.dtype_name.clone());
    Ok(Entry::unplaced(record, name, j.dtype, dtype_name, shape, layout, j.grid, planes))
}

/// Writes the archive, which begins at `start` of the writer.
pub(super) fn write<W: Write + Seek + Send>(
    input: &Input<'_>,
    kind: u32,
    tables: Tables,
    progress: Progress<'_>,
    out: W,
    start: u64,
) -> Result<EncodeReport> {
    let total: u64 = input.jobs.iter().map(|j| j.grid.bytes()).sum();
    // Each pass is half of it.
    let tell = |done: u64| progress.map_or(Ok(()), |progress| progress(done / 2, total).check());
    let found = look(input, kind, &tables, tell)?;
    let order = order(&found);
    let mut directories = Vec::new();
    let entries = order.iter().map(|&at| entry(input, &found, at, &mut directories)).collect::<Result<Vec<_>>>()?;
    let pool = TablePool::new(tables.freqs.clone());
    let mut index = Vec::new();
    write_index(&entries, &pool, &mut index)?;
    let index_off = SUPERBLOCK_BYTES + directories.len() as u64;
    let mut at = index_off + index.len() as u64;
    // Where each part's next payload goes, and how many tiles of it are written.
    let mut places: Vec<Vec<(u64, usize)>> = found.parts.iter().map(|parts| vec![(0, 0); parts.len()]).collect();
    for &(job, part) in &order {
        places[job][part].0 = at;
        at += found.parts[job][part].len;
    }
    let is_deflated = |t: &TileDone| t.planes.iter().any(|p| p.mode == PlaneMode::Deflated as u8);
    let deflated = found.parts.iter().flatten().any(|part| part.tiles.iter().any(|(_, tile)| is_deflated(tile)));
    let sb = sealed(wcodec_device::layout::Superblock {
        file_len: at + SUPERBLOCK_BYTES,
        index_off,
        index_len: index.len() as u64,
        directory_off: SUPERBLOCK_BYTES,
        index_crc: checksum(&index),
        entries: entries.len() as u32,
        ..superblock(kind, required(&entries, deflated), total, found.sha.clone())
    });
    let mut out = Out { writer: out, at: 0 };
    out.put(bytemuck::bytes_of(&sb))?;
    out.put(&directories)?;
    out.put(&index)?;
    let mut seen = total;
    pass(input, &tables, |piece| {
        for (part, (payload, tiles)) in piece.parts.into_iter().enumerate() {
            let (at, count) = &mut places[piece.job][part];
            let known = &found.parts[piece.job][part].tiles[*count..][..tiles.len()];
            if known.iter().zip(&tiles).any(|((_, a), b)| (a.len, a.crc) != (b.len, b.crc)) {
                return Err(Error::bad_source("it changed while it was encoded").with_tensor(&input.jobs[piece.job].name));
            }
            out.seek(start, *at)?;
            out.put(&payload)?;
            (*at, *count) = (*at + payload.len() as u64, *count + tiles.len());
        }
        seen += piece.bytes.len() as u64;
        tell(seen)
    })?;
    out.seek(start, at)?;
    out.put(bytemuck::bytes_of(&sb))?;
    out.writer.flush().map_err(|e| Error::io("writing the archive", e).elsewhere())?;
    let tiles = found.parts.iter().flatten().map(|p| p.tiles.len() as u64).sum();
    Ok(EncodeReport::of(&entries, total, out.at, tiles, pool.freqs().len()))
}

impl<W: Write + Seek> Out<W> {
    /// Goes on at `at` of the archive that begins at `start` of the writer.
    fn seek(&mut self, start: u64, at: u64) -> Result<()> {
        if self.at != at {
            let failed = |e| Error::io("seeking in the archive", e).elsewhere();
            self.writer.seek(SeekFrom::Start(start + at)).map_err(failed)?;
            self.at = at;
        }
        Ok(())
    }
}
