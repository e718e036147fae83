//! A second decoder of `.wcodec` archives, written from `docs/format.md` alone.
//!
//! It shares no code with the library: where the two agree, the document describes the format. It is slow and simple on purpose;
//! the sections named in the comments are those of the document.

#![allow(dead_code, unreachable_pub)]
// Loops are written as the document writes them.
#![allow(clippy::needless_range_loop, clippy::manual_is_multiple_of)]

mod base;
mod blocks;
mod contexts;
mod filters;
mod layout;
mod progressive;
mod stream;
mod tile;
mod trellis;

use contexts::{Contexts, classes_len};
use filters::Filter;
use layout::layout_shape;
use sha2::{Digest, Sha256};
use tile::{Heads, decode_record, tiles};
use trellis::Trellis;

/// An archive, decoded.
#[derive(Debug)]
pub struct Decoded {
    /// 0: tensors given in memory, 1: a safetensors file.
    pub source_kind: u32,
    /// The tensors (not the blob), in the order of the file.
    pub tensors: Vec<Tensor>,
    /// The decoded bytes of all records, one after the other: for source kind 1 the source file.
    pub source: Vec<u8>,
    /// Which (layout, plane, mode) the tiles use, each once and sorted: to see what a test has covered.
    pub modes: Vec<(u8, usize, u8)>,
    /// Predictors, and transforms + 16, of filtered tiles' blocks, likewise.
    pub filters: Vec<u8>,
}

/// A tensor, decoded.
#[derive(Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Its name.
    pub name: String,
    /// The number of its element type.
    pub dtype: u16,
    /// The name of its element type, where that is 65535.
    pub dtype_name: String,
    /// Its dimensions.
    pub shape: Vec<u64>,
    /// Its elements.
    pub bytes: Vec<u8>,
}

type Result<T> = std::result::Result<T, String>;

fn ensure(holds: bool, what: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(what.to_string()) }
}

// ------------------------------------------------------------------------------------------------------------------------------
// Bytes
// ------------------------------------------------------------------------------------------------------------------------------

fn u16_at(b: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([b[at], b[at + 1]])
}

fn u32_at(b: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

fn u64_at(b: &[u8], at: usize) -> u64 {
    u64::from(u32_at(b, at)) | u64::from(u32_at(b, at + 4)) << 32
}

/// The bytes from `at` on, `len` of them.
fn range(b: &[u8], at: u64, len: u64) -> Result<&[u8]> {
    let end = at.checked_add(len).ok_or("a range's end overflows")?;
    ensure(end <= b.len() as u64, "a range passes the end")?;
    Ok(&b[at as usize..end as usize])
}

/// Takes `len` bytes off the front.
fn take<'a>(b: &mut &'a [u8], len: u64) -> Result<&'a [u8]> {
    let front = range(b, 0, len)?;
    *b = &b[front.len()..];
    Ok(front)
}

/// CRC-32C, bit by bit.
pub fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

// ------------------------------------------------------------------------------------------------------------------------------
// Section 1: the file
// ------------------------------------------------------------------------------------------------------------------------------

struct Record {
    rows: u64,
    row_bytes: u64,
    segment_len: u64,
    hash: u128,
    directory_crc: u32,
    name: String,
    tile_rows: u64,
    tile_row_bytes: u64,
    dtype: u16,
    dtype_name: String,
    layout: u8,
    blob: bool,
    /// Of a plane of a split tensor: the tensor's record, and which plane.
    plane_of: Option<(u64, u64)>,
    shape: Vec<u64>,
    planes: Vec<(u8, u8)>,
    tools: u8,
    params16: u64,
}

/// A frequency table: for each slot the symbol, for each symbol its start and frequency.
struct Table {
    symbol: Vec<u8>,
    start: Vec<u32>,
    freq: Vec<u32>,
}

/// Decodes a whole archive and checks every checksum and hash in it.
pub fn decode(file: &[u8]) -> Result<Decoded> {
    decode_with(file, None)
}

/// The same of an archive with a base, given as a safetensors file.
pub fn decode_with(file: &[u8], base: Option<&[u8]>) -> Result<Decoded> {
    decode_to(file, base, u64::MAX)
}

/// What a progressive archive decodes to at `planes` planes; hashes are checked of what is exact.
pub fn decode_coarse(file: &[u8], planes: u64) -> Result<Decoded> {
    decode_to(file, None, planes)
}

fn decode_to(file: &[u8], base: Option<&[u8]>, detail: u64) -> Result<Decoded> {
    ensure(file.len() >= 512, "shorter than two superblocks")?;
    let sb = &file[..256];
    ensure(&sb[..8] == b"WCODEC\0\0", "magic")?;
    let major = u16_at(sb, 8);
    if major != 1 {
        return Err(format!("major version {major}"));
    }
    ensure(crc32c(&sb[..252]) == u32_at(sb, 252), "superblock CRC")?;
    ensure(sb == &file[file.len() - 256..], "the superblock's copy")?;
    let source_kind = u32_at(sb, 12);
    ensure(source_kind <= 2, "source kind")?;
    let required = u64_at(sb, 16);
    ensure(required & !127 == 0, "an unknown required feature")?;
    let progressive = required & 8 == 8;
    let (source_len, source_sha) = (u64_at(sb, 32), &sb[40..72]);
    ensure(u64_at(sb, 72) == file.len() as u64, "file length")?;
    let (index_off, index_len, directory_off) = (u64_at(sb, 80), u64_at(sb, 88), u64_at(sb, 96));
    let copy_off = file.len() as u64 - 256;
    let index_end = index_off.checked_add(index_len).filter(|&end| end <= copy_off).ok_or("the index does not fit")?;
    ensure(progressive || index_end == copy_off, "the index does not end at the copy")?;
    ensure(!progressive || directory_off == 256, "the directories of a progressive archive come first")?;
    ensure(256 <= directory_off && directory_off <= index_off, "order of the parts")?;
    let index = range(file, index_off, index_len)?;
    ensure(crc32c(index) == u32_at(sb, 104), "index CRC")?;

    let (records, tables) = parse_index(index, u32_at(sb, 108), source_kind)?;
    let base = match base {
        Some(base) if required & 2 == 2 => Some(base::Base::open(base, u64_at(sb, 144))?),
        _ => None,
    };
    let segments_range = if progressive { index_end..copy_off } else { 256..directory_off };
    let mut segments = &file[segments_range.start as usize..segments_range.end as usize];
    let mut directories = &file[directory_off as usize..index_off as usize];
    let mut out = Decoded { source_kind, tensors: Vec::new(), source: Vec::new(), modes: Vec::new(), filters: Vec::new() };
    let mut split = progressive::Split::new(&records)?;
    // Planes come after what they refine: all is decoded when the last of them is there.
    let mut whole: Vec<(Record, Vec<u8>)> = Vec::new();
    for (number, r) in records.into_iter().enumerate() {
        let segment = take(&mut segments, r.segment_len)?;
        ensure(u64::from(r.tools) & !required == 0, "a tool that is not required")?;
        ensure(r.layout < 144 || required & 16 == 16, "a layout that is not required")?;
        let filtered = u64::from(r.tools >> 2 & 1);
        let entry = 8 + 8 * (filtered + r.planes.iter().filter(|p| p.0 == 255).count() as u64);
        let same = r.tools & 2 == 2 && r.params16 == 0;
        let entries_len = (if same { Some(0) } else { tiles(&r) }).and_then(|n| n.checked_mul(entry));
        let directory_len =
            entries_len.and_then(|n| n.checked_add(16 * r.params16 + classes_len(&r)?)).ok_or("too many tiles")?;
        let directory = take(&mut directories, directory_len)?;
        ensure(crc32c(directory) == r.directory_crc, "directory CRC")?;
        if r.tools & 8 == 8 {
            split.add(number, &r, segment, directory, entry as usize, &tables, detail, &mut out)?;
            if r.plane_of.is_none() {
                whole.push((r, Vec::new()));
            }
            continue;
        }
        let mut entries = directory;
        let mut parameters = take(&mut entries, 16 * r.params16)?;
        let trellis = Trellis::parse(&r, &mut parameters)?;
        out.modes.extend(trellis.is_some().then_some((203, 0, r.tools)));
        let differences = match r.tools & 2 {
            2 => Some(base::Differences::parse(&r, parameters, base.as_ref(), tables.len())?),
            _ => None,
        };
        let scales = match blocks::has_scales(&r) {
            true => Some(blocks::Scales::parse(&r, parameters, tables.len())?),
            false => None,
        };
        let contexts = if r.tools & 3 == 1 && scales.is_none() {
            Some(Contexts::parse(&r, parameters, &mut entries, tables.len())?)
        } else {
            None
        };
        let filter = if filtered == 1 { Some(Filter::parse(&r, parameters, tables.len())?) } else { None };
        let differences = differences.as_ref();
        let bytes = match differences {
            Some(d) if d.is_same() => d.undo(&r, &[])?,
            _ => {
                let heads = Heads { contexts: contexts.as_ref(), differences, filter: filter.as_ref(), scales: scales.as_ref() };
                let decoded = decode_record(&r, segment, entries, entry as usize, heads, &tables, &mut out)?;
                let numbers = trellis.map_or(decoded.clone(), |t| t.undo(&r, &decoded));
                differences.map_or(Ok(numbers), |d| d.undo(&r, &decoded))?
            }
        };
        whole.push((r, bytes));
    }
    for (number, (r, bytes)) in whole.into_iter().enumerate() {
        let bytes = if r.tools & 8 == 8 { split.finish(number, detail)? } else { bytes };
        ensure(detail != u64::MAX || xxhash_rust::xxh3::xxh3_128(&bytes) == r.hash, "hash of a record")?;
        out.source.extend_from_slice(&bytes);
        if !r.blob {
            out.tensors.push(Tensor { name: r.name, dtype: r.dtype, dtype_name: r.dtype_name, shape: r.shape, bytes });
        }
    }
    ensure(segments.is_empty(), "bytes between the last segment and the directories")?;
    ensure(directories.is_empty(), "bytes between the last directory and the index")?;
    if source_kind > 0 {
        ensure(out.source.len() as u64 == source_len, "length of the source")?;
        ensure(detail != u64::MAX || Sha256::digest(&out.source)[..] == *source_sha, "hash of the source")?;
    }
    out.modes.sort_unstable();
    out.modes.dedup();
    out.filters.sort_unstable();
    out.filters.dedup();
    Ok(out)
}

/// Section 1.2.
fn parse_index(mut index: &[u8], entries: u32, source_kind: u32) -> Result<(Vec<Record>, Vec<Table>)> {
    let b = &mut index;
    let header = take(b, 32)?;
    ensure(u32_at(header, 0) == entries, "the number of records differs from the superblock's")?;
    let n = |i: usize| u64::from(u32_at(header, 4 * i));
    let mut records = take(b, 64 * n(0))?;
    let all_records = records;
    let mut planes = take(b, 4 * n(1))?;
    let mut dims = take(b, 8 * n(2))?;
    let mut tables = take(b, n(4))?;
    let mut names = take(b, n(5))?;
    ensure(b.is_empty(), "bytes left in the index")?;
    ensure(u64_at(header, 24) == 0, "reserved bytes of the index's header")?;

    let mut out: Vec<Record> = Vec::new();
    for i in 0..entries {
        let r = take(&mut records, 64)?;
        let text = |b: &[u8]| String::from_utf8(b.to_vec()).map_err(|e| e.to_string());
        let mut rec = Record {
            rows: u64_at(r, 0),
            row_bytes: u64_at(r, 8),
            segment_len: u64_at(r, 16),
            hash: u128::from(u64_at(r, 24)) | u128::from(u64_at(r, 32)) << 64,
            directory_crc: u32_at(r, 40),
            name: text(take(&mut names, u64::from(u32_at(r, 44)))?)?,
            tile_rows: u64::from(u32_at(r, 48)),
            tile_row_bytes: u64::from(u32_at(r, 52)),
            dtype: u16_at(r, 56),
            dtype_name: text(take(&mut names, u64::from(r[61]))?)?,
            layout: r[58],
            blob: r[59] == 1,
            plane_of: None,
            shape: Vec::new(),
            planes: Vec::new(),
            tools: r[62],
            params16: u64::from(r[63]),
        };
        ensure(r[59] <= 2, "kind of a record")?;
        ensure(r[62] & !79 == 0 && (r[62] != 0 || r[63] == 0), "tools of a record")?;
        ensure(r[62] & 4 == 0 || r[62] == 4, "filters and another tool")?;
        ensure(r[62] & 8 == 0 || r[62] == 8, "progressive and another tool")?;
        ensure(r[62] & 2 == 0 || r[59] == 0, "a blob with a base")?;
        ensure(
            r[62] & 64 == 0 || (r[62] & !1 == 64 && r[59] == 0 && r[58] == 1),
            "a trellis beside other tools, or of no bytes",
        )?;
        for _ in 0..r[60] {
            rec.shape.push(u64_at(take(&mut dims, 8)?, 0));
        }
        let (element, plane_count) = match rec.tools & 8 {
            8 => (layout_shape(rec.layout)?.0, 1),
            _ => layout_shape(rec.layout)?,
        };
        for _ in 0..plane_count {
            let p = take(&mut planes, 4)?;
            ensure(matches!(p[0], 0 | 1 | 255), "mode of a plane record")?;
            ensure(p[0] == 1 || p[1] == 0, "value of a plane record")?;
            ensure(p[2] == 0 && p[3] == 0, "reserved bytes of a plane record")?;
            rec.planes.push((p[0], p[1]));
        }
        if r[59] == 2 {
            progressive::check_plane(&mut rec, r, all_records, &out)?;
            out.push(rec);
            continue;
        }
        ensure(out.last().is_none_or(|o| o.plane_of.is_none()), "a tensor after planes")?;
        if rec.tools & 8 == 8 {
            progressive::check_split(&rec)?;
        }
        let decoded = rec.rows.checked_mul(rec.row_bytes).filter(|&n| n < 1 << 63).ok_or("decoded length")?;
        ensure(rec.tile_rows > 0 && rec.tile_row_bytes > 0, "an empty tile")?;
        ensure(rec.tile_rows * rec.tile_row_bytes <= 65536, "tile above 64 KiB")?;
        ensure(rec.row_bytes % element == 0 && rec.tile_row_bytes % element == 0, "a row cuts an element")?;
        ensure((rec.dtype == 65535) || rec.dtype_name.is_empty(), "dtype_len of a known dtype")?;
        let blob_or_tensor = source_kind == 2 && i > 0;
        ensure(
            blob_or_tensor || rec.blob == (i == 0 && source_kind > 0),
            "a blob that is not the source's header, or none for it",
        )?;
        let of_blocks = rec.dtype >= 256 && rec.dtype < 65535;
        if of_blocks {
            blocks::fields(rec.dtype - 256)?;
        }
        if of_blocks && !rec.blob {
            ensure(blocks::grid(rec.dtype, &rec.shape) == Some((rec.rows, rec.row_bytes)), "the grid is not the shape's")?;
        }
        let bits = if of_blocks { None } else { dtype_bits(rec.dtype)? };
        if let (Some(bits), false) = (bits, rec.blob) {
            let total = product(&rec.shape).and_then(|n| n.checked_mul(u64::from(bits)));
            ensure(total.is_some() && total == decoded.checked_mul(8), "shape and length differ")?;
        }
        if !rec.blob && !of_blocks {
            let by_shape = bits.zip(rec.shape.split_last()).and_then(|(bits, (last, others))| {
                let rows = product(others)?;
                let row_bits = last.checked_mul(u64::from(bits)).filter(|n| n % 8 == 0)?;
                Some((rows, row_bits / 8))
            });
            match by_shape {
                Some(grid) => ensure(grid == (rec.rows, rec.row_bytes), "the grid is not the shape's")?,
                None => ensure(rec.rows == 1, "more than one row without a shape that has rows")?,
            }
        }
        let band = u128::from(rec.tile_rows.min(rec.rows)) * u128::from(rec.row_bytes);
        ensure(rec.tile_rows == 1 || band <= 16 << 20, "a row of tiles above 16 MiB")?;
        if !rec.blob {
            ensure(out.iter().all(|o| o.blob || o.name != rec.name), "two tensors of one name")?;
        }
        out.push(rec);
    }
    ensure(planes.is_empty() && dims.is_empty() && names.is_empty(), "planes, dimensions or names left")?;
    ensure(n(3) <= 4096, "more than 4096 tables")?;
    let mut parsed = Vec::new();
    for _ in 0..n(3) {
        parsed.push(parse_table(&mut tables)?);
    }
    ensure(tables.is_empty(), "bytes left after the tables")?;
    Ok((out, parsed))
}

/// Bits of an element; `None` where the dtype is the record's own.
fn dtype_bits(dtype: u16) -> Result<Option<u32>> {
    Ok(Some(match dtype {
        2 => 4,
        3 | 4 => 6,
        1 | 5..=11 => 8,
        12..=15 => 16,
        16..=18 => 32,
        19..=22 => 64,
        65535 => return Ok(None),
        _ => return Err(format!("dtype {dtype}")),
    }))
}

/// A zero anywhere makes the product zero, whatever the others are.
fn product(dims: &[u64]) -> Option<u64> {
    if dims.contains(&0) { Some(0) } else { dims.iter().try_fold(1, |n: u64, &d| n.checked_mul(d)) }
}

/// Section 1.3.
fn parse_table(b: &mut &[u8]) -> Result<Table> {
    let mut freq: Vec<u32> = Vec::new();
    while freq.len() < 256 {
        match take(b, 1)?[0] {
            0 => {
                let n = usize::from(take(b, 1)?[0]) + 1;
                freq.resize(freq.len() + n, 0);
            }
            f @ 1..=127 => freq.push(u32::from(f)),
            h @ 0x80..=0x8f => freq.push(u32::from(h & 15) << 8 | u32::from(take(b, 1)?[0])),
            reserved => return Err(format!("reserved byte {reserved} in a table")),
        }
    }
    ensure(freq.len() == 256, "a table of more than 256 frequencies")?;
    ensure(freq.iter().sum::<u32>() == 4096, "a table's frequencies do not add up to 4096")?;
    ensure(freq.iter().all(|&f| f < 4096), "a frequency of 4096")?;
    let mut table = Table { symbol: Vec::new(), start: Vec::new(), freq };
    for s in 0..=255u8 {
        table.start.push(table.symbol.len() as u32);
        table.symbol.resize(table.symbol.len() + table.freq[usize::from(s)] as usize, s);
    }
    Ok(table)
}
