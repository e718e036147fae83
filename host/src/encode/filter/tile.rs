//! What each block of a tile goes through.

use super::linear::{Area, Worth};
use super::{Choice, bits, price};
use crate::filter::modes::{Block, Modes, Shape};
use crate::filter::predict::{Plane, Predictor, WEIGHT_BYTES, Weights, on_plane, residuals};
use crate::filter::transform::{SIDE, Transform, forward};
use crate::filter::{Filter, Ring, Values, with_sub_block};

/// Bits that a block's mode costs beyond its eight, so that neighbours go the same way where it hardly matters.
const CHANGE: f32 = 8.0;

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

/// A tile's values, what each predictor leaves of them, and what that costs in each sub-block (those at the edges are not whole).
pub(super) struct Tile<'a> {
    ring: Ring,
    /// What values stand for, and as numbers that can be added and multiplied.
    meaning: Option<(Values, Vec<Worth>)>,
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
    pub(super) fn new(filter: &Filter, values: &'a [i32], rows: usize, columns: usize) -> Self {
        let ring = filter.ring;
        let meaning = filter.values().map(|meaning| (meaning, values.iter().map(|&x| Worth::of(meaning, x)).collect()));
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
        Self { ring, meaning, values, rows, columns, left, prices, transformed }
    }

    /// Choices worth a closer look: the two best ways for all blocks alike, and each shape's best way for each block.
    pub(super) fn choices(&self) -> Vec<Choice> {
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
            least = bits(planar) + plane_bits + CHANGE;
            (block.predictor, block.plane) = (Predictor::Planar, plane);
        }
        let weighed = self.linear(top, left, rows, columns, least);
        if let Some((weights, _)) = weighed {
            block = Block { predictor: Predictor::Linear, weights, ..Block::default() };
        }
        let source = Predictor::FROM_NEIGHBOURS.iter().position(|&p| p == block.predictor).map(|p| &self.left[p]);
        for r in 0..rows {
            let at = (top + r) * self.columns + left;
            let out = &mut out[at..at + columns];
            match (source, &weighed) {
                (Some(residuals), _) => out.copy_from_slice(&residuals[at..at + columns]),
                (None, Some((_, residuals))) => out.copy_from_slice(&residuals[r * columns..][..columns]),
                (None, None) => out.iter_mut().enumerate().for_each(|(c, out)| *out = off(r, c)),
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

    /// The weights that suit a block, and what they leave of it row by row, if that takes fewer bits than `least`.
    fn linear(&self, top: usize, left: usize, rows: usize, columns: usize, least: f32) -> Option<(Weights, Vec<i32>)> {
        let (meaning, worths) = self.meaning.as_ref()?;
        let area =
            Area { values: self.values, worths, width: self.columns, rows: top..top + rows, columns: left..left + columns };
        let told = 8.0 * WEIGHT_BYTES as f32 + CHANGE;
        area.fit(self.ring, *meaning, least - told)
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
