//! From what is wanted of an archive to reads: pure.
//!
//! A *part* is a run of consecutive tiles of one tensor whose decoded bytes are consecutive in the output: whole bands of tiles, a run of tiles
//! of a one-row band, or, for a slice, the tiles of one band that the slice touches. A *unit* is what one read brings: parts whose payloads
//! follow each other in the archive, up to a target size.

use super::request::Want;
use crate::archive::{Archive, Directory, Tensor};
use crate::error::Result;
use std::ops::Range;

/// Consecutive tiles, what of them is wanted, and where that goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Number of the tensor in the request.
    pub tensor: u32,
    pub tiles: Range<u64>,
    /// Where their payloads lie in the archive.
    pub payload: Range<u64>,
    /// Rows and byte columns of the tensor that are wanted of these tiles; whole tiles where `whole`.
    pub rows: Range<u64>,
    pub columns: Range<u64>,
    pub whole: bool,
    /// Where they go in the output, without gaps.
    pub output: Range<u64>,
}

/// One read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    /// Bytes of the archive.
    pub range: Range<u64>,
    pub parts: Vec<Part>,
}

impl Unit {
    /// Its bytes of the archive, widened to multiples of `alignment`.
    pub(crate) fn span(&self, alignment: u64) -> Range<u64> {
        self.range.start / alignment * alignment..self.range.end.next_multiple_of(alignment)
    }

    /// The tensors it has parts of, each once.
    pub(crate) fn tensors(&self) -> Vec<u32> {
        let mut tensors: Vec<u32> = self.parts.iter().map(|p| p.tensor).collect();
        tensors.dedup();
        tensors
    }
}

/// Bytes between two payloads that are read rather than skipped: a seek costs more.
const GAP: u64 = 64 << 10;

/// Decoded bytes of a unit, in targets: more than any but constant and nearly constant tensors have.
const OUTPUT: u64 = 4;

/// Bytes of the last units, about.
const LEAST: u64 = 512 << 10;

/// Units of about `target` bytes for all that is wanted, in the order wanted. `most` says how many bytes parts of a tensor have at most, as far as its
/// tiles allow, by its number.
pub(crate) fn units(
    archive: &Archive,
    wants: &[Want],
    directories: &[Directory<'_>],
    target: u64,
    most: impl Fn(usize) -> u64,
) -> Result<Vec<Unit>> {
    let mut units: Vec<Unit> = Vec::new();
    let stored = |want: &Want| {
        let tensor = archive.entry_tensor(want.entry);
        let share = want.bytes() as f64 / tensor.byte_len().max(1) as f64;
        (tensor.entry.record.segment_len as f64 * share) as u64
    };
    let mut left: u64 = wants.iter().map(stored).sum();
    for (number, (want, directory)) in wants.iter().zip(directories).enumerate() {
        let tensor = archive.entry_tensor(want.entry);
        // Reads that are in flight together end together, and what the last of them bring is decoded while nothing is read: so they
        // become smaller.
        let target = (left / super::limits::DEPTH as u64).clamp(LEAST.min(target), target);
        left = left.saturating_sub(stored(want));
        for part in parts(&tensor, number as u32, want, directory, target.min(most(number)))? {
            match units.last_mut() {
                Some(unit) if joins(unit, &part, target) => {
                    unit.range.end = part.payload.end;
                    unit.parts.push(part);
                }
                _ => units.push(Unit { range: part.payload.clone(), parts: vec![part] }),
            }
        }
    }
    Ok(units)
}

/// Whether a part is read, and decoded, with a unit. What is constant takes no bytes, so the output counts too; and tiles, which a slice has space
/// for while it is decoded.
fn joins(unit: &Unit, part: &Part, target: u64) -> bool {
    let (range, payload) = (&unit.range, &part.payload);
    let near = payload.start >= range.end && payload.start - range.end <= GAP && payload.end - range.start <= target;
    let weight = |p: &Part| (p.output.end - p.output.start).max(if p.whole { 0 } else { (p.tiles.end - p.tiles.start) << 16 });
    near && unit.parts.iter().map(weight).sum::<u64>() + weight(part) <= OUTPUT * target
}

/// The parts of one tensor.
fn parts(tensor: &Tensor<'_>, number: u32, want: &Want, directory: &Directory<'_>, target: u64) -> Result<Vec<Part>> {
    let grid = tensor.entry.grid;
    let mut parts = Vec::new();
    let whole_rows = want.columns == (0..grid.row_bytes);
    if whole_rows && want.rows == (0..grid.rows) {
        for piece in grid.pieces(target) {
            let payload = tensor.payload_range(directory, &piece.tiles)?;
            let rows = piece.bytes.start / grid.row_bytes.max(1)..piece.bytes.end.div_ceil(grid.row_bytes.max(1));
            let columns = 0..grid.row_bytes;
            parts.push(Part { tensor: number, tiles: piece.tiles, payload, rows, columns, whole: true, output: piece.bytes });
        }
        return Ok(parts);
    }
    let width = want.columns.end - want.columns.start;
    if width == 0 {
        return Ok(parts);
    }
    let sides = want.columns.start / grid.tile_row_bytes..(want.columns.end - 1) / grid.tile_row_bytes + 1;
    let mut push = |tiles: Range<u64>, rows: Range<u64>, columns: Range<u64>, whole| {
        let payload = tensor.payload_range(directory, &tiles)?;
        // Of several rows, all columns: the output has no gaps.
        let start = (rows.start - want.rows.start) * width + columns.start - want.columns.start;
        let output = start..start + (rows.end - rows.start) * (columns.end - columns.start);
        parts.push(Part { tensor: number, tiles, payload, rows, columns, whole, output });
        Ok::<_, crate::Error>(())
    };
    let mut row = want.rows.start;
    while row < want.rows.end {
        let band = row / grid.tile_rows;
        let first = band * grid.columns();
        let start = band * grid.tile_rows;
        let bands = (target / (grid.tile_rows * grid.row_bytes)).max(1).min((want.rows.end - start) / grid.tile_rows);
        if whole_rows && row == start && bands > 0 && (grid.tile_rows > 1 || grid.row_bytes <= target) {
            let end = start + bands * grid.tile_rows;
            push(first..first + bands * grid.columns(), row..end, want.columns.clone(), true)?;
            row = end;
            continue;
        }
        let end = ((band + 1) * grid.tile_rows).min(want.rows.end);
        // One row may be long: a few tiles at a time.
        let step = if end - row == 1 { (target / grid.tile_row_bytes).max(1) } else { sides.end - sides.start };
        for side in sides.clone().step_by(step as usize) {
            let side_end = (side + step).min(sides.end);
            let columns =
                (side * grid.tile_row_bytes).max(want.columns.start)..(side_end * grid.tile_row_bytes).min(want.columns.end);
            push(first + side..first + side_end, row..end, columns, false)?;
        }
        row = end;
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dtype;

    fn archive(shape: &[u64], data: &[u8]) -> Archive {
        let input = crate::TensorInput { name: "w", dtype: Dtype::BF16, shape, data };
        let mut out = std::io::Cursor::new(Vec::new());
        crate::Encoder::new().encode_tensors(&[input], &mut out).unwrap();
        Archive::from_bytes(out.into_inner()).unwrap()
    }

    /// Every byte that is wanted is the output of exactly one part, whatever the shape, the slice and the target.
    #[test]
    fn parts_cover_the_output_once() {
        let data: Vec<u8> = (0..1000 * 700 * 2u32).map(|i| ((i * i) >> 7) as u8).collect();
        for shape in [&[1000u64, 700][..], &[2, 350_000], &[700_000], &[7, 100, 1000]] {
            let archive = archive(shape, &data);
            let tensor = archive.tensor("w").unwrap();
            let directories = [tensor.directory().unwrap()];
            let (all_rows, all_bytes) = (tensor.rows(), tensor.entry.grid.row_bytes);
            for target in [1, 50_000, 400_000, 1 << 30] {
                for rows in [0..all_rows, all_rows / 3..all_rows, all_rows / 2..all_rows / 2] {
                    for columns in [0..all_bytes, 0..all_bytes / 4 * 2, all_bytes - 2..all_bytes] {
                        let want = Want { entry: tensor.entry_number(), rows: rows.clone(), columns: columns.clone() };
                        let units = units(&archive, &[want], &directories, target, |_| u64::MAX).unwrap();
                        check(&units, &rows, &columns, target);
                    }
                }
            }
        }
    }

    fn check(units: &[Unit], rows: &Range<u64>, columns: &Range<u64>, target: u64) {
        let mut at = 0;
        for part in units.iter().flat_map(|u| &u.parts) {
            assert_eq!(part.output.start, at);
            at = part.output.end;
            assert!(part.rows.start >= rows.start && part.rows.end <= rows.end);
        }
        assert_eq!(at, (rows.end - rows.start) * (columns.end - columns.start));
        for unit in units {
            assert!(unit.parts.iter().all(|p| p.payload.start >= unit.range.start && p.payload.end <= unit.range.end));
            assert!(unit.parts.len() == 1 || unit.range.end - unit.range.start <= target);
            assert!(unit.parts.iter().any(|p| p.output.end > p.output.start));
        }
    }

    /// A tensor that takes no bytes is decoded in units like any other.
    #[test]
    fn constants_do_not_pile_up() {
        let archive = archive(&[4096, 1024], &vec![0; 8 << 20]);
        let tensor = archive.tensor("w").unwrap();
        let want = Want { entry: tensor.entry_number(), rows: 0..4096, columns: 0..1024 };
        let units = units(&archive, &[want], &[tensor.directory().unwrap()], 100_000, |_| u64::MAX).unwrap();
        assert!(units.len() >= 10, "{}", units.len());
    }
}
