//! Bits of integers, from frequency tables as the codec makes them of the integers so far.

use super::scheme::Format;
use crate::encode::cluster::{Numbers, cluster};
use crate::encode::frequency::{Histogram, costs, log2_of};
use crate::encode::tile::PATCH_BITS;
use wcodec_device::layout::MAX_TILE_BYTES;

/// Tables of a tensor, at most, and rounds of clustering: those of the default profile.
const TABLES: usize = 32;
const ROUNDS: usize = 4;
/// Classes to the octave.
const UNITS: f32 = 4.0;
/// Classes, at most.
const CLASSES: usize = 32;

/// Which rows share a frequency table, so that their integers cost the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contexts {
    /// Those of a tile: what decodes fastest.
    Tiles,
    /// Those whose weights have about as many steps: effort 5 and more.
    Classes,
}

impl Contexts {
    /// The context of each row, given its weights' root mean square in steps.
    pub(crate) fn of_rows(self, format: Format, columns: usize, spreads: &[f32]) -> Vec<u16> {
        match (self, format) {
            (Self::Classes, Format::Int8) => {
                let class = |&s: &f32| ((log2_of(s) + 3.0) * UNITS).clamp(0.0, (CLASSES - 1) as f32) as u16;
                spreads.iter().map(class).collect()
            }
            // Packed integers have no classes.
            _ => {
                let rows = (MAX_TILE_BYTES * 8 / (columns * format.bits() as usize).max(1)).max(1);
                (0..spreads.len()).map(|row| (row / rows).min(u16::MAX as usize) as u16).collect()
            }
        }
    }
}

/// Bits of each integer, as a byte, in each context.
#[derive(Debug)]
pub(crate) struct Rates(pub Vec<[f32; 256]>);

impl Rates {
    /// From what each context's rows have now.
    pub(crate) fn learn(histograms: &[Histogram]) -> Self {
        let tables = cluster(histograms, TABLES, ROUNDS, 1.0, PATCH_BITS);
        let of = Numbers::new(&tables, 0, PATCH_BITS).of_all(histograms);
        let costs: Vec<_> = tables.iter().map(|table| costs(table, PATCH_BITS)).collect();
        Self(of.iter().map(|&table| costs[table as usize]).collect())
    }

    /// Bits of all that the contexts' rows have.
    pub(crate) fn total(&self, histograms: &[Histogram]) -> f64 {
        let inside = |(h, bits): (&Histogram, &[f32; 256])| h.iter().zip(bits).map(|(&n, &b)| n as f64 * b as f64).sum::<f64>();
        histograms.iter().zip(&self.0).map(inside).sum()
    }
}

/// What the integers of each context's rows are, as bytes.
pub(crate) fn count(codes: impl IntoIterator<Item = i8>, columns: usize, contexts: &[u16]) -> Vec<Histogram> {
    let most = contexts.iter().copied().max().map_or(0, |c| c as usize + 1);
    let mut histograms = vec![[0; 256]; most];
    let mut codes = codes.into_iter();
    for &context in contexts {
        let histogram = &mut histograms[context as usize];
        codes.by_ref().take(columns).for_each(|code| histogram[code as u8 as usize] += 1);
    }
    histograms
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_integers_cost_more_and_contexts_differ() {
        let codes: Vec<i8> = (0..40_000).map(|i| if i < 20_000 { (i % 3 - 1) as i8 } else { (i % 41 - 20) as i8 }).collect();
        let contexts = [vec![0; 100], vec![1; 100]].concat();
        let counts = count(codes, 200, &contexts);
        let rates = Rates::learn(&counts);
        assert!(rates.0[0][0] < 2.0 && rates.0[1][0] > 5.0, "{} {}", rates.0[0][0], rates.0[1][0]);
        assert_eq!(rates.0[0][100], PATCH_BITS);
        let bits = rates.total(&counts);
        assert!((bits - 20_000.0 * (3f64.log2() + 41f64.log2())).abs() < 0.01 * bits, "{bits}");
    }

    #[test]
    fn rows_of_a_tile_or_of_a_class() {
        let spreads: Vec<f32> = (0..300).map(|i| if i % 2 == 0 { 1.0 } else { 4.0 }).collect();
        let tiles = Contexts::Tiles.of_rows(Format::Int8, 576, &spreads);
        assert_eq!((tiles[0], tiles[112], tiles[113], tiles[299]), (0, 0, 1, 2));
        let classes = Contexts::Classes.of_rows(Format::Int8, 576, &spreads);
        assert_eq!((classes[2] - classes[0], classes[1] - classes[0]), (0, 8));
    }
}
