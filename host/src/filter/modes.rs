//! Modes: what each block of a tile went through, as the tile's directory entry and the head of its payload say it.
//!
//! Directory: how (0: not filtered, 1: one mode for all blocks, 2: one for each), shape, units of 16 bytes that the modes take (`u16`),
//! whether there are classes, three zeros. Modes: for each block the predictor, + 128 if a byte of transforms follows; then planes and weights; then
//! the classes, two to a byte; zeros to a multiple of 16.

use super::predict::{Plane, Predictor, WEIGHT_BYTES, Weights};
use super::transform::{SIDE, Transform, band};
use super::{CLASSES, Filter, Ring};
use crate::container::base_contexts::TileContexts;
use wcodec_device::filter::modes::{self, plane_bytes};
pub(crate) use wcodec_device::filter::modes::{ENTRY, Shape};
use wcodec_device::layout::TILE_ALIGN;

/// What a block went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Block {
    pub predictor: Predictor,
    /// Of its sub-blocks in raster order; of those that are not whole it means nothing.
    pub transforms: [Transform; 4],
    /// Where the predictor is `Planar`.
    pub plane: Plane,
    /// Where the predictor is `Linear`.
    pub weights: Weights,
}

/// What a tile's blocks went through, in raster order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Modes {
    /// Rows and columns of elements.
    pub rows: usize,
    pub columns: usize,
    pub shape: Shape,
    pub blocks: Vec<Block>,
    /// Each block's class, if the tile has classes.
    pub classes: Vec<u8>,
}

/// A signed number of up to four bytes.
fn signed(bytes: &[u8]) -> i32 {
    let mut all = [0; 4];
    all[..bytes.len()].copy_from_slice(bytes);
    modes::signed(u32::from_le_bytes(all), bytes.len())
}

impl Modes {
    /// Blocks of a tile.
    pub(crate) fn count(rows: usize, columns: usize, shape: Shape) -> usize {
        let (height, width) = shape.size();
        rows.div_ceil(height) * columns.div_ceil(width)
    }

    /// Bytes at the head of the payload that an entry claims.
    pub(crate) fn len(entry: [u8; ENTRY]) -> usize {
        TILE_ALIGN * u16::from_le_bytes([entry[2], entry[3]]) as usize
    }

    /// What an entry says, but for how long the modes are: whether they are one for each block, the blocks' shape, whether they have classes;
    /// `None` for a tile that is not filtered.
    pub(crate) fn read_entry(filter: &Filter, entry: [u8; ENTRY]) -> Result<Option<(bool, Shape, bool)>, &'static str> {
        let [how, shape, _, _, with_classes, zeros @ ..] = entry;
        if how == 0 && entry != [0; ENTRY] || how > 2 || with_classes > 1 || zeros != [0; 3] {
            return Err("impossible filter");
        }
        if how == 0 {
            return Ok(None);
        }
        if with_classes == 1 && filter.classes == 0 {
            return Err("unknown class of a block");
        }
        let shape = *Shape::ALL.get(shape as usize).ok_or("unknown shape of blocks")?;
        Ok(Some((how == 2, shape, with_classes == 1)))
    }

    /// Reads an entry and the head of the payload; `None` for a tile that is not filtered.
    pub(crate) fn read(
        filter: &Filter,
        entry: [u8; ENTRY],
        modes: &[u8],
        rows: usize,
        columns: usize,
    ) -> Result<Option<Self>, &'static str> {
        let Some((each, shape, with_classes)) = Self::read_entry(filter, entry)? else { return Ok(None) };
        let count = Self::count(rows, columns, shape);
        let mut rest = modes;
        let mut take = |n: usize| {
            let (head, after) = rest.split_at_checked(n).ok_or("modes cut short")?;
            rest = after;
            Ok::<_, &'static str>(head)
        };
        let mut blocks = vec![Block::default(); if each { count } else { 1 }];
        for block in &mut blocks {
            let byte = take(1)?[0];
            block.predictor = Predictor::from_u8(byte & 127).ok_or("unknown predictor")?;
            if block.predictor == Predictor::Linear && filter.values().is_none() {
                return Err("weights of numbers of which nothing tells what they stand for");
            }
            if byte & 128 != 0 {
                let packed = take(1)?[0];
                for (i, kind) in block.transforms.iter_mut().enumerate() {
                    *kind = Transform::from_u8(packed >> (2 * i) & 3).ok_or("unknown transform")?;
                }
            }
        }
        if !each {
            blocks = vec![blocks[0]; count];
        }
        let (value, slope) = plane_bytes(filter.ring);
        for block in &mut blocks {
            match block.predictor {
                Predictor::Planar => block.plane = [signed(take(value)?), signed(take(slope)?), signed(take(slope)?)],
                Predictor::Linear => {
                    let words = take(WEIGHT_BYTES)?.as_chunks::<4>().0;
                    block.weights.0.iter_mut().zip(words).for_each(|(word, &b)| *word = u32::from_le_bytes(b));
                }
                _ => {}
            }
        }
        let mut classes = Vec::new();
        if with_classes {
            classes = take(count.div_ceil(2))?.iter().flat_map(|&b| [b & 15, b >> 4]).collect();
            classes.truncate(count);
            if classes.iter().any(|&c| c as usize >= filter.classes) {
                return Err("unknown class of a block");
            }
        }
        if rest.len() >= TILE_ALIGN || rest.iter().any(|&b| b != 0) {
            return Err("bytes left after the modes");
        }
        Ok(Some(Self { rows, columns, shape, blocks, classes }))
    }

    /// Appends the modes to `out` and returns the entry; `None` if there are more of them than an entry can tell.
    pub(crate) fn write(&self, ring: Ring, out: &mut Vec<u8>) -> Option<[u8; ENTRY]> {
        let start = out.len();
        let alike = |b: &Block| (b.predictor, b.transforms) == (self.blocks[0].predictor, self.blocks[0].transforms);
        let how = if self.blocks.iter().all(alike) { 1 } else { 2 };
        for block in &self.blocks[..if how == 1 { 1 } else { self.blocks.len() }] {
            let packed = block.transforms.iter().enumerate().fold(0, |byte, (i, &kind)| byte | (kind as u8) << (2 * i));
            out.push(block.predictor as u8 | if packed != 0 { 128 } else { 0 });
            out.extend((packed != 0).then_some(packed));
        }
        let (value, slope) = plane_bytes(ring);
        for block in &self.blocks {
            match block.predictor {
                Predictor::Planar => {
                    for (x, bytes) in block.plane.iter().zip([value, slope, slope]) {
                        out.extend_from_slice(&x.to_le_bytes()[..bytes]);
                    }
                }
                Predictor::Linear => out.extend(block.weights.0.iter().flat_map(|w| w.to_le_bytes())),
                _ => {}
            }
        }
        out.extend(self.classes.chunks(2).map(|two| two[0] | two.get(1).map_or(0, |high| high << 4)));
        out.resize(start + (out.len() - start).next_multiple_of(TILE_ALIGN), 0);
        let Ok(units) = u16::try_from((out.len() - start) / TILE_ALIGN) else {
            out.truncate(start);
            return None;
        };
        let [lo, hi] = units.to_le_bytes();
        Some([how, self.shape as u8, lo, hi, !self.classes.is_empty() as u8, 0, 0, 0])
    }

    /// Tells of every sub-block that is whole: its block's number, its transform, the row and column where it begins.
    pub(crate) fn sub_blocks(&self, mut see: impl FnMut(usize, Transform, usize, usize)) {
        let (height, width) = self.shape.size();
        let across = self.columns.div_ceil(width);
        for (b, block) in self.blocks.iter().enumerate() {
            for (i, &kind) in block.transforms.iter().enumerate() {
                let (y, x) = (i / (width / SIDE), i % (width / SIDE));
                let (r, c) = (b / across * height + SIDE * y, b % across * width + SIDE * x);
                if r + SIDE <= self.rows && c + SIDE <= self.columns {
                    see(b, kind, r, c);
                }
            }
        }
    }

    /// What its planes may be coded with.
    pub(crate) fn tile_contexts<'a>(&self, filter: &'a Filter) -> Option<TileContexts<'a>> {
        if self.classes.is_empty() {
            return None;
        }
        let mut of = Vec::new();
        self.contexts(filter, &mut of);
        Some(TileContexts::Blocks(filter, of))
    }

    /// The context of each record of a tile with classes, row by row; a record of two elements has that of the first. Contexts are numbers
    /// of the filter's tables of a plane.
    pub(crate) fn contexts(&self, filter: &Filter, out: &mut Vec<u8>) {
        let (height, width) = self.shape.size();
        let across = self.columns.div_ceil(width);
        let packed = if filter.ring.bits() == 4 { 2 } else { 1 };
        let records = self.columns / packed;
        out.clear();
        for r in 0..self.rows {
            out.extend((0..records).map(|i| self.classes[r / height * across + i * packed / width]));
        }
        self.sub_blocks(|_, kind, r, c| {
            if kind != Transform::None {
                for y in 0..SIDE {
                    for x in (0..SIDE).step_by(packed) {
                        out[(r + y) * records + (c + x) / packed] += band(y, x) * filter.classes as u8;
                    }
                }
            }
        });
        debug_assert!(out.iter().all(|&c| (c as usize) < super::BANDS * CLASSES));
    }
}

#[cfg(test)]
mod tests {
    use super::super::map::Map;
    use super::*;
    use proptest::prelude::*;

    fn filter(bits: u32) -> Filter {
        let classes = 5;
        Filter {
            map: Map::Signed,
            ring: Ring::new(bits),
            fraction: 0,
            classes,
            tables: vec![0; 4 * classes * (bits as usize).div_ceil(8)],
        }
    }

    fn modes() -> impl Strategy<Value = (Modes, u32)> {
        let bits = prop::sample::select(vec![4u32, 8, 16, 32]);
        (1usize..70, 1usize..70, 0usize..3, bits, any::<u64>(), any::<bool>(), any::<bool>()).prop_map(
            |(rows, columns, shape, bits, mut seed, alike, classes)| {
                let mut below = |n: u64| {
                    seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    (seed >> 33) % n
                };
                let (shape, columns) = (Shape::ALL[shape], 2 * columns);
                let count = Modes::count(rows, columns, shape);
                let ring = Ring::new(bits);
                let slope = |x: u64| signed(&(x as i32).to_le_bytes()[..plane_bytes(ring).1]);
                let mut block = |_: usize| {
                    let predictor = Predictor::from_u8(below(11) as u8).unwrap();
                    let transforms = [0; 4].map(|_| Transform::from_u8(below(3) as u8).unwrap());
                    let plane = [ring.wrap(below(1 << 31) as i32), slope(below(1 << 31)), slope(below(1 << 31))];
                    let mut block = Block { predictor, transforms, ..Block::default() };
                    match predictor {
                        Predictor::Planar => block.plane = plane,
                        Predictor::Linear => block.weights.0 = block.weights.0.map(|_| below(1 << 32) as u32),
                        _ => {}
                    }
                    block
                };
                let mut blocks: Vec<Block> = (0..count).map(&mut block).collect();
                if alike {
                    blocks =
                        vec![Block { predictor: Predictor::Top, transforms: blocks[0].transforms, ..Block::default() }; count];
                }
                let classes = if classes { (0..count).map(|_| below(5) as u8).collect() } else { vec![] };
                (Modes { rows, columns, shape, blocks, classes }, bits)
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read((modes, bits) in modes(), at in 0usize..10_000, byte in any::<u8>()) {
            let filter = filter(bits);
            let mut out = Vec::new();
            let entry = modes.write(filter.ring, &mut out).unwrap();
            prop_assert_eq!(out.len(), Modes::len(entry));
            let read = |entry, out: &[u8]| Modes::read(&filter, entry, out, modes.rows, modes.columns);
            prop_assert_eq!(read(entry, &out).unwrap().unwrap(), modes.clone());
            prop_assert!(read(entry, &out[..out.len() - 16]).is_err());
            // Whatever is there is read or refused.
            let at = at % out.len();
            out[at] = byte;
            let _ = read(entry, &out);
            let mut entry = entry;
            entry[byte as usize % 8] = byte;
            let _ = read(entry, &out);
        }

        /// Any modes can be undone, and what is in range stays so.
        #[test]
        fn any_modes_can_be_undone((modes, bits) in modes(), seed in any::<u32>()) {
            let ring = Ring::new(bits);
            let mut x = seed;
            let mut values: Vec<i32> = (0..modes.rows * modes.columns).map(|_| {
                x = x.wrapping_mul(1664525).wrapping_add(1013904223);
                ring.wrap((x >> 3) as i32)
            }).collect();
            super::super::undo(ring, filter(bits).values(), &modes, &mut values);
            prop_assert!(values.iter().all(|&v| ring.wrap(v) == v));
            if !modes.classes.is_empty() {
                let mut contexts = Vec::new();
                modes.contexts(&filter(bits), &mut contexts);
                prop_assert!(contexts.iter().all(|&c| c < 20));
            }
        }
    }

    #[test]
    fn parameters_are_read_as_written() {
        use wcodec_device::planes::Layout;
        for (bits, layout) in [(4, 1), (8, 1), (16, 2), (32, 4)] {
            let filter = filter(bits);
            let params = filter.write();
            assert_eq!(Filter::read(&params, Layout::Columns(layout), 1).unwrap(), filter);
            for (fraction, there) in [(0, true), (7, bits == 16), (8, bits == 16), (15, false), (23, bits == 32), (30, false)] {
                let floats = Filter { map: Map::Float, fraction, ..filter.clone() };
                let read = Filter::read(&floats.write(), Layout::Columns(layout), 1);
                assert!(if there { read.as_ref() == Ok(&floats) } else { read.is_err() }, "{bits} {fraction}");
                // Files from before weights do not say.
                assert_eq!(floats.values().is_some(), there && fraction > 0);
            }
            assert!(Filter::read(&params, Layout::Columns(layout), 0).is_err());
            assert!(Filter::read(&params, Layout::Columns(3), 1).is_err());
            assert!(Filter::read(&params, Layout::Bf16, 1).is_err());
            (0..params.len()).for_each(|n| assert!(Filter::read(&params[..n], Layout::Columns(layout), 1).is_err()));
        }
    }
}
