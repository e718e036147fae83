//! Symbols to joined elements in registers, written past the caches: see `cpu/fused.rs`.
//!
//! ```text
//! for each chunk, in all streams side by side:  four steps (avx512.rs)
//!     for each line that the chunk becomes:     spread its symbols, add the base, or in the raw bytes, rotate; store
//! ```
//!
//! Where rows do not begin on cache lines, each line of the cache is put together of two of the chunk's; what is less than a line, at both ends
//! of a row, is an ordinary store, as others may write to the rest of that line.
//!
//! A chunk that has patches, of which there are a few a tile, takes a detour through memory.

use super::avx512::{self, Lanes};
use super::{Avx512, Run, stream::Fence};
use crate::cpu::fused::{Fusion, LINE, Place, QUARTER, Sink};
use std::arch::x86_64::*;
use wcodec_device::rans::{CHUNK, LANE_RUN};

impl Avx512 {
    /// Decodes up to `most` chunks of each run into `out` as its sink says; returns how many. The runs' own buffers are left alone.
    pub(super) fn fused(self, runs: &mut [Run<'_, '_>], sinks: &[Sink<'_>], most: usize, out: &mut [u8]) -> usize {
        let Some(first) = sinks.first() else { return 0 };
        let most = sinks.iter().map(Sink::chunks).min().unwrap_or(0).min(most);
        if sinks.iter().any(|s| s.fusion != first.fusion || s.place.end() > out.len() || !s.place.on_quarters(out))
            || runs.len() != sinks.len()
        {
            return 0;
        }
        macro_rules! by_count {
            ($($count:literal),*) => {
                match runs.len() {
                    // SAFETY: `self` exists only where the CPU has the features.
                    $($count => runs.try_into().map_or(0, |runs| unsafe { by_fusion::<$count>(runs, sinks, most, out) }),)*
                    _ => 0,
                }
            };
        }
        by_count!(1, 2, 3, 4)
    }
}

/// See [`Avx512::fused`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,popcnt")]
fn by_fusion<const N: usize>(runs: &mut [Run<'_, '_>; N], sinks: &[Sink<'_>], most: usize, out: &mut [u8]) -> usize {
    match sinks[0].fusion {
        Fusion::Bf16Pairs => chunks::<N, { Fusion::Bf16Pairs as u8 }>(runs, sinks, most, out),
        Fusion::Bf16Bytes => chunks::<N, { Fusion::Bf16Bytes as u8 }>(runs, sinks, most, out),
        Fusion::Upper => chunks::<N, { Fusion::Upper as u8 }>(runs, sinks, most, out),
        Fusion::Bytes => chunks::<N, { Fusion::Bytes as u8 }>(runs, sinks, most, out),
    }
}

/// Where a sink stands.
#[derive(Clone, Copy)]
struct Cursor {
    /// Of the buffer.
    to: usize,
    /// Bytes of the row that are to come.
    left: usize,
    /// Of the raw plane.
    raw: usize,
    /// The element of the next patch, and its number.
    patch: (usize, usize),
    /// Bytes that rows begin behind a cache line.
    behind: usize,
    /// Where rows do not begin on lines: the last line, and which words of it and the next are a line of the cache.
    last: __m512i,
    pick: __m512i,
}

impl Cursor {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,popcnt")]
    fn new(sink: &Sink<'_>, out: &[u8]) -> Self {
        let Sink { place, patches, .. } = sink;
        let behind = place.behind(out);
        let words: [u64; LINE / 8] = std::array::from_fn(|i| (LINE / 8 - behind / 8 + i) as u64);
        // SAFETY: 64 bytes.
        let pick = unsafe { _mm512_loadu_si512(words.as_ptr().cast()) };
        let patch = (patches.position(0), 0);
        Self { to: place.first, left: place.width, raw: 0, patch, behind, last: _mm512_setzero_si512(), pick }
    }

    /// Writes a line.
    ///
    /// # Safety
    /// The rows of the sink must lie inside the buffer `out`, and have room for the line.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,popcnt")]
    unsafe fn put(&mut self, line: __m512i, place: Place, out: *mut u8) {
        if self.behind == 0 {
            // SAFETY: the caller vouches for the rows.
            unsafe { _mm512_stream_si512(out.add(self.to).cast(), line) };
        } else {
            let whole = _mm512_permutex2var_epi64(self.last, self.pick, line);
            self.last = line;
            if self.left == place.width {
                // SAFETY: the line's own place.
                unsafe { quarters(out.add(self.to), line, 0..4 - self.behind / QUARTER) };
            } else {
                // SAFETY: the caller vouches for the rows, and the line before is there if it has a part in this one.
                unsafe { _mm512_stream_si512(out.add(self.to - self.behind).cast(), whole) };
            }
        }
        self.to += LINE;
        self.left = self.left.wrapping_sub(LINE);
        if self.left == 0 {
            // SAFETY: as above.
            unsafe { self.end(out) };
            self.to += place.stride - place.width;
            self.left = place.width;
        }
    }

    /// Writes what is left of the last line.
    ///
    /// # Safety
    /// It must have been put into `out`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,popcnt")]
    unsafe fn end(&self, out: *mut u8) {
        if self.behind > 0 {
            // SAFETY: the line's own place.
            unsafe { quarters(out.add(self.to - LINE), self.last, 4 - self.behind / QUARTER..4) };
        }
    }
}

/// Writes some quarters of a line whose place is `to`. (With stores by mask decoding took five times as long.)
///
/// # Safety
/// These quarters must lie in a buffer.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,popcnt")]
unsafe fn quarters(to: *mut u8, line: __m512i, which: std::ops::Range<usize>) {
    let parts = [
        _mm512_castsi512_si128(line),
        _mm512_extracti32x4_epi32::<1>(line),
        _mm512_extracti32x4_epi32::<2>(line),
        _mm512_extracti32x4_epi32::<3>(line),
    ];
    for (i, &part) in parts.iter().enumerate() {
        if which.contains(&i) {
            // SAFETY: the caller vouches for them.
            unsafe { _mm_storeu_si128(to.add(QUARTER * i).cast(), part) };
        }
    }
}

/// See [`Avx512::fused`]; `FUSION` is every sink's.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,popcnt")]
fn chunks<const N: usize, const FUSION: u8>(
    runs: &mut [Run<'_, '_>; N],
    sinks: &[Sink<'_>],
    most: usize,
    out: &mut [u8],
) -> usize {
    let fence = Fence;
    let mut lanes = Lanes::load(runs);
    let mut cursors = [Cursor::new(&sinks[0], out); N];
    for (cursor, sink) in cursors.iter_mut().zip(sinks).skip(1) {
        *cursor = Cursor::new(sink, out);
    }
    let mut done = 0;
    while done < most && lanes.may_go_on(runs) {
        let symbols = avx512::chunk::<N, LANE_RUN>(runs, &mut lanes);
        done += 1;
        for n in 0..N {
            // SAFETY: `Sink::chunks` allowed for `most` chunks in the raw plane and in the rows, whose ends are inside of `out`
            // (`Avx512::fused`).
            unsafe { emit::<FUSION>(&symbols[n], &sinks[n], &mut cursors[n], done, out.as_mut_ptr()) };
        }
    }
    for (cursor, sink) in cursors.iter().zip(sinks) {
        if cursor.left != sink.place.width {
            // SAFETY: a line of a row was put there, after which none was.
            unsafe { cursor.end(out.as_mut_ptr()) };
        }
    }
    lanes.store(runs);
    drop(fence);
    done
}

/// Joins a chunk, the `done`-th, and writes it.
///
/// # Safety
/// The raw plane must have bytes for the chunk, and the rows of the sink must be as [`Cursor::put`] says.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,popcnt")]
unsafe fn emit<const FUSION: u8>(symbols: &[__m512i; 2], sink: &Sink<'_>, cursor: &mut Cursor, done: usize, out: *mut u8) {
    let fusion = const { fusion(FUSION) };
    let lines = fusion.chunk_bytes() / LINE;
    let mut joined = [_mm512_setzero_si512(); 8];
    for (line, joined) in joined.iter_mut().take(lines).enumerate() {
        // SAFETY: the caller vouches for the chunk's raw bytes, of which each line takes its share.
        let raw = unsafe { sink.raw.as_ptr().add(cursor.raw + line * fusion.chunk_raw() / lines) };
        // SAFETY: as above.
        *joined = unsafe { join::<FUSION>(symbols, line, sink.base, raw) };
    }
    cursor.raw += fusion.chunk_raw();
    let end = done * CHUNK * fusion.elements();
    if cursor.patch.0 < end {
        patch(fusion, &mut joined, sink, cursor, end);
    }
    for &line in joined.iter().take(lines) {
        // SAFETY: the caller vouches for the rows.
        unsafe { cursor.put(line, sink.place, out) };
    }
}

/// Applies the patches before element `end` to the chunk that ends there.
#[cold]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,popcnt")]
fn patch(fusion: Fusion, joined: &mut [__m512i; 8], sink: &Sink<'_>, cursor: &mut Cursor, end: usize) {
    // SAFETY: eight vectors are 512 bytes, any of which may be read and written as bytes.
    let bytes = unsafe { std::slice::from_raw_parts_mut(joined.as_mut_ptr().cast::<u8>(), 8 * LINE) };
    let begin = end - fusion.elements() * CHUNK;
    let (mut at, mut number) = cursor.patch;
    while at < end {
        fusion.set(bytes, at - begin, sink.patches.values[number]);
        number += 1;
        at = sink.patches.position(number);
    }
    cursor.patch = (at, number);
}

const fn fusion(number: u8) -> Fusion {
    match number {
        n if n == Fusion::Bf16Pairs as u8 => Fusion::Bf16Pairs,
        n if n == Fusion::Bf16Bytes as u8 => Fusion::Bf16Bytes,
        n if n == Fusion::Upper as u8 => Fusion::Upper,
        _ => Fusion::Bytes,
    }
}

/// Line `line` of a chunk.
///
/// # Safety
/// `raw` must have the line's raw bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,popcnt")]
unsafe fn join<const FUSION: u8>(symbols: &[__m512i; 2], line: usize, base: u8, raw: *const u8) -> __m512i {
    let fusion = const { fusion(FUSION) };
    if fusion == Fusion::Bytes {
        return symbols[line];
    }
    // SAFETY: 32 elements of 2 bytes, hence 32 raw bytes.
    let raw = _mm512_cvtepu8_epi16(unsafe { _mm256_loadu_si256(raw.cast()) });
    if fusion == Fusion::Bf16Pairs {
        let four = symbols[line / 4];
        let sixteen = match line % 4 {
            0 => _mm512_castsi512_si128(four),
            1 => _mm512_extracti32x4_epi32::<1>(four),
            2 => _mm512_extracti32x4_epi32::<2>(four),
            _ => _mm512_extracti32x4_epi32::<3>(four),
        };
        // Two exponents go to bytes 1 and 3 of their word; `base <= 240` cannot carry.
        let s = _mm512_cvtepu8_epi32(sixteen);
        let spread = _mm512_or_si512(_mm512_slli_epi32::<8>(s), _mm512_slli_epi32::<20>(s));
        let ranks = _mm512_and_si512(spread, _mm512_set1_epi32(0x0f00_0f00));
        let exponents = _mm512_add_epi32(ranks, _mm512_set1_epi32((base as i32) << 8 | (base as i32) << 24));
        return _mm512_ror_epi32::<1>(_mm512_or_si512(exponents, raw));
    }
    let half = symbols[line / 2];
    let upper = if line.is_multiple_of(2) { _mm512_castsi512_si256(half) } else { _mm512_extracti64x4_epi64::<1>(half) };
    let joined = _mm512_or_si512(_mm512_slli_epi16::<8>(_mm512_cvtepu8_epi16(upper)), raw);
    if fusion == Fusion::Bf16Bytes { _mm512_ror_epi32::<1>(joined) } else { joined }
}
