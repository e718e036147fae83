//! `wcodec compress`.

use crate::codec::CodecArgs;
use crate::failure::{Exit, Failure, Result};
use crate::progress::Progress;
use crate::summary::Summary;
use crate::{interrupt, output, paths};
use clap::ValueHint;
use std::path::PathBuf;
use std::time::Instant;
use wcodec::{Backing, Base, TorchFile};

const AFTER_HELP: &str = "\
Examples:
  wcodec compress model.safetensors model.wcodec
  wcodec compress model.gguf model.wcodec
  wcodec compress --profile max --force model.safetensors model.wcodec
  wcodec compress --progressive model.safetensors model.wcodec
  wcodec compress --base base.safetensors fine_tuned.safetensors fine_tuned.wcodec
  wcodec compress ~/models/SmolLM2-135M SmolLM2-135M.compressed
  wcodec compress --single ~/models/SmolLM2-135M SmolLM2-135M.wcodec

A directory: every safetensors file in it becomes an archive of the same name (.wcodec), all other files are carried along as they are, and
model.wcodec.index.json, written last, lists all. An index of shards (model.safetensors.index.json) must agree with the shards. Run again after it was
killed, the same command goes on where it ended; the result has the same bytes.

A PyTorch file (.bin, .pt, .pth of torch.save): its tensors are archived, and come back as a safetensors file, not as the PyTorch file. Its pickle is
read as data; no code in it is run, and a pickle that names anything but tensors is refused.";

/// Make an archive of a safetensors or a GGUF file, or of each in a directory
///
/// An archive appears under its name only when it is complete and on disk. The same input and
/// profile give the same archive on every machine.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The safetensors or GGUF file, a PyTorch file, or a directory as Hugging Face has them
    #[arg(value_hint = ValueHint::AnyPath)]
    input: PathBuf,
    /// The archive to write, or the directory
    #[arg(value_hint = ValueHint::AnyPath)]
    output: PathBuf,
    #[command(flatten)]
    codec: CodecArgs,
    /// Code tensors against those of this file, a safetensors file or its archive, where that is
    /// smaller; whoever decompresses needs it too
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "progressive")]
    base: Option<PathBuf>,
    /// Replace the output if it exists
    #[arg(short, long)]
    force: bool,
    /// Make one archive of a directory instead of one for each shard (which cannot be taken up again after a kill)
    #[arg(long)]
    single: bool,
    /// Print one JSON object instead of a summary
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args, quiet: bool) -> Result<()> {
    let is_directory = args.input.is_dir();
    if args.single && !is_directory {
        return Err(Failure::new(Exit::Usage, format!("{}: --single is for directories", args.input.display())));
    }
    if !is_directory || args.single {
        paths::check_output(&args.input, &args.output)?;
    }
    interrupt::watch();
    let start = Instant::now();
    let mut encoder = args.codec.encoder()?;
    if let Some(base) = &args.base {
        paths::check_output(base, &args.output)?;
        encoder = encoder.base(Base::open_with(base, Backing::Read)?);
    }
    let progress = Progress::new("compressing", quiet);
    let encoder = encoder.overwrite(args.force).on_progress(progress.callback());
    let mut summary = if args.single {
        Summary::of(encoder.encode_directory_single(&args.input, &args.output)?)
    } else if is_directory {
        Summary::of(encoder.encode_directory(&args.input, &args.output)?)
    } else if TorchFile::looks_like_one(&args.input) {
        let report = encoder.encode_torch_file(&args.input, &args.output)?;
        if !quiet {
            output::note(format!(
                "{} is a PyTorch file: what the archive restores is a safetensors file with its tensors",
                args.input.display()
            ));
        }
        Summary::bytes(report.source_bytes, report.archive_bytes)
    } else {
        let report = encoder.encode_file(&args.input, &args.output)?;
        if report.unknown > 0 && !quiet {
            let what = output::count(report.unknown, "tensor");
            output::note(format!("{what} of types that this version does not know: kept as plain bytes"));
        }
        Summary::bytes(report.source_bytes, report.archive_bytes)
    };
    drop(progress);
    summary.took(start.elapsed());
    summary.print((&args.input, &args.output), (summary.source_bytes, summary.archive_bytes), args.json, quiet)
}
