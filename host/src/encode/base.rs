//! Which tensors are coded against the base's, and how.

use super::batch::Input;
use super::effort::Effort;
use super::frequency::entropy;
use super::plan::Job;
use super::tile::{Look, Scratch, min_gain, survey};
use crate::archive::{Base, BaseTensor};
use crate::container::difference::{self, Difference, Method};
use crate::error::Result;
use rayon::prelude::*;
use wcodec_device::layout::{MAX_TILE_BYTES, kind};
use wcodec_device::planes::Layout;
use xxhash_rust::xxh3::Xxh3;

/// Bytes that are compared at a time.
const PIECE: u64 = 1 << 20;
/// Stretches of a tensor that are looked at to choose a method.
const SAMPLES: u64 = 8;

/// What the file is coded against.
pub(crate) struct Against<'a> {
    /// The base's hash and length; nothing if no tensor is coded against it.
    pub identity: Option<([u8; 32], u64)>,
    /// Each job's tensor of the base and its difference from that, where it has one.
    pub differences: Vec<Option<(BaseTensor<'a>, Difference)>>,
}

/// Compares all tensors with those of the base, and gives those that are coded against them their layouts.
pub(crate) fn choose<'a>(input: &mut Input<'_>, base: &'a Base, effort: Effort) -> Result<Against<'a>> {
    let one = |job: usize| {
        let j = &input.jobs[job];
        if j.kind != kind::TENSOR || j.grid.bytes() == 0 {
            return Ok(None);
        }
        let tensor = base.find(&j.name, j.dtype, &j.dtype_name, &j.shape).filter(|t| t.len() == j.grid.bytes());
        let Some(tensor) = tensor else { return Ok(None) };
        Ok(method(input, job, tensor, effort)?.map(|d| (tensor, d)))
    };
    // A file's hash takes a while: meanwhile tensors are compared.
    let compare = || (0..input.jobs.len()).into_par_iter().map(one).collect::<Result<Vec<_>>>();
    let (sha256, differences) = rayon::join(|| base.sha256(), compare);
    let differences = differences?;
    let used = differences.iter().any(Option::is_some);
    let identity = if used { Some((sha256?, base.source_len())) } else { None };
    for ((layout, job), chosen) in input.layouts.iter_mut().zip(input.jobs).zip(&differences) {
        if let Some((_, difference)) = chosen {
            *layout = coded_layout(job, difference.method);
        }
    }
    Ok(Against { identity, differences })
}

/// Differences have no exponents: planes are bytes.
fn coded_layout(job: &Job<'_>, method: Method) -> Layout {
    match method {
        Method::Same => Layout::Columns(1),
        _ if job.dtype.blocks().is_some() => job.layout,
        _ => Layout::Columns(job.layout.record_bytes() as u8),
    }
}

/// The method for a tensor; `None` where it is smaller by itself.
fn method(input: &Input<'_>, job: usize, tensor: BaseTensor<'_>, effort: Effort) -> Result<Option<Difference>> {
    let j = &input.jobs[job];
    let (mut same, mut hash) = (true, Xxh3::new());
    for piece in j.grid.pieces(PIECE) {
        if !same && tensor.is_hashed() {
            break;
        }
        let theirs = tensor.read(piece.bytes.clone())?;
        hash.update(&theirs);
        same = same && input.read(job, piece.bytes.start, piece.len())? == theirs;
    }
    if !tensor.is_hashed() {
        tensor.set_hash(hash.digest128().to_le_bytes());
    }
    let hash = tensor.hash()?;
    if same {
        return Ok(Difference::new(Method::Same, j.dtype, hash));
    }
    let methods = [Method::Subtract, Method::Xor];
    let methods: Vec<_> = methods.into_iter().filter_map(|m| Difference::new(m, j.dtype, hash)).collect();
    let mut bits = vec![0.0; methods.len()];
    let mut alone = 0.0;
    let mut scratch = Scratch::default();
    let size = MAX_TILE_BYTES as u64;
    let count = j.grid.bytes().div_ceil(size);
    let stride = count.div_ceil(SAMPLES).max(1);
    for at in (0..count).step_by(stride as usize).map(|i| i * size) {
        let end = (at + size).min(j.grid.bytes());
        let ours = input.read(job, at, (end - at) as usize)?;
        let theirs = tensor.read(at..end)?;
        alone += estimate(input.layouts[job], &ours, &mut scratch, effort);
        for (difference, bits) in methods.iter().zip(&mut bits) {
            let mut coded = ours.to_vec();
            difference.take(&mut coded, &theirs);
            *bits += estimate(coded_layout(j, difference.method), &coded, &mut scratch, effort);
        }
    }
    let best = (0..bits.len()).min_by(|&a, &b| bits[a].total_cmp(&bits[b]));
    let parameters = 8.0 * difference::BYTES as f32;
    Ok(best.filter(|&b| bits[b] * stride as f32 + parameters < alone * stride as f32).map(|b| methods[b]))
}

/// Bits that a stretch of a tensor takes, about.
fn estimate(layout: Layout, bytes: &[u8], scratch: &mut Scratch, effort: Effort) -> f32 {
    let (mut bits, mut p) = (0.0, 0);
    survey(layout, bytes, scratch, |look| {
        let raw = 8.0 * layout.plane_bytes(p, bytes.len() / layout.record_bytes()) as f32;
        bits += match look {
            Look::Constant(_) => 0.0,
            Look::Raw => raw,
            Look::Bytes(h) | Look::Pairs(_, h) => {
                let coded = entropy(&h);
                if coded < raw * (1.0 - min_gain(effort)) { coded } else { raw }
            }
        };
        p += 1;
    });
    bits
}
