//! Classes of rows and columns: the scale of each, in steps of a fraction of an octave.

use super::magnitude::Magnitude;
use crate::container::grid::Grid;
use crate::encode::frequency::log2_of;
use crate::error::Result;
use std::f32::consts::SQRT_2;

/// Greatest class.
const LAST: i32 = 15;
/// Bytes that are read at a time.
const PIECE: u64 = 1 << 20;

/// Logarithms (base 2) of the scales of rows and of columns: an element's is the sum of both.
pub(super) struct Scales {
    pub rows: Vec<f32>,
    pub columns: Vec<f32>,
}

/// Measures a tensor of `grid`, of which `read` gives bytes from a position on.
pub(super) fn measure<'a>(
    grid: &Grid,
    magnitude: &Magnitude,
    read: impl Fn(u64, usize) -> Result<std::borrow::Cow<'a, [u8]>>,
) -> Result<Scales> {
    let record = magnitude.bytes();
    let (rows, width) = (grid.rows as usize, grid.row_bytes as usize);
    let columns = width / record;
    // Calls `see` with each row's number and bytes.
    let each = |see: &mut dyn FnMut(usize, &[u8])| -> Result<()> {
        let step = (PIECE / width as u64).max(1) as usize;
        for first in (0..rows).step_by(step) {
            let n = step.min(rows - first);
            let bytes = read(first as u64 * width as u64, n * width)?;
            bytes.chunks_exact(width).enumerate().for_each(|(i, row)| see(first + i, row));
        }
        Ok(())
    };
    // Rows by themselves, then columns of what rows leave, then rows of what columns leave.
    let mut row_scales = vec![0.0f32; rows];
    each(&mut |row, bytes| {
        let sum: f32 = sums(bytes.chunks_exact(record).map(|e| magnitude.of(e)));
        row_scales[row] = log2_of(sum / columns as f32);
    })?;
    let mut column_sums = vec![0.0f32; columns];
    each(&mut |row, bytes| {
        let factor = exp2(-row_scales[row]);
        for (sum, element) in column_sums.iter_mut().zip(bytes.chunks_exact(record)) {
            *sum += magnitude.of(element) * factor;
        }
    })?;
    let column_scales: Vec<f32> = column_sums.iter().map(|&sum| log2_of(sum / rows as f32)).collect();
    let factors: Vec<f32> = column_scales.iter().map(|&scale| exp2(-scale)).collect();
    each(&mut |row, bytes| {
        let sum: f32 = sums(bytes.chunks_exact(record).zip(&factors).map(|(e, f)| magnitude.of(e) * f));
        row_scales[row] = log2_of(sum / columns as f32);
    })?;
    Ok(Scales { rows: row_scales, columns: column_scales })
}

/// Adds up eight sums side by side, in a fixed order.
fn sums(terms: impl Iterator<Item = f32>) -> f32 {
    let mut parts = [0f32; 8];
    terms.enumerate().for_each(|(i, term)| parts[i & 7] += term);
    parts.iter().sum()
}

/// Two to the `x`, as near as a whole sixteenth of an octave: columns and rows are then freed of each other well enough, the same on every machine.
fn exp2(x: f32) -> f32 {
    const SIXTEENTHS: [f32; 16] = [
        1.0, 1.0442737, 1.0905077, 1.1387886, 1.1892071, 1.2418578, 1.2968396, 1.3542556, SQRT_2, 1.4768262, 1.5422108,
        1.6104903, 1.6817929, 1.7562522, 1.8340081, 1.9152066,
    ];
    let sixteenths = (x.clamp(-120.0, 120.0) * 16.0).round() as i32;
    f32::from_bits(((sixteenths.div_euclid(16) + 127) as u32) << 23) * SIXTEENTHS[sixteenths.rem_euclid(16) as usize]
}

impl Scales {
    /// Classes of `units` to the octave, and the scale (in such units) that class 0 of a row and of a column has together.
    pub(super) fn classes(&self, units: u8) -> (Vec<u8>, Vec<u8>, i32) {
        let (rows, first_row) = quantise(&self.rows, units);
        let (columns, first_column) = quantise(&self.columns, units);
        (rows, columns, first_row + first_column)
    }
}

/// Classes 0 to 15 around the middle of `scales`, or fewer where they suffice; and what class 0 is.
fn quantise(scales: &[f32], units: u8) -> (Vec<u8>, i32) {
    let steps: Vec<i32> = scales.iter().map(|s| (s * units as f32).round() as i32).collect();
    let mut sorted = steps.clone();
    sorted.sort_unstable();
    let at = |share: usize| sorted[(sorted.len() - 1) * share / 1000];
    // What few rows have lies beyond the ends; where the middle is narrow the classes begin with the first.
    let (low, high) = (at(2), at(998));
    let first = if high - low <= LAST { low } else { (at(500) - LAST / 2).clamp(low, high - LAST) };
    let last = (high - first).min(LAST);
    (steps.iter().map(|step| (step - first).clamp(0, last) as u8).collect(), first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::Dtype;
    use std::borrow::Cow;

    #[test]
    fn scales_of_rows_and_columns_are_found() {
        let (rows, columns) = (40, 60);
        let value = |r: usize, c: usize| {
            2f32.powi((r % 4) as i32 - (c % 3) as i32) * (1.0 + 0.3 * (((r * 7 + c * 11) % 13) as f32 / 13.0 - 0.5))
        };
        let bytes: Vec<u8> = (0..rows * columns).flat_map(|i| value(i / columns, i % columns).to_le_bytes()).collect();
        let grid = Grid::choose(rows as u64, 4 * columns as u64, 4);
        let magnitude = Magnitude::new(Dtype::F32, || unreachable!()).unwrap().unwrap();
        let read = |at: u64, len: usize| Ok(Cow::Borrowed(&bytes[at as usize..at as usize + len]));
        let (rows, columns, _) = measure(&grid, &magnitude, read).unwrap().classes(4);
        assert!((0..40).all(|r| rows[r] == 4 * (r % 4) as u8), "{rows:?}");
        assert!((0..60).all(|c| columns[c] == 4 * (2 - c % 3) as u8), "{columns:?}");
    }

    #[test]
    fn powers_and_their_logarithms() {
        for i in -1000..1000 {
            let x = i as f32 / 33.0;
            assert!((exp2(x) / 2f32.powf(x) - 1.0).abs() < 0.03, "{x}");
        }
    }
}
