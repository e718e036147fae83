//! Tensors: whole, by rows and columns, many at once.

use super::Archive;
use crate::checksum;
use crate::container::base_contexts::{BaseContexts, BaseRows, TileContexts};
use crate::container::block_contexts::BlockContexts;
use crate::container::contexts::Contexts;
use crate::container::difference::{self, Difference};
use crate::container::grid::{Grid, Piece, TileRect};
use crate::container::index::Entry;
use crate::container::trellis::{self, Trellis};
use crate::cpu::fused::Place;
use crate::cpu::tile::Scratch;
use crate::cpu::view::Stores;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::filter::modes::{self, Modes};
use crate::gpu::{Device, Gpu};
use crate::source::zeroed;
use rayon::prelude::*;
use std::borrow::Cow;
use std::mem::size_of;
use std::ops::Range;
use std::sync::Arc;
use wcodec_device::layout::{MAX_TILE_BYTES, PlaneMode, TILE_ALIGN, TileHead, TilePlane, feature, kind, tool};

/// Decoded bytes that one thread takes at a time.
const PIECE: u64 = 1 << 20;

/// Decoded bytes of a piece that a GPU takes, and how many of them at a time.
const GPU_PIECE: u64 = 4 << 20;
const GPU_PIECES: usize = 16;

/// Outputs of this many bytes and more are written past the caches: it is what a core has to itself in a last-level cache.
const STREAM_FROM: u64 = 4 << 20;

/// A tensor of an archive; nothing of it is read until it is decoded.
#[derive(Clone, Copy)]
pub struct Tensor<'a> {
    pub(crate) archive: &'a Archive,
    pub(crate) entry: &'a Entry,
}

impl std::fmt::Debug for Tensor<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tensor({:?} {} {:?})", self.name(), self.dtype_name(), self.shape())
    }
}

impl<'a> Tensor<'a> {
    /// Its name.
    pub fn name(&self) -> &'a str {
        &self.entry.name
    }

    /// Its element type.
    pub fn dtype(&self) -> Dtype {
        self.entry.dtype
    }

    /// The element type as the source spelt it.
    pub fn dtype_name(&self) -> &'a str {
        &self.entry.dtype_name
    }

    /// Its shape; the last dimension is contiguous.
    pub fn shape(&self) -> &'a [u64] {
        &self.entry.shape
    }

    /// Decoded bytes.
    pub fn byte_len(&self) -> u64 {
        self.entry.grid.bytes()
    }

    /// Rows: the product of all dimensions but the last (1 without dimensions, or where rows are no whole bytes).
    pub fn rows(&self) -> u64 {
        self.entry.grid.rows
    }

    /// Elements of a row, where a row is a whole number of elements that are whole bytes; otherwise bytes of a row.
    pub fn columns(&self) -> u64 {
        self.entry.grid.row_bytes / self.column_bytes()
    }

    /// Bytes of what [`columns`](Self::columns) counts.
    pub fn column_bytes(&self) -> u64 {
        self.entry.dtype.bits().map_or(1, |b| (b as u64 / 8).max(1))
    }

    /// Decodes into `out`, which must have [`byte_len`](Self::byte_len) bytes, on all threads of the current rayon pool.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) with the tile and its offset; `out` then holds no complete tensor.
    pub fn decode_into(&self, out: &mut [u8]) -> Result<()> {
        self.archive.decode_many(&mut [(*self, out)])
    }

    /// Decodes into a new buffer.
    pub fn decode(&self) -> Result<Vec<u8>> {
        let mut out = self.buffer(self.byte_len())?;
        self.decode_into(&mut out)?;
        Ok(out)
    }

    /// [`decode`](Self::decode) by this thread alone, on the CPU: for threads that others may wait for, those of the rayon pool among them.
    pub(crate) fn decode_here(&self) -> Result<Vec<u8>> {
        let mut out = self.buffer(self.byte_len())?;
        let (directory, mut scratch, mut rest) = (self.directory()?, Scratch::default(), &mut out[..]);
        for piece in self.entry.grid.pieces(PIECE) {
            let (part, after) = rest.split_at_mut(piece.len());
            self.decode_piece(&directory, &piece, &mut scratch, part, Stores::Cached)?;
            rest = after;
        }
        Ok(out)
    }

    /// Decodes rows and columns (of [`rows`](Self::rows) × [`columns`](Self::columns)) into a new buffer without gaps, reading
    /// only the tiles that they touch.
    pub fn decode_slice(&self, rows: Range<u64>, columns: Range<u64>) -> Result<Vec<u8>> {
        let (n, width) = self.check_slice(&rows, &columns)?;
        let len = n.checked_mul(width).ok_or_else(|| Error::argument("the slice is too large"))?;
        let mut out = self.buffer(len)?;
        self.decode_slice_into(rows, columns, &mut out)?;
        Ok(out)
    }

    /// [`decode_slice`](Self::decode_slice) into `out`, which must have exactly the slice's bytes.
    pub fn decode_slice_into(&self, rows: Range<u64>, columns: Range<u64>, out: &mut [u8]) -> Result<()> {
        let (n, width) = self.check_slice(&rows, &columns)?;
        if n.checked_mul(width) != Some(out.len() as u64) {
            let why = format!("the buffer has {} bytes, the slice {n} rows of {width}", out.len());
            return Err(self.place(Error::argument(why)));
        }
        if out.is_empty() {
            return Ok(());
        }
        if let (Device::Gpu(gpu), false) = (&self.archive.device, self.on_cpu_only()) {
            return gpu.decode_slice(self, rows, columns)?.copy_to(0, out).map_err(|e| self.place(e));
        }
        let grid = &self.entry.grid;
        let bytes = columns.start * self.column_bytes()..columns.end * self.column_bytes();
        let directory = self.directory()?;
        // One band of tiles after the other, each with the part of `out` that its rows are.
        let mut jobs = Vec::new();
        let mut rest = out;
        let mut row = rows.start;
        while row < rows.end {
            let band = row / grid.tile_rows;
            let end = ((band + 1) * grid.tile_rows).min(rows.end);
            let (part, after) = rest.split_at_mut(((end - row) * width) as usize);
            jobs.push((row..end, part));
            rest = after;
            row = end;
        }
        jobs.into_par_iter().try_for_each_init(
            || (Scratch::default(), Vec::new()),
            |(scratch, tile), (rows, out)| self.decode_band_slice(&directory, rows, bytes.clone(), scratch, tile, out),
        )
    }

    /// Part of a band: byte columns `bytes` of `rows`, which lie in one row of tiles.
    pub(crate) fn decode_band_slice(
        &self,
        directory: &Directory<'_>,
        rows: Range<u64>,
        bytes: Range<u64>,
        scratch: &mut Scratch,
        whole: &mut Vec<u8>,
        out: &mut [u8],
    ) -> Result<()> {
        let grid = &self.entry.grid;
        let band = rows.start / grid.tile_rows * grid.columns();
        for column in bytes.start / grid.tile_row_bytes..=(bytes.end - 1) / grid.tile_row_bytes {
            let tile = band + column;
            let payload = self.payload(directory, tile..tile + 1)?;
            self.decode_tile_slice(directory, tile, &payload, rows.clone(), bytes.clone(), scratch, whole, out)?;
        }
        Ok(())
    }

    /// What a tile has of the byte columns `bytes` of `rows` (a part of its own rows), which `out` holds without gaps.
    pub(crate) fn decode_tile_slice(
        &self,
        directory: &Directory<'_>,
        tile: u64,
        payload: &[u8],
        rows: Range<u64>,
        bytes: Range<u64>,
        scratch: &mut Scratch,
        whole: &mut Vec<u8>,
        out: &mut [u8],
    ) -> Result<()> {
        let stride = (bytes.end - bytes.start) as usize;
        let rect = self.entry.grid.rect(tile);
        whole.resize(whole.len().max(MAX_TILE_BYTES), 0);
        let decoded = &mut whole[..rect.rows * rect.width];
        let base = self.base_tile(directory, rect)?;
        let tiles = tile..tile + 1;
        self.decode_tiles(directory, tiles, payload, base.as_deref(), scratch, decoded, Stores::Cached, |rect| (0, rect.width))?;
        let from = bytes.start.max(rect.column);
        let to = bytes.end.min(rect.column + rect.width as u64);
        let skip = (from - rect.column) as usize;
        let n = (to - from) as usize;
        let first = (rows.start - rect.row) as usize;
        for (i, out) in out.chunks_mut(stride).enumerate() {
            let at = (first + i) * rect.width + skip;
            out[(from - bytes.start) as usize..][..n].copy_from_slice(&decoded[at..at + n]);
        }
        Ok(())
    }

    /// Rows and bytes a row of a slice.
    pub(crate) fn check_slice(&self, rows: &Range<u64>, columns: &Range<u64>) -> Result<(u64, u64)> {
        if rows.start > rows.end || rows.end > self.rows() || columns.start > columns.end || columns.end > self.columns() {
            let why = format!("rows {rows:?} and columns {columns:?} do not lie in {} × {}", self.rows(), self.columns());
            return Err(self.place(Error::argument(why)));
        }
        Ok((rows.end - rows.start, (columns.end - columns.start) * self.column_bytes()))
    }

    /// A zeroed buffer; the file's own size, or the base's, vouches for the tensor's (see `docs/format.md`), but memory may still be short.
    pub(crate) fn buffer(&self, len: u64) -> Result<Vec<u8>> {
        self.base()?;
        let len = usize::try_from(len).map_err(|_| self.place(Error::argument(format!("{len} bytes do not fit into memory"))))?;
        zeroed(len).map_err(|e| self.place(Error::io("decoding", e)))
    }

    /// Its number in the index.
    pub(crate) fn entry_number(&self) -> u32 {
        let first = self.archive.index.entries.as_ptr() as usize;
        // An index has fewer than 2^32 entries.
        ((std::ptr::from_ref(self.entry) as usize - first) / size_of::<Entry>()) as u32
    }

    /// Names this tensor and the file in an error.
    pub(crate) fn place(&self, e: Error) -> Error {
        let e =
            if self.entry.record.kind != kind::BLOB { e.with_tensor(&self.entry.name) } else { e.inside("the source's header") };
        self.archive.place(e)
    }

    /// Why no plane of this record may be deflated, if none may.
    pub(super) fn no_deflated(&self) -> Option<&'static str> {
        if self.entry.is_tensor() {
            return Some("deflated, which only blobs are");
        }
        let announced = self.archive.superblock.required & feature::DEFLATED != 0;
        (!announced).then_some("deflated, which the superblock does not announce")
    }

    /// An error of a tile, with its place.
    pub(crate) fn fault(&self, directory: &Directory<'_>, tile: u64, why: String) -> Error {
        self.place(Error::corrupt(why).with_tile(tile).at(self.entry.segment_off + directory.offset(tile)))
    }

    /// Reads and checks the tile directory.
    pub(crate) fn directory(&self) -> Result<Directory<'a>> {
        let record = &self.entry.record;
        let len = self.entry.directory_len() as usize;
        let reading = |e| self.place(Error::io("reading the tile directory", e).at(self.entry.directory_off));
        let bytes = self.archive.data.fetch(self.entry.directory_off, len).map_err(reading)?;
        if checksum(&bytes) != record.directory_crc {
            let e = Error::corrupt("the tile directory is damaged: its checksum differs").at(self.entry.directory_off);
            return Err(self.place(e));
        }
        let damaged = |why: &str| self.place(Error::corrupt(why.to_owned()).at(self.entry.directory_off));
        let (params, classes) = bytes[..self.entry.prefix_len() as usize].split_at(16 * record.params16 as usize);
        // Those of the difference come last, or those of the trellis: there are not both.
        let last = match self.entry.has_trellis() {
            true => trellis::BYTES,
            false if self.has_base() && !self.entry.is_same() => difference::BYTES,
            false => 0,
        };
        let (own, last) =
            params.split_at_checked(params.len().wrapping_sub(last)).ok_or_else(|| damaged("too few parameters"))?;
        let block_contexts = self.block_contexts(own).map_err(damaged)?;
        let own = if block_contexts.is_some() { &[] } else { own };
        let (contexts, base_contexts) = self.contexts(own, classes).map_err(damaged)?;
        let filter = self.filter(own).map_err(damaged)?;
        let difference = self.difference(last).map_err(damaged)?;
        let trellis = self.entry.has_trellis().then(|| Trellis::read(last)).transpose().map_err(damaged)?;
        let (first, stride) = (self.entry.prefix_len() as usize, self.entry.directory_stride());
        let planes = if self.entry.is_tensor() { self.plane_directories()? } else { Vec::new() };
        let directory =
            Directory { bytes, first, stride, contexts, base_contexts, block_contexts, difference, filter, trellis, planes };
        if directory.len() > 0 && directory.offset(0) != 0 {
            return Err(
                self.place(Error::corrupt("its first tile does not begin the segment").with_tile(0).at(self.entry.directory_off))
            );
        }
        Ok(directory)
    }

    /// The contexts of blocks that head the directory, if the tensor has any.
    fn block_contexts(&self, params: &[u8]) -> Result<Option<Arc<BlockContexts>>, &'static str> {
        if !self.entry.has_block_contexts() {
            return Ok(None);
        }
        BlockContexts::read(params, self.entry.layout, self.archive.index.tables.freqs().len()).map(|c| Some(Arc::new(c)))
    }

    /// The contexts that head the directory, if the tensor has any.
    fn contexts(&self, params: &[u8], classes: &[u8]) -> Result<SomeContexts, &'static str> {
        let Entry { record, grid, layout, .. } = self.entry;
        let tables = self.archive.index.tables.freqs().len();
        if record.tools & tool::CONTEXTS == 0 || self.entry.has_block_contexts() {
            return if params.is_empty() || self.entry.is_filtered() { Ok((None, None)) } else { Err("parameters of no tool") };
        }
        if self.has_base() {
            return BaseContexts::read(params, *layout, tables).map(|c| (None, Some(Arc::new(c))));
        }
        let columns = grid.row_bytes as usize / layout.record_bytes();
        Contexts::read(params, classes, grid.rows as usize, columns, *layout, tables).map(|c| (Some(Arc::new(c)), None))
    }

    /// How its tiles are filtered, if they may be.
    fn filter(&self, params: &[u8]) -> Result<Option<Arc<Filter>>, &'static str> {
        let layout = self.entry.layout;
        if !self.entry.is_filtered() {
            return Ok(None);
        }
        Filter::read(params, layout, self.archive.index.tables.freqs().len()).map(|f| Some(Arc::new(f)))
    }

    /// Where the payloads of consecutive tiles lie in the archive.
    pub(crate) fn payload_range(&self, directory: &Directory<'_>, tiles: &Range<u64>) -> Result<Range<u64>> {
        let record = &self.entry.record;
        if self.entry.is_same() {
            return Ok(self.entry.segment_off..self.entry.segment_off);
        }
        let start = directory.offset(tiles.start);
        let end = if tiles.end == directory.len() { record.segment_len } else { directory.offset(tiles.end) };
        if start > end || end > record.segment_len {
            let e = Error::corrupt("its payload lies outside the segment").with_tile(tiles.start).at(self.entry.segment_off);
            return Err(self.place(e));
        }
        Ok(self.entry.segment_off + start..self.entry.segment_off + end)
    }

    pub(crate) fn payload(&self, directory: &Directory<'_>, tiles: Range<u64>) -> Result<Cow<'a, [u8]>> {
        let range = self.payload_range(directory, &tiles)?;
        let reading = |e| self.place(Error::io("reading tiles", e).with_tile(tiles.start).at(range.start));
        self.archive.data.fetch(range.start, (range.end - range.start) as usize).map_err(reading)
    }

    /// Decodes the tiles of a piece into `out`, the piece's bytes.
    pub(crate) fn decode_piece(
        &self,
        directory: &Directory<'_>,
        piece: &Piece,
        scratch: &mut Scratch,
        out: &mut [u8],
        stores: Stores,
    ) -> Result<()> {
        let payload = self.payload(directory, piece.tiles.clone())?;
        self.decode_piece_of(directory, piece, &payload, scratch, out, stores)
    }

    /// [`decode_piece`](Self::decode_piece) from payloads that are there already.
    pub(crate) fn decode_piece_of(
        &self,
        directory: &Directory<'_>,
        piece: &Piece,
        payload: &[u8],
        scratch: &mut Scratch,
        out: &mut [u8],
        stores: Stores,
    ) -> Result<()> {
        let grid: &Grid = &self.entry.grid;
        let stride = grid.row_bytes as usize;
        let base = self.base_bytes(directory, piece.bytes.clone())?;
        // What is undone is read again at once.
        let stores = if base.is_some() { Stores::Cached } else { stores };
        self.decode_tiles(directory, piece.tiles.clone(), payload, base.as_deref(), scratch, out, stores, |rect| {
            (grid.place_in(piece, rect), stride)
        })
    }
}

/// Contexts of one kind or the other, or none.
type SomeContexts = (Option<Arc<Contexts>>, Option<Arc<BaseContexts>>);

/// A tensor's tile directory, its checksum verified.
pub(crate) struct Directory<'a> {
    bytes: Cow<'a, [u8]>,
    /// Where the tiles' entries begin.
    first: usize,
    stride: usize,
    pub(crate) contexts: Option<Arc<Contexts>>,
    /// The contexts of differences.
    pub(crate) base_contexts: Option<Arc<BaseContexts>>,
    /// The contexts of blocks.
    pub(crate) block_contexts: Option<Arc<BlockContexts>>,
    pub(crate) difference: Option<Difference>,
    pub(crate) filter: Option<Arc<Filter>>,
    /// What tells the lowest bits of its numbers.
    pub(crate) trellis: Option<Trellis>,
    /// Of a progressive tensor, those of its planes, as many as are decoded.
    pub(crate) planes: Vec<Directory<'a>>,
}

impl Directory<'_> {
    /// With bytes of its own.
    pub(crate) fn into_owned(self) -> Directory<'static> {
        let planes = self.planes.into_iter().map(Directory::into_owned).collect();
        let Self { first, stride, contexts, base_contexts, block_contexts, difference, filter, trellis, bytes, .. } = self;
        let bytes = Cow::Owned(bytes.into_owned());
        Directory { bytes, first, stride, contexts, base_contexts, block_contexts, difference, filter, trellis, planes }
    }

    fn len(&self) -> u64 {
        ((self.bytes.len() - self.first) / self.stride) as u64
    }

    /// The contexts of a tile that goes to `place`, beside which the base's bytes lie.
    pub(super) fn tile_contexts<'b>(&'b self, rect: TileRect, base: Option<&'b [u8]>, place: Place) -> Option<TileContexts<'b>> {
        if let (Some(contexts), Some(base)) = (&self.base_contexts, base) {
            let rows = BaseRows { bytes: &base[place.first..], pitch: place.stride, rows: place.rows, width: place.width };
            return Some(TileContexts::Base(contexts, rows));
        }
        if let Some(contexts) = self.block_contexts.as_deref() {
            return Some(TileContexts::Scales(contexts));
        }
        self.contexts.as_deref().map(|c| TileContexts::Classes(c, rect))
    }

    fn head(&self, tile: u64) -> TileHead {
        let at = self.first + tile as usize * self.stride;
        bytemuck::pod_read_unaligned(&self.bytes[at..at + size_of::<TileHead>()])
    }

    /// Start of a tile's payload in the segment.
    pub(super) fn offset(&self, tile: u64) -> u64 {
        self.head(tile).offset16 as u64 * TILE_ALIGN as u64
    }

    /// What a tile says of its filter.
    pub(crate) fn filter_entry(&self, tile: u64) -> [u8; modes::ENTRY] {
        let end = self.first + (tile as usize + 1) * self.stride;
        std::array::from_fn(|i| self.bytes[end - modes::ENTRY + i])
    }

    /// The payload of a tile's planes, and what it went through.
    pub(super) fn modes<'p>(
        &self,
        filter: &Filter,
        tile: u64,
        rect: TileRect,
        payload: &'p [u8],
    ) -> Result<(&'p [u8], Option<Modes>), &'static str> {
        let entry = self.filter_entry(tile);
        let (head, payload) = payload.split_at_checked(Modes::len(entry)).ok_or("its modes are longer than its payload")?;
        Ok((payload, Modes::read(filter, entry, head, rect.rows, filter.elements(rect.width))?))
    }

    /// Reads a tile's head and its planes, those of the whole tensor filled in.
    pub(crate) fn read_tile(&self, tile: u64, entry: &Entry, planes: &mut [TilePlane]) -> TileHead {
        let mut at = self.first + tile as usize * self.stride + size_of::<TileHead>();
        for (plane, whole) in planes.iter_mut().zip(&entry.planes) {
            if Entry::is_per_tile(whole) {
                *plane = bytemuck::pod_read_unaligned(&self.bytes[at..at + size_of::<TilePlane>()]);
                at += size_of::<TilePlane>();
            } else {
                *plane = TilePlane { mode: whole.mode, base: whole.value, ..EMPTY_PLANE };
            }
        }
        self.head(tile)
    }
}

/// A plane that is yet to be read.
pub(crate) const EMPTY_PLANE: TilePlane = TilePlane { mode: PlaneMode::Raw as u8, base: 0, table: 0, words: 0, patches: 0 };

impl Archive {
    /// Decodes tensors into their buffers, all in parallel. Each buffer must have its tensor's [`byte_len`](Tensor::byte_len).
    pub fn decode_many(&self, jobs: &mut [(Tensor<'_>, &mut [u8])]) -> Result<()> {
        for (tensor, out) in jobs.iter() {
            if out.len() as u64 != tensor.byte_len() {
                let why = format!("the buffer has {} bytes, the tensor {}", out.len(), tensor.byte_len());
                return Err(tensor.place(Error::argument(why)));
            }
        }
        if let Device::Gpu(gpu) = &self.device {
            let (mut with, mut without): (Vec<_>, Vec<_>) =
                jobs.iter_mut().map(|(t, out)| (*t, &mut out[..])).partition(|(t, _)| t.on_cpu_only());
            decode_many_on(gpu, &mut without)?;
            return self.decode_many_here(&mut with);
        }
        self.decode_many_here(jobs)
    }

    /// [`decode_many`](Self::decode_many) on the CPU.
    fn decode_many_here(&self, jobs: &mut [(Tensor<'_>, &mut [u8])]) -> Result<()> {
        let total: u64 = jobs.iter().map(|(t, _)| t.byte_len()).sum();
        let stores = if total < STREAM_FROM { Stores::Cached } else { Stores::Stream };
        let directories = jobs.iter().map(|(t, _)| t.directory()).collect::<Result<Vec<_>>>()?;
        let mut work = Vec::new();
        for ((tensor, out), directory) in jobs.iter_mut().zip(&directories) {
            let mut rest: &mut [u8] = out;
            for piece in tensor.entry.grid.pieces(PIECE) {
                let (part, after) = rest.split_at_mut(piece.len());
                work.push((*tensor, directory, piece, part));
                rest = after;
            }
        }
        work.into_par_iter().try_for_each_init(Scratch::default, |scratch, (tensor, directory, piece, out)| {
            tensor.decode_piece(directory, &piece, scratch, out, stores)
        })
    }

    /// Decodes every tensor, in the order of [`tensors`](Self::tensors).
    pub fn decode_all(&self) -> Result<Vec<(Tensor<'_>, Vec<u8>)>> {
        let mut all = self.tensors().map(|t| Ok((t, t.buffer(t.byte_len())?))).collect::<Result<Vec<_>>>()?;
        let mut jobs: Vec<_> = all.iter_mut().map(|(t, out)| (*t, &mut out[..])).collect();
        self.decode_many(&mut jobs)?;
        Ok(all)
    }
}

/// [`Archive::decode_many`] on a GPU, and back to the host.
fn decode_many_on(gpu: &Gpu, jobs: &mut [(Tensor<'_>, &mut [u8])]) -> Result<()> {
    let mut work = Vec::new();
    for (tensor, out) in jobs.iter_mut() {
        let directory = Arc::new(tensor.directory()?);
        let mut rest: &mut [u8] = out;
        for piece in tensor.entry.grid.pieces(GPU_PIECE) {
            let (part, after) = rest.split_at_mut(piece.len());
            work.push((*tensor, directory.clone(), piece, part));
            rest = after;
        }
    }
    // Not all at once: device memory may be smaller than the tensors.
    work.chunks_mut(GPU_PIECES).try_for_each(|work| gpu.decode_pieces(work))
}
