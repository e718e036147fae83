//! Section 8: progressive archives.

use super::tile::decode_plane;
use super::{Decoded, Record, Result, Table, crc32c, ensure, range, u32_at};
use std::collections::HashMap;

/// Form (m, where it is a float), bits, planes.
fn form(dtype: u16) -> Result<(Option<u32>, u32, u64)> {
    Ok(match dtype {
        15 => (Some(7), 16, 7),
        14 => (Some(10), 16, 10),
        18 => (Some(23), 32, 23),
        8 => (Some(3), 8, 3),
        7 => (Some(2), 8, 2),
        6 => (None, 8, 6),
        12 => (None, 16, 14),
        _ => return Err(format!("dtype {dtype} is not split")),
    })
}

/// A split tensor's record (8.2).
pub(super) fn check_split(r: &Record) -> Result<()> {
    let (_, bits, _) = form(r.dtype)?;
    ensure(!r.blob, "a blob that is split")?;
    ensure(u32::from(r.layout) == bits / 8, "layout of a split tensor")?;
    ensure(r.params16 == 0, "parameters of a split tensor")
}

/// A plane's record: `raw` of all of them, `before` those that are parsed.
pub(super) fn check_plane(r: &mut Record, raw: &[u8], all: &[u8], before: &[Record]) -> Result<()> {
    ensure(raw[62] == 8, "a plane without the tool")?;
    let &[tensor, plane] = &r.shape[..] else { return Err("dimensions of a plane".into()) };
    let of = usize::try_from(tensor).ok().and_then(|t| before.get(t)).ok_or("a plane of no record")?;
    ensure(of.tools == 8 && of.plane_of.is_none(), "a plane of what is not split")?;
    ensure(plane <= form(of.dtype)?.2, "a plane that there is not")?;
    if let Some((last_tensor, last_plane)) = before.last().and_then(|b| b.plane_of) {
        ensure((last_plane, last_tensor) < (plane, tensor), "planes out of order")?;
    }
    ensure(r.layout == 1 && r.name.is_empty() && raw[61] == 0 && r.hash == 0, "fields of a plane")?;
    // All others but segment_len (16..24), hash, directory_crc, name_len (24..48), layout, kind, ndim, dtype_len (58..62).
    let theirs = &all[64 * tensor as usize..][..64];
    for (from, to) in [(0, 16), (48, 58), (62, 64)] {
        ensure(raw[from..to] == theirs[from..to], "a plane's field differs from the tensor's")?;
    }
    r.plane_of = Some((tensor, plane));
    Ok(())
}

/// An element while it is put together.
#[derive(Clone, Copy, Default)]
struct Number {
    category: u32,
    negative: bool,
    /// Mantissa, or magnitude.
    bits: u64,
}

struct Tensor {
    m: Option<u32>,
    width: u32,
    planes: u64,
    rows: u64,
    row_bytes: u64,
    tile_rows: u64,
    tile_row_bytes: u64,
    /// Of each tile.
    tiles: Vec<Vec<Number>>,
}

/// The split tensors, by record.
pub(super) struct Split(HashMap<u64, Tensor>);

impl Split {
    pub(super) fn new(records: &[Record]) -> Result<Self> {
        let mut tensors = HashMap::new();
        for (i, r) in records.iter().enumerate().filter(|(_, r)| r.tools & 8 == 8 && r.plane_of.is_none()) {
            let (m, width, planes) = form(r.dtype)?;
            let has: Vec<u64> = records.iter().filter_map(|p| p.plane_of).filter(|p| p.0 == i as u64).map(|p| p.1).collect();
            ensure(has == (0..=planes).collect::<Vec<_>>(), "a split tensor does not have all its planes")?;
            let Record { rows, row_bytes, tile_rows, tile_row_bytes, .. } = *r;
            let tiles = Vec::new();
            tensors.insert(i as u64, Tensor { m, width, planes, rows, row_bytes, tile_rows, tile_row_bytes, tiles });
        }
        Ok(Self(tensors))
    }

    /// Decodes a record of categories or of a plane; planes above `detail` are passed over.
    pub(super) fn add(
        &mut self,
        number: usize,
        r: &Record,
        segment: &[u8],
        directory: &[u8],
        stride: usize,
        tables: &[Table],
        detail: u64,
        seen: &mut Decoded,
    ) -> Result<()> {
        let (tensor, plane) = r.plane_of.map_or((number as u64, None), |(tensor, plane)| (tensor, Some(plane)));
        let t = self.0.get_mut(&tensor).ok_or("a plane of what is not split")?;
        if plane.is_some_and(|p| p > detail) {
            return Ok(());
        }
        let count = directory.len() / stride;
        let begin = |tile: usize| 16 * u64::from(u32_at(directory, tile * stride));
        ensure(count == 0 || begin(0) == 0, "the first tile does not begin the segment")?;
        for tile in 0..count {
            let end = if tile + 1 < count { begin(tile + 1) } else { segment.len() as u64 };
            let len = end.checked_sub(begin(tile)).ok_or("a tile ends before it begins")?;
            let mut payload = range(segment, begin(tile), len)?;
            let head = &directory[tile * stride..][..stride];
            ensure(crc32c(payload) == u32_at(head, 4), "tile CRC")?;
            let (mode, value) = r.planes[0];
            let uniform = [mode, value, 0, 0, 0, 0, 0, 0];
            let entry = if mode == 255 { &head[8..] } else { &uniform[..] };
            ensure(entry[0] <= 2, "mode of a plane of bits")?;
            let (kind, bit) = (plane.map_or(0, |p| 1 + p.min(1)), plane.unwrap_or(0));
            seen.modes.push((200 + kind as u8, r.dtype as usize, entry[0]));
            seen.modes.sort_unstable();
            seen.modes.dedup();
            if plane.is_none() {
                let (height, width) = t.size(tile as u64);
                let e = (height * width / u64::from(t.width / 8)) as usize;
                let bytes = decode_plane(1, 0, entry, &mut payload, e, e, &[], tables)?;
                let most = t.m.map_or(t.width, |m| (1 << (t.width - 1 - m)) - 1);
                ensure(bytes.iter().all(|&c| u32::from(c) <= most), "a category that there is not")?;
                let start = |c: u8| match t.m {
                    None if c > 0 => 1 << (c - 1),
                    _ => 0,
                };
                t.tiles.push(bytes.iter().map(|&c| Number { category: u32::from(c), negative: false, bits: start(c) }).collect());
            } else {
                let (m, width) = (t.m, t.width);
                let has = |n: &&mut Number| m.is_some() || (bit < u64::from(n.category) && n.category < width);
                let bits = t.tiles[tile].iter_mut().filter(has).count();
                let b = bits.div_ceil(8);
                ensure(b > 0 || entry[0] < 2, "a stream of no bits")?;
                let bytes = decode_plane(1, 0, entry, &mut payload, b, b, &[], tables)?;
                for (i, n) in t.tiles[tile].iter_mut().filter(has).enumerate() {
                    let one = u64::from(bytes[i / 8] >> (i % 8) & 1);
                    match (bit, m) {
                        (0, _) => n.negative = one == 1,
                        (j, Some(m)) => n.bits |= one << (u64::from(m) - j),
                        (j, None) => n.bits |= one << (u64::from(n.category) - 1 - j),
                    }
                }
            }
            ensure(payload.is_empty(), "bytes left in a tile")?;
        }
        Ok(())
    }

    /// The tensor's bytes at `k` planes.
    pub(super) fn finish(&self, number: usize, k: u64) -> Result<Vec<u8>> {
        let t = self.0.get(&(number as u64)).ok_or("not split")?;
        let mut out = vec![0; (t.rows * t.row_bytes) as usize];
        let size = u64::from(t.width / 8);
        for (tile, numbers) in t.tiles.iter().enumerate() {
            let (_, width) = t.size(tile as u64);
            let across = t.row_bytes.div_ceil(t.tile_row_bytes);
            let (top, left) = (tile as u64 / across * t.tile_rows, tile as u64 % across * t.tile_row_bytes);
            for (i, n) in numbers.iter().enumerate() {
                let (y, x) = (i as u64 * size / width, i as u64 * size % width);
                let at = ((top + y) * t.row_bytes + left + x) as usize;
                out[at..at + size as usize].copy_from_slice(&t.element(n, k).to_le_bytes()[..size as usize]);
            }
        }
        Ok(out)
    }
}

impl Tensor {
    /// Rows and bytes a row of a tile.
    fn size(&self, tile: u64) -> (u64, u64) {
        let across = self.row_bytes.div_ceil(self.tile_row_bytes);
        let (top, left) = (tile / across * self.tile_rows, tile % across * self.tile_row_bytes);
        (self.tile_rows.min(self.rows - top), self.tile_row_bytes.min(self.row_bytes - left))
    }

    /// 8.4.
    fn element(&self, n: &Number, k: u64) -> u64 {
        let k = k.min(self.planes);
        match self.m {
            Some(m) => {
                let exponents = (1u32 << (self.width - 1 - m)) - 1;
                let unknown = u64::from(m) - k;
                let ordinary = n.category != 0 && n.category != exponents;
                let middle = if unknown > 0 && ordinary { 1u64 << (unknown - 1) } else { 0 };
                u64::from(n.negative) << (self.width - 1) | u64::from(n.category) << m | n.bits | middle
            }
            None if n.category == self.width => 1 << (self.width - 1),
            None => {
                let unknown = (u64::from(n.category).saturating_sub(1)).saturating_sub(k);
                let magnitude = n.bits | if unknown > 0 { 1 << (unknown - 1) } else { 0 };
                if n.negative { magnitude.wrapping_neg() } else { magnitude }
            }
        }
    }
}
