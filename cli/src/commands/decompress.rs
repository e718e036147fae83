//! `wcodec decompress`.

use crate::base::BaseArg;
use crate::device::DeviceArg;
use crate::failure::Result;
use crate::progress::Progress;
use crate::{interrupt, output, paths};
use clap::ValueHint;
use std::path::PathBuf;
use std::time::Instant;
use wcodec::{Archive, Backing};

const AFTER_HELP: &str = "\
Examples:
  wcodec decompress model.wcodec model.safetensors
  wcodec decompress --base base.safetensors fine_tuned.wcodec fine_tuned.safetensors
  wcodec decompress --planes 3 model.wcodec coarse.safetensors
  wcodec decompress --force --threads 4 model.wcodec model.safetensors";

/// Restore the file that an archive was made of, byte for byte
///
/// Every checksum and the source's SHA-256 are checked on the way; the file appears under its name
/// only when it is complete, right and on disk.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The archive
    #[arg(value_hint = ValueHint::FilePath)]
    archive: PathBuf,
    /// The file to write
    #[arg(value_hint = ValueHint::FilePath)]
    output: PathBuf,
    /// Of a progressive archive, decode only this many planes of refinement (inspect lists them): a coarse model from the first bytes.
    /// Checksums are checked as ever, the source's SHA-256 cannot be
    #[arg(long, value_name = "K")]
    planes: Option<usize>,
    /// Replace the output if it exists
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    base: BaseArg,
    #[command(flatten)]
    device: DeviceArg,
}

pub(crate) fn run(args: &Args, quiet: bool) -> Result<()> {
    paths::check_output(&args.archive, &args.output)?;
    interrupt::watch();
    let start = Instant::now();
    // Positioned reads keep memory bounded, and an archive that is cut short meanwhile gives an
    // error.
    let mut archive = Archive::open_with(&args.archive, Backing::Read)?;
    if let Some(planes) = args.planes {
        archive.set_planes(planes)?;
    }
    args.base.apply(&mut archive)?;
    args.device.apply(&mut archive)?;
    let progress = Progress::new("decompressing", quiet);
    let report = archive.decompress_file(&args.output, args.force, progress.callback())?;
    drop(progress);
    if quiet {
        return Ok(());
    }
    let level = args.planes.and_then(|planes| archive.levels().get(planes).copied());
    let coarse = match level {
        Some(level) if !archive.is_exact() => format!(" (coarse: {} planes; no SHA-256 to check)", level.planes),
        _ => String::new(),
    };
    output::print(format!(
        "{} → {}: {} → {}{coarse}, {}\n",
        args.archive.display(),
        args.output.display(),
        output::bytes(level.map_or(archive.archive_bytes(), |level| level.end)),
        output::bytes(report.bytes),
        output::time(start.elapsed()),
    ))
}
