//! The pool of frequency tables: k-means over the histograms of sampled tiles, in bits.
//!
//! The distance of a histogram to a table is what coding it with that table costs (Kullback-Leibler divergence up to a constant), so
//! Lloyd's iteration minimises the size of the file. Tables are seeded where the present ones waste most bits, and in the end each
//! that saves less than it takes in the index is dropped.

use super::frequency::{Histogram, costs, entropy, normalise, total_costs};
use crate::container::tables::Freqs;
use rayon::prelude::*;

/// Bits that a table takes in the index, about.
const TABLE_BITS: f32 = 2200.0;

/// Clusters `samples` onto at most `most` tables. Each sample stands for `weight` tiles of the file; `patch_bits` is what a symbol
/// without probability costs.
pub(crate) fn cluster(samples: &[Histogram], most: usize, rounds: usize, weight: f32, patch_bits: f32) -> Vec<Freqs> {
    if samples.is_empty() {
        return Vec::new();
    }
    let table_of = |members: &mut dyn Iterator<Item = &Histogram>| {
        let mut counts = [0u64; 256];
        members.for_each(|h| counts.iter_mut().zip(h).for_each(|(c, &n)| *c += n as u64));
        normalise(&counts, patch_bits)
    };
    let ideal: Vec<f32> = samples.par_iter().map(entropy).collect();
    let mut tables = vec![table_of(&mut samples.iter())];
    // What coding each sample with `table` alone wastes.
    let wasted = |table: &Freqs| -> Vec<f32> {
        let costs = [costs(table, patch_bits)];
        samples.par_iter().zip(&ideal).map(|(h, ideal)| total_costs(h, &costs)[0] - ideal).collect()
    };
    let mut waste = wasted(&tables[0]);
    while tables.len() < most {
        let worst = (0..samples.len()).max_by(|&a, &b| waste[a].total_cmp(&waste[b]).then(b.cmp(&a))).unwrap_or(0);
        if waste[worst] * weight < TABLE_BITS / 16.0 {
            break;
        }
        // Smoothed by the whole, since one tile's counts are noisy.
        let seed = normalise(&samples[worst].map(|n| n as u64 * 16), patch_bits);
        waste.iter_mut().zip(wasted(&seed)).for_each(|(w, new)| *w = w.min(new));
        waste[worst] = 0.0;
        tables.push(seed);
    }
    for _ in 0..rounds {
        let labels: Vec<usize> = all_costs(samples, &tables, patch_bits).iter().map(|bits| nearest(bits).best).collect();
        tables = (0..tables.len())
            .into_par_iter()
            .filter(|t| labels.contains(t))
            .map(|t| table_of(&mut samples.iter().zip(&labels).filter(|(_, l)| **l == t).map(|(h, _)| h)))
            .collect();
    }
    let mut costs = all_costs(samples, &tables, patch_bits);
    while tables.len() > 1 {
        let mut loss = vec![0.0f32; tables.len()];
        for n in costs.iter().map(|bits| nearest(bits)) {
            loss[n.best] += n.margin * weight;
        }
        let least = (0..tables.len()).min_by(|&a, &b| loss[a].total_cmp(&loss[b])).unwrap_or(0);
        if loss[least] >= TABLE_BITS {
            break;
        }
        tables.remove(least);
        costs.iter_mut().for_each(|bits| _ = bits.remove(least));
    }
    tables
}

/// Numbers of a file's tables, for histograms to be coded with the cheapest.
pub(crate) struct Numbers {
    costs: Vec<[f32; 256]>,
    first: usize,
}

impl Numbers {
    /// For tables that are numbered from `first` on.
    pub(crate) fn new(tables: &[Freqs], first: usize, patch_bits: f32) -> Self {
        Self { costs: tables.iter().map(|t| costs(t, patch_bits)).collect(), first }
    }

    /// The number of each histogram's table.
    pub(crate) fn of_all(&self, histograms: &[Histogram]) -> Vec<u16> {
        histograms.iter().map(|h| (self.first + nearest(&total_costs(h, &self.costs)).best) as u16).collect()
    }
}

/// What each sample costs with each table, in bits.
fn all_costs(samples: &[Histogram], tables: &[Freqs], patch_bits: f32) -> Vec<Vec<f32>> {
    let costs: Vec<_> = tables.iter().map(|t| costs(t, patch_bits)).collect();
    samples.par_iter().map(|h| total_costs(h, &costs)).collect()
}

/// The table that suits a histogram best, and how many bits the second best would cost more.
struct Nearest {
    best: usize,
    margin: f32,
}

fn nearest(costs: &[f32]) -> Nearest {
    let (mut best, mut least, mut second) = (0, f32::INFINITY, f32::INFINITY);
    for (t, &cost) in costs.iter().enumerate() {
        if cost < least {
            (best, second, least) = (t, least, cost);
        } else {
            second = second.min(cost);
        }
    }
    Nearest { best, margin: second - least }
}
