//! Filters, as the encoder chooses them: whether a tensor gets them, and what each block of a tile goes through.

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
use crate::filter::modes::{Block, Modes, Shape};
use crate::filter::predict::{Plane, Predictor, on_plane, residuals};
use crate::filter::transform::{SIDE, Transform, forward};
use crate::filter::{BANDS, CLASSES, Filter, Ring, with_sub_block};
use rayon::prelude::*;
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
/// Bits that a block's mode costs beyond its eight, so that neighbours go the same way where it hardly matters.
const CHANGE: f32 = 8.0;

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
    if job.kind != kind::TENSOR || job.grid.bytes() / (record as u64) < LEAST || tiles == 0 {
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
    let filter = Filter { map, ring: Ring::new(bits), classes, tables: vec![0; BANDS * classes * record] };
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
        let tile = Tile::new(ring, &values, rows, columns);
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

/// What the residuals of each sub-block cost; those at the edges are not whole.
fn prices(residuals: &[i32], rows: usize, columns: usize) -> Vec<u64> {
    let across = columns.div_ceil(SIDE);
    let mut prices = vec![0; rows.div_ceil(SIDE) * across];
    for (r, row) in residuals.chunks(columns).enumerate() {
        for (x, part) in row.chunks(SIDE).enumerate() {
            prices[r / SIDE * across + x] += part.iter().map(|&x| price(x) as u64).sum::<u64>();
        }
    }
    prices
}

/// Where whole sub-blocks begin.
fn cells(rows: usize, columns: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..rows / SIDE).flat_map(move |y| (0..columns / SIDE).map(move |x| (SIDE * y, SIDE * x)))
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

/// A tile's values, what each predictor leaves of them, and what that costs in each sub-block (those at the edges are not whole).
struct Tile<'a> {
    ring: Ring,
    values: &'a [i32],
    rows: usize,
    columns: usize,
    left: Vec<Vec<i32>>,
    prices: Vec<Vec<u64>>,
    /// Of the values themselves, transformed.
    transformed: [Vec<u64>; 2],
}

const TRANSFORMS: [Transform; 2] = [Transform::Cosine, Transform::Sine];

impl<'a> Tile<'a> {
    fn new(ring: Ring, values: &'a [i32], rows: usize, columns: usize) -> Self {
        let left: Vec<Vec<i32>> = Predictor::FROM_NEIGHBOURS
            .iter()
            .map(|&p| {
                let mut out = vec![0; values.len()];
                residuals(ring, p, values, columns, &mut out);
                out
            })
            .collect();
        let across = columns.div_ceil(SIDE);
        let prices = left.iter().map(|residuals| prices(residuals, rows, columns)).collect();
        let transformed = TRANSFORMS.map(|kind| {
            let mut prices = vec![u64::MAX / 1024; rows.div_ceil(SIDE) * across];
            for (r, c) in cells(rows, columns) {
                prices[r / SIDE * across + c / SIDE] = transformed(ring, kind, values, columns, r, c);
            }
            prices
        });
        Self { ring, values, rows, columns, left, prices, transformed }
    }

    /// Choices worth a closer look: the two best ways for all blocks alike, and each shape's best way for each block.
    fn choices(&self) -> Vec<Choice> {
        let modes = |shape, blocks| Modes { rows: self.rows, columns: self.columns, shape, blocks, classes: vec![] };
        let mut alike: Vec<usize> = (0..self.left.len()).collect();
        alike.sort_by_key(|&p| self.prices[p].iter().sum::<u64>());
        let mut choices = Vec::new();
        for shape in Shape::ALL {
            let count = Modes::count(self.rows, self.columns, shape);
            for &p in &alike[..2] {
                let block = Block { predictor: Predictor::FROM_NEIGHBOURS[p], ..Block::default() };
                choices.push((modes(shape, vec![block; count]), self.left[p].clone()));
            }
            let mut apart = (modes(shape, vec![Block::default(); count]), vec![0; self.values.len()]);
            for b in 0..count {
                apart.0.blocks[b] = self.block(shape, b, alike[0], &mut apart.1);
            }
            choices.push(apart);
        }
        choices
    }

    /// Decides what block `b` goes through, and writes what that leaves to `out`. `common` is the predictor that suits the tile.
    fn block(&self, shape: Shape, b: usize, common: usize, out: &mut [i32]) -> Block {
        let (height, width) = shape.size();
        let across = self.columns.div_ceil(width);
        let (top, left) = (b / across * height, b % across * width);
        let (rows, columns) = (height.min(self.rows - top), width.min(self.columns - left));
        let grid = self.columns.div_ceil(SIDE);
        let subs: Vec<usize> = (0..4)
            .map(|i| (top + SIDE * (i / (width / SIDE)), left + SIDE * (i % (width / SIDE))))
            .filter(|&(r, c)| r < self.rows && c < self.columns)
            .map(|(r, c)| r / SIDE * grid + c / SIDE)
            .collect();
        let sum = |prices: &[u64]| bits(subs.iter().map(|&s| prices[s]).sum());
        let from = |p: usize| sum(&self.prices[p]) + if p == common { 0.0 } else { CHANGE };
        let best = (0..self.left.len()).min_by(|&a, &b| from(a).total_cmp(&from(b))).unwrap_or(0);
        let mut block = Block { predictor: Predictor::FROM_NEIGHBOURS[best], ..Block::default() };
        let mut least = from(best);
        // Nothing but transforms.
        let either = |s: usize| self.transformed[0][s].min(self.transformed[1][s]).min(self.prices[0][s]);
        let plain = bits(subs.iter().map(|&s| either(s)).sum()) + CHANGE + 8.0;
        if plain < least {
            (least, block.predictor) = (plain, Predictor::None);
        }
        let plane = self.fit(top, left, rows, columns);
        let off = |r: usize, c: usize| {
            self.ring.sub(self.values[(top + r) * self.columns + left + c], on_plane(self.ring, plane, r, c))
        };
        let planar: u64 = (0..rows).flat_map(|r| (0..columns).map(move |c| (r, c))).map(|(r, c)| price(off(r, c)) as u64).sum();
        let plane_bits = if self.ring.bits() <= 8 { 40.0 } else { 80.0 };
        if bits(planar) + plane_bits + CHANGE < least {
            (block.predictor, block.plane) = (Predictor::Planar, plane);
        }
        let source = Predictor::FROM_NEIGHBOURS.iter().position(|&p| p == block.predictor).map(|p| &self.left[p]);
        for r in 0..rows {
            let at = (top + r) * self.columns + left;
            match source {
                Some(residuals) => out[at..at + columns].copy_from_slice(&residuals[at..at + columns]),
                None => (0..columns).for_each(|c| out[at + c] = off(r, c)),
            }
        }
        for i in 0..4 {
            let (r, c) = (top + SIDE * (i / (width / SIDE)), left + SIDE * (i % (width / SIDE)));
            if r + SIDE > self.rows || c + SIDE > self.columns {
                continue;
            }
            let plain: u64 = (0..SIDE).flat_map(|y| &out[(r + y) * self.columns + c..][..SIDE]).map(|&x| price(x) as u64).sum();
            let kinds = TRANSFORMS.map(|kind| (transformed(self.ring, kind, out, self.columns, r, c), kind));
            let (price, kind) = if kinds[0].0 <= kinds[1].0 { kinds[0] } else { kinds[1] };
            if bits(price) + CHANGE < bits(plain) {
                block.transforms[i] = kind;
                with_sub_block(out, self.columns, r, c, |b| forward(self.ring, kind, b));
            }
        }
        block
    }

    /// The plane nearest to a block's values.
    fn fit(&self, top: usize, left: usize, rows: usize, columns: usize) -> Plane {
        let (mut sum, mut by_x, mut by_y) = (0i64, 0i64, 0i64);
        // Twice the distance from the middle, which is whole.
        let far = |i: usize, n: usize| 2 * i as i64 + 1 - n as i64;
        for r in 0..rows {
            for (c, &v) in self.values[(top + r) * self.columns + left..][..columns].iter().enumerate() {
                sum += v as i64;
                by_x += v as i64 * far(c, columns);
                by_y += v as i64 * far(r, rows);
            }
        }
        let squares = |n: usize, times: usize| (0..n).map(|i| far(i, n).pow(2)).sum::<i64>() * times as i64;
        let most = if self.ring.bits() <= 8 { i16::MAX as i64 } else { i32::MAX as i64 };
        let slope = |by: i64, squares: i64| if squares == 0 { 0 } else { (512 * by / squares).clamp(-most, most) };
        let (b, c) = (slope(by_x, squares(columns, rows)), slope(by_y, squares(rows, columns)));
        let mean = sum / (rows * columns) as i64;
        let corner = mean - (b * (columns as i64 - 1) + c * (rows as i64 - 1)) / 512;
        [self.ring.wrap(corner as i32), b as i32, c as i32]
    }
}

/// What a sub-block's residuals cost once they are transformed.
fn transformed(ring: Ring, kind: Transform, residuals: &[i32], columns: usize, r: usize, c: usize) -> u64 {
    let mut block: [[i32; SIDE]; SIDE] = std::array::from_fn(|y| std::array::from_fn(|x| residuals[(r + y) * columns + c + x]));
    forward(ring, kind, &mut block);
    block.iter().flatten().map(|&x| price(x) as u64).sum()
}
