//! The index: what tensors there are, where, and how they are coded.

use super::grid::Grid;
use super::tables::TablePool;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use bytemuck::Pod;
use std::collections::HashMap;
use std::mem::size_of;
use wcodec_device::layout::{
    IndexHeader, PlaneMode, PlaneRecord, SUPERBLOCK_BYTES, Superblock, TensorRecord, TileHead, TilePlane, kind, source_kind,
};
use wcodec_device::planes::Layout;

/// A tensor (or blob) as the index describes it, checked.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub record: TensorRecord,
    pub name: String,
    pub dtype: Dtype,
    pub dtype_name: String,
    pub shape: Vec<u64>,
    pub layout: Layout,
    pub grid: Grid,
    pub planes: Vec<PlaneRecord>,
}

impl Entry {
    /// Whether plane `p` says in each tile how it is coded.
    pub(crate) fn is_per_tile(plane: &PlaneRecord) -> bool {
        plane.mode == PlaneMode::PerTile as u8
    }

    /// Bytes of one tile's directory entry.
    pub(crate) fn directory_stride(&self) -> usize {
        size_of::<TileHead>() + size_of::<TilePlane>() * self.planes.iter().filter(|p| Self::is_per_tile(p)).count()
    }

    /// Bytes of the tile directory. Cannot overflow once the entry is checked.
    pub(crate) fn directory_len(&self) -> u64 {
        self.grid.tiles().unwrap_or(0) * self.directory_stride() as u64
    }

    pub(crate) fn is_tensor(&self) -> bool {
        self.record.kind == kind::TENSOR
    }
}

/// The parsed index.
#[derive(Debug)]
pub(crate) struct Index {
    pub entries: Vec<Entry>,
    pub by_name: HashMap<String, u32>,
    pub tables: TablePool,
}

/// Appends the index to `out`. Positions of names, dimensions and planes in the records are set here.
pub(crate) fn write_index(entries: &mut [Entry], tables: &TablePool, out: &mut Vec<u8>) -> Result<()> {
    let (mut planes, mut dims, mut names) = (Vec::new(), Vec::new(), Vec::new());
    let small = |n: usize| u32::try_from(n).map_err(|_| Error::argument("the index would be above 4 GiB"));
    for e in entries.iter_mut() {
        e.record.planes_at = small(planes.len())?;
        e.record.dims_at = small(dims.len())?;
        e.record.name_off = small(names.len())?;
        e.record.name_len = small(e.name.len())?;
        planes.extend_from_slice(&e.planes);
        dims.extend_from_slice(&e.shape);
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
        reserved: 0,
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
    if header.entries != superblock.entries || header.reserved != 0 {
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
    let mut entries = Vec::with_capacity(records.len());
    let mut by_name = HashMap::with_capacity(records.len());
    let mut source_at = 0u64;
    let (mut segments_at, mut directories_at) = (SUPERBLOCK_BYTES, superblock.directory_off);
    for (i, record) in records.into_iter().enumerate() {
        let at = superblock.index_off + (size_of::<IndexHeader>() + i * size_of::<TensorRecord>()) as u64;
        let entry = read_entry(record, &planes, &dims, names, superblock).map_err(|e| e.at(at))?;
        // In order and without overlap: no part of the file can be decoded twice over into more than its size justifies.
        if entry.record.segment_off < segments_at || entry.record.directory_off != directories_at {
            return Err(Error::corrupt("its segment or directory is out of order").with_tensor(&entry.name).at(at));
        }
        segments_at = entry.record.segment_off + entry.record.segment_len;
        directories_at += entry.directory_len();
        if superblock.source_kind == source_kind::SAFETENSORS {
            if entry.record.source_off != source_at {
                return Err(Error::corrupt("the tensors do not cover the source file").with_tensor(&entry.name).at(at));
            }
            source_at = source_at.saturating_add(entry.grid.bytes());
        }
        if entry.is_tensor() && by_name.insert(entry.name.clone(), i as u32).is_some() {
            return Err(Error::corrupt("two tensors of this name").with_tensor(&entry.name).at(at));
        }
        entries.push(entry);
    }
    if directories_at != superblock.index_off {
        return Err(Error::corrupt("bytes between the directories and the index").at(directories_at));
    }
    if superblock.source_kind == source_kind::SAFETENSORS && source_at != superblock.source_len {
        return Err(Error::corrupt(format!("the tensors cover {source_at} of the source's {} bytes", superblock.source_len)));
    }
    Ok(Index { entries, by_name, tables })
}

fn slice<T>(array: &[T], at: u32, n: usize) -> Option<&[T]> {
    array.get(at as usize..(at as usize).checked_add(n)?)
}

fn read_entry(record: TensorRecord, planes: &[PlaneRecord], dims: &[u64], names: &[u8], sb: &Superblock) -> Result<Entry> {
    let outside = |what: &str| Error::corrupt(format!("its {what} lies outside the index"));
    let name = slice(names, record.name_off, record.name_len as usize).ok_or_else(|| outside("name"))?;
    let name = std::str::from_utf8(name).map_err(|_| Error::corrupt("its name is not UTF-8"))?.to_owned();
    let fail = |why: String| Error::corrupt(why).with_tensor(&name);
    let outside = |what: &str| outside(what).with_tensor(&name);
    if record.reserved != [0; 13] || record.kind > kind::BLOB {
        return Err(fail("its record has unknown fields".into()));
    }
    let dtype = Dtype::from_number(record.dtype).ok_or_else(|| fail(format!("unknown dtype {}", record.dtype)))?;
    let dtype_name = match dtype.name() {
        Some(n) if record.dtype_len == 0 => n.to_owned(),
        Some(_) => return Err(fail("a known dtype with a name of its own".into())),
        None => {
            let at = record.name_off.checked_add(record.name_len).ok_or_else(|| outside("dtype's name"))?;
            let bytes = slice(names, at, record.dtype_len as usize).ok_or_else(|| outside("dtype's name"))?;
            std::str::from_utf8(bytes).map_err(|_| fail("its dtype's name is not UTF-8".into()))?.to_owned()
        }
    };
    let layout = Layout::from_number(record.layout).ok_or_else(|| fail(format!("unknown layout {}", record.layout)))?;
    let shape = slice(dims, record.dims_at, record.ndim as usize).ok_or_else(|| outside("shape"))?.to_vec();
    let planes = slice(planes, record.planes_at, record.planes as usize).ok_or_else(|| outside("planes"))?.to_vec();
    if planes.len() != layout.planes() {
        return Err(fail(format!("{} planes where the layout has {}", planes.len(), layout.planes())));
    }
    for plane in &planes {
        let known = matches!(
            PlaneMode::from_u8(plane.mode),
            Some(PlaneMode::Raw | PlaneMode::Constant | PlaneMode::PerTile)
        );
        if !known || plane.reserved != [0; 2] || (plane.value != 0 && plane.mode != PlaneMode::Constant as u8) {
            return Err(fail("a plane with unknown fields".into()));
        }
    }
    let grid = Grid {
        rows: record.rows,
        row_bytes: record.row_bytes,
        tile_rows: record.tile_rows as u64,
        tile_row_bytes: record.tile_row_bytes as u64,
    };
    grid.check(layout.record_bytes() as u64).map_err(|e| e.with_tensor(&name))?;
    if record.kind == kind::TENSOR && dtype != Dtype::Other && dtype.byte_len(&shape) != Some(grid.bytes()) {
        return Err(fail(format!("{dtype_name} of shape {shape:?} does not take {} bytes", grid.bytes())));
    }
    let entry = Entry { record, name: name.clone(), dtype, dtype_name, shape, layout, grid, planes };
    // Everything that is read later lies inside the file: no length from here on can ask for more than the file holds.
    let directory = grid
        .tiles()
        .and_then(|t| t.checked_mul(entry.directory_stride() as u64))
        .and_then(|len| record.directory_off.checked_add(len));
    if record.directory_off < sb.directory_off || directory.is_none_or(|end| end > sb.index_off) {
        return Err(fail("its tile directory lies outside the directories".into()));
    }
    let segment = record.segment_off.checked_add(record.segment_len);
    if record.segment_off < SUPERBLOCK_BYTES || segment.is_none_or(|end| end > sb.directory_off) {
        return Err(fail("its segment lies outside the segments".into()));
    }
    Ok(entry)
}
