//! The two places that tensors come from: raw safetensors files, and the archives made of them.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use wcodec::candle::Weights;
use wcodec::observe::Timeline;
use wcodec::{Archive, Data, Device, Encoder, Loader};
use wcodec_eval::{Buffer, Checkpoint, Result, Tensors, raw, scratch};

/// When a load had got how far.
#[derive(Clone, Copy, Default)]
pub(crate) struct Times {
    /// The tables are read: it is known which tensors there are.
    pub(crate) open: Duration,
    /// The embedding and the first layer are there: the model could begin.
    pub(crate) first_layer: Duration,
    /// All weights are.
    pub(crate) all: Duration,
}

/// Notices when a load gets how far.
struct Watch {
    start: Instant,
    times: Times,
    /// What the first layer still needs.
    needs: HashSet<String>,
}

impl Watch {
    fn start(checkpoint: &Checkpoint) -> Self {
        let tensors = checkpoint.config.tensors().into_iter().map(|(name, _)| name);
        let needs = tensors.filter(|name| name.contains("embed_tokens.") || name.contains("layers.0.")).collect();
        Self { start: Instant::now(), times: Times::default(), needs }
    }

    fn opened(&mut self) {
        self.times.open = self.start.elapsed();
    }

    fn has(&mut self, name: &str) {
        if self.needs.remove(name) && self.needs.is_empty() {
            self.times.first_layer = self.start.elapsed();
        }
    }

    fn done(mut self) -> Times {
        self.times.all = self.start.elapsed();
        self.times
    }
}

/// Reads every tensor of the checkpoint's own files.
pub(crate) fn load_raw(checkpoint: &Checkpoint) -> Result<(Tensors, Times)> {
    let mut watch = Watch::start(checkpoint);
    let tensors = raw::load(&checkpoint.weights, |name, _, _| if name.is_empty() { watch.opened() } else { watch.has(name) })?;
    Ok((tensors, watch.done()))
}

/// How archives are loaded.
pub(crate) struct Loading<'a> {
    pub(crate) device: &'a Device,
    /// Bytes of buffers.
    pub(crate) budget: Option<u64>,
    pub(crate) timeline: Option<&'a Timeline>,
}

/// Loads the tensors of the archives.
pub(crate) fn load_archives(checkpoint: &Checkpoint, archives: &[PathBuf], how: &Loading<'_>) -> Result<(Tensors, Times)> {
    let (mut watch, mut tensors) = (Watch::start(checkpoint), Tensors::new());
    let open = |path: &PathBuf| -> Result<Loader> {
        let loader = Loader::open(path)?.device(how.device.clone());
        let loader = how.budget.into_iter().fold(loader, Loader::budget);
        Ok(how.timeline.into_iter().fold(loader, Loader::timeline))
    };
    let loaders = archives.iter().map(open).collect::<Result<Vec<_>>>()?;
    watch.opened();
    for loader in loaders {
        if let Device::Gpu(_) = how.device {
            load_on_gpu(loader, &mut tensors, &mut watch)?;
        } else {
            load(loader, checkpoint, &mut tensors, &mut watch)?;
        }
    }
    Ok((tensors, watch.done()))
}

/// Decodes into the memory that candle then uses, and takes the tensors in the model's order, which is that in which
/// they become ready.
fn load(loader: Loader, checkpoint: &Checkpoint, to: &mut Tensors, watch: &mut Watch) -> Result<()> {
    let here: HashSet<_> = loader.archive().tensors().map(|tensor| tensor.name().to_owned()).collect();
    let weights = Weights::start(loader)?;
    for (name, _) in checkpoint.config.tensors() {
        if here.contains(&name) {
            let tensor = weights.wait(&name)?;
            watch.has(&name);
            to.insert(name, tensor);
        }
    }
    Ok(())
}

/// Decodes into the memory of a GPU, and copies from there: the model runs on the CPU.
fn load_on_gpu(loader: Loader, to: &mut Tensors, watch: &mut Watch) -> Result<()> {
    for loaded in loader.load()? {
        let loaded = loaded?;
        let Data::Device(decoded) = loaded.data else {
            return Err(format!("tensor {} is not in the device's memory", loaded.info.name).into());
        };
        let shape = loaded.info.shape.iter().map(|&d| usize::try_from(d)).collect::<Result<Vec<_>, _>>()?;
        let dtype = loaded.info.dtype.name().ok_or("a tensor is of a type without a name")?;
        let mut buffer = Buffer::new(dtype, shape.iter().product())?;
        buffer.bytes_mut().copy_from_slice(&decoded.to_vec()?);
        watch.has(&loaded.info.name);
        to.insert(loaded.info.name, buffer.into_tensor(shape)?);
    }
    Ok(())
}

/// The archives of a checkpoint's files, below `target/load_llama`; made now unless they are there and newer.
pub(crate) fn archives(weights: &[PathBuf]) -> Result<Vec<PathBuf>> {
    weights.iter().map(|path| archive_of(path)).collect()
}

fn archive_of(weights: &Path) -> Result<PathBuf> {
    // Most checkpoints are called model.safetensors; the directory's name tells them apart.
    let named = weights.canonicalize()?;
    let model = named.parent().and_then(Path::file_name).ok_or("the checkpoint is in no directory")?;
    let name = named.file_stem().ok_or("the checkpoint has no file name")?;
    let directory = scratch().join("archives").join(model);
    std::fs::create_dir_all(&directory)?;
    let mut file = name.to_owned();
    file.push(".wcodec");
    let archive = directory.join(file);
    let source_len = weights.metadata()?.len();
    let fresh = archive.metadata().and_then(|m| m.modified()).is_ok_and(|made| {
        let changed = weights.metadata().and_then(|m| m.modified());
        changed.is_ok_and(|t| t < made) && Archive::open(&archive).is_ok_and(|a| a.source_bytes() == source_len)
    });
    if !fresh {
        let start = Instant::now();
        let report = Encoder::new().overwrite(true).encode_file(weights, &archive)?;
        let seconds = start.elapsed().as_secs_f64();
        eprintln!("compressed in {seconds:.2} s ({:.2} GB/s)", report.source_bytes as f64 / seconds / 1e9);
    }
    Ok(archive)
}
