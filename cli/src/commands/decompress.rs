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
    args.base.apply(&mut archive)?;
    args.device.apply(&mut archive)?;
    let progress = Progress::new("decompressing", quiet);
    let report = archive.decompress_file(&args.output, args.force, progress.callback())?;
    drop(progress);
    if quiet {
        return Ok(());
    }
    output::print(format!(
        "{} → {}: {} → {}, {}\n",
        args.archive.display(),
        args.output.display(),
        output::bytes(archive.archive_bytes()),
        output::bytes(report.bytes),
        output::time(start.elapsed()),
    ))
}
