//! `wcodec compress`.

use crate::failure::Result;
use crate::progress::Progress;
use crate::{interrupt, output, paths};
use clap::{ValueEnum, ValueHint};
use std::path::PathBuf;
use std::time::Instant;
use wcodec::{Backing, Base, Encoder};

const AFTER_HELP: &str = "\
Examples:
  wcodec compress model.safetensors model.wcodec
  wcodec compress model.gguf model.wcodec
  wcodec compress --profile max --force model.safetensors model.wcodec
  wcodec compress --progressive model.safetensors model.wcodec
  wcodec compress --base base.safetensors fine_tuned.safetensors fine_tuned.wcodec
  for f in *.safetensors; do wcodec compress -q \"$f\" \"${f%.safetensors}.wcodec\"; done";

/// Make an archive of a safetensors or a GGUF file
///
/// The archive appears under its name only when it is complete and on disk. The same input and
/// profile give the same archive on every machine.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The safetensors or GGUF file
    #[arg(value_hint = ValueHint::FilePath)]
    input: PathBuf,
    /// The archive to write
    #[arg(value_hint = ValueHint::FilePath)]
    output: PathBuf,
    /// How hard to try
    #[arg(long, value_enum, default_value_t)]
    profile: Profile,
    /// Code tensors against those of this file, a safetensors file or its archive, where that is
    /// smaller; whoever decompresses needs it too
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    base: Option<PathBuf>,
    /// The same in finer steps: 1 is the default profile, 9 is max; from 5 on archives decode at a tenth of the speed
    #[arg(long, value_name = "1..9", conflicts_with = "profile", value_parser = clap::value_parser!(u8).range(1..=9))]
    effort: Option<u8>,
    /// Store numbers plane by plane, so that the first bytes of the archive are a coarse model and the others refine it (see decompress
    /// --planes)
    #[arg(long, conflicts_with = "base")]
    progressive: bool,
    /// Replace the output if it exists
    #[arg(short, long)]
    force: bool,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Profile {
    /// Fast
    #[default]
    Default,
    /// As small as can be: 1 to 2 % smaller, decodes at a tenth of the speed
    Max,
}

impl From<Profile> for wcodec::Profile {
    fn from(profile: Profile) -> Self {
        match profile {
            Profile::Default => wcodec::Profile::Default,
            Profile::Max => wcodec::Profile::Max,
        }
    }
}

pub(crate) fn run(args: &Args, quiet: bool) -> Result<()> {
    paths::check_output(&args.input, &args.output)?;
    interrupt::watch();
    let start = Instant::now();
    let mut encoder = match args.effort {
        Some(level) => Encoder::new().effort(level),
        None => Encoder::new().profile(args.profile.into()),
    };
    if let Some(base) = &args.base {
        paths::check_output(base, &args.output)?;
        encoder = encoder.base(Base::open_with(base, Backing::Read)?);
    }
    encoder = encoder.progressive(args.progressive);
    let progress = Progress::new("compressing", quiet);
    let report = encoder.overwrite(args.force).on_progress(progress.callback()).encode_file(&args.input, &args.output)?;
    drop(progress);
    if quiet {
        return Ok(());
    }
    output::print(format!(
        "{} → {}: {} → {} ({}), {}\n",
        args.input.display(),
        args.output.display(),
        output::bytes(report.source_bytes),
        output::bytes(report.archive_bytes),
        output::percent(report.ratio()),
        output::time(start.elapsed()),
    ))
}
