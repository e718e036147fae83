//! Filters, as the encoder chooses them: whether a tensor gets them, and what each block of a tile goes through.
//!
//! ```text
//! tile     what each block of a tile goes through
//! linear   the weights of eight neighbours that suit a block
//! ```

mod linear;
mod tile;

use super::batch::Input;
use super::cluster::{Numbers, cluster};
use super::effort::Effort;
use super::frequency::{Histogram, entropy, log2_of};
use super::plan::Job;
use super::split::{Rows, split};
use super::tile::{Look, PATCH_BITS, Scratch, survey};
use crate::container::grid::{Grid, TileRect};
use crate::container::tables::Freqs;
use crate::dtype::Dtype;
use crate::error::Result;
use crate::filter::map::{self, Map, zigzag};
use crate::filter::modes::Modes;
use crate::filter::predict::{Predictor, residuals};
use crate::filter::transform::SIDE;
use crate::filter::{BANDS, CLASSES, Filter, Ring};
use rayon::prelude::*;
use tile::Tile;
use wcodec_device::layout::kind;
use wcodec_device::planes::Layout;

/// Elements below which a tensor is not worth parameters of its own.
const LEAST: u64 = 1 << 11;
/// Tiles of a tensor, and rows of each, by which it is judged.
const SAMPLES: u64 = 6;
const SAMPLE_ROWS: usize = 32;
/// A tensor is filtered where its samples shrink to this much of what they would take: less would be lost to modes, and to the contexts that it
/// cannot have beside filters.
const WORTH: f32 = 0.95;
/// A tensor's samples are looked at closely where they cost, predicted, this much of what their values do by themselves.
const PROMISING: f32 = 0.95;
/// Predictors that tell whether a sample is promising; the first is none.
const GLANCE: [Predictor; 6] =
    [Predictor::None, Predictor::Left, Predictor::Top, Predictor::Average, Predictor::TopLine, Predictor::Median];
/// Tiles, of all tensors together, from which the tables of classes are learnt.
const LEARNT: u64 = 4096;

/// What elements of a type may be read as.
fn candidates(dtype: Dtype) -> &'static [(Map, u32)] {
    use Map::{Float, Signed, Unsigned};
    match dtype {
        Dtype::I8 => &[(Signed, 8)],
        // Bytes that may be pairs of INT4.
        Dtype::U8 => &[(Unsigned, 8), (Unsigned, 4), (Signed, 4)],
        Dtype::BOOL | Dtype::F8_E8M0 => &[(Unsigned, 8)],
        Dtype::F4 => &[(Float, 4)],
        Dtype::F8_E4M3 | Dtype::F8_E5M2 | Dtype::F8_E4M3FNUZ | Dtype::F8_E5M2FNUZ => &[(Float, 8)],
        Dtype::I16 => &[(Signed, 16)],
        Dtype::U16 => &[(Unsigned, 16)],
        Dtype::F16 | Dtype::BF16 => &[(Float, 16)],
        Dtype::I32 => &[(Signed, 32)],
        Dtype::U32 => &[(Unsigned, 32)],
        Dtype::F32 => &[(Float, 32)],
        _ => &[],
    }
}

/// Bits of the fraction of a type of floats, as filters read them; 0 for others.
fn fraction(dtype: Dtype) -> u8 {
    match dtype {
        Dtype::F4 => 1,
        Dtype::F8_E5M2 | Dtype::F8_E5M2FNUZ => 2,
        Dtype::F8_E4M3 | Dtype::F8_E4M3FNUZ => 3,
        Dtype::BF16 => 7,
        Dtype::F16 => 10,
        Dtype::F32 => 23,
        _ => 0,
    }
}

/// Decides which tensors are filtered, and gives those the layout that filters need.
pub(super) fn choose(input: &mut Input<'_>) -> Result<()> {
    let judged = input.jobs.par_iter().enumerate().map(|(j, job)| judge(input, j, job));
    input.filters = judged.collect::<Result<_>>()?;
    for (filter, layout) in input.filters.iter().zip(&mut input.layouts) {
        if filter.is_some() {
            *layout = Layout::Columns(layout.record_bytes() as u8);
        }
    }
    Ok(())
}

/// How a tensor is filtered, if that pays.
fn judge(input: &Input<'_>, j: usize, job: &Job<'_>) -> Result<Option<Filter>> {
    let record = input.layouts[j].record_bytes();
    let tiles = job.grid.tiles().unwrap_or(0);
    if job.kind != kind::TENSOR || input.trellises[j].is_some() || job.grid.bytes() / (record as u64) < LEAST || tiles == 0 {
        return Ok(None);
    }
    let maps = candidates(job.dtype);
    let mut usual = 0.0;
    // For each map, what values cost by themselves and predicted.
    let mut prices = vec![[0; 2]; maps.len()];
    let (mut scratch, mut work, mut samples) = (Scratch::default(), Work::default(), Vec::new());
    for i in 0..if maps.is_empty() { 0 } else { tiles.min(SAMPLES) } {
        let mut rect = job.grid.rect(sample(&job.grid, i));
        rect.rows = rect.rows.min(SAMPLE_ROWS);
        let bytes = read(input, j, rect)?;
        survey(input.layouts[j], &bytes, &mut scratch, |look| {
            usual += match look {
                Look::Raw if input.layouts[j] == Layout::F8E4 => 4.0 * bytes.len() as f32,
                Look::Raw => 8.0 * (bytes.len() / record) as f32,
                Look::Bytes(h) | Look::Pairs(_, h) => entropy(&h),
                Look::Constant(_) => 0.0,
            }
        });
        for ([alone, predicted], &(map, bits)) in prices.iter_mut().zip(maps) {
            let found = work.glance(map, Ring::new(bits), rect.rows, &bytes);
            *alone += found.0;
            *predicted += found.1;
        }
        samples.push((rect.rows, bytes));
    }
    let alone = prices.iter().map(|p| p[0]).min().unwrap_or(0);
    let best = maps.iter().zip(&prices).min_by_key(|(_, p)| p[1]);
    let Some((&(map, bits), _)) = best.filter(|(_, p)| p[1] as f32 <= PROMISING * alone as f32) else { return Ok(None) };
    let classes = CLASSES;
    let filter =
        Filter { map, ring: Ring::new(bits), fraction: fraction(job.dtype), classes, tables: vec![0; BANDS * classes * record] };
    let filtered: f32 = samples.iter_mut().map(|(rows, bytes)| work.bits(&filter, *rows, bytes)).sum();
    Ok((filtered < WORTH * usual).then_some(filter))
}

/// The tile to take as sample `i`: one below the other, and to the right, too, so that dimensions do not hide.
fn sample(grid: &Grid, i: u64) -> u64 {
    let (bands, columns) = (grid.bands(), grid.columns());
    let n = SAMPLES.min(bands * columns);
    i * bands / n * columns + (i * columns / n + i) % columns
}

/// A tile's bytes, without gaps.
pub(super) fn read(input: &Input<'_>, job: usize, rect: TileRect) -> Result<Vec<u8>> {
    let pitch = input.jobs[job].grid.row_bytes as usize;
    let len = (rect.rows - 1) * pitch + rect.width;
    let bytes = input.read(job, rect.row * pitch as u64 + rect.column, len)?;
    Ok(bytes.chunks(pitch).flat_map(|row| &row[..rect.width]).copied().collect())
}

/// Learns the tables of all filtered tensors' classes, which are numbered from `first` on.
pub(super) fn learn(input: &mut Input<'_>, effort: Effort, first: usize) -> Result<Vec<Freqs>> {
    let tiles = |j: usize| input.jobs[j].grid.tiles().unwrap_or(0);
    let filtered: Vec<usize> = (0..input.jobs.len()).filter(|&j| input.filters[j].is_some()).collect();
    let stride = filtered.iter().map(|&j| tiles(j)).sum::<u64>().div_ceil(LEARNT).max(1);
    let counted: Vec<Vec<Histogram>> = filtered.par_iter().map(|&j| count(input, j, stride)).collect::<Result<_>>()?;
    let samples: Vec<Histogram> = counted.iter().flatten().filter(|h| h.iter().any(|&n| n > 0)).copied().collect();
    if samples.is_empty() {
        return Ok(vec![]);
    }
    let freqs = cluster(&samples, effort.learning().tables, effort.learning().rounds, stride as f32, PATCH_BITS);
    let numbers = Numbers::new(&freqs, first, PATCH_BITS);
    for (&j, histograms) in filtered.iter().zip(&counted) {
        let Some(filter) = &mut input.filters[j] else { continue };
        // Classes from the highest that occurs on are not told of.
        let used = |h: &Histogram| h.iter().any(|&n| n > 0);
        let classes = (0..CLASSES).rev().find(|c| histograms.iter().skip(*c).step_by(CLASSES).any(used)).map_or(0, |c| c + 1);
        filter.tables = histograms.chunks(CLASSES).flat_map(|band| numbers.of_all(&band[..classes])).collect();
        filter.classes = classes;
    }
    Ok(freqs)
}

/// Counts a tensor's symbols by plane, band and class.
fn count(input: &Input<'_>, job: usize, stride: u64) -> Result<Vec<Histogram>> {
    let Some(filter) = &input.filters[job] else { return Ok(vec![]) };
    let layout = input.layouts[job];
    let grid = input.jobs[job].grid;
    let mut counts = vec![[0; 256]; layout.planes() * BANDS * CLASSES];
    let mut work = Work::default();
    let (mut linear, mut planes, mut contexts) = (Vec::new(), Vec::new(), Vec::new());
    for tile in (0..grid.tiles().unwrap_or(0)).step_by(stride as usize) {
        let rect = grid.rect(tile);
        let mut bytes = read(input, job, rect)?;
        let modes = work.filter(filter, rect.rows, &mut bytes);
        split(layout, Rows::whole(&bytes), &mut linear, &mut planes);
        modes.contexts(filter, &mut contexts);
        for (plane, counts) in planes.iter().zip(counts.chunks_mut(BANDS * CLASSES)) {
            contexts.iter().zip(plane).for_each(|(&c, &s)| counts[c as usize][s as usize] += 1);
        }
    }
    Ok(counts)
}

/// Buffers that a thread keeps from tile to tile.
#[derive(Default)]
pub(crate) struct Work {
    values: Vec<i32>,
    out: Vec<i32>,
    bytes: Vec<u8>,
}

/// What a residual costs, roughly, in 1024ths of a bit.
#[inline(always)]
fn price(residual: i32) -> u32 {
    // A float's bits are its logarithm, nearly.
    ((1.0 + zigzag(residual) as u32 as f32).to_bits() - 1f32.to_bits()) >> 13
}

fn bits(price: u64) -> f32 {
    price as f32 / 1024.0
}

/// A choice for all of a tile: its modes, its residuals.
type Choice = (Modes, Vec<i32>);

impl Work {
    /// What a sample's values cost by themselves, and predicted, the best way for every eight columns. Over many rows: the least of several sums
    /// of noise is hardly less than any then.
    fn glance(&mut self, map: Map, ring: Ring, rows: usize, bytes: &[u8]) -> (u64, u64) {
        map::read(map, ring, bytes, &mut self.values);
        let columns = self.values.len() / rows;
        self.out.resize(self.values.len(), 0);
        let mut sums = GLANCE.map(|predictor| {
            residuals(ring, predictor, &self.values, columns, &mut self.out);
            let mut sums = vec![0; columns.div_ceil(SIDE)];
            for row in self.out.chunks(columns) {
                let parts = row.chunks(SIDE).map(|part| part.iter().map(|&x| price(x)).sum::<u32>() as u64);
                sums.iter_mut().zip(parts).for_each(|(sum, part)| *sum += part);
            }
            sums
        });
        let (alone, others) = sums.split_at_mut(1);
        let total = alone[0].iter().sum();
        others.iter().for_each(|sums| alone[0].iter_mut().zip(sums).for_each(|(a, b)| *a = (*a).min(*b)));
        (total, alone[0].iter().sum())
    }

    /// Bits of a sample if it is filtered, modes included; its bytes become residuals.
    fn bits(&mut self, filter: &Filter, rows: usize, bytes: &mut [u8]) -> f32 {
        let modes = self.filter(filter, rows, bytes);
        let mut told = Vec::new();
        if modes.write(filter.ring, &mut told).is_none() {
            return f32::INFINITY;
        }
        8.0 * told.len() as f32 + self.in_contexts(filter, &modes, bytes)
    }

    /// Chooses modes and classes for a tile and turns its elements into residuals.
    pub(crate) fn filter(&mut self, filter: &Filter, rows: usize, bytes: &mut [u8]) -> Modes {
        let ring = filter.ring;
        let mut values = std::mem::take(&mut self.values);
        map::read(filter.map, ring, bytes, &mut values);
        let columns = values.len() / rows;
        let tile = Tile::new(filter, &values, rows, columns);
        let mut best: Option<(f32, Choice)> = None;
        for mut choice in tile.choices() {
            choice.0.classes = classes(ring, &choice.0, &choice.1);
            let mut modes = Vec::new();
            if choice.0.write(ring, &mut modes).is_none() {
                continue;
            }
            map::write_residuals(ring, &choice.1, bytes);
            let total = 8.0 * modes.len() as f32 + self.in_contexts(filter, &choice.0, bytes);
            if best.as_ref().is_none_or(|(least, _)| total < *least) {
                best = Some((total, choice));
            }
        }
        self.values = values;
        let Some((_, (modes, residuals))) = best else { unreachable!("one mode for all is always told") };
        map::write_residuals(ring, &residuals, bytes);
        modes
    }

    /// Bits of residuals, each with the histogram of its context, and a little for each symbol that occurs in it.
    fn in_contexts(&mut self, filter: &Filter, modes: &Modes, bytes: &[u8]) -> f32 {
        let all = Filter { classes: CLASSES, ..filter.clone() };
        modes.contexts(&all, &mut self.bytes);
        let record = bytes.len() / self.bytes.len();
        let mut total = 0.0;
        for p in 0..record {
            let mut counts = vec![[0u32; 256]; BANDS * CLASSES];
            self.bytes.iter().zip(bytes.iter().skip(p).step_by(record)).for_each(|(&c, &s)| counts[c as usize][s as usize] += 1);
            for h in counts.iter().filter(|h| h.iter().any(|&n| n > 0)) {
                total += entropy(h) + 2.0 * h.iter().filter(|&&n| n > 0).count() as f32;
            }
        }
        total
    }
}

/// The class of each block: how large its residuals are, in equal steps of their logarithm.
fn classes(ring: Ring, modes: &Modes, residuals: &[i32]) -> Vec<u8> {
    let (height, width) = modes.shape.size();
    let across = modes.columns.div_ceil(width);
    let mut sums = vec![(0u64, 0u32); modes.blocks.len()];
    for (r, row) in residuals.chunks(modes.columns).enumerate() {
        for (x, part) in row.chunks(width).enumerate() {
            let (sum, n) = &mut sums[r / height * across + x];
            *sum += part.iter().map(|&x| zigzag(x) as u32 as u64).sum::<u64>();
            *n += part.len() as u32;
        }
    }
    let class = |(sum, n): (u64, u32)| {
        let octaves = log2_of(1.0 + sum as f32 / n as f32);
        ((octaves * CLASSES as f32 / ring.bits() as f32 + 0.5) as usize).min(CLASSES - 1) as u8
    };
    sums.into_iter().map(class).collect()
}
