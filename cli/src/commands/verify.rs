//! `wcodec verify`.

use crate::base::BaseArg;
use crate::device::DeviceArg;
use crate::failure::{Exit, Failure, Result};
use crate::output;
use crate::progress::Progress;
use clap::ValueHint;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Instant;
use wcodec::{Archive, Backing, ErrorKind, FileReader};

const AFTER_HELP: &str = "\
Examples:
  wcodec verify model.safetensors model.wcodec
  wcodec verify model.wcodec
  wcodec verify --base base.wcodec fine_tuned.wcodec

Exits with 0 if everything is right, 1 if the archive is sound but differs from the original, 5 if the archive is damaged.";

/// Check an archive against its original, or against its own hashes
///
/// Decodes everything and writes nothing. With ORIGINAL, every byte is compared with it; without,
/// with the hashes that were recorded when the archive was made.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP, allow_missing_positional = true)]
pub(crate) struct Args {
    /// The safetensors file that the archive was made of
    #[arg(value_hint = ValueHint::FilePath)]
    original: Option<PathBuf>,
    /// The archive
    #[arg(required = true, value_hint = ValueHint::FilePath)]
    archive: PathBuf,
    #[command(flatten)]
    base: BaseArg,
    #[command(flatten)]
    device: DeviceArg,
}

pub(crate) fn run(args: &Args, quiet: bool) -> Result<()> {
    let start = Instant::now();
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
    if quiet {
        return Ok(());
    }
    let verdict = match &args.original {
        Some(path) => format!("bit-exact with {}", path.display()),
        None if report.sha256 => "sound, every hash and the source's SHA-256 match".into(),
        None => "sound, every hash matches".into(),
    };
    output::print(format!(
        "{}: {verdict}: {}, {}, {}\n",
        args.archive.display(),
        output::count(report.tensors, "tensor"),
        output::bytes(report.bytes),
        output::time(start.elapsed()),
    ))
}

fn looks_like_archive(path: &Path) -> bool {
    let mut magic = [0; 6];
    std::fs::File::open(path).is_ok_and(|mut f| f.read_exact(&mut magic).is_ok()) && magic == *b"WCODEC"
}
