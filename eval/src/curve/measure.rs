//! Candidates, in batches: the reference is in memory throughout and reads along with each batch, so that its logits need not be kept.

use super::{Candidate, Method, Original, Point};
use crate::{Comparison, Evaluation, Llama, Result, Window, read};

/// What is left for the text itself: logits, activations, what is in the allocator's hands.
const SPARE: u64 = 1 << 30;

/// Reads a text to a model as it is and to what was made of it: a point for each, the reference first.
///
/// About `memory` bytes are used, and at the least those of two models, of four bytes a weight each. `progress` hears of tokens read and tokens in all, and may
/// stop the reading by answering `false`.
///
/// # Errors
/// A model that cannot be read; logits that are not numbers; that `progress` said so.
pub fn measure(
    original: &Original,
    candidates: &[Candidate],
    tokens: &[u32],
    window: usize,
    memory: u64,
    progress: &(dyn Fn(u64, u64) -> bool + Sync),
) -> Result<Vec<Point>> {
    let as_it_is = Candidate { name: "reference".into(), method: Method::Reference, archive: None };
    let (reference, bytes) = as_it_is.load(original)?;
    let batch = batch(candidates.len(), 4 * original.weights(), memory);
    let each = tokens.chunks(window).map(|w| w.len() as u64 - 1).sum::<u64>();
    let total = each * (candidates.len() + candidates.len().div_ceil(batch).max(1)) as u64;
    let mut points = Vec::with_capacity(1 + candidates.len());
    let (mut before, mut rest) = (0, candidates);
    // Once at the least, for the reference.
    loop {
        let (now, later) = rest.split_at(batch.min(rest.len()));
        let loaded: Vec<(Llama, u64)> = now.iter().map(|c| c.load(original)).collect::<Result<_>>()?;
        let models: Vec<&Llama> = std::iter::once(&reference).chain(loaded.iter().map(|(model, _)| model)).collect();
        let windows = read(&models, tokens, window, &|done| progress(before + done, total))?;
        let point = |candidate: &Candidate, bytes: u64, own: &[Window]| Point {
            name: candidate.name.clone(),
            method: candidate.method,
            bytes,
            bits_per_weight: 8.0 * bytes as f64 / original.weights().max(1) as f64,
            ratio: bytes as f64 / original.flat_bytes().max(1) as f64,
            evaluation: Evaluation::of(own),
            comparison: Comparison::of(own, &windows[0]),
        };
        if points.is_empty() {
            points.push(point(&as_it_is, bytes, &windows[0]));
        }
        points.extend(now.iter().zip(&loaded).zip(&windows[1..]).map(|((c, (_, bytes)), own)| point(c, *bytes, own)));
        before += each * models.len() as u64;
        rest = later;
        if rest.is_empty() {
            return Ok(points);
        }
    }
}

/// How many candidates are in memory beside the reference, in batches that are about the same.
fn batch(candidates: usize, model: u64, memory: u64) -> usize {
    let most = (memory.saturating_sub(SPARE) / model.max(1)).saturating_sub(1).clamp(1, 1 << 20) as usize;
    candidates.div_ceil(candidates.div_ceil(most).max(1)).max(1)
}

#[cfg(test)]
mod tests {
    use super::batch;

    #[test]
    fn batches_fit_and_are_alike() {
        let gib = 1u64 << 30;
        // 13 models of half a GiB fit beside the reference: 20 are read in two batches.
        assert_eq!(batch(20, gib / 2, 8 * gib), 10);
        assert_eq!(batch(13, gib / 2, 8 * gib), 13);
        assert_eq!(batch(5, 64 * gib, 8 * gib), 1);
        assert_eq!(batch(0, gib, 8 * gib), 1);
    }
}
