//! `wcodec decompress`.

use crate::base::BaseArg;
use crate::device::DeviceArg;
use crate::failure::{Exit, Failure, Result};
use crate::progress::Progress;
use crate::summary::Summary;
use crate::{interrupt, paths};
use clap::{ValueEnum, ValueHint};
use std::path::PathBuf;
use std::time::Instant;
use wcodec::{Archive, ArchiveDirectory, Backing, Dtype, SingleDirectory, quantize};

const AFTER_HELP: &str = "\
Examples:
  wcodec decompress model.wcodec model.safetensors
  wcodec decompress --base base.safetensors fine_tuned.wcodec fine_tuned.safetensors
  wcodec decompress --planes 3 model.wcodec coarse.safetensors
  wcodec decompress --dequantize bf16 quantized.wcodec model.safetensors
  wcodec decompress --force --threads 4 model.wcodec model.safetensors
  wcodec decompress SmolLM2-135M.compressed SmolLM2-135M

Run again after it was killed, the restoration of a directory goes on where it ended.";

/// Restore the file, or the directory, that was compressed, byte for byte
///
/// Every checksum and the source's SHA-256 are checked on the way; the file appears under its name
/// only when it is complete, right and on disk.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The archive, or a directory of archives
    #[arg(value_hint = ValueHint::AnyPath)]
    archive: PathBuf,
    /// The file to write, or the directory
    #[arg(value_hint = ValueHint::AnyPath)]
    output: PathBuf,
    /// Of a progressive archive, decode only this many planes of refinement (inspect lists them): a coarse model from the first bytes.
    /// Checksums are checked as ever, the source's SHA-256 cannot be
    #[arg(long, value_name = "K")]
    planes: Option<usize>,
    /// Of a quantized checkpoint (what quantize archives), write plain floats of this type instead of integers and scales: a safetensors file or a
    /// directory that says nothing of quantization. Checksums are checked as ever, the source's SHA-256 cannot be
    #[arg(long, value_enum, value_name = "TYPE")]
    dequantize: Option<Float>,
    /// Replace the output if it exists
    #[arg(short, long)]
    force: bool,
    /// Print one JSON object instead of a summary
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    base: BaseArg,
    #[command(flatten)]
    device: DeviceArg,
}

/// What integers become.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Float {
    Bf16,
    #[value(alias = "f16")]
    Fp16,
    #[value(alias = "f32")]
    Fp32,
}

impl From<Float> for Dtype {
    fn from(float: Float) -> Self {
        match float {
            Float::Bf16 => Self::BF16,
            Float::Fp16 => Self::F16,
            Float::Fp32 => Self::F32,
        }
    }
}

pub(crate) fn run(args: &Args, quiet: bool) -> Result<()> {
    let start = Instant::now();
    let mut summary = if args.archive.is_dir() {
        args.base.refuse_for_directories()?;
        if args.planes.is_some() {
            return Err(Failure::new(Exit::Usage, "--planes is for single archives"));
        }
        if args.dequantize.is_some() {
            return Err(Failure::new(Exit::Usage, "--dequantize is for single archives"));
        }
        interrupt::watch();
        let mut directory = ArchiveDirectory::open(&args.archive)?;
        directory.set_device(args.device.open()?);
        let progress = Progress::new("decompressing", quiet);
        Summary::of(directory.decompress(&args.output, args.force, progress.callback())?)
    } else {
        interrupt::watch();
        // Positioned reads keep memory bounded, and an archive that is cut short meanwhile gives an
        // error.
        let mut archive = Archive::open_with(&args.archive, Backing::Read)?;
        if let Some(planes) = args.planes {
            archive.set_planes(planes)?;
        }
        args.base.apply(&mut archive)?;
        args.device.apply(&mut archive)?;
        let progress = Progress::new("decompressing", quiet);
        let directory = SingleDirectory::of(&archive)?;
        if directory.is_none() {
            paths::check_output(&args.archive, &args.output)?;
        }
        let level = args.planes.and_then(|planes| archive.levels().get(planes).copied());
        let archive_bytes = level.map_or(archive.archive_bytes(), |level| level.end);
        let mut summary = match (args.dequantize, directory) {
            (Some(float), _) => {
                let bytes = quantize::decompress(&archive, float.into(), &args.output, args.force, progress.callback())?;
                let mut summary = Summary::bytes(bytes, archive_bytes);
                summary.dequantized = true;
                summary
            }
            (None, Some(directory)) => Summary::of(directory.decompress(&args.output, args.force, progress.callback())?),
            (None, None) => {
                Summary::bytes(archive.decompress_file(&args.output, args.force, progress.callback())?.bytes, archive_bytes)
            }
        };
        summary.coarse_planes = level.filter(|_| !archive.is_exact()).map(|level| level.planes);
        summary
    };
    summary.took(start.elapsed());
    summary.print((&args.archive, &args.output), (summary.archive_bytes, summary.source_bytes), args.json, quiet)
}
