//! The container, written front to back; only the superblock is filled in at the end.

use super::base;
use super::batch::{Input, PIECE, PieceDone, TileDone, batches, encode, encode_piece, put_back};
use super::plan::{choose_layouts, learn};
use super::trellis;
use super::{EncodeOptions, EncodeReport, filter, progressive};
use crate::checksum;
use crate::container::contexts::Contexts;
use crate::container::index::{Entry, write_index};
use crate::container::tables::TablePool;
use crate::error::{Error, Result};
use crate::progress::Flow;
use sha2::{Digest, Sha256};
use std::io::{Seek, SeekFrom, Write};
use std::mem::size_of;
use wcodec_device::layout::{
    MAGIC, PlaneMode, PlaneRecord, SUPERBLOCK_BYTES, Superblock, TILE_ALIGN, TensorRecord, TileHead, VERSION_MAJOR,
    VERSION_MINOR, feature, source_kind, tool,
};
use wcodec_device::planes::Layout;
use xxhash_rust::xxh3::Xxh3;

/// Bytes in a batch: two of them, read and encoded, are held at a time.
pub(super) const BATCH: u64 = 8 << 20;

/// Counts what goes out.
pub(super) struct Out<W> {
    pub(super) writer: W,
    pub(super) at: u64,
}

impl<W: Write> Out<W> {
    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.write_all(bytes).map_err(|e| Error::io("writing the archive", e).elsewhere().at(self.at))?;
        self.at += bytes.len() as u64;
        Ok(())
    }
}

/// A tensor on its way through the writer.
struct Open {
    job: usize,
    segment_off: u64,
    record: TensorRecord,
    /// What heads the directory.
    prefix: Vec<u8>,
    hash: Xxh3,
    tiles: Vec<(u32, TileDone)>,
}

struct Writer<'a, W> {
    input: &'a Input<'a>,
    out: Out<W>,
    /// Where in the writer the archive begins.
    start: u64,
    kind: u32,
    sha: Sha256,
    source_at: u64,
    next_job: usize,
    open: Option<Open>,
    entries: Vec<Entry>,
    directories: Vec<u8>,
    tiles: u64,
    /// Whether any tile of a blob is.
    deflated: bool,
}

/// Encodes all of `input` to `out`.
pub(crate) fn run<'a, W: Write + Seek + Send>(
    mut input: Input<'a>,
    kind: u32,
    options: &'a EncodeOptions,
    progress: Option<&(dyn Fn(u64, u64) -> Flow + Send + Sync)>,
    mut out: W,
) -> Result<EncodeReport> {
    let start = out.stream_position().map_err(|e| Error::io("seeking in the archive", e).elsewhere())?;
    let total: u64 = input.jobs.iter().map(|j| j.grid.bytes()).sum();
    // A safetensors file's header is small, and its archive is of version 1.0 by default.
    input.deflates = kind == source_kind::GGUF || options.effort.size_alone();
    let tell = |done| progress.map_or(Ok(()), |progress| progress(done, total).check());
    tell(0)?;
    input.layouts = choose_layouts(&input, options.effort)?;
    // Beside no other tool but contexts.
    if options.base.is_none() && !options.progressive {
        input.trellises = trellis::choose(&input)?;
    }
    // What is coded against a base is not filtered.
    if options.effort.filters() && options.filters && options.base.is_none() {
        filter::choose(&mut input)?;
    }
    if let Some(base) = &options.base {
        input.against = Some(base::choose(&mut input, base, options.effort)?);
    }
    if options.progressive {
        progressive::choose(&mut input, options)?;
    }
    let tables = learn(&mut input, options.effort)?;
    let input = &input;
    tracing::debug!(tables = tables.freqs.len(), "learnt frequency tables");
    if input.forms.iter().any(Option::is_some) {
        return progressive::write(input, kind, tables, progress, out, start);
    }
    let mut writer = Writer {
        input,
        out: Out { writer: out, at: 0 },
        start,
        kind,
        sha: Sha256::new(),
        source_at: 0,
        next_job: 0,
        open: None,
        entries: Vec::with_capacity(input.jobs.len()),
        directories: Vec::new(),
        tiles: 0,
        deflated: false,
    };
    writer.out.put(&[0; SUPERBLOCK_BYTES as usize])?;
    if rayon::current_num_threads() == 1 {
        // Alone, a piece is hashed before it is encoded: that fetches it to the second-level cache, front to back.
        for (job, piece) in batches(input.jobs, PIECE).flatten() {
            let bytes = input.read(job, piece.bytes.start, piece.len())?;
            writer.hash(job, &bytes)?;
            let done = encode_piece(input, &tables, job, &piece, bytes)?;
            writer.piece(done)?;
            tell(writer.source_at)?;
        }
        return writer.finish(tables.freqs, total);
    }
    let mut batches = batches(input.jobs, BATCH);
    let mut encoded = batches.next().map(|b| encode(input, &tables, b)).transpose()?;
    while let Some(batch) = encoded {
        let write = || {
            batch.into_iter().try_for_each(|piece| {
                writer.hash(piece.job, &piece.bytes)?;
                writer.piece(piece)
            })
        };
        let (following, written) = match batches.next() {
            Some(next) => rayon::join(|| encode(input, &tables, next).map(Some), write),
            None => (Ok(None), write()),
        };
        written?;
        encoded = following?;
        tell(writer.source_at)?;
    }
    writer.finish(tables.freqs, total)
}

impl<W: Write + Seek> Writer<'_, W> {
    /// Hashes the next bytes of the source, which are of `job`.
    fn hash(&mut self, job: usize, bytes: &[u8]) -> Result<()> {
        if self.open.as_ref().is_none_or(|o| o.job != job) {
            self.close_before(job)?;
            self.begin(job)?;
        }
        let Some(open) = self.open.as_mut() else { unreachable!("just begun") };
        open.hash.update(bytes);
        if self.kind != source_kind::TENSORS {
            self.sha.update(bytes);
        }
        self.source_at += bytes.len() as u64;
        Ok(())
    }

    /// Writes the piece whose bytes were hashed last.
    fn piece(&mut self, piece: PieceDone<'_>) -> Result<()> {
        let Some(open) = self.open.as_mut() else { unreachable!("hashed before") };
        let mut at = self.out.at - open.segment_off;
        for tile in piece.tiles {
            let offset16 = u32::try_from(at / TILE_ALIGN as u64).map_err(|_| {
                Error::argument("a tensor of more than 64 GiB when compressed").with_tensor(&self.input.jobs[open.job].name)
            })?;
            at += tile.len as u64;
            self.deflated |= tile.planes.iter().any(|p| p.mode == PlaneMode::Deflated as u8);
            open.tiles.push((offset16, tile));
        }
        self.out.put(&piece.payload)?;
        put_back(&self.input.spare, piece.payload);
        Ok(())
    }

    /// Closes the tensor in hand, and passes over those without a byte that come before `job`.
    fn close_before(&mut self, job: usize) -> Result<()> {
        self.close();
        while self.next_job < job {
            self.begin(self.next_job)?;
            self.close();
        }
        Ok(())
    }

    fn begin(&mut self, job: usize) -> Result<()> {
        self.next_job = job + 1;
        let j = &self.input.jobs[job];
        let (mut params, classes) = self.input.contexts[job].as_ref().map(Contexts::write).unwrap_or_default();
        if let Some(contexts) = &self.input.base_contexts[job] {
            params = contexts.write();
        }
        if let Some(contexts) = &self.input.block_contexts[job] {
            params = contexts.write();
        }
        let mut tools = if params.is_empty() { 0 } else { tool::CONTEXTS };
        if let Some((_, difference)) = self.input.difference(job) {
            params.extend(difference.write());
            tools |= tool::BASE;
        }
        if let Some(trellis) = &self.input.trellises[job] {
            params.extend(trellis.write());
            tools |= tool::TRELLIS;
        }
        // Beside no other tool.
        if let Some(filter) = &self.input.filters[job] {
            params.extend(filter.write());
            tools |= tool::FILTERS;
        }
        let record = TensorRecord {
            rows: j.grid.rows,
            row_bytes: j.grid.row_bytes,
            tile_rows: j.grid.tile_rows as u32,
            tile_row_bytes: j.grid.tile_row_bytes as u32,
            dtype: j.dtype as u16,
            layout: self.input.layouts[job].number(),
            kind: j.kind,
            ndim: j.shape.len() as u8,
            name_len: u32::try_from(j.name.len()).map_err(|_| Error::argument("a name above 4 GiB"))?,
            dtype_len: if j.dtype.name().is_none() { j.dtype_name.len() as u8 } else { 0 },
            tools,
            params16: (params.len() / 16) as u8,
            ..bytemuck::Zeroable::zeroed()
        };
        let prefix = [params, classes].concat();
        self.open = Some(Open { job, segment_off: self.out.at, record, prefix, hash: Xxh3::new(), tiles: Vec::new() });
        Ok(())
    }

    /// Writes the tensor's directory.
    fn close(&mut self) {
        let Some(Open { job, segment_off, mut record, prefix, hash, tiles }) = self.open.take() else { return };
        let j = &self.input.jobs[job];
        let planes = uniform(self.input.layouts[job].planes(), &tiles);
        let start = self.directories.len();
        self.directories.extend_from_slice(&prefix);
        put_entries(&planes, record.tools, &tiles, &mut self.directories);
        self.tiles += tiles.len() as u64;
        record.segment_len = self.out.at - segment_off;
        record.directory_crc = checksum(&self.directories[start..]);
        record.hash = hash.digest128().to_le_bytes();
        let (name, dtype_name, shape) = (j.name.clone(), j.dtype_name.clone(), j.shape.clone());
        let layout = self.input.layouts[job];
        self.entries.push(Entry::unplaced(record, name, j.dtype, dtype_name, shape, layout, j.grid, planes));
    }

    fn finish(mut self, freqs: Vec<crate::container::tables::Freqs>, total: u64) -> Result<EncodeReport> {
        self.close_before(self.input.jobs.len())?;
        let directory_off = self.out.at;
        self.out.put(&self.directories)?;
        let pool = TablePool::new(freqs);
        let mut index = Vec::new();
        write_index(&self.entries, &pool, &mut index)?;
        let index_off = self.out.at;
        self.out.put(&index)?;
        let required = required(&self.entries, self.deflated);
        let (base_sha256, base_len) = self.input.against.as_ref().and_then(|a| a.identity).unwrap_or_default();
        let superblock = Superblock {
            base_sha256,
            base_len,
            file_len: self.out.at + size_of::<Superblock>() as u64,
            index_off,
            index_len: index.len() as u64,
            directory_off,
            index_crc: checksum(&index),
            entries: self.entries.len() as u32,
            ..superblock(self.kind, required, total, self.sha)
        };
        let superblock = sealed(superblock);
        self.out.put(bytemuck::bytes_of(&superblock))?;
        let archive_bytes = self.out.at;
        self.out.writer.seek(SeekFrom::Start(self.start)).map_err(|e| Error::io("seeking in the archive", e).elsewhere())?;
        self.out.put(bytemuck::bytes_of(&superblock))?;
        let end = SeekFrom::Start(self.start + archive_bytes);
        self.out.writer.seek(end).map_err(|e| Error::io("seeking in the archive", e).elsewhere())?;
        self.out.writer.flush().map_err(|e| Error::io("writing the archive", e).elsewhere())?;
        Ok(EncodeReport::of(&self.entries, total, archive_bytes, self.tiles, pool.freqs().len()))
    }
}

/// The features without which these entries cannot be read; `deflated`: whether a blob is.
pub(super) fn required(entries: &[Entry], deflated: bool) -> u64 {
    let blocks = entries.iter().any(|e| matches!(e.layout, Layout::Blocks(_)));
    let tools = entries.iter().fold(0, |tools, e| tools | e.record.tools);
    feature::of_tools(tools) | if blocks { feature::BLOCKS } else { 0 } | if deflated { feature::DEFLATED } else { 0 }
}

/// A superblock of what is known of the source and the features.
pub(super) fn superblock(kind: u32, required: u64, source_len: u64, sha: Sha256) -> Superblock {
    let from_file = kind != source_kind::TENSORS;
    Superblock {
        magic: MAGIC,
        major: VERSION_MAJOR,
        minor: if required != 0 || kind == source_kind::GGUF { VERSION_MINOR } else { 0 },
        source_kind: kind,
        required,
        source_len: if from_file { source_len } else { 0 },
        source_sha256: if from_file { sha.finalize().into() } else { [0; 32] },
        ..bytemuck::Zeroable::zeroed()
    }
}

/// With its checksum.
pub(super) fn sealed(mut superblock: Superblock) -> Superblock {
    let bytes = bytemuck::bytes_of(&superblock);
    superblock.crc = checksum(&bytes[..bytes.len() - 4]);
    superblock
}

/// What of a tensor's planes holds for all its tiles: those that are raw, or constant, in all alike are said to be so once.
pub(super) fn uniform(planes: usize, tiles: &[(u32, TileDone)]) -> Vec<PlaneRecord> {
    (0..planes)
        .map(|p| {
            let uniform = tiles.first().map(|(_, t)| t.planes[p]).filter(|first| {
                let simple = first.mode == PlaneMode::Raw as u8 || first.mode == PlaneMode::Constant as u8;
                simple && tiles.iter().all(|(_, t)| t.planes[p] == *first)
            });
            match uniform {
                Some(plane) => PlaneRecord { mode: plane.mode, value: plane.base, reserved: [0; 2] },
                None if tiles.is_empty() => PlaneRecord { mode: PlaneMode::Raw as u8, value: 0, reserved: [0; 2] },
                None => PlaneRecord { mode: PlaneMode::PerTile as u8, value: 0, reserved: [0; 2] },
            }
        })
        .collect()
}

/// Appends the directory entries of tiles.
pub(super) fn put_entries(planes: &[PlaneRecord], tools: u8, tiles: &[(u32, TileDone)], out: &mut Vec<u8>) {
    for (offset16, tile) in tiles {
        out.extend_from_slice(bytemuck::bytes_of(&TileHead { offset16: *offset16, crc: tile.crc }));
        for (p, _) in planes.iter().enumerate().filter(|(_, p)| Entry::is_per_tile(p)) {
            out.extend_from_slice(bytemuck::bytes_of(&tile.planes[p]));
        }
        if tools & tool::FILTERS != 0 {
            out.extend_from_slice(&tile.filter);
        }
    }
}
