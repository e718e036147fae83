//! The pool of frequency tables: k-means over the histograms of sampled tiles, in bits.
//!
//! The distance of a histogram to a table is what coding it with that table costs (Kullback-Leibler divergence up to a constant), so
//! Lloyd's iteration minimises the size of the file. Tables are seeded where the present ones waste most bits, and in the end each
//! that saves less than it takes in the index is dropped.

use super::frequency::{Histogram, costs, entropy, normalise, total_cost};
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
    let mut waste: Vec<f32> = {
        let costs = costs(&tables[0], patch_bits);
        samples.par_iter().zip(&ideal).map(|(h, ideal)| total_cost(h, &costs) - ideal).collect()
    };
    while tables.len() < most {
        let worst = (0..samples.len()).max_by(|&a, &b| waste[a].total_cmp(&waste[b]).then(b.cmp(&a))).unwrap_or(0);
        if waste[worst] * weight < TABLE_BITS / 16.0 {
            break;
        }
        // Smoothed by the whole, since one tile's counts are noisy.
        let seed = normalise(&samples[worst].map(|n| n as u64 * 16), patch_bits);
        let costs = costs(&seed, patch_bits);
        waste.par_iter_mut().zip(samples).zip(&ideal).for_each(|((w, h), ideal)| *w = w.min(total_cost(h, &costs) - ideal));
        waste[worst] = 0.0;
        tables.push(seed);
    }
    for _ in 0..rounds {
        let nearest = assign(samples, &tables, patch_bits);
        let labels: Vec<usize> = nearest.iter().map(|n| n.best).collect();
        tables = (0..tables.len())
            .into_par_iter()
            .filter(|t| labels.contains(t))
            .map(|t| table_of(&mut samples.iter().zip(&labels).filter(|(_, l)| **l == t).map(|(h, _)| h)))
            .collect();
    }
    while tables.len() > 1 {
        let mut loss = vec![0.0f32; tables.len()];
        for n in assign(samples, &tables, patch_bits) {
            loss[n.best] += n.margin * weight;
        }
        let least = (0..tables.len()).min_by(|&a, &b| loss[a].total_cmp(&loss[b])).unwrap_or(0);
        if loss[least] >= TABLE_BITS {
            break;
        }
        tables.remove(least);
    }
    tables
}

/// The table that suits a histogram best, and how many bits the second best would cost more.
struct Nearest {
    best: usize,
    margin: f32,
}

fn assign(samples: &[Histogram], tables: &[Freqs], patch_bits: f32) -> Vec<Nearest> {
    let costs: Vec<_> = tables.iter().map(|t| costs(t, patch_bits)).collect();
    let nearest = |h: &Histogram| {
        let (mut best, mut least, mut second) = (0, f32::INFINITY, f32::INFINITY);
        for (t, costs) in costs.iter().enumerate() {
            let cost = total_cost(h, costs);
            if cost < least {
                (best, second, least) = (t, least, cost);
            } else {
                second = second.min(cost);
            }
        }
        Nearest { best, margin: second - least }
    };
    samples.par_iter().map(nearest).collect()
}
