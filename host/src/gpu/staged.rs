//! Decoding what a loader has copied to the device: the payloads of a unit in a *stage*, a buffer that is used again and again.
//!
//! A stage is written on one stream and read on another, never at once: whoever copies waits for the copy before the stage is passed on, and
//! whoever decodes waits for the kernels.

use super::batch::{Integrity, TILE_SPACE, Target, Work, run_batches, run_staged};
use super::context::Gpu;
use super::launch::crop;
use super::tensor::{DeviceTensor, crop_jobs};
use crate::archive::{Directory, Tensor};
use crate::error::Result;
use std::ops::Range;
use wcodec_device::job::SLACK;
use wcodec_device::layout::TILE_ALIGN;

/// Consecutive tiles whose payload is in a stage.
pub(crate) struct StagedPart<'a> {
    pub tensor: Tensor<'a>,
    pub directory: &'a Directory<'a>,
    pub tiles: Range<u64>,
    /// Device address of the first tile's payload.
    pub payload: u64,
    /// Rows and byte columns that are wanted; `None`: whole tiles.
    pub slice: Option<(Range<u64>, Range<u64>)>,
    /// Device address of what is wanted: rows without gaps.
    pub output: u64,
}

impl Gpu {
    /// A stage for `len` bytes of payload.
    pub(crate) fn stage(&self, len: u64) -> Result<DeviceTensor> {
        let mut stage = self.memory(len + SLACK as u64)?;
        // Kernels fetch words before they know that there are any: never from memory that nothing was written to.
        stage.zero()?;
        self.wait()?;
        Ok(stage)
    }

    /// Copies `from` (pinned, or the copy is slow) to the beginning of a stage, and waits for that.
    pub(crate) fn copy_to_stage(&self, from: &[u8], stage: u64) -> Result<()> {
        self.copy_to_address(from, stage)?;
        self.wait()
    }

    /// Decodes parts of a stage and waits until that is done; a fault names tensor, tile and offset.
    pub(crate) fn decode_staged(&self, parts: &[StagedPart<'_>]) -> Result<()> {
        let apart: u64 = parts.iter().filter(|p| p.slice.is_some()).map(|p| (p.tiles.end - p.tiles.start) * TILE_SPACE).sum();
        let space = if apart > 0 { Some(self.memory(apart)?) } else { None };
        let mut free = space.as_ref().map_or(0, DeviceTensor::address);
        let (mut work, mut payloads, mut split, mut jobs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for part in parts {
            if part.tensor.on_cpu_only() {
                self.decode_part_here(part)?;
                continue;
            }
            let StagedPart { tensor, directory, tiles, payload, slice, output } = part;
            let grid = &tensor.entry.grid;
            if !tensor.entry.is_same() && !payload.is_multiple_of(TILE_ALIGN as u64) {
                return Err(tensor.fault(directory, tiles.start, format!("its payload does not begin on {TILE_ALIGN} bytes")));
            }
            let target = match slice {
                None => Target::InTensor(output.wrapping_sub(grid.span(tiles).start)),
                Some((rows, columns)) => {
                    let at = free;
                    free += (tiles.end - tiles.start) * TILE_SPACE;
                    jobs.extend(crop_jobs(grid, tiles.clone(), at, rows, columns, *output));
                    Target::Apart(at)
                }
            };
            let item = Work { tensor: *tensor, directory, tiles: tiles.clone(), target };
            if tensor.entry.is_progressive() {
                // A stage holds categories only; these are read with their planes.
                split.push(item);
            } else {
                work.push(item);
                payloads.push(*payload);
            }
        }
        run_batches(self, &split, Integrity::Host, &mut { u64::MAX })?;
        if !work.is_empty() {
            run_staged(self, &work, &payloads).map_err(|f| f.into_error())?;
        }
        if !jobs.is_empty() {
            crop(self, &jobs).map_err(|f| f.into_error())?;
        }
        Ok(())
    }
}
