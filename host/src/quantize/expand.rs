//! From integers and their scales to floats: each product in `f32`, rounded to nearest, ties to even.
//!
//! The loops are plain ones, compiled for each instruction set ([`Body`]).

use super::scheme::Format;
use crate::cpu::{Backend, Body};
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use std::ops::Range;

/// Bytes of a float that integers can become; an error for any other type.
pub(crate) fn float_bytes(to: Dtype) -> Result<usize> {
    match to {
        Dtype::BF16 | Dtype::F16 => Ok(2),
        Dtype::F32 => Ok(4),
        other => {
            let name = other.name().unwrap_or("what this version does not know");
            Err(Error::argument(format!("integers are dequantized to BF16, F16 or F32, not to {name}")))
        }
    }
}

/// A matrix of integers whose scales are known.
pub(crate) struct Scaled {
    pub format: Format,
    pub columns: usize,
    /// Groups of columns, of which each has a scale in each row.
    pub groups: usize,
    /// Row after row.
    pub scales: Vec<f32>,
}

/// What is wanted of a matrix: rows from `row` on, and of each some columns. Its integers lie row after row.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub row: u64,
    /// In numbers; of two a byte, the first is even.
    pub columns: Range<u64>,
    /// Bytes of a row's integers; at its end there may be more than the columns need.
    pub row_bytes: u64,
    /// Numbers in a byte.
    pub per_byte: u64,
}

impl View {
    /// Numbers of a row.
    pub(crate) fn width(&self) -> u64 {
        self.columns.end - self.columns.start
    }

    /// How many numbers come before byte `at` of the integers.
    pub(crate) fn numbers_before(&self, at: u64) -> u64 {
        match at.checked_div(self.row_bytes) {
            Some(row) => row * self.width() + (at % self.row_bytes * self.per_byte).min(self.width()),
            None => 0,
        }
    }
}

impl Scaled {
    /// Makes of the bytes `codes`, which begin at byte `at` of the view's integers, floats of type `to`, which `out` has exactly the space for.
    ///
    /// # Errors
    /// A number that is too large for the type.
    pub(crate) fn expand(&self, backend: Backend, view: &View, at: u64, codes: &[u8], to: Dtype, out: &mut [u8]) -> Result<()> {
        let mut overflow = None;
        backend.run(Rows { matrix: self, view, at, codes, to, out, overflow: &mut overflow });
        match overflow {
            None => Ok(()),
            Some((row, column, value)) => {
                let name = to.name().unwrap_or_default();
                Err(Error::argument(format!("row {row}, column {column} is {value:e}, which {name} cannot hold")))
            }
        }
    }
}

/// Row, column and value of a number that is too large.
type Overflow = (u64, u64, f32);

struct Rows<'a> {
    matrix: &'a Scaled,
    view: &'a View,
    at: u64,
    codes: &'a [u8],
    to: Dtype,
    out: &'a mut [u8],
    overflow: &'a mut Option<Overflow>,
}

impl Body for Rows<'_> {
    #[inline(always)]
    fn run(self) {
        match (self.matrix.format, self.to) {
            (Format::Int8, Dtype::BF16) => self.all::<Bytes, Bf16>(),
            (Format::Int8, Dtype::F16) => self.all::<Bytes, F16>(),
            (Format::Int8, _) => self.all::<Bytes, F32>(),
            (Format::Int4, Dtype::BF16) => self.all::<Nibbles, Bf16>(),
            (Format::Int4, Dtype::F16) => self.all::<Nibbles, F16>(),
            (Format::Int4, _) => self.all::<Nibbles, F32>(),
        }
    }
}

impl Rows<'_> {
    #[inline(always)]
    fn all<C: Codes, F: Float>(self) {
        let Self { matrix, view, mut at, mut codes, overflow, .. } = self;
        let mut out = F::split(self.out);
        let group = (matrix.columns / matrix.groups.max(1)).max(1) as u64;
        while !codes.is_empty() {
            let (row, inside) = (at / view.row_bytes, at % view.row_bytes);
            let (now, rest) = codes.split_at((view.row_bytes - inside).min(codes.len() as u64) as usize);
            let first = (inside * view.per_byte).min(view.width());
            let end = ((inside + now.len() as u64) * view.per_byte).min(view.width());
            let (here, after) = out.split_at_mut((end - first) as usize);
            let scales = &matrix.scales[(view.row + row) as usize * matrix.groups..][..matrix.groups];
            let mut column = first;
            while column < end {
                let number = (view.columns.start + column) / group;
                let stop = ((number + 1) * group - view.columns.start).min(end);
                let scale = scales[number as usize];
                let part = &mut here[(column - first) as usize..(stop - first) as usize];
                C::expand::<F>(now, (column - first) as usize, scale, part);
                // Rarely: scales are far from what would make the largest integer too large.
                if scale.abs() * C::LARGEST >= F::LIMIT {
                    let value = |i: u64| C::code(now, (i - first) as usize) * scale;
                    if let Some(i) = (column..stop).find(|&i| value(i).abs() >= F::LIMIT) {
                        *overflow = Some((view.row + row, view.columns.start + i, value(i)));
                        return;
                    }
                }
                column = stop;
            }
            (codes, out, at) = (rest, after, at + now.len() as u64);
        }
    }
}

/// How integers lie in bytes.
trait Codes {
    /// The largest magnitude.
    const LARGEST: f32;
    /// Integer number `i`.
    fn code(codes: &[u8], i: usize) -> f32;
    /// `out.len()` integers from number `first` on, each times `scale`.
    fn expand<F: Float>(codes: &[u8], first: usize, scale: f32, out: &mut [F::Bytes]);
}

struct Bytes;

impl Codes for Bytes {
    const LARGEST: f32 = 128.0;

    #[inline(always)]
    fn code(codes: &[u8], i: usize) -> f32 {
        codes[i] as i8 as f32
    }

    #[inline(always)]
    fn expand<F: Float>(codes: &[u8], first: usize, scale: f32, out: &mut [F::Bytes]) {
        for (out, &code) in out.iter_mut().zip(&codes[first..]) {
            *out = F::bytes(code as i8 as f32 * scale);
        }
    }
}

/// Two to a byte, the first in the lower half, increased by 8.
struct Nibbles;

impl Codes for Nibbles {
    const LARGEST: f32 = 8.0;

    #[inline(always)]
    fn code(codes: &[u8], i: usize) -> f32 {
        ((codes[i / 2] >> (4 * (i % 2)) & 15) as i8 - 8) as f32
    }

    #[inline(always)]
    fn expand<F: Float>(codes: &[u8], first: usize, scale: f32, out: &mut [F::Bytes]) {
        // A group may begin in the middle of a byte.
        let (head, rest) = out.split_at_mut((first % 2).min(out.len()));
        for out in head {
            *out = F::bytes(Self::code(codes, first) * scale);
        }
        let codes = &codes[first.div_ceil(2)..];
        let (pairs, tail) = rest.as_chunks_mut::<2>();
        for (pair, &code) in pairs.iter_mut().zip(codes) {
            let [low, high] = [code & 15, code >> 4].map(|c| (c as i32 - 8) as f32 * scale);
            *pair = [F::bytes(low), F::bytes(high)];
        }
        for out in tail {
            *out = F::bytes(Self::code(codes, 2 * pairs.len()) * scale);
        }
    }
}

/// A type of floats.
trait Float {
    type Bytes;
    /// The least magnitude that rounds to infinity.
    const LIMIT: f32;
    /// The nearest to `x`, which is finite, in little-endian bytes; of two the even one.
    fn bytes(x: f32) -> Self::Bytes;
    /// Bytes as numbers.
    fn split(bytes: &mut [u8]) -> &mut [Self::Bytes];
}

struct Bf16;

impl Float for Bf16 {
    type Bytes = [u8; 2];
    const LIMIT: f32 = f32::from_bits(0x7f7f_8000);

    #[inline(always)]
    fn bytes(x: f32) -> [u8; 2] {
        let bits = x.to_bits();
        ((bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16).to_le_bytes()
    }

    #[inline(always)]
    fn split(bytes: &mut [u8]) -> &mut [[u8; 2]] {
        bytes.as_chunks_mut().0
    }
}

struct F16;

impl Float for F16 {
    type Bytes = [u8; 2];
    const LIMIT: f32 = 65520.0;

    #[inline(always)]
    fn bytes(x: f32) -> [u8; 2] {
        /// 2⁻¹⁴, below which numbers are subnormal.
        const NORMAL: u32 = (127 - 14) << 23;
        /// A float whose last bit is 2⁻²⁴, a subnormal's: adding it rounds there.
        const SUBNORMAL: f32 = 0.5;
        let (sign, magnitude) = (x.to_bits() & 1 << 31, x.to_bits() & !(1 << 31));
        let normal = magnitude.wrapping_sub(112 << 23).wrapping_add(0xfff + (magnitude >> 13 & 1)) >> 13;
        let subnormal = (f32::from_bits(magnitude) + SUBNORMAL).to_bits().wrapping_sub(SUBNORMAL.to_bits());
        let rounded = if magnitude < NORMAL { subnormal } else { normal };
        ((rounded | sign >> 16) as u16).to_le_bytes()
    }

    #[inline(always)]
    fn split(bytes: &mut [u8]) -> &mut [[u8; 2]] {
        bytes.as_chunks_mut().0
    }
}

struct F32;

impl Float for F32 {
    type Bytes = [u8; 4];
    const LIMIT: f32 = f32::INFINITY;

    #[inline(always)]
    fn bytes(x: f32) -> [u8; 4] {
        x.to_le_bytes()
    }

    #[inline(always)]
    fn split(bytes: &mut [u8]) -> &mut [[u8; 4]] {
        bytes.as_chunks_mut().0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};

    /// Every exponent with mantissas around each of 16 bits' ties.
    #[test]
    fn floats_round_to_nearest_even() {
        let low = [0u32, 1, 0x7ff, 0xfff, 0x1000, 0x1001, 0x1fff, 0x2000, 0x3000, 0x7fff, 0x8000, 0x8001, 0xffff];
        for high in 0..0x7f80u32 {
            for bits in low.iter().map(|low| high << 16 | low) {
                for x in [f32::from_bits(bits), -f32::from_bits(bits)] {
                    let expected = bf16::from_f32(x);
                    assert_eq!(expected.is_infinite(), x.abs() >= Bf16::LIMIT, "{x:e}");
                    if expected.is_finite() {
                        assert_eq!(Bf16::bytes(x), expected.to_le_bytes(), "{x:e}");
                    }
                    let expected = f16::from_f32(x);
                    assert_eq!(expected.is_infinite(), x.abs() >= F16::LIMIT, "{x:e}");
                    if expected.is_finite() {
                        assert_eq!(F16::bytes(x), expected.to_le_bytes(), "{x:e}");
                    }
                }
            }
        }
    }

    fn scaled(format: Format, rows: usize, columns: usize, groups: usize) -> Scaled {
        let scales = (0..rows * groups).map(|i| 0.01 + i as f32 * 0.37).collect();
        Scaled { format, columns, groups, scales }
    }

    /// Whatever is cut wherever: the same numbers as one by one, on every backend.
    #[test]
    fn parts_of_views() {
        for (format, columns, groups) in
            [(Format::Int8, 37, 1), (Format::Int4, 96, 3), (Format::Int4, 9, 3), (Format::Int4, 13, 1), (Format::Int4, 1, 1)]
        {
            let rows = 5;
            let matrix = scaled(format, rows, columns, groups);
            let per_byte = if format == Format::Int8 { 1 } else { 2 };
            let whole = if format == Format::Int8 { columns } else { 4 * columns.div_ceil(8) };
            let codes: Vec<u8> = (0..rows * whole).map(|i| (i * i * 31 + i * 7) as u8).collect();
            let code = |row: usize, column: usize| -> f32 {
                let byte = codes[row * whole + column / per_byte];
                if per_byte == 1 { byte as i8 as f32 } else { (byte >> (4 * (column % 2)) & 15) as f32 - 8.0 }
            };
            for (row, from, to) in [(0, 0, columns), (2, 2, columns / 2 * 2), (1, 4, 8)] {
                if from >= to || to > columns {
                    continue;
                }
                let all = (from, to) == (0, columns);
                let row_bytes = if all { whole } else { (to - from) / per_byte };
                let view = View {
                    row: row as u64,
                    columns: from as u64..to as u64,
                    row_bytes: row_bytes as u64,
                    per_byte: per_byte as u64,
                };
                let start = |r: usize| r * whole + from / per_byte;
                let own: Vec<u8> = (row..rows).flat_map(|r| codes[start(r)..start(r) + row_bytes].to_vec()).collect();
                let value = |r: usize, c: usize| code(r, c) * matrix.scales[r * groups + c / (columns / groups)];
                let expected: Vec<u8> =
                    (row..rows).flat_map(|r| (from..to).flat_map(move |c| value(r, c).to_le_bytes())).collect();
                for &backend in Backend::available() {
                    for step in [1, 3, 7, own.len()] {
                        let mut out = Vec::new();
                        for (i, part) in own.chunks(step).enumerate() {
                            let at = (i * step) as u64;
                            let len = view.numbers_before(at + part.len() as u64) - view.numbers_before(at);
                            let mut floats = vec![0; 4 * len as usize];
                            matrix.expand(backend, &view, at, part, Dtype::F32, &mut floats).unwrap();
                            out.extend(floats);
                        }
                        assert!(out == expected, "{format:?} {columns} {groups}: {view:?} by {step}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_too_large_is_found() {
        let matrix = Scaled { format: Format::Int8, columns: 4, groups: 1, scales: vec![1.0, 600.0] };
        let view = View { row: 0, columns: 0..4, row_bytes: 4, per_byte: 1 };
        let mut out = [0; 16];
        let mut expand = |codes: [i8; 8], to| {
            matrix.expand(Backend::best(), &view, 0, &codes.map(|c| c as u8), to, &mut out).map_err(|e| e.to_string())
        };
        assert!(expand([127, -128, 0, 0, 109, -109, 0, 1], Dtype::F16).is_ok());
        assert!(expand([0, 0, 0, 0, 1, 2, -128, 1], Dtype::F16).unwrap_err().contains("row 1, column 2"));
        assert!(expand([0, 0, 0, 0, 1, 2, -128, 1], Dtype::BF16).is_ok());
    }
}
