//! The first pass: what is to be encoded, and the tables learnt from a sample of it.

use super::TensorInput;
use super::batch::Input;
use super::cluster::cluster;
use super::effort::{Effort, Learning};
use super::frequency::{Histogram, entropy, histogram};
use super::tile::{Look, PAIR_PATCH_BITS, PATCH_BITS, Scratch, Tables, min_gain, survey};
use super::{contexts, filter, progressive};
use crate::container::grid::Grid;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::source::safetensors;
use rayon::prelude::*;
use wcodec_device::layout::{MAX_TILE_BYTES, kind};
use wcodec_device::planes::Layout;

/// Where a job's bytes are.
pub(crate) enum Data<'a> {
    /// In the source, from here.
    Source(u64),
    Memory(&'a [u8]),
}

/// One tensor or blob to encode.
pub(crate) struct Job<'a> {
    pub kind: u8,
    pub name: String,
    pub dtype: Dtype,
    pub dtype_name: String,
    pub shape: Vec<u64>,
    pub layout: Layout,
    pub grid: Grid,
    pub data: Data<'a>,
}

impl<'a> Job<'a> {
    /// Bytes of the source that are no tensor.
    pub(crate) fn blob(at: u64, len: u64) -> Self {
        Self::new(kind::BLOB, String::new(), Dtype::U8, "U8".into(), vec![], len, Data::Source(at))
    }

    pub(crate) fn from_source(e: safetensors::Entry) -> Self {
        Self::new(kind::TENSOR, e.name, e.dtype, e.dtype_name, e.shape, e.len, Data::Source(e.offset))
    }

    pub(crate) fn from_memory(t: &TensorInput<'a>) -> Result<Self> {
        let fail = |why: String| Err(Error::argument(why).with_tensor(t.name));
        let Some(dtype_name) = t.dtype.name() else { return fail("a tensor in memory needs a known dtype".into()) };
        if t.shape.len() > u8::MAX as usize {
            return fail(format!("{} dimensions; at most 255 are supported", t.shape.len()));
        }
        if t.dtype.byte_len(t.shape) != Some(t.data.len() as u64) {
            return fail(format!("{dtype_name} of shape {:?} does not take {} bytes", t.shape, t.data.len()));
        }
        let len = t.data.len() as u64;
        Ok(Self::new(kind::TENSOR, t.name.into(), t.dtype, dtype_name.into(), t.shape.to_vec(), len, Data::Memory(t.data)))
    }

    fn new(kind: u8, name: String, dtype: Dtype, dtype_name: String, shape: Vec<u64>, len: u64, data: Data<'a>) -> Self {
        let layout = dtype.layout();
        let record = layout.record_bytes() as u64;
        // The last dimension is a row if it is a whole number of bytes; else, and for what has no shape, all bytes are one row.
        let (rows, row_bytes) = dtype.rows(&shape).unwrap_or((1, len));
        Self { kind, name, dtype, dtype_name, shape, layout, grid: Grid::choose(rows, row_bytes, record), data }
    }
}

/// Gives tensors whose bytes are better coded as one plane that layout, and leaves the others theirs:
///
/// - FP8 whose mantissas depend on their exponents: weights scaled to the type's range save about 1 % so, for half the decoding speed;
/// - integers that are packed smaller ones, as GPTQ, AWQ and compressed-tensors have them: one stream instead of one for each byte.
pub(crate) fn choose_layouts(input: &Input<'_>, effort: Effort) -> Result<Vec<Layout>> {
    let choose = |(j, job): (usize, &Job<'_>)| {
        let packed = matches!(job.dtype, Dtype::I32 | Dtype::U32);
        if job.layout != Layout::F8E4 && !packed {
            return Ok(job.layout);
        }
        let size = MAX_TILE_BYTES as u64;
        let count = job.grid.bytes().div_ceil(size);
        let (stream, gain) = if packed { (STREAM_BITS, 0.0) } else { (0.0, min_gain(effort) / 5.0) };
        let (mut apart, mut whole) = (0.0, 0.0);
        let mut scratch = Scratch::default();
        for i in (0..count).step_by(count.div_ceil(4).max(1) as usize) {
            let bytes = input.read(j, i * size, size.min(job.grid.bytes() - i * size) as usize)?;
            survey(job.layout, &bytes, &mut scratch, |look| {
                apart += match look {
                    // A half-byte plane for every exponent plane: noise, or nearly so.
                    Look::Raw if !packed => 4.0 * bytes.len() as f32,
                    Look::Raw => 8.0 * (bytes.len() / job.layout.planes()) as f32,
                    Look::Bytes(h) | Look::Pairs(_, h) => entropy(&h) + stream,
                    Look::Constant(_) => 0.0,
                }
            });
            whole += entropy(&histogram(&bytes)) + stream;
        }
        Ok(if whole < apart * (1.0 - gain) { Layout::Columns(1) } else { job.layout })
    };
    input.jobs.par_iter().enumerate().map(choose).collect()
}

/// Bits that a stream takes besides its symbols: states, directory entry, padding.
const STREAM_BITS: f32 = 8.0 * 75.0;

/// Learns the file's tables.
pub(crate) fn learn(input: &mut Input<'_>, effort: Effort) -> Result<Tables> {
    let Learning { samples: most_samples, tables: most_tables, rounds } = effort.learning();
    // A sample is a stretch of consecutive bytes rather than a tile: one read, and the same statistics.
    let size = MAX_TILE_BYTES as u64;
    let count = |(job, j): (usize, &Job<'_>)| if input.is_same(job) { 0 } else { j.grid.bytes().div_ceil(size) };
    let counts: Vec<u64> = input.jobs.iter().enumerate().map(count).collect();
    let total: u64 = counts.iter().sum();
    let stride = total.div_ceil(most_samples).max(1);
    let mut picked = Vec::new();
    let mut before = 0u64;
    for (job, &count) in counts.iter().enumerate() {
        let first = before.next_multiple_of(stride) - before;
        picked.extend((first..count).step_by(stride as usize).map(|i| (job, i * size)));
        before += count;
    }
    type Seen = (Vec<Histogram>, Vec<Histogram>);
    let seen: Vec<Seen> = picked
        .par_iter()
        .map_init(Scratch::default, |scratch, &(job, at)| {
            // Whole elements: blocks are of many sizes.
            let record = input.layouts[job].record_bytes() as u64;
            let at = at / record * record;
            let len = (size / record * record).min(input.jobs[job].grid.bytes() - at) as usize;
            // A tile, where what is coded depends on its rows.
            let tile = || {
                let grid = &input.jobs[job].grid;
                let rect = grid.rect(at / size * grid.tiles().unwrap_or(1) / counts[job]);
                filter::read(input, job, rect).map(|bytes| (rect, bytes))
            };
            let bytes = match (&input.filters[job], input.trellises[job]) {
                (Some(how), _) => {
                    let (rect, mut bytes) = tile()?;
                    filter::Work::default().filter(how, rect.rows, &mut bytes);
                    bytes.into()
                }
                (None, Some(trellis)) => {
                    let (rect, mut bytes) = tile()?;
                    let _ = trellis.take(&mut bytes, rect.width, rect.width);
                    bytes.into()
                }
                (None, None) => input.read_coded(job, at, len)?,
            };
            let (mut single, mut pairs) = (Vec::new(), Vec::new());
            if let Some(form) = input.forms[job] {
                progressive::survey(form, &bytes, scratch, |h| single.push(h));
                return Ok((single, pairs));
            }
            survey(input.layouts[job], &bytes, scratch, |look| match look {
                Look::Bytes(h) => single.push(*h),
                Look::Pairs(_, h) => pairs.push(*h),
                Look::Raw | Look::Constant(_) => {}
            });
            Ok((single, pairs))
        })
        .collect::<Result<_>>()?;
    let (single, pairs): (Vec<_>, Vec<_>) = seen.into_iter().unzip();
    let (single, pairs) = (single.concat(), pairs.concat());
    let weight = stride as f32;
    let single = cluster(&single, most_tables, rounds, weight, PATCH_BITS);
    let pairs = cluster(&pairs, most_tables, rounds, weight, PAIR_PATCH_BITS);
    let mut in_contexts = Vec::new();
    if !effort.units().is_empty() {
        let first = single.len() + pairs.len();
        (input.contexts, in_contexts) = contexts::learn(input, effort, first)?;
        let first = single.len() + pairs.len() + in_contexts.len();
        let (block_contexts, tables) = contexts::blocks::learn(input, effort, first)?;
        input.block_contexts = block_contexts;
        in_contexts.extend(tables);
    }
    if effort.filters() {
        let first = single.len() + pairs.len() + in_contexts.len();
        in_contexts.extend(filter::learn(input, effort, first)?);
    }
    if input.against.is_some() {
        let first = single.len() + pairs.len() + in_contexts.len();
        let (base_contexts, tables) = contexts::base::learn(input, effort, first)?;
        input.base_contexts = base_contexts;
        in_contexts.extend(tables);
    }
    Ok(Tables::new(single, pairs, in_contexts, effort))
}
