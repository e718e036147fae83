//! Elements to planes: the inverse of `cpu::join`.

use super::frequency::histogram;
use crate::container::grid::{Grid, Piece, TileRect};
use crate::cpu::{Backend, Body};
use wcodec_device::layout::MAX_TILE_BYTES;
use wcodec_device::planes::{Layout, rotate};

/// A tile as it lies in its tensor: `rows` rows of `width` bytes (whole records), `pitch` bytes from one to the next.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub bytes: &'a [u8],
    pub pitch: usize,
    pub rows: usize,
    pub width: usize,
}

impl<'a> Rows<'a> {
    /// Bytes without gaps.
    pub(crate) fn whole(bytes: &'a [u8]) -> Self {
        Self { bytes, pitch: bytes.len(), rows: 1, width: bytes.len() }
    }

    /// A tile of a piece, whose bytes these are.
    pub(crate) fn of_tile(bytes: &'a [u8], grid: &Grid, piece: &Piece, rect: TileRect) -> Self {
        let first = grid.place_in(piece, rect);
        Self { bytes: &bytes[first..], pitch: grid.row_bytes as usize, rows: rect.rows, width: rect.width }
    }

    /// Makes `out` the rows without gaps.
    pub(crate) fn gather(self, out: &mut Vec<u8>) {
        out.clear();
        self.runs().for_each(|row| out.extend_from_slice(row));
    }

    /// The rows one by one, or all as one where there is no gap between them.
    fn runs(self) -> impl Iterator<Item = &'a [u8]> {
        let joined = self.pitch == self.width;
        let (rows, width) = if joined { (1, self.rows * self.width) } else { (self.rows, self.width) };
        (0..rows).map(move |row| &self.bytes[row * self.pitch..][..width])
    }
}

/// Splits a tile into the planes of `layout`. Buffers are resized to fit; `linear` is scratch.
pub(crate) fn split(layout: Layout, tile: Rows<'_>, linear: &mut Vec<u8>, planes: &mut Vec<Vec<u8>>) {
    Backend::best().run(Split(layout, tile, linear, planes));
}

/// [`split_tile`], compiled for the CPU.
struct Split<'a>(Layout, Rows<'a>, &'a mut Vec<u8>, &'a mut Vec<Vec<u8>>);

impl Body for Split<'_> {
    #[inline(always)]
    fn run(self) {
        split_tile(self.0, self.1, self.2, self.3);
    }
}

#[inline(always)]
fn split_tile(layout: Layout, tile: Rows<'_>, linear: &mut Vec<u8>, planes: &mut Vec<Vec<u8>>) {
    let n = tile.rows * tile.width / layout.record_bytes();
    planes.resize_with(layout.planes().max(planes.len()), Vec::new);
    for (p, plane) in planes.iter_mut().enumerate().take(layout.planes()) {
        plane.resize(layout.plane_bytes(p, n), 0);
    }
    let planes = &mut planes[..layout.planes()];
    if tile.pitch != tile.width && !tile.width.is_multiple_of(layout.group_bytes()) {
        // Neighbours trade bits, so a row must not end between them.
        tile.gather(linear);
        return split_run(layout, linear, planes, 0);
    }
    let mut at = 0;
    for run in tile.runs() {
        split_run(layout, run, planes, at);
        at += run.len() / layout.record_bytes();
    }
}

/// Splits consecutive records, the first of which is the tile's record `at`.
#[inline(always)]
fn split_run(layout: Layout, bytes: &[u8], planes: &mut [Vec<u8>], at: usize) {
    let n = bytes.len() / layout.record_bytes();
    match (layout, planes) {
        (Layout::Columns(1), [only]) => only[at..at + n].copy_from_slice(bytes),
        (Layout::Columns(2), [p0, p1]) => {
            for ((record, a), b) in bytes.as_chunks::<2>().0.iter().zip(&mut p0[at..at + n]).zip(&mut p1[at..at + n]) {
                [*a, *b] = *record;
            }
        }
        (Layout::Columns(columns), planes) => {
            for (p, plane) in planes.iter_mut().enumerate() {
                for (byte, record) in plane[at..at + n].iter_mut().zip(bytes.chunks_exact(columns as usize)) {
                    *byte = record[p];
                }
            }
        }
        (Layout::Bf16, [exponents, raw]) => {
            let (exponents, raw) = (&mut exponents[at..at + n], &mut raw[at..at + n]);
            let pairs = exponents.as_chunks_mut::<2>().0.iter_mut().zip(raw.as_chunks_mut::<2>().0);
            for (word, (e, r)) in bytes.as_chunks::<4>().0.iter().zip(pairs) {
                let [r0, e0, r1, e1] = rotate(u32::from_le_bytes(*word)).to_le_bytes();
                *e = [e0, e1];
                *r = [r0, r1];
            }
            if let &[lo, hi] = bytes.as_chunks::<4>().1 {
                let [r, e] = u16::from_le_bytes([lo, hi]).rotate_left(1).to_le_bytes();
                exponents[n - 1] = e;
                raw[n - 1] = r;
            }
        }
        (Layout::F32, [exponents, p1, p2, p3]) => {
            let planes = [exponents, p1, p2, p3].map(|plane| &mut plane[at..at + n]);
            let [exponents, p1, p2, p3] = planes;
            let planes = exponents.iter_mut().zip(p1).zip(p2).zip(p3);
            for (word, (((e, a), b), c)) in bytes.as_chunks::<4>().0.iter().zip(planes) {
                [*c, *b, *a, *e] = rotate(u32::from_le_bytes(*word)).to_le_bytes();
            }
        }
        (Layout::F8E4, [exponents, raw]) => {
            let (exponents, raw) = (&mut exponents[at..at + n], &mut raw[at / 2..(at + n).div_ceil(2)]);
            let (words, tail) = bytes.as_chunks::<4>();
            let quads = exponents.as_chunks_mut::<4>().0.iter_mut().zip(raw.as_chunks_mut::<2>().0);
            for (word, (e, r)) in words.iter().zip(quads) {
                let b = rotate(u32::from_le_bytes(*word)).to_le_bytes();
                *e = b.map(|b| b >> 4);
                *r = [b[0] & 15 | b[1] << 4, b[2] & 15 | b[3] << 4];
            }
            let whole = n - tail.len();
            raw[whole / 2..].fill(0);
            for (i, byte) in tail.iter().enumerate().map(|(i, b)| (whole + i, b.rotate_left(1))) {
                exponents[i] = byte >> 4;
                raw[i / 2] |= (byte & 15) << (4 * (i & 1));
            }
        }
        (Layout::Blocks(blocks), planes) => {
            let mut first = 0;
            for (plane, &width) in planes.iter_mut().zip(blocks.fields()) {
                let width = width as usize;
                let fields = plane[at * width..(at + n) * width].chunks_exact_mut(width);
                for (field, block) in fields.zip(bytes.chunks_exact(blocks.bytes())) {
                    field.copy_from_slice(&block[first..first + width]);
                }
                first += width;
            }
        }
        _ => unreachable!("`planes` was sized for the layout"),
    }
}

/// Pairs of exponents as symbols: 4-bit ranks above `base`, the first in the low nibble. Exponents outside the window take the
/// nearest rank and are appended to `patches`; an odd last exponent is paired with rank 0.
#[inline(always)]
pub(crate) fn pair(exponents: &[u8], base: u8, symbols: &mut Vec<u8>, patches: &mut Vec<(u16, u8)>) {
    let rank = |e: u8| e.saturating_sub(base).min(15);
    let (pairs, last) = exponents.as_chunks::<2>();
    // `resize` and a plain loop rather than `extend`: that one the compiler vectorises.
    symbols.resize(exponents.len().div_ceil(2), 0);
    for (symbol, &[a, b]) in symbols.iter_mut().zip(pairs) {
        *symbol = rank(a) | rank(b) << 4;
    }
    if let (Some(symbol), Some(&e)) = (symbols.last_mut(), last.first()) {
        *symbol = rank(e);
    }
    patches.clear();
    let inside = |e: u8| e.wrapping_sub(base) < 16;
    for (i, block) in exponents.chunks(64).enumerate() {
        if block.iter().fold(0, |outside, &e| outside | !inside(e) as u8) != 0 {
            let found = block.iter().enumerate().filter(|&(_, &e)| !inside(e));
            patches.extend(found.map(|(j, &e)| ((64 * i + j) as u16, e)));
        }
    }
}

/// The base whose window of 16 exponents holds the most, as far as a sixteenth of them tells, or a neighbour that holds more of them all.
#[inline(always)]
pub(crate) fn best_base(exponents: &[u8], layout: Layout) -> u8 {
    if layout == Layout::F8E4 {
        return 0;
    }
    let mut seen = [0u8; MAX_TILE_BYTES / 16];
    let mut count = 0;
    for run in exponents.chunks(256) {
        let run = &run[..run.len().min(16)];
        seen[count..count + run.len()].copy_from_slice(run);
        count += run.len();
    }
    let part = histogram(&seen[..count]);
    let mut inside: u32 = part[..16].iter().sum();
    let (mut guess, mut most) = (0, inside);
    for base in 1..=240 {
        inside += part[base + 15];
        inside -= part[base - 1];
        if inside > most {
            (guess, most) = (base as u8, inside);
        }
    }
    // Between neighbouring windows only an exponent at either end makes a difference.
    let (low, high) = (guess.wrapping_sub(1), guess.wrapping_add(15));
    let mut ends = [0i32; 4];
    for block in exponents.chunks(128) {
        // Blocks short enough for counts of a byte, which vectors have many of.
        let count = |value: u8| block.iter().fold(0u8, |n, &e| n + (e == value) as u8) as i32;
        let found = [count(low), count(high), count(guess), count(high.wrapping_add(1))];
        ends.iter_mut().zip(found).for_each(|(sum, n)| *sum += n);
    }
    let [below, last, first, above] = ends;
    if guess > 0 && below >= last && below - last >= above - first {
        guess - 1
    } else if guess < 240 && above > first {
        guess + 1
    } else {
        guess
    }
}
