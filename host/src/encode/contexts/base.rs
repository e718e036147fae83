//! Contexts of differences: how often each symbol came with each exponent of the base.

use super::LEAST;
use crate::container::base_contexts::{BaseContexts, PLANES, exponent};
use crate::container::contexts::MOST;
use crate::container::tables::Freqs;
use crate::encode::batch::Input;
use crate::encode::cluster::{Numbers, cluster};
use crate::encode::effort::Effort;
use crate::encode::frequency::{Histogram, entropy, sum_of};
use crate::encode::tile::PATCH_BITS;
use crate::error::Result;
use rayon::prelude::*;
use std::ops::RangeInclusive;
use wcodec_device::layout::MAX_TILE_BYTES;
use wcodec_device::planes::Layout;

/// Stretches of a tensor that are counted, unless only size counts.
const SAMPLES: u64 = 64;
/// Exponents at the ends that together one element in this many has share a context.
const RARE: u64 = 1000;
/// What coding a plane in contexts must save: it takes more time than without.
const LEAST_GAIN: f32 = 0.02;

/// A tensor's contexts before they have tables, and how often each symbol came in each, in planes that gain by them.
struct Counted {
    contexts: BaseContexts,
    planes: Vec<Vec<Histogram>>,
}

/// Contexts for those differences that gain by them, whose tables are numbered from `first` on, and these tables.
pub(in crate::encode) fn learn(
    input: &Input<'_>,
    effort: Effort,
    first: usize,
) -> Result<(Vec<Option<BaseContexts>>, Vec<Freqs>)> {
    let counted: Vec<Option<Counted>> =
        (0..input.jobs.len()).into_par_iter().map(|job| count(input, job, effort)).collect::<Result<_>>()?;
    let samples: Vec<Histogram> = counted.iter().flatten().flat_map(|c| c.planes.concat()).collect();
    let learning = effort.learning();
    let tables = cluster(&samples, 2 * learning.tables, learning.rounds, 1.0, PATCH_BITS);
    let numbers = Numbers::new(&tables, first, PATCH_BITS);
    let chosen = counted.into_iter().map(|counted| {
        let Counted { mut contexts, planes } = counted?;
        for (tables, histograms) in contexts.planes.iter_mut().zip(&planes) {
            *tables = numbers.of_all(histograms);
        }
        Some(contexts)
    });
    Ok((chosen.collect(), tables))
}

/// Counts a tensor's symbols by context; `None` if contexts would not make it smaller.
fn count(input: &Input<'_>, job: usize, effort: Effort) -> Result<Option<Counted>> {
    let (Some(_), Layout::Columns(record @ 1..=8), false) = (input.difference(job), input.layouts[job], input.is_same(job))
    else {
        return Ok(None);
    };
    let (bytes, record) = (input.jobs[job].grid.bytes(), record as usize);
    // Counters have 32 bits.
    if bytes / (record as u64) < LEAST || bytes >= 1 << 32 {
        return Ok(None);
    }
    let mut by_exponent: Vec<Vec<Histogram>> = vec![vec![[0; 256]; 256]; record];
    let mut exponents = [0u64; 256];
    let size = MAX_TILE_BYTES as u64 / record as u64 * record as u64;
    let stretches = bytes.div_ceil(size);
    let stride = if effort.size_alone() { 1 } else { stretches.div_ceil(SAMPLES) };
    for at in (0..stretches).step_by(stride as usize).map(|i| i * size) {
        let own = input.read(job, at, size.min(bytes - at) as usize)?;
        let Some((coded, base)) = input.coded(job, at, &own)? else { return Ok(None) };
        for (element, base) in coded.chunks_exact(record).zip(base.chunks_exact(record)) {
            let e = exponent(base) as usize;
            exponents[e] += 1;
            element.iter().zip(&mut by_exponent).for_each(|(&byte, counts)| counts[e][byte as usize] += 1);
        }
    }
    let window = window(&exponents);
    let contexts = window.end() - window.start() + 1;
    let planes: Vec<Vec<Histogram>> = by_exponent.iter().map(|counts| pays(in_window(counts, &window), stride)).collect();
    if planes.iter().all(Vec::is_empty) {
        return Ok(None);
    }
    let contexts = BaseContexts { contexts: contexts as u8, bias: *window.start() as u8, planes: [const { Vec::new() }; PLANES] };
    Ok(Some(Counted { contexts, planes }))
}

/// The exponents with contexts of their own, 64 at most: the rarest at either end are left to its neighbours.
fn window(exponents: &[u64; 256]) -> RangeInclusive<usize> {
    let rare = exponents.iter().sum::<u64>() / RARE;
    let common = |seen: &mut u64, e: usize| {
        *seen += exponents[e];
        *seen > rare
    };
    let (mut below, mut above) = (0, 0);
    let first = (0..256).find(|&e| common(&mut below, e)).unwrap_or(0);
    let last = (0..256).rev().find(|&e| common(&mut above, e)).unwrap_or(255);
    first.max((last + 1).saturating_sub(MOST))..=last.max(first)
}

/// Counts by context from counts by exponent.
fn in_window(counts: &[Histogram], window: &RangeInclusive<usize>) -> Vec<Histogram> {
    let mut planes = vec![[0; 256]; window.end() - window.start() + 1];
    for (e, counts) in counts.iter().enumerate() {
        let context = e.clamp(*window.start(), *window.end()) - window.start();
        planes[context].iter_mut().zip(counts).for_each(|(sum, n)| *sum += n);
    }
    planes
}

/// The histograms, or none if coding the plane with them saves too little.
fn pays(histograms: Vec<Histogram>, stride: u64) -> Vec<Histogram> {
    let inside = histograms.iter().map(entropy).sum::<f32>() * stride as f32 + 16.0 * histograms.len() as f32;
    if inside < entropy(&sum_of(&histograms)) * stride as f32 * (1.0 - LEAST_GAIN) { histograms } else { Vec::new() }
}
