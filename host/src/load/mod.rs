//! Loading an archive: reads, copies and decoding in flight together, tensors handed out as they become ready.
//!
//! ```text
//! request   which tensors, which slice of each, in which order a model needs them
//! plan      pure: units (one read each) of parts (consecutive tiles)
//! limits    pure: how many buffers, reads and lanes a budget has room for
//! floats    integers that are handed out as the floats that they stand for
//! many      the archives of a directory, one after the other
//! run       one thread drives: the scheduler says what is next (schedule/), reads (io/) and workers do it and report
//! cpu, gpu  the workers
//! handle    the load as its caller has it
//! memory    where tensors go on the host
//! pages     how large the pages are there
//! probe     reading alone and decoding alone, for the model of a load
//! ```

#[cfg(feature = "object-store")]
mod bucket;
mod cpu;
mod floats;
mod gpu;
mod handle;
mod limits;
mod many;
mod memory;
mod pages;
mod plan;
mod probe;
mod request;
mod run;
#[cfg(test)]
mod tests;

pub use handle::{Load, LoadProgress};
pub use memory::{HostMemory, HostTensor, VecMemory};
pub use probe::{Alone, Probe};
pub use request::{Shard, Split};

use crate::archive::{Archive, Backing};
use crate::cpu::view::Stores;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::gpu::{Device, DeviceTensor};
use crate::io::{IoChoice, Reads};
use crate::observe::{Stage, Timeline};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Bytes of buffers unless a budget is given: what keeps a fast disk and two decoders busy.
const BUDGET: u64 = 64 << 20;
/// The same for GPUs, whose copies and launches want larger units.
const GPU_BUDGET: u64 = 256 << 20;
/// Bytes of a read, if the budget has room for several: with what a read past the cache adds at either end a slot of 4 MiB, which is memory in
/// huge pages. (Direct reads into small pages took three times as long, on a virtual disk.)
const UNIT: u64 = (4 << 20) - ENDS;
const GPU_UNIT: u64 = (8 << 20) - ENDS;
/// A block at either end.
const ENDS: u64 = 2 * 4096;
/// Outputs of this many bytes and more are written past the caches.
const STREAM_FROM: u64 = 4 << 20;

/// Makes the memory of a tensor.
type Allocate = Arc<dyn Fn(&TensorInfo) -> Result<Box<dyn HostMemory>> + Send + Sync>;

/// What a tensor is, before it is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Its element type.
    pub dtype: Dtype,
    /// Its shape, or that of the slice which is loaded.
    pub shape: Vec<u64>,
    /// Bytes.
    pub byte_len: u64,
}

/// A tensor that is ready.
#[derive(Debug)]
pub struct Loaded {
    /// What it is.
    pub info: TensorInfo,
    /// Its bytes.
    pub data: Data,
}

/// Where a loaded tensor's bytes are.
#[non_exhaustive]
pub enum Data {
    /// In host memory: a [`HostTensor`], or what [`Loader::memory`] made.
    Host(Box<dyn HostMemory>),
    /// In a GPU's memory.
    Device(DeviceTensor),
}

impl std::fmt::Debug for Data {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Host(memory) => write!(f, "Host({} bytes)", memory.len()),
            Self::Device(tensor) => tensor.fmt(f),
        }
    }
}

impl Loaded {
    /// The bytes, where they are in the loader's own host memory.
    pub fn bytes(&self) -> Option<&[u8]> {
        match &self.data {
            Data::Host(memory) => (memory.as_ref() as &dyn std::any::Any).downcast_ref::<HostTensor>().map(|t| &**t),
            Data::Device(_) => None,
        }
    }

    /// The host memory as the type that it was made as ([`HostTensor`] unless [`Loader::memory`] says otherwise).
    pub fn into_host<T: HostMemory>(self) -> Option<T> {
        match self.data {
            Data::Host(memory) => memory.into_any().downcast().ok().map(|t| *t),
            Data::Device(_) => None,
        }
    }
}

/// Loads an archive.
///
/// ```no_run
/// let load = wcodec::Loader::open("model.wcodec")?.budget(64 << 20).load()?;
/// for tensor in load {
///     let tensor = tensor?; // ready, in the order in which a model needs them, as far as the disk allows
///     println!("{} {:?}", tensor.info.name, tensor.info.shape);
/// }
/// # Ok::<(), wcodec::Error>(())
/// ```
#[derive(Clone)]
pub struct Loader {
    archive: Arc<Archive>,
    path: PathBuf,
    device: Device,
    budget: Option<u64>,
    threads: Option<usize>,
    names: Option<Vec<String>>,
    shard: Option<Shard>,
    io: IoChoice,
    memory: Option<Allocate>,
    timeline: Option<Timeline>,
    reads: Option<run::OpenReads>,
    /// What integers become.
    dequantize: Option<Dtype>,
    /// The model of several archives whose integers become floats.
    model: Option<Arc<floats::Model>>,
    /// Of a directory: all its archives, of which `archive` is the first.
    members: Option<Arc<many::Members>>,
}

impl Loader {
    /// Opens an archive: reads its index, nothing else. Or a directory of archives, as
    /// [`Encoder::encode_directory`](crate::Encoder::encode_directory) makes it, or the `model.wcodec.index.json` of one: its model's tensors are
    /// loaded from one archive after the other, in the order of the model's layers.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let began = Instant::now();
        let path = path.as_ref();
        if path.is_dir() || path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(".wcodec.index.json")) {
            let members = many::Members::open(path)?;
            let (first, archive) = members.first();
            return Ok(Self { members: Some(Arc::new(members)), ..Self::of(archive, first, None) });
        }
        let archive = Archive::open_with(path, Backing::Read)?;
        tracing::debug!(target: "wcodec::load", path = %path.display(), micros = began.elapsed().as_micros() as u64, "opened");
        Ok(Self::of(Arc::new(archive), path.to_owned(), None))
    }

    /// A loader of an archive that `reads` reads, or the file at `path`.
    fn of(archive: Arc<Archive>, path: PathBuf, reads: Option<run::OpenReads>) -> Self {
        Self {
            archive,
            path,
            device: Device::Cpu,
            budget: None,
            threads: None,
            names: None,
            shard: None,
            io: IoChoice::Auto,
            memory: None,
            timeline: None,
            reads,
            dequantize: None,
            model: None,
            members: None,
        }
    }

    /// Loads with `base` (see [`Archive::set_base`](crate::Archive::set_base)).
    ///
    /// # Errors
    /// Another base than the archive's; a loader that has been cloned, or of a directory.
    pub fn base(mut self, base: crate::Base) -> Result<Self> {
        if self.members.is_some() {
            return Err(Error::argument("a directory has no base"));
        }
        let archive =
            Arc::get_mut(&mut self.archive).ok_or_else(|| Error::argument("a loader is given its base before it is cloned"))?;
        archive.set_base(base)?;
        Ok(self)
    }

    /// Loads a progressive archive at `k` planes of refinement: a coarse model (see [`Archive::planes`](crate::Archive::planes)).
    /// [`Tensor::refine`](crate::Tensor::refine) makes of its tensors those of more planes, in place.
    ///
    /// # Errors
    /// As there; a loader that has been cloned.
    pub fn planes(mut self, k: usize) -> Result<Self> {
        let archive =
            Arc::get_mut(&mut self.archive).ok_or_else(|| Error::argument("a loader is told its planes before it is cloned"))?;
        archive.set_planes(k)?;
        Ok(self)
    }

    /// The archive; of a directory, the first.
    pub fn archive(&self) -> &Archive {
        &self.archive
    }

    /// All archives: one, or those of a directory.
    pub fn archives(&self) -> Vec<&Archive> {
        match &self.members {
            Some(members) => members.archives().collect(),
            None => vec![&self.archive],
        }
    }

    /// The names of what will be loaded.
    #[cfg_attr(not(feature = "candle"), allow(dead_code))]
    pub(crate) fn names(&self) -> Result<std::collections::HashSet<String>> {
        if let Some(members) = &self.members {
            let model = self.dequantize.map(|_| members.model()).transpose()?;
            return Ok(members.names(self.names.as_deref(), model.as_ref())?.into_iter().collect());
        }
        if let Some(to) = self.dequantize {
            let wants = floats::wants(&self.model()?, &self.archive, self.names.as_deref(), self.shard.as_ref(), to)?;
            let name = |(want, floats): (request::Want, Option<floats::Floats>)| match floats {
                Some(floats) => floats.info().name,
                None => self.archive.entry_tensor(want.entry).name().to_owned(),
            };
            return Ok(wants.into_iter().map(name).collect());
        }
        let wants = request::wants(&self.archive, self.names.as_deref(), self.shard.as_ref())?;
        Ok(wants.iter().map(|w| self.archive.entry_tensor(w.entry).name().to_owned()).collect())
    }

    /// Decodes on `device`, into its memory: the CPU unless another is given.
    pub fn device(mut self, device: Device) -> Self {
        self.device = device;
        self
    }

    /// Bytes of buffers at most: read, pinned and staging memory together. (Not the index, nor the tensors themselves; nor the planes of a progressive
    /// archive, of which each thread holds those of one part, nor the scales of integers that become floats,
    /// of which each thread holds a band of tiles, 4 MiB where the encoder made them, 16 MiB at most.)
    pub fn budget(mut self, bytes: u64) -> Self {
        self.budget = Some(bytes);
        self
    }

    /// Threads that decode (64 at most), or CUDA streams (4): as many as the current rayon pool has threads, unless another number is given.
    pub fn threads(mut self, n: usize) -> Self {
        self.threads = Some(n);
        self
    }

    /// Loads only these tensors.
    pub fn tensors<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.names = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// Loads one rank's share: only its tiles are read and decoded.
    pub fn shard(mut self, shard: Shard) -> Self {
        self.shard = Some(shard);
        self
    }

    /// Hands out what a quantized checkpoint stands for: `NAME.weight` as floats of type `to` (BF16, F16 or F32) instead of integers and scales, each the
    /// nearest to its integer times its scale (as FP32 rounds that), ties to even. That is INT8 with a scale for each row and INT4 packed in groups, in the names of
    /// compressed-tensors, as [`Quantizer`](crate::quantize::Quantizer) makes them; whatever else there is comes as it is. Names
    /// ([`tensors`](Self::tensors)), shards and memory are those of the floats. Each thread has a few tiles of integers at a time, nothing has all of them.
    ///
    /// [`load`](Self::load) then refuses another type, integers without their scales, and a GPU; the load ends with an error where a scale is no finite
    /// number or a product is too large for the type.
    pub fn dequantize(mut self, to: Dtype) -> Self {
        self.dequantize = Some(to);
        self
    }

    /// How to read.
    pub fn io(mut self, io: IoChoice) -> Self {
        self.io = io;
        self
    }

    /// Makes the host memory of each tensor with `allocate` (which must give [`TensorInfo::byte_len`] bytes) instead of the loader's own
    /// ([`HostTensor`]): decoded bytes need no copy then to be where they are wanted.
    pub fn memory<M: HostMemory>(mut self, allocate: impl Fn(&TensorInfo) -> Result<M> + Send + Sync + 'static) -> Self {
        self.memory = Some(Arc::new(move |info| Ok(Box::new(allocate(info)?))));
        self
    }

    /// Records what every stage does, and when.
    pub fn timeline(mut self, timeline: &Timeline) -> Self {
        self.timeline = Some(timeline.clone());
        self
    }

    /// Starts loading. Tensors come out of [`Load`] as they become ready.
    ///
    /// # Errors
    /// A tensor that is not there, a budget that is too small for one unit, a damaged directory, a device that refuses. Errors in
    /// mid-load come out of [`Load`].
    pub fn load(self) -> Result<Load> {
        if let Some(members) = self.members.clone() {
            return many::start(self, &members);
        }
        let began = Instant::now();
        let (job, infos) = self.plan()?;
        if let Some(timeline) = &self.timeline {
            timeline.record(Stage::Open, 0, "plan", began, Instant::now(), 0);
        }
        let budget = self.budget_bytes();
        run::start(self, job, infos, budget)
    }

    fn on_gpu(&self) -> bool {
        matches!(self.device, Device::Gpu(_))
    }

    fn budget_bytes(&self) -> u64 {
        self.budget.unwrap_or(if self.on_gpu() { GPU_BUDGET } else { BUDGET })
    }

    /// What is to be read and decoded, and into which tensors.
    fn plan(&self) -> Result<(cpu::Job, Vec<TensorInfo>)> {
        let (wants, mut floats): (Vec<_>, Vec<_>) = match self.dequantize {
            None => {
                let wants = request::wants(&self.archive, self.names.as_deref(), self.shard.as_ref())?;
                wants.into_iter().map(|want| (want, None)).unzip()
            }
            Some(_) if self.on_gpu() => {
                let why = "integers are dequantized on the CPU only: load them to the CPU, or to the GPU as they are stored, with their scales";
                return Err(self.archive.place(Error::argument(why)));
            }
            Some(to) => {
                let model = self.model()?;
                floats::wants(&model, &self.archive, self.names.as_deref(), self.shard.as_ref(), to)?.into_iter().unzip()
            }
        };
        for want in &wants {
            // Before memory is reserved: what a base vouches for must be there.
            let tensor = self.archive.entry_tensor(want.entry);
            _ = tensor.base()?;
        }
        let directories =
            wants.iter().map(|w| Ok(self.archive.entry_tensor(w.entry).directory()?.into_owned())).collect::<Result<Vec<_>>>()?;
        let info = |(want, floats): (_, &Option<floats::Floats>)| match floats {
            Some(floats) => floats.info(),
            None => info(&self.archive, want),
        };
        let infos: Vec<_> = wants.iter().zip(&floats).map(info).collect();
        // Several units must fit, or nothing would overlap.
        let unit = (if self.on_gpu() { GPU_UNIT } else { UNIT }).min(self.budget_bytes() / 8).max(1);
        let most = |number: usize| if floats[number].is_some() { floats::PIECE } else { u64::MAX };
        let units = plan::units(&self.archive, &wants, &directories, unit, most)?;
        for part in units.iter().flat_map(|u| &u.parts) {
            floats[part.tensor as usize].iter_mut().for_each(floats::Floats::expect_part);
        }
        let total: u64 = infos.iter().map(|i| i.byte_len).sum();
        let stores = if total < STREAM_FROM { Stores::Cached } else { Stores::Stream };
        let entries = wants.iter().map(|w| w.entry).collect();
        Ok((cpu::Job { archive: self.archive.clone(), entries, directories, floats, units, stores }, infos))
    }

    /// What there is room for, of `units` that `reads` reads.
    fn room(&self, units: &[plan::Unit], reads: &dyn Reads, budget: u64) -> limits::Room {
        let longest = units.iter().map(|u| u.span(reads.alignment())).map(|s| s.end - s.start).max().unwrap_or(0);
        let threads = self.threads.unwrap_or_else(rayon::current_num_threads).clamp(1, 64);
        let slot_bytes = longest.next_multiple_of(4096).max(4096);
        limits::Room { budget, slot_bytes, threads, on_gpu: self.on_gpu(), units: units.len() }
    }
}

fn info(archive: &Archive, want: &request::Want) -> TensorInfo {
    let tensor = archive.entry_tensor(want.entry);
    TensorInfo { name: tensor.name().into(), dtype: tensor.dtype(), shape: want.shape(&tensor), byte_len: want.bytes() }
}

/// That a budget cannot hold what it must.
fn too_small(budget: u64, needed: u64) -> Error {
    Error::argument(format!("a budget of {budget} bytes is too small: this archive needs at least {needed}"))
}
