//! The second pass: pieces of tensors, read and encoded on all threads a batch at a time.

use super::base::Against;
use super::deflate::deflate;
use super::filter::Work;
use super::plan::{Data, Job};
use super::split::Rows;
use super::tile::{Scratch, Tables, encode_tile};
use super::trellis;
use crate::archive::BaseTensor;
use crate::bitplanes::Form;
use crate::checksum;
use crate::container::base_contexts::{BaseContexts, BaseRows, TileContexts};
use crate::container::block_contexts::BlockContexts;
use crate::container::contexts::Contexts;
use crate::container::difference::{Difference, Method};
use crate::container::grid::Piece;
use crate::container::trellis::Trellis;
use crate::error::{Error, Result};
use crate::filter::Filter;
use crate::filter::modes;
use crate::source::ReadAt;
use rayon::prelude::*;
use std::borrow::Cow;
use std::sync::Mutex;
use wcodec_device::layout::{TilePlane, kind};
use wcodec_device::planes::Layout;

/// Bytes as they are coded, and the base's.
type Coded<'a> = (Vec<u8>, Cow<'a, [u8]>);

/// What is encoded.
pub(crate) struct Input<'a> {
    pub source: Option<&'a dyn ReadAt>,
    pub jobs: &'a [Job<'a>],
    /// Each job's layout: its own at first, then what the plan chose.
    pub layouts: Vec<Layout>,
    /// Each job's contexts, where it has any.
    pub contexts: Vec<Option<Contexts>>,
    /// The contexts of each job's differences, where it has any.
    pub base_contexts: Vec<Option<BaseContexts>>,
    /// The contexts of each job's blocks, where it has any.
    pub block_contexts: Vec<Option<BlockContexts>>,
    /// What the file is coded against, if anything.
    pub against: Option<Against<'a>>,
    /// How each job is filtered, where it is.
    pub filters: Vec<Option<Filter>>,
    /// What tells the lowest bits of each job's numbers, where something does.
    pub trellises: Vec<Option<Trellis>>,
    /// Whether blobs may be.
    pub deflates: bool,
    /// The form of each job's numbers, where they are stored plane by plane.
    pub forms: Vec<Option<Form>>,
    /// Buffers of pieces that are written: fresh ones of this size would cost a page fault every 4 KiB.
    pub spare: Mutex<Vec<Vec<u8>>>,
    /// What threads keep from batch to batch.
    pub scratch: Mutex<Vec<Scratch>>,
}

impl<'a> Input<'a> {
    pub(crate) fn new(source: Option<&'a dyn ReadAt>, jobs: &'a [Job<'a>]) -> Self {
        Self {
            source,
            jobs,
            layouts: jobs.iter().map(|j| j.layout).collect(),
            contexts: jobs.iter().map(|_| None).collect(),
            base_contexts: jobs.iter().map(|_| None).collect(),
            block_contexts: jobs.iter().map(|_| None).collect(),
            against: None,
            filters: jobs.iter().map(|_| None).collect(),
            trellises: jobs.iter().map(|_| None).collect(),
            deflates: false,
            forms: jobs.iter().map(|_| None).collect(),
            spare: Mutex::default(),
            scratch: Mutex::default(),
        }
    }

    /// How a job differs from the base's tensor, if it is coded against one.
    pub(crate) fn difference(&self, job: usize) -> Option<&(BaseTensor<'a>, Difference)> {
        self.against.as_ref()?.differences[job].as_ref()
    }

    /// Whether nothing of a job is coded: it is the base's tensor.
    pub(crate) fn is_same(&self, job: usize) -> bool {
        self.difference(job).is_some_and(|(_, d)| d.method == Method::Same)
    }

    /// What is coded of bytes `at..at + len` of job `job`: from the first of a row of tiles on, if it has a trellis.
    pub(crate) fn read_coded(&self, job: usize, at: u64, len: usize) -> Result<Cow<'a, [u8]>> {
        let bytes = self.read(job, at, len)?;
        Ok(self.coded(job, at, &bytes)?.map_or(bytes, |(difference, _)| Cow::Owned(difference)))
    }

    /// What is coded of a job's bytes from `at` on, a difference from the base's or what a trellis stores, and these; `None` where they are coded
    /// as they are.
    pub(crate) fn coded(&self, job: usize, at: u64, bytes: &[u8]) -> Result<Option<Coded<'a>>> {
        let copy = || {
            let mut coded = take(&self.spare);
            coded.clear();
            coded.extend_from_slice(bytes);
            coded
        };
        if let Some(trellis) = self.trellises[job] {
            let mut coded = copy();
            if !trellis::take(trellis, &self.jobs[job].grid, &mut coded) {
                let why = "the source was changed while it was encoded: integers that were a trellis's are not any more";
                return Err(Error::bad_source(why).with_tensor(&self.jobs[job].name));
            }
            return Ok(Some((coded, Cow::Borrowed(&[]))));
        }
        let Some((tensor, difference)) = self.difference(job) else { return Ok(None) };
        let base = tensor.read(at..at + bytes.len() as u64)?;
        let mut coded = copy();
        difference.take(&mut coded, &base);
        Ok(Some((coded, base)))
    }

    /// Bytes `at..at + len` of job `job`.
    pub(crate) fn read(&self, job: usize, at: u64, len: usize) -> Result<Cow<'a, [u8]>> {
        let job = &self.jobs[job];
        match (&job.data, self.source) {
            (Data::Memory(bytes), _) => Ok(Cow::Borrowed(&bytes[at as usize..at as usize + len])),
            (Data::Source(start), Some(source)) => {
                source.fetch(start + at, len).map_err(|e| Error::io("reading", e).with_tensor(&job.name).at(start + at))
            }
            (Data::Source(_), None) => unreachable!("jobs from a source come with it"),
        }
    }
}

/// A tile's directory entry before its offset is known.
pub(crate) struct TileDone {
    pub len: usize,
    pub crc: u32,
    pub planes: Vec<TilePlane>,
    /// How the tile is filtered; zeros where it is not.
    pub filter: [u8; modes::ENTRY],
}

/// A piece, encoded.
pub(crate) struct PieceDone<'a> {
    pub job: usize,
    /// The source bytes, for whoever hashes them.
    pub bytes: Cow<'a, [u8]>,
    pub payload: Vec<u8>,
    pub tiles: Vec<TileDone>,
}

/// Bytes that one thread encodes at a time.
pub(crate) const PIECE: u64 = 1 << 18;

/// Pieces of all jobs, grouped to batches of at least `size` bytes (a single piece may be larger).
pub(crate) fn batches<'a>(jobs: &'a [Job<'a>], size: u64) -> impl Iterator<Item = Vec<(usize, Piece)>> + 'a {
    let mut pieces = jobs.iter().enumerate().flat_map(|(j, job)| job.grid.pieces(PIECE).map(move |p| (j, p)));
    std::iter::from_fn(move || {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while bytes < size {
            let Some((job, piece)) = pieces.next() else { break };
            bytes += piece.len() as u64;
            batch.push((job, piece));
        }
        (!batch.is_empty()).then_some(batch)
    })
}

/// Reads and encodes a batch on all threads.
pub(crate) fn encode<'a>(input: &Input<'a>, tables: &Tables, batch: Vec<(usize, Piece)>) -> Result<Vec<PieceDone<'a>>> {
    let piece = |(job, piece): (usize, Piece)| {
        let bytes = input.read(job, piece.bytes.start, piece.len())?;
        encode_piece(input, tables, job, &piece, bytes)
    };
    batch.into_par_iter().map(piece).collect()
}

/// Encodes a piece, whose bytes are given.
pub(crate) fn encode_piece<'a>(
    input: &Input<'_>,
    tables: &Tables,
    job: usize,
    piece: &Piece,
    bytes: Cow<'a, [u8]>,
) -> Result<PieceDone<'a>> {
    if input.is_same(job) {
        return Ok(PieceDone { job, bytes, payload: Vec::new(), tiles: Vec::new() });
    }
    let difference = input.coded(job, piece.bytes.start, &bytes)?;
    let (coded, base) = difference.as_ref().map_or((&bytes[..], &[][..]), |(coded, base)| (coded, base));
    let mut scratch = take(&input.scratch);
    let Job { grid, .. } = &input.jobs[job];
    let mut payload = take(&input.spare);
    payload.clear();
    let mut tiles = Vec::with_capacity((piece.tiles.end - piece.tiles.start) as usize);
    for tile in piece.tiles.clone() {
        let rect = grid.rect(tile);
        let rows = Rows::of_tile(coded, grid, piece, rect);
        let start = payload.len();
        let contexts = match (&input.contexts[job], &input.base_contexts[job]) {
            (_, Some(c)) => {
                let Rows { bytes, pitch, rows, width } = Rows::of_tile(base, grid, piece, rect);
                Some(TileContexts::Base(c, BaseRows { bytes, pitch, rows, width }))
            }
            (Some(c), None) => Some(TileContexts::Classes(c, rect)),
            (None, None) => input.block_contexts[job].as_ref().map(TileContexts::Scales),
        };
        let layout = input.layouts[job];
        let mut planes = encode_tile(layout, contexts.as_ref(), tables, rows, &mut scratch, &mut payload);
        let mut how = [0; modes::ENTRY];
        if input.deflates && input.jobs[job].kind == kind::BLOB {
            // One row.
            if let Some((coded, plane)) = deflate(&rows.bytes[..rows.width], payload.len() - start) {
                payload.truncate(start);
                payload.extend(coded);
                planes = vec![plane];
            }
        }
        if let Some(filter) = &input.filters[job] {
            let filtered = filtered(filter, layout, tables, rows, &mut scratch, payload.len() - start);
            if let Some((entry, coded, theirs)) = filtered {
                payload.truncate(start);
                payload.extend(coded);
                (how, planes) = (entry, theirs);
            }
        }
        let crc = checksum(&payload[start..]);
        tiles.push(TileDone { len: payload.len() - start, crc, planes, filter: how });
    }
    put_back(&input.scratch, scratch);
    if let Some((difference, _)) = difference {
        put_back(&input.spare, difference);
    }
    Ok(PieceDone { job, bytes, payload, tiles })
}

/// A tile's directory entry, payload and planes if it is filtered; `None` unless the payload is below `most` bytes.
fn filtered(
    filter: &Filter,
    layout: Layout,
    tables: &Tables,
    tile: Rows<'_>,
    scratch: &mut Scratch,
    most: usize,
) -> Option<([u8; modes::ENTRY], Vec<u8>, Vec<TilePlane>)> {
    let (mut bytes, mut payload) = (Vec::new(), Vec::new());
    tile.gather(&mut bytes);
    let mut modes = Work::default().filter(filter, tile.rows, &mut bytes);
    // Learnt from a sample, they may be fewer.
    modes.classes.iter_mut().for_each(|class| *class = (*class).min(filter.classes.saturating_sub(1) as u8));
    if filter.classes == 0 {
        modes.classes.clear();
    }
    let entry = modes.write(filter.ring, &mut payload)?;
    let planes = encode_tile(layout, modes.tile_contexts(filter).as_ref(), tables, Rows::whole(&bytes), scratch, &mut payload);
    (payload.len() < most).then_some((entry, payload, planes))
}

/// One of `pool`, or a new one.
pub(crate) fn take<T: Default>(pool: &Mutex<Vec<T>>) -> T {
    pool.lock().ok().and_then(|mut pool| pool.pop()).unwrap_or_default()
}

pub(crate) fn put_back<T>(pool: &Mutex<Vec<T>>, item: T) {
    if let Ok(mut pool) = pool.lock() {
        pool.push(item);
    }
}
