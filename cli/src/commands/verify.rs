//! `wcodec verify`.

use crate::base::BaseArg;
use crate::device::DeviceArg;
use crate::failure::{Exit, Failure, Result};
use crate::output;
use crate::progress::Progress;
use clap::ValueHint;
use serde::Serialize;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;
use wcodec::{Archive, ArchiveDirectory, Backing, ErrorKind, FileReader, SingleDirectory, TorchFile};

const AFTER_HELP: &str = "\
Examples:
  wcodec verify model.safetensors model.wcodec
  wcodec verify model.wcodec
  wcodec verify --base base.wcodec fine_tuned.wcodec
  wcodec verify SmolLM2-135M SmolLM2-135M.compressed

Exits with 0 if everything is right, 1 if the archive is sound but differs from the original, 5 if the archive is damaged.";

/// Check an archive against its original, or against its own hashes
///
/// Decodes everything and writes nothing. With ORIGINAL, every byte is compared with it; without,
/// with the hashes that were recorded when the archive was made. Both may be directories.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP, allow_missing_positional = true)]
pub(crate) struct Args {
    /// The safetensors file, PyTorch file or directory that the archive was made of
    #[arg(value_hint = ValueHint::AnyPath)]
    original: Option<PathBuf>,
    /// The archive, or a directory of archives
    #[arg(required = true, value_hint = ValueHint::AnyPath)]
    archive: PathBuf,
    /// Print one JSON object instead of a summary
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    base: BaseArg,
    #[command(flatten)]
    device: DeviceArg,
}

#[derive(Serialize)]
struct Report {
    archive: String,
    original: Option<String>,
    tensors: usize,
    /// Bytes compared, or decoded.
    bytes: u64,
    /// Of a directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    shards: Option<usize>,
    seconds: f64,
}

pub(crate) fn run(args: &Args, quiet: bool) -> Result<()> {
    let start = Instant::now();
    if args.archive.is_dir() {
        return directory(args, quiet, start);
    }
    let mut archive = Archive::open_with(&args.archive, Backing::Read).map_err(|e| {
        let swapped = e.kind() == ErrorKind::Corrupt && args.original.as_deref().is_some_and(looks_like_archive);
        match Failure::from(e) {
            failure if swapped => failure.with_hint("the original comes first, then the archive"),
            failure => failure,
        }
    })?;
    args.base.apply(&mut archive)?;
    args.device.apply(&mut archive)?;
    let progress = Progress::new("verifying", quiet);
    let report = match &args.original {
        Some(path) if path.is_dir() => {
            let Some(directory) = SingleDirectory::of(&archive)? else {
                let why = format!("{} is a directory, {} the archive of a file", path.display(), args.archive.display());
                return Err(Failure::new(Exit::Usage, why));
            };
            directory.verify_against(path, progress.callback())?
        }
        Some(path) if TorchFile::looks_like_one(path) => {
            let original = TorchFile::open(path)?;
            let compared = original.with_safetensors(|original| archive.verify_against(original, progress.callback()));
            compared.map_err(|e| if e.path().is_none() { e.with_path(path) } else { e })?
        }
        Some(path) => {
            let original =
                FileReader::open(path).map_err(|e| Failure::new(Exit::Io, format!("{}: opening: {e}", path.display())))?;
            archive
                .verify_against(&original, progress.callback())
                .map_err(|e| if e.path().is_none() { e.with_path(path) } else { e })?
        }
        None => archive.verify(progress.callback())?,
    };
    drop(progress);
    let verdict = match &args.original {
        Some(path) if TorchFile::looks_like_one(path) => format!("bit-exact with the tensors of {}", path.display()),
        Some(path) => format!("bit-exact with {}", path.display()),
        None if report.sha256 => "sound, every hash and the source's SHA-256 match".into(),
        None => "sound, every hash matches".into(),
    };
    say(args, quiet, start, &verdict, None, (report.tensors, report.bytes))
}

/// Of a directory.
fn directory(args: &Args, quiet: bool, start: Instant) -> Result<()> {
    args.base.refuse_for_directories()?;
    let mut directory = ArchiveDirectory::open(&args.archive)?;
    directory.set_device(args.device.open()?);
    let progress = Progress::new("verifying", quiet);
    let report = match &args.original {
        Some(path) => directory.verify_against(path, progress.callback())?,
        None => directory.verify(progress.callback())?,
    };
    drop(progress);
    let verdict = match &args.original {
        Some(path) => format!("bit-exact with {}", path.display()),
        None => "sound, every hash matches".into(),
    };
    let shards = Some((report.shards, report.files));
    say(args, quiet, start, &verdict, shards, (report.tensors, report.source_bytes))
}

fn say(
    args: &Args,
    quiet: bool,
    start: Instant,
    verdict: &str,
    shards: Option<(usize, usize)>,
    (tensors, bytes): (usize, u64),
) -> Result<()> {
    if args.json {
        return output::print_json(&Report {
            archive: args.archive.display().to_string(),
            original: args.original.as_ref().map(|p| p.display().to_string()),
            tensors,
            bytes,
            shards: shards.map(|s| s.0),
            seconds: start.elapsed().as_secs_f64(),
        });
    }
    if quiet {
        return Ok(());
    }
    let shards = shards.map_or(String::new(), |(shards, files)| {
        format!("{}, {}, ", output::count(shards, "shard"), output::count(files, "other file"))
    });
    output::print(format!(
        "{}: {verdict}: {shards}{}, {}, {}\n",
        args.archive.display(),
        output::count(tensors, "tensor"),
        output::bytes(bytes),
        output::time(start.elapsed()),
    ))
}

fn looks_like_archive(path: &Path) -> bool {
    let mut magic = [0; 6];
    std::fs::File::open(path).is_ok_and(|mut f| f.read_exact(&mut magic).is_ok()) && magic == *b"WCODEC"
}
