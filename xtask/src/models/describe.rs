//! The directory that goes with a language model's weights: configuration and tokenizer, as Hugging Face lays one out,
//! so that the model can be run and not only compressed.

use std::path::Path;

use anyhow::{Context, Result};
use indicatif::ProgressBar;

use super::catalog::{Described, Model, Part};
use super::manifest::{FileInfo, Manifest};
use super::store;
use crate::gguf::{self, Gguf};

/// Makes the files of the directory that are missing; the derived checkpoints are there.
pub(super) fn describe(model: &Model, folder: &Path, manifest: &mut Manifest, bar: &ProgressBar) -> Result<()> {
    let missing: Vec<_> = model.described.iter().filter(|file| !manifest.files.contains_key(file.path)).collect();
    let (Some(source), false) = (model.shipped.first(), missing.is_empty()) else {
        return Ok(());
    };
    let bytes = store::read(&folder.join(source.path))?;
    let gguf = Gguf::parse(&bytes).with_context(|| format!("cannot read {}", source.path))?;
    for file in missing {
        bar.set_message(file.path);
        let info = make(file, &gguf, folder, manifest).with_context(|| format!("cannot make {}", file.path))?;
        manifest.files.insert(file.path.to_owned(), info);
        bar.inc(1);
    }
    Ok(())
}

/// Makes one file.
fn make(file: &Described, gguf: &Gguf<'_>, folder: &Path, manifest: &Manifest) -> Result<FileInfo> {
    let bytes = match file.part {
        Part::Config => gguf::to_config(gguf, "bfloat16")?,
        Part::Generation => gguf::to_generation_config(gguf)?,
        Part::Tokenizer => gguf::to_tokenizer(gguf)?,
        Part::TokenizerConfig => gguf::to_tokenizer_config(gguf)?,
        Part::Weights(of) => {
            let info = manifest.files.get(of).with_context(|| format!("{of} is not there"))?;
            store::link(&folder.join(of), &folder.join(file.path))?;
            return Ok(info.clone());
        }
    };
    store::write(&folder.join(file.path), &bytes)?;
    Ok(FileInfo::new(&bytes, Default::default()))
}
