//! Section 2: tiles.

use super::base::Differences;
use super::blocks::{Scales, fields, inflate, leading_of};
use super::contexts::Contexts;
use super::filters::Filter;
use super::layout::{join, layout_shape};
use super::stream::decode_stream;
use super::{Decoded, Record, Result, Table, crc32c, ensure, range, take, u16_at, u32_at};

/// What heads a directory.
#[derive(Clone, Copy)]
pub(super) struct Heads<'a> {
    pub contexts: Option<&'a Contexts>,
    pub differences: Option<&'a Differences<'a>>,
    pub filter: Option<&'a Filter>,
    pub scales: Option<&'a Scales>,
}

pub(super) fn tiles(r: &Record) -> Option<u64> {
    r.rows.div_ceil(r.tile_rows).checked_mul(r.row_bytes.div_ceil(r.tile_row_bytes))
}

pub(super) fn decode_record(
    r: &Record,
    segment: &[u8],
    directory: &[u8],
    entry: usize,
    heads: Heads<'_>,
    tables: &[Table],
    seen: &mut Decoded,
) -> Result<Vec<u8>> {
    let count = directory.len() / entry;
    let mut out = vec![0u8; (r.rows * r.row_bytes) as usize];
    let begin = |tile: usize| 16 * u64::from(u32_at(directory, tile * entry));
    let across = r.row_bytes.div_ceil(r.tile_row_bytes);
    ensure(count == 0 || begin(0) == 0, "the first tile does not begin the segment")?;
    for tile in 0..count {
        let end = if tile + 1 < count { begin(tile + 1) } else { segment.len() as u64 };
        let len = end.checked_sub(begin(tile)).ok_or("a tile ends before it begins")?;
        let payload = range(segment, begin(tile), len)?;
        let entry = &directory[tile * entry..][..entry];
        ensure(crc32c(payload) == u32_at(entry, 4), "tile CRC")?;

        let (top, left) = (tile as u64 / across * r.tile_rows, tile as u64 % across * r.tile_row_bytes);
        let height = r.tile_rows.min(r.rows - top) as usize;
        let width = r.tile_row_bytes.min(r.row_bytes - left) as usize;
        let element = layout_shape(r.layout)?.0 as usize;
        let place = |i: usize| (top as usize + i / (width / element), left as usize / element + i % (width / element));
        let bytes = decode_tile(r, payload, &entry[8..], (height, width), heads, &place, tables, seen)?;
        for y in 0..height {
            let at = (top as usize + y) * r.row_bytes as usize + left as usize;
            out[at..at + width].copy_from_slice(&bytes[y * width..][..width]);
        }
    }
    Ok(out)
}

fn decode_tile(
    r: &Record,
    mut payload: &[u8],
    mut entries: &[u8],
    (height, width): (usize, usize),
    Heads { contexts, differences, filter, scales }: Heads<'_>,
    place: &dyn Fn(usize) -> (usize, usize),
    tables: &[Table],
    seen: &mut Decoded,
) -> Result<Vec<u8>> {
    let (element, _) = layout_shape(r.layout)?;
    let e = height * width / element as usize;
    let mut filtered = None;
    if let Some(filter) = filter {
        let at = entries.len() - 8;
        filtered = filter.modes(&entries[at..], &mut payload, height, width)?.map(|modes| (filter, modes));
        entries = &entries[..at];
    }
    let mut planes: Vec<Vec<u8>> = Vec::new();
    let (mut leading_mode, mut later) = (0, Vec::new());
    for (p, &(mode, value)) in r.planes.iter().enumerate() {
        let b = match r.layout {
            130 if p == 1 => e.div_ceil(2),
            144.. => e * fields(u16::from(r.layout) - 144)?[p],
            _ => e,
        };
        // A plane that is the same in all tiles has no entry; it is as if each tile had this one.
        let whole = [mode, value, 0, 0, 0, 0, 0, 0];
        let entry: [u8; 8] = if mode == 255 { take(&mut entries, 8)?.try_into().unwrap() } else { whole };
        seen.modes.push((r.layout, p, entry[0]));
        if seen.modes.len() > 64 {
            seen.modes.sort_unstable();
            seen.modes.dedup();
        }
        let leading = match r.layout {
            ..=64 => usize::from(r.layout) - 1,
            144.. => leading_of(r.layout)?,
            _ => 0,
        };
        let numbers = match contexts {
            _ if entry[0] == 4 && filtered.is_some() => {
                filtered.as_ref().map(|(filter, modes)| filter.numbers(modes, p)).ok_or("no filter")??
            }
            Some(c) if entry[0] == 4 && p == leading => c.of_leading(e, place),
            Some(c) if entry[0] == 4 && p == 1 && matches!(r.layout, 128 | 129) && leading_mode == 4 => {
                c.of_deep(&planes[0], place)?
            }
            None if entry[0] == 4 && scales.is_some() => Vec::new(),
            None if entry[0] == 4 => differences.map_or(Ok(Vec::new()), |d| d.of_plane(r, p, e, place))?,
            _ => Vec::new(),
        };
        if p == leading {
            leading_mode = entry[0];
        }
        ensure(entry[0] != 5 || r.blob, "a tensor that is deflated")?;
        if let (4, Some(_)) = (entry[0], scales) {
            // It depends on planes that come later: its bytes are taken now, and decoded when these are there.
            let len = 128 + 2 * u64::from(u16_at(&entry, 4)) + 3 * u64::from(u16_at(&entry, 6));
            let own = take(&mut payload, len.next_multiple_of(16))?;
            later.push((p, entry, own, b));
            planes.push(Vec::new());
            continue;
        }
        planes.push(decode_plane(r.layout, p, &entry, &mut payload, b, e, &numbers, tables)?);
    }
    ensure(payload.is_empty(), "bytes left in a tile")?;
    for (p, entry, mut own, b) in later {
        let numbers = scales.ok_or("no scales")?.of_plane(p, b / e.max(1), &planes, e)?;
        planes[p] = decode_plane(r.layout, p, &entry, &mut own, b, e, &numbers, tables)?;
    }
    let bytes = join(r.layout, &planes, e);
    let Some((filter, modes)) = filtered else { return Ok(bytes) };
    modes.see(&mut seen.filters);
    Ok(filter.undo(&modes, &bytes))
}

/// One plane: its bytes from the front of `payload`, padded to 16.
pub(super) fn decode_plane(
    layout: u8,
    plane: usize,
    entry: &[u8],
    payload: &mut &[u8],
    b: usize,
    e: usize,
    // With contexts, the table of each symbol.
    numbers: &[usize],
    tables: &[Table],
) -> Result<Vec<u8>> {
    let (mode, base) = (entry[0], entry[1]);
    let (words, patches) = (usize::from(u16_at(entry, 4)), usize::from(u16_at(entry, 6)));
    let before = payload.len();
    let mut bytes = match mode {
        0 => take(payload, b as u64)?.to_vec(),
        1 => vec![base; b],
        2 | 3 => {
            let table = tables.get(usize::from(u16_at(entry, 2))).ok_or("number of a table")?;
            let stream = take(payload, 128 + 2 * words as u64)?;
            if mode == 2 {
                decode_stream(stream, b, |_| table)?
            } else {
                ensure(plane == 0 && (128..=130).contains(&layout), "pairs in a plane that is no exponents")?;
                ensure(base <= 240 && (layout != 130 || base == 0), "base of pairs")?;
                let mut exponents = Vec::new();
                for symbol in decode_stream(stream, e.div_ceil(2), |_| table)? {
                    exponents.push(base + (symbol & 15));
                    exponents.push(base + (symbol >> 4));
                }
                exponents.truncate(e);
                exponents
            }
        }
        4 => {
            ensure(numbers.len() == b && b > 0, "contexts in a plane that has none")?;
            decode_stream(take(payload, 128 + 2 * words as u64)?, b, |i| &tables[numbers[i]])?
        }
        5 => inflate(take(payload, 2 * words as u64)?, b)?,
        _ => return Err(format!("plane mode {mode}")),
    };
    if (2..=4).contains(&mode) {
        let positions = take(payload, 2 * patches as u64)?;
        let values = take(payload, patches as u64)?;
        let mut next = 0;
        for (i, &value) in values.iter().enumerate() {
            let position = usize::from(u16_at(positions, 2 * i));
            ensure(position >= next && position < b, "position of a patch")?;
            bytes[position] = value;
            next = position + 1;
        }
    }
    let padding = (before - payload.len()).next_multiple_of(16) - (before - payload.len());
    take(payload, padding as u64)?;
    Ok(bytes)
}
