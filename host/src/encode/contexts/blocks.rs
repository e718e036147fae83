//! Contexts of blocks with a step and a minimum: how often each symbol came in each.

use crate::container::block_contexts::{BlockContexts, CONTEXTS, SCALES, STEP, affine, by_step, zero};
use crate::container::tables::Freqs;
use crate::encode::batch::{Input, PIECE};
use crate::encode::cluster::{Numbers, cluster};
use crate::encode::effort::Effort;
use crate::encode::frequency::{Histogram, entropy, sum_of};
use crate::encode::tile::PATCH_BITS;
use crate::error::Result;
use rayon::prelude::*;

/// Blocks of a tensor at least.
const LEAST: u64 = 1 << 10;
/// What coding a plane in contexts must save.
const LEAST_GAIN: f32 = 0.002;

/// A tensor's contexts before they have tables, and how often each symbol came in each, in planes that gain by them.
struct Counted {
    bias: u8,
    planes: Vec<Vec<Histogram>>,
}

/// Contexts for those tensors of blocks that gain by them, whose tables are numbered from `first` on, and these tables.
pub(in crate::encode) fn learn(
    input: &Input<'_>,
    effort: Effort,
    first: usize,
) -> Result<(Vec<Option<BlockContexts>>, Vec<Freqs>)> {
    let counted: Vec<Option<Counted>> =
        (0..input.jobs.len()).into_par_iter().map(|job| count(input, job)).collect::<Result<_>>()?;
    let samples: Vec<Histogram> = counted.iter().flatten().flat_map(|c| c.planes.concat()).collect();
    let learning = effort.learning();
    let tables = cluster(&samples, learning.tables, learning.rounds, 1.0, PATCH_BITS);
    let numbers = Numbers::new(&tables, first, PATCH_BITS);
    let chosen = counted.into_iter().map(|counted| {
        let Counted { bias, planes } = counted?;
        Some(BlockContexts { bias, planes: planes.iter().map(|histograms| numbers.of_all(histograms)).collect() })
    });
    Ok((chosen.collect(), tables))
}

/// Counts a tensor's symbols by context; `None` if contexts would not make it smaller.
fn count(input: &Input<'_>, job: usize) -> Result<Option<Counted>> {
    let grid = input.jobs[job].grid;
    let Some(blocks) = affine(input.layouts[job]).filter(|_| input.difference(job).is_none()) else { return Ok(None) };
    // Counters have 32 bits.
    if grid.bytes() / (blocks.bytes() as u64) < LEAST || grid.bytes() >= 1 << 32 {
        return Ok(None);
    }
    let each = |see: &mut dyn FnMut(&[u8])| -> Result<()> {
        for piece in grid.pieces(PIECE) {
            let bytes = input.read(job, piece.bytes.start, piece.len())?;
            bytes.chunks_exact(blocks.bytes()).for_each(&mut *see);
        }
        Ok(())
    };
    let mut steps = [0u64; 256];
    each(&mut |block| steps[block[STEP] as usize] += 1)?;
    // The contexts are where most are.
    let inside = |bias: usize| steps[bias..(bias + CONTEXTS).min(256)].iter().sum::<u64>();
    let bias = (0..256 - CONTEXTS).max_by_key(|&bias| (inside(bias), std::cmp::Reverse(bias))).unwrap_or(0) as u8;
    let mut planes = vec![vec![[0; 256]; CONTEXTS]; blocks.fields().len()];
    each(&mut |block| {
        let scale = by_step(block[STEP], bias) as usize;
        let rank = zero(u16::from_le_bytes([block[0], block[1]]), u16::from_le_bytes([block[2], block[3]])) as usize;
        let mut rest = block;
        for (p, (plane, &width)) in planes.iter_mut().zip(blocks.fields()).enumerate() {
            let (field, after) = rest.split_at(width as usize);
            let counts = &mut plane[if p < SCALES { scale } else { rank }];
            field.iter().for_each(|&byte| counts[byte as usize] += 1);
            rest = after;
        }
    })?;
    planes[STEP].clear();
    let planes: Vec<_> = planes.into_iter().map(pays).collect();
    Ok(planes.iter().any(|p| !p.is_empty()).then_some(Counted { bias, planes }))
}

/// The histograms, or none if coding the plane with them saves too little.
fn pays(histograms: Vec<Histogram>) -> Vec<Histogram> {
    let inside = histograms.iter().map(entropy).sum::<f32>() + 16.0 * histograms.len() as f32;
    if inside < entropy(&sum_of(&histograms)) * (1.0 - LEAST_GAIN) { histograms } else { Vec::new() }
}
