//! Where the weights come from.

use crate::progress::Progress;
use candle_core::DType;
use std::collections::HashMap;
use std::path::PathBuf;
use wcodec::Loader;
use wcodec::candle::Weights;
use wcodec_eval::{Checkpoint, Config, Result, Tensors, raw, scratch};

/// Files of weights.
#[derive(Debug)]
pub(crate) enum Source {
    /// As they are.
    Safetensors(Vec<PathBuf>),
    /// Compressed.
    Archives(Vec<PathBuf>),
}

impl Source {
    /// The archives that the example `load_llama` made of a checkpoint, or else the checkpoint's own files.
    pub(crate) fn of(checkpoint: &Checkpoint) -> Self {
        let archive_of = |path: &PathBuf| {
            let path = path.canonicalize().ok()?;
            let directory = scratch().join("archives").join(path.parent()?.file_name()?);
            Some(directory.join(path.file_stem()?).with_extension("wcodec")).filter(|archive| archive.exists())
        };
        let archives: Option<Vec<_>> = checkpoint.weights.iter().map(archive_of).collect();
        archives.map_or_else(|| Self::Safetensors(checkpoint.weights.clone()), Self::Archives)
    }

    /// Loads every tensor that the model needs.
    pub(crate) fn load(&self, config: &Config, progress: &Progress) -> Result<Tensors> {
        match self {
            Self::Safetensors(paths) => raw::load(paths, |_, done, total| progress.set(done, total)),
            Self::Archives(paths) => {
                let loaders = paths.iter().map(Loader::open).collect::<Result<Vec<_>, _>>()?;
                let sizes = loaders.iter().flat_map(|loader| loader.archive().tensors()).map(|tensor| tensor.byte_len());
                let (total, mut tensors, mut done) = (sizes.sum(), Tensors::new(), 0);
                progress.set(done, total);
                for loader in loaders {
                    let here: HashMap<_, _> =
                        loader.archive().tensors().map(|tensor| (tensor.name().to_owned(), tensor.byte_len())).collect();
                    let weights = Weights::start(loader)?;
                    // In the model's order, which is that in which they become ready. Each is widened while the next
                    // ones are loaded.
                    for (name, _) in config.tensors() {
                        if let Some(bytes) = here.get(&name) {
                            let tensor = weights.wait(&name)?.to_dtype(DType::F32)?;
                            tensors.insert(name, tensor);
                            done += bytes;
                            progress.set(done, total);
                        }
                    }
                }
                Ok(tensors)
            }
        }
    }
}
