//! Encoding: look at a sample of the tiles, learn frequency tables, then encode every tile and write the container.
//!
//! Two passes over the input, the first over a sample only. The second runs in batches of a few MiB: while one batch is hashed
//! and written, the next is read and encoded on all threads. Memory stays at two batches (8 MiB each, or a row of tiles,
//! at most 4 MiB, more), whatever the tensors' sizes. The same
//! input and options give the same bytes on every machine and number of threads.

mod base;
mod batch;
pub(crate) mod cluster;
mod contexts;
mod deflate;
mod effort;
mod filter;
pub(crate) mod frequency;
mod plan;
mod progressive;
mod split;
mod stream;
pub(crate) mod tile;
mod trellis;
mod write;

use crate::archive::Base;
use crate::container::index::Entry;
use crate::error::{Error, Result};
use crate::output::{refuse_existing, replace_file};
use crate::progress::Flow;
use crate::source::{FileReader, ReadAt, gguf, safetensors};
use effort::Effort;
use plan::Job;
use std::io::{Seek, Write};
use std::path::Path;
use std::sync::Arc;
use wcodec_device::layout::source_kind;

/// How hard to try.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Profile {
    /// The fast path: plane splitting, pair symbols, up to 32 tables of each kind learnt from up to 512 tiles.
    #[default]
    Default,
    /// Size alone: contexts for rows and columns, every tool tried. 1 to 2 % smaller, at a tenth of the decoding speed.
    Max,
}

#[derive(Clone, Debug)]
pub(crate) struct EncodeOptions {
    pub effort: Effort,
    pub filters: bool,
    pub overwrite: bool,
    pub base: Option<Base>,
    pub progressive: bool,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        Self { effort: Effort::default(), filters: true, overwrite: false, base: None, progressive: false }
    }
}

/// A tensor in memory, to be encoded.
#[derive(Clone, Copy, Debug)]
pub struct TensorInput<'a> {
    /// Its name, unique in the archive.
    pub name: &'a str,
    /// Its element type.
    pub dtype: crate::Dtype,
    /// Its shape; the last dimension is contiguous.
    pub shape: &'a [u64],
    /// Its bytes, little-endian.
    pub data: &'a [u8],
}

/// What an encoding came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodeReport {
    /// Bytes of the source file, or of all tensors given in memory.
    pub source_bytes: u64,
    /// Bytes of the archive.
    pub archive_bytes: u64,
    /// Number of tensors.
    pub tensors: usize,
    /// Number of those whose type is not known: they are kept as plain bytes.
    pub unknown: usize,
    /// Number of tiles.
    pub tiles: u64,
    /// Number of frequency tables.
    pub tables: usize,
}

impl EncodeReport {
    fn of(entries: &[Entry], source_bytes: u64, archive_bytes: u64, tiles: u64, tables: usize) -> Self {
        let tensors = || entries.iter().filter(|e| e.is_tensor());
        let unknown = tensors().filter(|e| e.dtype == crate::Dtype::Other).count();
        Self { source_bytes, archive_bytes, tensors: tensors().count(), unknown, tiles, tables }
    }

    /// Archive bytes per source byte.
    pub fn ratio(&self) -> f64 {
        self.archive_bytes as f64 / self.source_bytes.max(1) as f64
    }
}

type Progress = Arc<dyn Fn(u64, u64) -> Flow + Send + Sync>;

/// Makes archives.
///
/// ```no_run
/// let report = wcodec::Encoder::new().encode_file("model.safetensors", "model.wcodec")?;
/// println!("{:.1} %", 100.0 * report.ratio());
/// # Ok::<(), wcodec::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Encoder {
    pub(crate) options: EncodeOptions,
    pub(crate) progress: Option<Progress>,
}

impl Encoder {
    /// An encoder with default options.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how hard to try: [`Profile::Default`] is effort 1, [`Profile::Max`] effort 9.
    pub fn profile(mut self, profile: Profile) -> Self {
        self.options.effort = profile.into();
        self
    }

    /// Sets how hard to try, from 1 to 9 (others are taken for the nearest): up to 4 archives decode at full speed, from 5 on they have
    /// contexts; the higher, the more is tried.
    pub fn effort(mut self, level: u8) -> Self {
        self.options.effort = Effort::new(level);
        self
    }

    /// Sets whether profile `max` may predict and transform elements, which a GPU does not decode (default: yes). What is coded with a base is
    /// not filtered.
    pub fn filters(mut self, yes: bool) -> Self {
        self.options.filters = yes;
        self
    }

    /// Sets whether numbers are stored plane by plane, so that the archive's first bytes are a coarse model that the others refine
    /// ([`Archive::planes`](crate::Archive::planes)). Such an archive has no base and, of the default profile's efforts (1 to 4), no
    /// contexts. The source is encoded twice. Without a tensor to split, the archive is an ordinary one.
    pub fn progressive(mut self, yes: bool) -> Self {
        self.options.progressive = yes;
        self
    }

    /// Sets whether [`encode_file`](Self::encode_file) replaces an existing output.
    pub fn overwrite(mut self, yes: bool) -> Self {
        self.options.overwrite = yes;
        self
    }

    /// Codes tensors against those of `base` of the same name, type and shape where that is smaller. The archive then needs the base to be decoded.
    pub fn base(mut self, base: Base) -> Self {
        self.options.base = Some(base);
        self
    }

    /// Calls `f(done, total)`, in source bytes, from time to time; it may stop the encoding (see [`Flow`]).
    pub fn on_progress<F: Into<Flow>>(mut self, f: impl Fn(u64, u64) -> F + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(move |done, total| f(done, total).into()));
        self
    }

    /// Encodes a safetensors or a GGUF file. The output appears under its name only when it is complete and on disk.
    pub fn encode_file(&self, input: impl AsRef<Path>, output: impl AsRef<Path>) -> Result<EncodeReport> {
        let (input, output) = (input.as_ref(), output.as_ref());
        refuse_existing(output, self.options.overwrite)?;
        let source = FileReader::open(input).map_err(|e| Error::io("opening", e).with_path(input))?;
        replace_file(output, self.options.overwrite, |file| {
            let mut buffered = std::io::BufWriter::with_capacity(1 << 20, file);
            let report = self
                .encode_source(&source, &mut buffered)
                .map_err(|e| if e.is_elsewhere() { e.with_path(output) } else { e.with_path(input) })?;
            buffered.flush().map_err(|e| Error::io("writing", e).with_path(output))?;
            Ok(report)
        })
    }

    /// Encodes the safetensors or GGUF file that `source` holds. The archive begins at the writer's position, where it ends the writer is
    /// left; what lay beyond stays there, so a writer that is reused must be truncated first.
    pub fn encode_source(&self, source: &dyn ReadAt, out: impl Write + Seek + Send) -> Result<EncodeReport> {
        let mut magic = [0; 4];
        let is_gguf = source.size() >= 4
            && source.read_exact_at(0, &mut magic).map(|()| &magic == gguf::MAGIC).map_err(|e| Error::io("reading", e))?;
        let (kind, header) = if is_gguf {
            (source_kind::GGUF, gguf::read_header(source)?)
        } else {
            (source_kind::SAFETENSORS, safetensors::read_header(source)?)
        };
        // The header, the tensors, and what lies between and after them.
        let mut jobs = vec![Job::blob(0, header.len)];
        let mut at = header.len;
        for tensor in header.tensors {
            if tensor.offset > at {
                jobs.push(Job::blob(at, tensor.offset - at));
            }
            at = tensor.offset + tensor.len;
            jobs.push(Job::from_source(tensor));
        }
        if at < source.size() {
            jobs.push(Job::blob(at, source.size() - at));
        }
        let input = batch::Input::new(Some(source), &jobs);
        write::run(input, kind, &self.options, self.progress.as_deref(), out)
    }

    /// Encodes tensors in memory, in the order given, to the writer's position.
    pub fn encode_tensors(&self, tensors: &[TensorInput<'_>], out: impl Write + Seek + Send) -> Result<EncodeReport> {
        let mut names = std::collections::HashSet::new();
        let mut jobs = Vec::with_capacity(tensors.len());
        for t in tensors {
            if !names.insert(t.name) {
                return Err(Error::argument("two tensors of this name").with_tensor(t.name));
            }
            jobs.push(Job::from_memory(t)?);
        }
        let input = batch::Input::new(None, &jobs);
        write::run(input, source_kind::TENSORS, &self.options, self.progress.as_deref(), out)
    }
}
