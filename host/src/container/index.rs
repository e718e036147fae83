//! The index: what tensors there are, where, and how they are coded.

use super::block_contexts::affine;
use super::grid::Grid;
use super::planes::{Order, planes_of, read_plane};
use super::tables::TablePool;
use crate::bitplanes::form_of;
use crate::dtype::Dtype;
use crate::error::{Error, ErrorKind, Result};
use crate::filter::modes;
use bytemuck::Pod;
use std::collections::HashMap;
use std::mem::size_of;
use std::ops::Range;
use std::sync::Arc;
use wcodec_device::layout::{
    IndexHeader, PlaneMode, PlaneRecord, SUPERBLOCK_BYTES, Superblock, TensorRecord, TileHead, TilePlane, feature, kind,
    source_kind, tool,
};
use wcodec_device::planes::Layout;

/// A tensor (or blob) as the index describes it, checked.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub record: TensorRecord,
    /// Position of the decoded bytes in the source file, where there is one.
    pub source_off: u64,
    /// Position in the archive of the first tile's payload.
    pub segment_off: u64,
    /// Position in the archive of the tile directory.
    pub directory_off: u64,
    /// Of a plane, that of the tensor that it belongs to.
    pub name: Arc<str>,
    pub dtype: Dtype,
    pub dtype_name: String,
    pub shape: Vec<u64>,
    pub layout: Layout,
    pub grid: Grid,
    pub planes: Vec<PlaneRecord>,
    /// Of a progressive tensor: the numbers of the records of its planes, in order.
    pub refinements: Vec<u32>,
}

impl Entry {
    /// An entry whose positions, which follow from the order of entries, are still to be added up.
    pub(crate) fn unplaced(
        record: TensorRecord,
        name: impl Into<Arc<str>>,
        dtype: Dtype,
        dtype_name: String,
        shape: Vec<u64>,
        layout: Layout,
        grid: Grid,
        planes: Vec<PlaneRecord>,
    ) -> Self {
        let (source_off, segment_off, directory_off, refinements) = (0, 0, 0, Vec::new());
        let name = name.into();
        Self { record, source_off, segment_off, directory_off, name, dtype, dtype_name, shape, layout, grid, planes, refinements }
    }

    /// Whether plane `p` says in each tile how it is coded.
    pub(crate) fn is_per_tile(plane: &PlaneRecord) -> bool {
        plane.mode == PlaneMode::PerTile as u8
    }

    /// Bytes of one tile's directory entry.
    pub(crate) fn directory_stride(&self) -> usize {
        let planes = self.planes.iter().filter(|p| Self::is_per_tile(p)).count();
        let filter = if self.is_filtered() { modes::ENTRY } else { 0 };
        size_of::<TileHead>() + size_of::<TilePlane>() * planes + filter
    }

    /// Bytes before the tiles' entries: the tools' parameters, then, with contexts, the classes of rows and columns, two to a byte.
    pub(crate) fn prefix_len(&self) -> u64 {
        let params = 16 * self.record.params16 as u64;
        if self.record.tools & (tool::CONTEXTS | tool::BASE) != tool::CONTEXTS || self.has_block_contexts() {
            return params;
        }
        let columns = self.grid.row_bytes / self.layout.record_bytes() as u64;
        params + self.grid.rows.div_ceil(2) + columns.div_ceil(2)
    }

    /// Whether its contexts are those of blocks with a step and a minimum.
    pub(crate) fn has_block_contexts(&self) -> bool {
        self.record.tools & (tool::CONTEXTS | tool::BASE) == tool::CONTEXTS && affine(self.layout).is_some()
    }

    /// Whether it is the base's tensor: nothing of it is stored but its record.
    pub(crate) fn is_same(&self) -> bool {
        self.record.tools & tool::BASE != 0 && self.record.params16 == 0
    }

    /// Tiles in the archive. Cannot overflow once the entry is checked.
    pub(crate) fn tiles(&self) -> u64 {
        if self.is_same() { 0 } else { self.grid.tiles().unwrap_or(0) }
    }

    /// Bytes of the tile directory. Cannot overflow once the entry is checked.
    pub(crate) fn directory_len(&self) -> u64 {
        self.prefix_len() + self.tiles() * self.directory_stride() as u64
    }

    /// Whether its numbers' lowest bits are told by those above them.
    pub(crate) fn has_trellis(&self) -> bool {
        self.record.tools & tool::TRELLIS != 0
    }

    /// Whether its tiles may be filtered.
    pub(crate) fn is_filtered(&self) -> bool {
        self.record.tools & tool::FILTERS != 0
    }

    pub(crate) fn is_tensor(&self) -> bool {
        self.record.kind == kind::TENSOR
    }

    /// Whether it is a tensor of bitplanes.
    pub(crate) fn is_progressive(&self) -> bool {
        self.record.tools & tool::PROGRESSIVE != 0
    }
}

/// The parsed index.
#[derive(Debug)]
pub(crate) struct Index {
    /// Blobs, tensors, then the planes that refine them.
    pub entries: Vec<Entry>,
    /// Blobs and tensors.
    pub whole: usize,
    /// Where in the archive each level's segments end; one level unless the archive is progressive.
    pub level_ends: Vec<u64>,
    pub by_name: HashMap<Arc<str>, u32>,
    /// Numbers of the entries that are tensors, in order.
    pub tensors: Vec<u32>,
    pub tables: TablePool,
}

/// Appends the index to `out`.
pub(crate) fn write_index(entries: &[Entry], tables: &TablePool, out: &mut Vec<u8>) -> Result<()> {
    let (mut planes, mut dims, mut names) = (Vec::new(), Vec::new(), Vec::new());
    let small = |n: usize| u32::try_from(n).map_err(|_| Error::argument("the index would be above 4 GiB"));
    for e in entries {
        planes.extend_from_slice(&e.planes);
        dims.extend_from_slice(&e.shape);
        if e.record.kind == kind::PLANE {
            continue;
        }
        names.extend_from_slice(e.name.as_bytes());
        if e.dtype == Dtype::Other && e.is_tensor() {
            names.extend_from_slice(e.dtype_name.as_bytes());
        }
    }
    let mut table_bytes = Vec::new();
    tables.write_to(&mut table_bytes);
    let header = IndexHeader {
        entries: small(entries.len())?,
        planes: small(planes.len())?,
        dims: small(dims.len())?,
        tables: small(tables.freqs().len())?,
        table_bytes: small(table_bytes.len())?,
        name_bytes: small(names.len())?,
        scale: 0,
        reserved: [0; 7],
    };
    out.extend_from_slice(bytemuck::bytes_of(&header));
    entries.iter().for_each(|e| out.extend_from_slice(bytemuck::bytes_of(&e.record)));
    out.extend_from_slice(bytemuck::cast_slice(&planes));
    out.extend_from_slice(bytemuck::cast_slice(&dims));
    out.extend_from_slice(&table_bytes);
    out.extend_from_slice(&names);
    Ok(())
}

/// Takes arrays off the front of the index.
struct Reader<'a> {
    rest: &'a [u8],
    at: u64,
}

impl<'a> Reader<'a> {
    fn bytes(&mut self, n: u64, what: &str) -> Result<&'a [u8]> {
        let split = usize::try_from(n).ok().and_then(|n| self.rest.split_at_checked(n));
        let (head, rest) = split.ok_or_else(|| Error::corrupt(format!("the index is too short for its {what}")).at(self.at))?;
        self.rest = rest;
        self.at += n;
        Ok(head)
    }

    /// Elements are copied out: the index need not be aligned in memory.
    fn array<T: Pod>(&mut self, n: u32, what: &str) -> Result<Vec<T>> {
        let bytes = self.bytes(n as u64 * size_of::<T>() as u64, what)?;
        Ok(bytes.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect())
    }
}

/// Reads and checks the index of the archive that `superblock` (already checked) heads.
pub(crate) fn read_index(bytes: &[u8], superblock: &Superblock) -> Result<Index> {
    let mut r = Reader { rest: bytes, at: superblock.index_off };
    let header: IndexHeader = bytemuck::pod_read_unaligned(r.bytes(size_of::<IndexHeader>() as u64, "header")?);
    if header.scale != 0 {
        let why = format!("frequency tables of 2^{} slots need a newer wcodec", 12 + header.scale as u32);
        return Err(Error::new(ErrorKind::Unsupported, why).at(superblock.index_off));
    }
    if header.reserved != [0; 7] {
        return Err(Error::corrupt("the index has unknown fields").at(superblock.index_off));
    }
    if header.entries != superblock.entries {
        return Err(Error::corrupt("the index and the superblock disagree").at(superblock.index_off));
    }
    let records: Vec<TensorRecord> = r.array(header.entries, "tensors")?;
    let planes: Vec<PlaneRecord> = r.array(header.planes, "planes")?;
    let dims: Vec<u64> = r.array(header.dims, "dimensions")?;
    let tables_at = r.at;
    let tables = TablePool::read_from(r.bytes(header.table_bytes as u64, "tables")?, header.tables as usize, tables_at)?;
    let names = r.bytes(header.name_bytes as u64, "names")?;
    if !r.rest.is_empty() {
        return Err(Error::corrupt("bytes left over after the index").at(r.at));
    }
    let mut parts = Parts { planes: &planes, dims: &dims, names };
    let mut entries = Vec::with_capacity(records.len());
    let mut by_name = HashMap::with_capacity(records.len());
    let segments = segments(superblock);
    let (mut source, mut segment, mut directory) = (0, segments.start, superblock.directory_off);
    let mut order = Order::default();
    let mut level_ends = Vec::new();
    for (i, record) in records.into_iter().enumerate() {
        let at = superblock.index_off + (size_of::<IndexHeader>() + i * size_of::<TensorRecord>()) as u64;
        let plane = record.kind == kind::PLANE;
        let mut entry = if plane {
            read_plane(record, &mut parts, i as u32, &mut entries, &mut order).map_err(|e| e.at(at))?
        } else {
            read_entry(record, &mut parts).map_err(|e| e.at(at))?
        };
        if !plane && order.last.is_some() {
            return Err(Error::corrupt("a tensor that comes after planes").with_tensor(&entry.name).at(at));
        }
        let blocks = if matches!(entry.layout, Layout::Blocks(_)) { feature::BLOCKS } else { 0 };
        if (feature::of_tools(record.tools) | blocks) & !superblock.required != 0 {
            return Err(Error::corrupt("a tool or layout that the superblock does not announce").with_tensor(&entry.name).at(at));
        }
        let place = |at: &mut u64, len: u64, end: u64, what: &str| {
            let start = *at;
            *at = start
                .checked_add(len)
                .filter(|&a| a <= end)
                .ok_or_else(|| Error::corrupt(format!("its {what} does not fit into the file")).with_tensor(&entry.name))?;
            Ok::<u64, Error>(start)
        };
        // One after the other within the file: no length from here on asks for more than the file holds, and no part of it can be
        // decoded twice over into more than its size justifies.
        let end = if superblock.source_kind != source_kind::TENSORS { superblock.source_len } else { i64::MAX as u64 };
        let decoded = if plane { 0 } else { entry.grid.bytes() };
        let source_off = place(&mut source, decoded, end, "decoded bytes").map_err(|e| e.at(at))?;
        let segment_off = place(&mut segment, record.segment_len, segments.end, "segment").map_err(|e| e.at(at))?;
        level_ends.resize(order.level() + 1, segment_off);
        level_ends[order.level()] = segment;
        let directory_off =
            place(&mut directory, entry.directory_len(), superblock.index_off, "directory").map_err(|e| e.at(at))?;
        (entry.source_off, entry.segment_off, entry.directory_off) = (source_off, segment_off, directory_off);
        if entry.is_tensor() && by_name.insert(entry.name.clone(), i as u32).is_some() {
            return Err(Error::corrupt("two tensors of this name").with_tensor(&entry.name).at(at));
        }
        // The source's header is a blob, and nothing else but what lies between a GGUF file's tensors.
        let belongs = match (superblock.source_kind, i) {
            (source_kind::TENSORS, _) => entry.is_tensor(),
            (_, 0) => !entry.is_tensor(),
            (source_kind::GGUF, _) => true,
            _ => entry.is_tensor(),
        };
        if !plane && !belongs {
            return Err(Error::corrupt("a blob where a tensor belongs, or the reverse").at(at));
        }
        entries.push(entry);
    }
    if let Some(e) = entries.iter().find(|e| e.is_progressive() && e.is_tensor() && Some(e.refinements.len()) != planes_of(e)) {
        return Err(Error::corrupt("planes of it are missing").with_tensor(&e.name).at(superblock.index_off));
    }
    let wasted = !parts.planes.is_empty() || !parts.dims.is_empty() || !parts.names.is_empty();
    if wasted || segment != segments.end || directory != superblock.index_off {
        return Err(Error::corrupt("the tensors do not account for the whole file").at(superblock.index_off));
    }
    if superblock.source_kind != source_kind::TENSORS && source != superblock.source_len {
        return Err(Error::corrupt(format!("the tensors cover {source} of the source's {} bytes", superblock.source_len)));
    }
    let tensors = (0..entries.len() as u32).filter(|&i| entries[i as usize].is_tensor()).collect();
    let whole = entries.iter().filter(|e| e.record.kind != kind::PLANE).count();
    level_ends.resize(level_ends.len().max(1), segments.start);
    Ok(Index { entries, whole, level_ends, by_name, tensors, tables })
}

/// Where segments lie in an archive whose superblock is checked: after the superblock or, in a progressive one, after the index, so that
/// its first bytes are of use without the others.
pub(crate) fn segments(superblock: &Superblock) -> Range<u64> {
    if is_progressive(superblock) {
        superblock.index_off + superblock.index_len..superblock.file_len - SUPERBLOCK_BYTES
    } else {
        SUPERBLOCK_BYTES..superblock.directory_off
    }
}

/// Whether an archive is laid out for progressive reading.
pub(crate) fn is_progressive(superblock: &Superblock) -> bool {
    superblock.required & feature::PROGRESSIVE != 0
}

/// Checks the modes that hold for a whole tensor.
pub(super) fn check_planes(planes: &[PlaneRecord]) -> Result<()> {
    for plane in planes {
        let known = matches!(PlaneMode::from_u8(plane.mode), Some(PlaneMode::Raw | PlaneMode::Constant | PlaneMode::PerTile));
        if !known || plane.reserved != [0; 2] || (plane.value != 0 && plane.mode != PlaneMode::Constant as u8) {
            return Err(Error::corrupt("a plane with unknown fields"));
        }
    }
    Ok(())
}

/// What of the index's arrays the records have not taken yet.
pub(super) struct Parts<'a> {
    pub(super) planes: &'a [PlaneRecord],
    pub(super) dims: &'a [u64],
    names: &'a [u8],
}

/// Takes `n` elements off the front.
pub(super) fn take<'a, T>(array: &mut &'a [T], n: usize, what: &str) -> Result<&'a [T]> {
    let (head, rest) = array.split_at_checked(n).ok_or_else(|| Error::corrupt(format!("its {what} lies outside the index")))?;
    *array = rest;
    Ok(head)
}

fn read_entry(record: TensorRecord, parts: &mut Parts<'_>) -> Result<Entry> {
    let name = take(&mut parts.names, record.name_len as usize, "name")?;
    let name = std::str::from_utf8(name).map_err(|_| Error::corrupt("its name is not UTF-8"))?.to_owned();
    read_named(record, parts, &name).map_err(|e| e.with_tensor(&name))
}

fn read_named(record: TensorRecord, parts: &mut Parts<'_>, name: &str) -> Result<Entry> {
    let fail = |why: String| Err(Error::corrupt(why));
    if record.tools & !tool::KNOWN != 0 || (record.tools == 0 && record.params16 != 0) || record.kind > kind::BLOB {
        return fail("its record has unknown fields".into());
    }
    if record.tools & tool::FILTERS != 0 && record.tools != tool::FILTERS {
        return fail("filters and another tool, which exclude each other".into());
    }
    let trellis = record.tools & tool::TRELLIS != 0;
    if trellis && (record.kind != kind::TENSOR || record.tools & !tool::CONTEXTS != tool::TRELLIS) {
        return fail("a trellis and another tool, or no tensor".into());
    }
    if record.tools & tool::BASE != 0 {
        let same = record.params16 == 0;
        if record.kind != kind::TENSOR || (same && (record.tools != tool::BASE || record.segment_len != 0)) {
            return fail("it is no difference from a tensor of the base".into());
        }
    }
    let Some(dtype) = Dtype::from_number(record.dtype) else { return fail(format!("unknown dtype {}", record.dtype)) };
    let bytes = take(&mut parts.names, record.dtype_len as usize, "dtype's name")?;
    let dtype_name = match (dtype.name(), std::str::from_utf8(bytes)) {
        (Some(known), Ok("")) => known.to_owned(),
        (None, Ok(own)) => own.to_owned(),
        _ => return fail("its dtype's name is no UTF-8, or one too many".into()),
    };
    let Some(layout) = Layout::from_number(record.layout) else { return fail(format!("unknown layout {}", record.layout)) };
    if trellis && layout != Layout::Columns(1) {
        return fail("a trellis of elements that are no bytes".into());
    }
    let shape = take(&mut parts.dims, record.ndim as usize, "shape")?.to_vec();
    let progressive = record.tools & tool::PROGRESSIVE != 0;
    if progressive {
        let size = form_of(dtype).map(|form| Layout::Columns(form.bytes() as u8));
        if record.tools != tool::PROGRESSIVE || record.params16 != 0 || record.kind != kind::TENSOR || size != Some(layout) {
            return fail("it cannot be progressive".into());
        }
    }
    let planes = take(&mut parts.planes, if progressive { 1 } else { layout.planes() }, "planes")?.to_vec();
    check_planes(&planes)?;
    let grid = Grid {
        rows: record.rows,
        row_bytes: record.row_bytes,
        tile_rows: record.tile_rows as u64,
        tile_row_bytes: record.tile_row_bytes as u64,
    };
    grid.check(layout.record_bytes() as u64)?;
    let mut entry = Entry::unplaced(record, name, dtype, dtype_name, shape, layout, grid, planes);
    if entry.is_tensor() && dtype != Dtype::Other && dtype.byte_len(&entry.shape) != Some(grid.bytes()) {
        return fail(format!("{} of shape {:?} does not take {} bytes", entry.dtype_name, entry.shape, grid.bytes()));
    }
    let split = dtype.rows(&entry.shape);
    if entry.is_tensor() && split != Some((grid.rows, grid.row_bytes)) && (split.is_some() || grid.rows != 1) {
        return fail(format!("{} rows of {} bytes are not the shape {:?}", grid.rows, grid.row_bytes, entry.shape));
    }
    if entry.is_same() {
        // No tile of it is stored: the file's would be work for whoever decodes it, and justified by nothing in it.
        entry.grid = Grid::choose(grid.rows, grid.row_bytes, layout.record_bytes() as u64);
    }
    let entries = grid.tiles().and_then(|t| t.checked_mul(entry.directory_stride() as u64));
    if entries.and_then(|e| e.checked_add(entry.prefix_len())).is_none() {
        return fail("more tiles than there can be".into());
    }
    Ok(entry)
}
