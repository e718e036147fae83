//! What is done besides decoding streams: planes that are joined, maps of contexts, filters undone.

use super::{FromBase, NOWHERE, Owner, Part, Plan, SCRATCH, Tile, TileContexts};
use crate::container::difference::Method;
use crate::container::grid::TileRect;
use crate::container::trellis::Trellis;
use crate::cpu::tile::TileFault;
use crate::filter::Filter;
use crate::filter::modes::{self, Modes};
use wcodec_device::job::{DifferenceJob, FilterJob, MODE_BYTES, NumbersJob, SIDE_PLANES, TileJob, TrellisJob};
use wcodec_device::layout::PlaneMode;
use wcodec_device::planes::Layout;

/// Jobs of the kernels that decode no stream, each for one warp.
#[derive(Default)]
pub(in crate::gpu) struct Steps {
    /// `read_modes`, before all streams; `undo_transforms` and `undo_predictions`, after all joins.
    pub filters: Vec<FilterJob>,
    /// `map_exponents`, before all streams; `undo_differences`, after all joins.
    pub differences: Vec<DifferenceJob>,
    /// `undo_trellis`, after all joins.
    pub trellises: Vec<TrellisJob>,
    /// `count_bits`, after the first stage; `join_bits`, after all streams.
    pub numbers: Vec<NumbersJob>,
    /// `map_scales`, after the second stage.
    pub scales: Vec<TileJob>,
    /// `join_planes`, after all streams.
    pub joins: Vec<TileJob>,
    /// `join_blocks`, likewise.
    pub blocks: Vec<TileJob>,
}

/// Columns of a tile that a warp goes down at a time: four a lane.
const STRIP: usize = 128;

impl Steps {
    /// Makes addresses of places.
    pub(super) fn relocate(&mut self, relocate: impl Fn(u64) -> u64) {
        // Tiles go to device addresses, or to scratch memory.
        let output = |at: u64| if at & SCRATCH != 0 { relocate(at) } else { at };
        let there = |at: u64| if at == NOWHERE { 0 } else { relocate(at) };
        for job in self.scales.iter_mut().chain(&mut self.joins).chain(&mut self.blocks) {
            (job.stream, job.output) = (relocate(job.stream), output(job.output));
        }
        for job in &mut self.numbers {
            (job.categories, job.parts) = (relocate(job.categories), relocate(job.parts));
        }
        for job in &mut self.differences {
            job.map = there(job.map);
            job.differences = there(job.differences);
        }
        for job in &mut self.trellises {
            job.stored = relocate(job.stored);
        }
        for job in &mut self.filters {
            (job.modes, job.blocks, job.residuals) = (relocate(job.modes), relocate(job.blocks), relocate(job.residuals));
            job.contexts = there(job.contexts);
        }
    }
}

impl Plan {
    /// Joins a tile's planes, which lie `at` these places, to where `job` says.
    pub(super) fn join(&mut self, layout: Layout, at: &[u64], job: TileJob) {
        debug_assert!(!at.contains(&NOWHERE));
        let job = TileJob { stream: self.list(at), planes: [0; SIDE_PLANES], ..job };
        if let Layout::Blocks(blocks) = layout {
            let mut fields = [0; 8];
            fields.iter_mut().zip(blocks.fields()).for_each(|(field, bytes)| *field = *bytes);
            self.steps.blocks.push(TileJob { planes: [u64::from_le_bytes(fields), 0, 0], ..job });
        } else {
            self.steps.joins.push(TileJob { words: layout.number() as u32, ..job });
        }
    }

    /// Makes numbers of a tile's differences, once it is decoded; returns where the map of its contexts will be, if it is wanted, and `job` with
    /// differences instead of elements for its output.
    pub(super) fn difference(&mut self, tile: &Tile<'_>, from: FromBase, job: TileJob) -> (u64, TileJob) {
        let mapped = matches!(tile.contexts, Some(TileContexts::Base(_)));
        let map = if mapped { self.reserve(job.elements as usize) } else { NOWHERE };
        let differences = self.reserve(tile.rows * tile.width);
        let (output, stride, width, rows) = (tile.output, tile.stride, tile.width as u32, tile.rows as u32);
        let from = difference_job(tile.layout, from);
        self.steps.differences.push(DifferenceJob { differences, output, stride, map, width, rows, ..from });
        (map, TileJob { output: differences, stride: tile.width as u64, ..job })
    }

    /// Makes numbers of what a tile's trellis stores, once that is decoded; returns `job` with the latter for its output.
    pub(super) fn trellis(&mut self, tile: &Tile<'_>, trellis: Trellis, job: TileJob) -> TileJob {
        let stored = self.reserve(tile.rows * tile.width);
        let (pitch, rows) = (tile.width as u32, tile.rows as u32);
        let taps = trellis.taps.0 as u32 | (trellis.taps.1 as u32) << 8;
        let strip = |first: usize| {
            let width = STRIP.min(tile.width - first) as u32;
            let (stored, output) = (stored + first as u64, tile.output + first as u64);
            TrellisJob { stored, output, stride: tile.stride, pitch, width, rows, taps, reserved: [0; 2] }
        };
        self.steps.trellises.extend((0..tile.width).step_by(STRIP).map(strip));
        TileJob { output: stored, stride: tile.width as u64, ..job }
    }

    /// Copies a tile that is the base's.
    pub(in crate::gpu) fn same(&mut self, rect: &TileRect, layout: Layout, output: u64, stride: u64, from: Option<FromBase>) {
        debug_assert!(from.is_some_and(|from| from.method == Method::Same));
        let (width, rows) = (rect.width as u32, rect.rows as u32);
        let job = |from| DifferenceJob {
            differences: NOWHERE,
            output,
            stride,
            map: NOWHERE,
            width,
            rows,
            ..difference_job(layout, from)
        };
        self.steps.differences.extend(from.map(job));
    }

    /// Undoes a tile's filter, which its directory's `entry` tells of, once the tile is decoded; returns where the map of its contexts will
    /// be, if it has any, and `job` with residuals instead of elements for its output.
    pub(super) fn filter(
        &mut self,
        number: u32,
        tile: &Tile<'_>,
        filter: &Filter,
        entry: [u8; modes::ENTRY],
        job: TileJob,
    ) -> Result<(u64, TileJob), TileFault> {
        let Some((each, shape, with_classes)) = Modes::read_entry(filter, entry).map_err(TileFault::Modes)? else {
            return Ok((NOWHERE, job));
        };
        let columns = filter.elements(tile.width);
        let blocks = self.reserve(MODE_BYTES * Modes::count(tile.rows, columns, shape));
        let mapped = tile.planes.iter().any(|p| p.mode == PlaneMode::Contexts as u8);
        let contexts = if mapped { self.reserve(job.elements as usize) } else { NOWHERE };
        let residuals = self.reserve(tile.rows * tile.width);
        let status = self.status(Owner { tile: number, part: Part::Modes });
        self.steps.filters.push(FilterJob {
            modes: tile.payload,
            blocks,
            contexts,
            residuals,
            output: tile.output,
            stride: tile.stride,
            modes_len: Modes::len(entry) as u32,
            rows: tile.rows as u32,
            columns: columns as u32,
            status,
            bits: filter.ring.bits() as u8,
            map: filter.map as u8,
            how: if each { 2 } else { 1 },
            shape: shape as u8,
            with_classes: with_classes as u8,
            classes: filter.classes as u8,
            fraction: filter.fraction,
            reserved: [0; 9],
        });
        Ok((contexts, TileJob { output: residuals, stride: tile.width as u64, ..job }))
    }

    /// The map of contexts of a plane of numbers, `width` of them in each of so many blocks, whose scales lie `at` these places; where
    /// that map is.
    pub(super) fn map_scales(&mut self, at: &[u64; 4], width: u32, blocks: u32) -> u64 {
        let (stream, output) = (self.list(at), self.reserve((width * blocks) as usize));
        self.steps.scales.push(TileJob { stream, output, elements: blocks, words: width, ..TileJob::default() });
        output
    }
}

/// What tiles of a tensor have in common.
fn difference_job(layout: Layout, FromBase { method, unit, base, stride }: FromBase) -> DifferenceJob {
    let (record, unit, method) = (layout.record_bytes() as u32, unit as u32, method as u32);
    DifferenceJob { base, base_stride: stride, record, unit, method, ..DifferenceJob::default() }
}
