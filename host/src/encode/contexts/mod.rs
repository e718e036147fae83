//! Contexts, as the encoder chooses them: classes of rows and columns, and the tables of each context.
//!
//! ```text
//! magnitude   how large an element is, by its type
//! scales      the scale of each row and column, as classes
//! learn       counts the symbols of each context; whether that pays; tables for all of the file's contexts together
//! base        the same for differences from a base, whose exponents are the contexts
//! stream      symbols to a stream whose tables change from symbol to symbol
//! ```

pub(super) mod base;
pub(super) mod blocks;
mod magnitude;
mod scales;
pub(super) mod stream;

use super::batch::Input;
use super::cluster::{Numbers, cluster};
use super::effort::Effort;
use super::frequency::{Histogram, entropy, histogram, sum_of};
use super::split::{Rows, split};
use super::tile::PATCH_BITS;
use crate::container::block_contexts::affine;
use crate::container::contexts::{Contexts, MOST, deep, leading};
use crate::container::grid::TileRect;
use crate::container::tables::Freqs;
use crate::error::Result;
use magnitude::Magnitude;
use rayon::prelude::*;
use scales::{Scales, measure};
use wcodec_device::layout::kind;
use wcodec_device::planes::Layout;

/// Elements below which a tensor is not worth parameters of its own.
const LEAST: u64 = 1 << 14;
/// Bytes that are read at a time.
const PIECE: u64 = 1 << 20;

/// A tensor's contexts before they have tables, and how often each symbol came in each.
struct Counted {
    contexts: Contexts,
    leading: Vec<Histogram>,
    deep: Vec<Histogram>,
}

/// Contexts for those jobs that gain by them, whose tables are numbered from `first` on, and these tables.
pub(super) fn learn(input: &Input<'_>, effort: Effort, first: usize) -> Result<(Vec<Option<Contexts>>, Vec<Freqs>)> {
    let counted: Vec<Option<Counted>> =
        (0..input.jobs.len()).into_par_iter().map(|job| count(input, job, effort.units())).collect::<Result<_>>()?;
    let all = |pick: fn(&Counted) -> &Vec<Histogram>| -> Vec<Histogram> {
        counted.iter().flatten().flat_map(|c| pick(c).iter().copied()).collect()
    };
    let tables = |samples: Vec<Histogram>| cluster(&samples, effort.learning().tables, effort.learning().rounds, 1.0, PATCH_BITS);
    let (leading, deep) = (tables(all(|c| &c.leading)), tables(all(|c| &c.deep)));
    let leading_numbers = Numbers::new(&leading, first, PATCH_BITS);
    let deep_numbers = Numbers::new(&deep, first + leading.len(), PATCH_BITS);
    let chosen = counted.into_iter().map(|counted| {
        let Counted { mut contexts, leading: l, deep: d } = counted?;
        contexts.tables = leading_numbers.of_all(&l);
        contexts.deep = deep_numbers.of_all(&d);
        Some(contexts)
    });
    let chosen = chosen.collect();
    Ok((chosen, [leading, deep].concat()))
}

/// Measures a tensor and counts its symbols by context; `None` if that would not make it smaller.
fn count(input: &Input<'_>, job: usize, units: &[u8]) -> Result<Option<Counted>> {
    let j = &input.jobs[job];
    let layout = input.layouts[job];
    let record = layout.record_bytes() as u64;
    let (rows, columns) = (j.grid.rows, j.grid.row_bytes / record.max(1));
    // Counters have 32 bits, and their sums must be exact as floats' integers.
    let elements = rows.saturating_mul(columns);
    // What rows and columns say is of weights, not of differences or residuals.
    if input.difference(job).is_some()
        || input.filters[job].is_some()
        || j.kind != kind::TENSOR
        || leading(layout) >= layout.planes()
        || affine(layout).is_some()
        || rows < 8
        || columns < 8
        || !(LEAST..1 << 31).contains(&elements)
    {
        return Ok(None);
    }
    let read = |at: u64, len: usize| input.read(job, at, len);
    let bytes = || {
        let mut sum = [0u32; 256];
        for piece in j.grid.pieces(PIECE) {
            let counts = histogram(&read(piece.bytes.start, piece.len())?);
            sum.iter_mut().zip(counts).for_each(|(s, c)| *s += c);
        }
        Ok(sum)
    };
    let Some(magnitude) = Magnitude::new(j.dtype, bytes)?.filter(|m| m.bytes() as u64 == record) else { return Ok(None) };
    let scales = measure(&j.grid, &magnitude, read)?;
    let mut best: Option<(f32, Counted)> = None;
    let mut plain = 0.0;
    for &units in units {
        let counted = count_with(input, job, layout, &scales, units)?;
        let (bits, flat) = cost(&counted);
        plain = flat;
        if best.as_ref().is_none_or(|(least, _)| bits < *least) {
            best = Some((bits, counted));
        }
    }
    Ok(best.filter(|(bits, _)| *bits < plain).map(|(_, counted)| counted))
}

/// Bits with contexts, parameters included (tables are the file's), and without. Leaves out deep contexts that do not pay.
fn cost(counted: &Counted) -> (f32, f32) {
    let inside = |histograms: &[Histogram]| histograms.iter().map(entropy).sum::<f32>();
    let Contexts { rows, columns, tables, deep, .. } = &counted.contexts;
    let parameters = 4.0 * (rows.len() + columns.len()) as f32 + 16.0 * (tables.len() + deep.len()) as f32 + 128.0;
    let bits = inside(&counted.leading) + inside(&counted.deep) + parameters;
    (bits, entropy(&sum_of(&counted.leading)) + 8.0 * counted.deep.iter().flatten().map(|&n| n as f32).sum::<f32>())
}

/// Counts the symbols of a tensor by contexts of `units` classes to the octave.
fn count_with(input: &Input<'_>, job: usize, layout: Layout, scales: &Scales, units: u8) -> Result<Counted> {
    let grid = input.jobs[job].grid;
    let (rows, columns, zero) = scales.classes(units);
    let most = |classes: &[u8]| classes.iter().copied().max().unwrap_or(0) as usize;
    let contexts = (most(&rows) + most(&columns) + 1).min(MOST);
    let deep_contexts = if deep(layout).is_some() { MOST } else { 0 };
    // Of exponents with a bias of 127, the middle deep context is for what is as large as its row and column together say.
    let bias = units as i32 * 127 + zero - MOST as i32 / 2;
    let mut found = Counted {
        contexts: Contexts {
            rows,
            columns,
            tables: vec![0; contexts],
            deep: vec![0; deep_contexts],
            units,
            bias: bias.clamp(-65536, 65536),
        },
        leading: vec![[0; 256]; contexts],
        deep: vec![[0; 256]; deep_contexts],
    };
    let record = layout.record_bytes();
    let (mut linear, mut planes, mut of) = (Vec::new(), Vec::new(), Vec::new());
    for piece in grid.pieces(PIECE) {
        let bytes = input.read_coded(job, piece.bytes.start, piece.len())?;
        for tile in piece.tiles.clone() {
            let rect: TileRect = grid.rect(tile);
            let rows = Rows::of_tile(&bytes, &grid, &piece, rect);
            split(layout, rows, &mut linear, &mut planes);
            let Counted { contexts, leading: leading_counts, deep: deep_counts } = &mut found;
            contexts.of_tile(rect, record, &mut of);
            let leading_plane = &planes[leading(layout)];
            of.iter().zip(leading_plane).for_each(|(&c, &s)| leading_counts[c as usize][s as usize] += 1);
            if let Some(plane) = deep(layout) {
                contexts.deepen(&mut of, leading_plane);
                of.iter().zip(&planes[plane]).for_each(|(&c, &s)| deep_counts[c as usize][s as usize] += 1);
            }
        }
    }
    trim(&mut found);
    Ok(found)
}

/// Drops deep contexts, all of them if they save too little, else those at the ends that nothing is in.
fn trim(counted: &mut Counted) {
    let bits: f32 = counted.deep.iter().map(entropy).sum();
    let symbols: f32 = counted.deep.iter().flatten().map(|&n| n as f32).sum();
    // A deep stream takes as long as the other: not for nothing.
    if bits >= 8.0 * symbols * 0.9995 {
        counted.deep.clear();
        counted.contexts.deep.clear();
        return;
    }
    let empty = |h: &Histogram| h.iter().all(|&n| n == 0);
    let first = counted.deep.iter().take_while(|h| empty(h)).count();
    let last = counted.deep.iter().rposition(|h| !empty(h)).unwrap_or(first);
    counted.deep = counted.deep[first..=last].to_vec();
    counted.contexts.deep = vec![0; last + 1 - first];
    counted.contexts.bias += first as i32;
}
