//! A plain writer of archives that does what it is told: any grid, layout and plane mode that `docs/format.md` allows, whatever the
//! library's encoder would choose.

use super::Numbers;
use super::contexts::{Contexts, leading};
use super::forge::{crc, fix_superblock};
use sha2::{Digest, Sha256};

/// A record to write.
#[derive(Clone, Debug)]
pub struct Record {
    pub name: String,
    pub dtype: u16,
    pub dtype_name: String,
    pub shape: Vec<u64>,
    pub layout: u8,
    pub blob: bool,
    pub rows: usize,
    pub row_bytes: usize,
    pub tile_rows: usize,
    pub tile_row_bytes: usize,
    pub data: Vec<u8>,
    /// How the tiles' planes are to be coded, in turn.
    pub modes: Vec<Mode>,
    /// The taps of its trellis, if it has one: the data are numbers of it.
    pub trellis: Option<[u8; 2]>,
    /// The base of pairs, lawful or not, instead of one that suits.
    pub base: Option<u8>,
}

/// How a plane of a tile is coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// As it is; constant where it is that.
    Raw,
    Bytes,
    /// Bytes where pairs cannot be.
    Pairs,
    /// Bytes where contexts cannot be.
    Contexts,
}

/// Bytes of an element, and number of planes.
pub fn layout_shape(layout: u8) -> (usize, usize) {
    match layout {
        128 => (2, 2),
        129 => (4, 4),
        130 => (1, 2),
        n => (n.into(), n.into()),
    }
}

/// Section 3, the other way round.
pub(super) fn split(layout: u8, bytes: &[u8]) -> Vec<Vec<u8>> {
    let (element, planes) = layout_shape(layout);
    let mut out = vec![Vec::new(); planes];
    match layout {
        128 => {
            for four in bytes.chunks(4) {
                if let [a, b, c, d] = *four {
                    let [a, b, c, d] = u32::from_le_bytes([a, b, c, d]).rotate_left(1).to_le_bytes();
                    out[0].extend([b, d]);
                    out[1].extend([a, c]);
                } else {
                    let [a, b] = u16::from_le_bytes([four[0], four[1]]).rotate_left(1).to_le_bytes();
                    out[0].push(b);
                    out[1].push(a);
                }
            }
        }
        129 => {
            for four in bytes.as_chunks::<4>().0 {
                let word = u32::from_le_bytes(*four).rotate_left(1).to_be_bytes();
                out.iter_mut().zip(word).for_each(|(plane, byte)| plane.push(byte));
            }
        }
        130 => {
            let mut rotated = Vec::new();
            for four in bytes.chunks(4) {
                match *four {
                    [a, b, c, d] => rotated.extend(u32::from_le_bytes([a, b, c, d]).rotate_left(1).to_le_bytes()),
                    _ => rotated.extend(four.iter().map(|b| b.rotate_left(1))),
                }
            }
            out[0] = rotated.iter().map(|b| b >> 4).collect();
            out[1] = rotated.chunks(2).map(|two| two[0] & 15 | two.get(1).map_or(0, |b| b << 4)).collect();
        }
        _ => {
            for record in bytes.chunks(element) {
                out.iter_mut().zip(record).for_each(|(plane, &byte)| plane.push(byte));
            }
        }
    }
    out
}

/// Frequencies that add up to 4096, none of them 4096; symbols too rare for one have none.
pub(super) fn frequencies(symbols: &[u8]) -> [u32; 256] {
    let mut f = [0u32; 256];
    symbols.iter().for_each(|&s| f[usize::from(s)] += 1);
    f.iter_mut().for_each(|f| *f = (u64::from(*f) * 4096 / symbols.len() as u64) as u32);
    let most = (0..256).max_by_key(|&s| f[s]).unwrap();
    f[most] += 4096 - f.iter().sum::<u32>();
    if f[most] == 4096 {
        f[most] -= 1;
        f[most ^ 1] += 1;
    }
    f
}

/// Section 4, the other way round: states and words. `table` gives each symbol's.
fn stream<'a>(symbols: &[u8], table: impl Fn(usize) -> &'a [u32; 256]) -> (Vec<u8>, usize) {
    let full = symbols.len() / 128;
    let mut x = [1u32 << 16; 32];
    let mut words = Vec::new();
    for c in (0..symbols.len().div_ceil(128)).rev() {
        for step in (0..4).rev() {
            for lane in (0..32).rev() {
                let Some(&s) = symbols.get(128 * c + 4 * lane + step) else { continue };
                if c + 1 == full && step >= 2 {
                    x[lane] |= u32::from(s) << (8 * (step - 2));
                }
            }
        }
    }
    for c in (0..symbols.len().div_ceil(128)).rev() {
        for step in (0..4).rev() {
            for lane in (0..32).rev() {
                let Some(&s) = symbols.get(128 * c + 4 * lane + step) else { continue };
                if c + 1 == full && step >= 2 {
                    continue;
                }
                let f = table(128 * c + 4 * lane + step);
                let freq = f[usize::from(s)];
                if x[lane] >= freq << 20 {
                    words.push(x[lane] as u16);
                    x[lane] >>= 16;
                }
                x[lane] = (x[lane] / freq) << 12 | (x[lane] % freq + f[..usize::from(s)].iter().sum::<u32>());
            }
        }
    }
    let mut out: Vec<u8> = x.iter().flat_map(|x| x.to_le_bytes()).collect();
    out.extend(words.iter().rev().flat_map(|w| w.to_le_bytes()));
    (out, words.len())
}

/// A plane with the bits set that readers ignore: in some tiles none, in some the same in all bytes, in some any.
fn dressed(layout: u8, p: usize, bytes: &[u8]) -> Vec<u8> {
    let mut rng = Numbers(u64::from(crc(bytes)));
    let (how, same) = (rng.below(3), rng.next() as u8 & 0xf0);
    let mut dress = |byte: &u8| match how {
        _ if layout != 130 || p != 0 => *byte,
        0 => *byte,
        1 => byte | same,
        _ => byte | rng.next() as u8 & 0xf0,
    };
    bytes.iter().map(&mut dress).collect()
}

/// Codes a plane: appends its payload, returns its directory entry. With contexts, `numbers` are its symbols' tables.
fn plane(
    r: &Record,
    p: usize,
    bytes: &[u8],
    mode: Mode,
    numbers: Option<&[usize]>,
    tables: &mut Vec<[u32; 256]>,
    payload: &mut Vec<u8>,
) -> [u8; 8] {
    let pairs = mode == Mode::Pairs && r.layout >= 128 && p == 0;
    // Pairs have no room for bits to ignore, but their patches do.
    let patched = dressed(r.layout, p, bytes);
    let bytes = if pairs { bytes } else { &patched[..] };
    if mode == Mode::Raw {
        if bytes.iter().all(|b| *b == bytes[0]) {
            return [1, bytes[0], 0, 0, 0, 0, 0, 0];
        }
        payload.extend_from_slice(bytes);
        payload.resize(payload.len().next_multiple_of(16), 0);
        return [0; 8];
    }
    let suits = || if r.layout == 130 { 0 } else { bytes.iter().max().unwrap().saturating_sub(15).min(240) };
    let base = if pairs { r.base.unwrap_or_else(suits) } else { 0 };
    let mut symbols: Vec<u8> = if pairs {
        let rank = |e: u8| e.checked_sub(base).filter(|r| *r < 16).unwrap_or(0);
        bytes.chunks(2).map(|two| rank(two[0]) | two.get(1).map_or(0, |&e| rank(e)) << 4).collect()
    } else {
        bytes.to_vec()
    };
    let f = frequencies(&symbols);
    let known = tables.clone();
    let table_of = |i: usize| numbers.map_or(&f, |numbers| &known[numbers[i]]);
    for (i, symbol) in symbols.iter_mut().enumerate() {
        let f = table_of(i);
        if f[usize::from(*symbol)] == 0 {
            *symbol = (0..=255u8).max_by_key(|&s| f[usize::from(s)]).unwrap();
        }
    }
    // Patched is whatever the stream does not say.
    let said = |i: usize| match pairs {
        true => base.wrapping_add(symbols[i / 2] >> (4 * (i % 2)) & 15),
        false => symbols[i],
    };
    let patches: Vec<_> = (0..bytes.len()).filter(|&i| said(i) != bytes[i]).collect();
    if tables.len() == 4096 || patches.len() > 65535 {
        return plane(r, p, bytes, Mode::Raw, None, tables, payload);
    }
    let (coded, words) = stream(&symbols, table_of);
    let Ok(words) = u16::try_from(words) else { return plane(r, p, bytes, Mode::Raw, None, tables, payload) };
    let table = if numbers.is_some() { Some(0) } else { tables.iter().position(|t| *t == f) };
    let table = table.unwrap_or_else(|| {
        tables.push(f);
        tables.len() - 1
    });
    payload.extend(coded);
    payload.extend(patches.iter().flat_map(|&i| (i as u16).to_le_bytes()));
    payload.extend(patches.iter().map(|&i| patched[i]));
    payload.resize(payload.len().next_multiple_of(16), 0);
    let coded = if numbers.is_some() { 4 } else { 2 + u8::from(pairs) };
    let mut entry = [coded, base, 0, 0, 0, 0, 0, 0];
    entry[2..4].copy_from_slice(&(table as u16).to_le_bytes());
    entry[4..6].copy_from_slice(&words.to_le_bytes());
    entry[6..8].copy_from_slice(&(patches.len() as u16).to_le_bytes());
    entry
}

/// Section 1.3.
fn write_table(f: &[u32; 256], out: &mut Vec<u8>) {
    let mut s = 0;
    while s < 256 {
        match f[s] {
            0 => {
                let run = f[s..].iter().take_while(|f| **f == 0).count();
                out.extend([0, (run - 1) as u8]);
                s += run - 1;
            }
            f @ 1..=127 => out.push(f as u8),
            f => out.extend([0x80 | (f >> 8) as u8, f as u8]),
        }
        s += 1;
    }
}

/// An archive of these records, of source kind 1 if the first is a blob.
pub fn write(records: &[Record]) -> Vec<u8> {
    let (mut segments, mut directories) = (Vec::new(), Vec::new());
    let (mut heads, mut planes, mut dims, mut names) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut tables, mut required) = (Vec::new(), 0);
    for r in records {
        assert_eq!(r.rows * r.row_bytes, r.data.len());
        let count = layout_shape(r.layout).1;
        let mut modes = r.modes.iter().cycle();
        let contexts = Contexts::new(r, &mut tables);
        let element = layout_shape(r.layout).0;
        // Entries of all tiles; which planes need them is known only at the end.
        let (mut segment, mut tiles) = (Vec::new(), Vec::new());
        for top in (0..if r.row_bytes == 0 { 0 } else { r.rows }).step_by(r.tile_rows) {
            for left in (0..r.row_bytes).step_by(r.tile_row_bytes) {
                let right = r.row_bytes.min(left + r.tile_row_bytes);
                let rows = top..r.rows.min(top + r.tile_rows);
                let mut bytes: Vec<u8> = rows.flat_map(|y| &r.data[y * r.row_bytes..][left..right]).copied().collect();
                if r.trellis.is_some() {
                    // The highest bit is of no account.
                    let highest = crc(&bytes) as u8 & 0x80;
                    bytes.iter_mut().for_each(|b| *b = *b >> 1 | highest);
                }
                let begin = segment.len();
                let split = split(r.layout, &bytes);
                let across = (right - left) / element;
                let place = |i: usize| (top + i / across, left / element + i % across);
                let mut entries: Vec<[u8; 8]> = Vec::new();
                for (p, bytes) in split.iter().enumerate() {
                    let mode = *modes.next().unwrap();
                    // A deep plane only where the leading one has contexts, too.
                    let may = p == leading(r.layout) || entries.first().is_some_and(|e| e[0] == 4);
                    let wanted = contexts.as_ref().filter(|_| mode == Mode::Contexts && may);
                    let numbers = wanted.and_then(|c| c.numbers(r.layout, p, &split, place));
                    entries.push(plane(r, p, bytes, mode, numbers.as_deref(), &mut tables, &mut segment));
                }
                tiles.push((begin, crc(&segment[begin..]), entries));
            }
        }
        let whole: Vec<bool> =
            (0..count).map(|p| tiles.iter().all(|t| t.2[p][0] < 2 && t.2[p][..2] == tiles[0].2[p][..2])).collect();
        for (p, whole) in whole.iter().enumerate() {
            let first = tiles.first().map_or([0; 8], |t| t.2[p]);
            planes.extend(if *whole { [first[0], first[1], 0, 0] } else { [255, 0, 0, 0] });
        }
        let (mut directory, mut params16) = contexts.as_ref().map(Contexts::head).unwrap_or_default();
        let mut tools = u8::from(params16 > 0);
        if let Some(taps) = r.trellis {
            // Behind the parameters of contexts, before the classes.
            let at = 16 * usize::from(params16);
            directory.splice(at..at, taps.into_iter().chain([0; 14]));
            (tools, params16) = (tools | 64, params16 + 1);
        }
        required |= tools;
        for (begin, crc, entries) in &tiles {
            directory.extend((*begin as u32 / 16).to_le_bytes());
            directory.extend(crc.to_le_bytes());
            entries.iter().zip(&whole).filter(|(_, whole)| !**whole).for_each(|(e, _)| directory.extend(e));
        }
        for n in [r.rows, r.row_bytes, segment.len()] {
            heads.extend((n as u64).to_le_bytes());
        }
        heads.extend(xxhash_rust::xxh3::xxh3_128(&r.data).to_le_bytes());
        for n in [crc(&directory), r.name.len() as u32, r.tile_rows as u32, r.tile_row_bytes as u32] {
            heads.extend(n.to_le_bytes());
        }
        heads.extend(r.dtype.to_le_bytes());
        heads.extend([r.layout, u8::from(r.blob), r.shape.len() as u8, r.dtype_name.len() as u8, tools, params16]);
        dims.extend(r.shape.iter().flat_map(|d| d.to_le_bytes()));
        names.extend_from_slice(r.name.as_bytes());
        names.extend_from_slice(r.dtype_name.as_bytes());
        segments.extend(segment);
        directories.extend(directory);
    }
    let mut table_bytes = Vec::new();
    tables.iter().for_each(|t| write_table(t, &mut table_bytes));
    let mut index = Vec::new();
    for n in [records.len(), planes.len() / 4, dims.len() / 8, tables.len(), table_bytes.len(), names.len(), 0, 0] {
        index.extend((n as u32).to_le_bytes());
    }
    [heads, planes, dims, table_bytes, names].iter().for_each(|part| index.extend(part));

    let mut file = vec![0; 256];
    file[..8].copy_from_slice(b"WCODEC\0\0");
    (file[8], file[10], file[16]) = (1, u8::from(required > 0), required);
    if records.first().is_some_and(|r| r.blob) {
        let source: Vec<u8> = records.iter().flat_map(|r| &r.data).copied().collect();
        file[12] = 1;
        file[32..40].copy_from_slice(&(source.len() as u64).to_le_bytes());
        file[40..72].copy_from_slice(&Sha256::digest(&source));
    }
    let directory_off = 256 + segments.len();
    let index_off = directory_off + directories.len();
    for (at, n) in [(72, index_off + index.len() + 256), (80, index_off), (88, index.len()), (96, directory_off)] {
        file[at..at + 8].copy_from_slice(&(n as u64).to_le_bytes());
    }
    file[104..108].copy_from_slice(&crc(&index).to_le_bytes());
    file[108..112].copy_from_slice(&(records.len() as u32).to_le_bytes());
    [segments, directories, index].iter().for_each(|part| file.extend(part));
    file.resize(file.len() + 256, 0);
    fix_superblock(&mut file);
    file
}

impl Record {
    /// A tensor of these rows and bytes a row, as unsigned bytes, in tiles of these.
    pub fn new(name: &str, layout: u8, rows: [usize; 2], width: [usize; 2], data: Vec<u8>, modes: &[Mode]) -> Self {
        Self {
            name: name.into(),
            dtype: 5,
            dtype_name: String::new(),
            shape: vec![rows[0] as u64, width[0] as u64],
            layout,
            blob: false,
            rows: rows[0],
            row_bytes: width[0],
            tile_rows: rows[1],
            tile_row_bytes: width[1],
            data,
            modes: modes.into(),
            trellis: None,
            base: None,
        }
    }

    /// With the numbers for data that a trellis makes of what the data were.
    pub fn on_trellis(mut self, taps: [u8; 2]) -> Self {
        self.trellis = Some(taps);
        for column in 0..self.row_bytes {
            let mut state = 0;
            for row in 0..self.rows {
                if row % self.tile_rows == 0 {
                    state = 0;
                }
                let byte = &mut self.data[row * self.row_bytes + column];
                let stored = *byte;
                *byte = stored << 1 | state & 1;
                let taken = |bit: u8, tap: u8| if bit & 1 == 1 { tap } else { 0 };
                state = state >> 1 ^ taken(state, taps[0]) ^ taken(stored, taps[1]);
            }
        }
        self
    }

    /// Anything at all.
    pub fn random(name: &str, rng: &mut Numbers) -> Self {
        let layout = rng.pick(&[1, 2, 3, 4, 5, 8, 16, 33, 64, 128, 128, 128, 129, 129, 129, 130, 130, 130]);
        let element = layout_shape(layout).0;
        let rows = 1 + rng.below(40) as usize;
        let most = rng.pick(&[7, 100, 1500 / element as u64]);
        let columns = 1 + rng.below(most) as usize;
        let tile_columns = 1 + rng.below(columns as u64 * 2) as usize;
        let tile_rows = 1 + rng.below((rows as u64 * 2).min(65536 / (tile_columns * element) as u64)) as usize;
        let modes: Vec<_> = (0..1 + rng.below(7))
            .map(|_| rng.pick(&[Mode::Raw, Mode::Bytes, Mode::Pairs, Mode::Pairs, Mode::Contexts]))
            .collect();
        let dtype = match layout {
            128 => wcodec::Dtype::BF16,
            129 => wcodec::Dtype::F32,
            130 => wcodec::Dtype::F8_E4M3,
            _ => wcodec::Dtype::U8,
        };
        let how = rng.pick(&super::FILLS);
        let data = super::fill(dtype, rows * columns * element, how, rng.next());
        let record = Self::new(name, layout, [rows, tile_rows], [columns * element, tile_columns * element], data, &modes);
        if layout == 1 && rng.below(2) == 0 { record.on_trellis([rng.next() as u8, rng.next() as u8]) } else { record }
    }
}
