//! Tensors of integers that are a trellis's numbers, as `wcodec quantize` chooses them: whoever encodes them again finds that they are.

use super::batch::Input;
use super::plan::Job;
use crate::container::grid::Grid;
use crate::container::trellis::Trellis;
use crate::dtype::Dtype;
use crate::error::Result;
use rayon::prelude::*;
use wcodec_device::layout::kind;

/// Elements below which a tensor is not worth parameters, and may be a trellis's by chance.
const LEAST: u64 = 1 << 10;
/// Bytes of rows that are looked at together, at least.
const PIECE: u64 = 1 << 20;

/// Each job's trellis, where all of its numbers are that one's.
pub(super) fn choose(input: &Input<'_>) -> Result<Vec<Option<Trellis>>> {
    let of = |(j, job): (usize, &Job<'_>)| Ok(is(input, j, job)?.then_some(Trellis::OURS));
    input.jobs.par_iter().enumerate().map(of).collect()
}

/// Whether a tensor's numbers are those of our trellis: of a row alone all even numbers are.
fn is(input: &Input<'_>, j: usize, job: &Job<'_>) -> Result<bool> {
    if job.kind != kind::TENSOR || job.dtype != Dtype::I8 || job.grid.tile_rows < 2 || job.grid.bytes() < LEAST {
        return Ok(false);
    }
    let mut odd = false;
    for piece in job.grid.pieces(PIECE) {
        let mut bytes = input.read(j, piece.bytes.start, piece.len())?.into_owned();
        odd |= bytes.iter().any(|b| b & 1 == 1);
        if !take(Trellis::OURS, &job.grid, &mut bytes) {
            return Ok(false);
        }
    }
    Ok(odd)
}

/// Takes what is stored of the numbers of whole rows of tiles; whether they are the trellis's.
pub(super) fn take(trellis: Trellis, grid: &Grid, bytes: &mut [u8]) -> bool {
    let row_bytes = grid.row_bytes as usize;
    // Columns go their ways by themselves: tiles side by side are one.
    bytes.chunks_mut(row_bytes * grid.tile_rows as usize).all(|band| trellis.take(band, row_bytes, row_bytes))
}
