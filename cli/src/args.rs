//! The command line.

#[cfg(feature = "baseline")]
use crate::commands::baseline;
use crate::commands::{bench, completions, compress, decompress, inspect, quantize, verify};
#[cfg(feature = "eval")]
use crate::commands::{curve, eval};
use clap::{Parser, Subcommand};

const AFTER_HELP: &str = "\
Examples:
  wcodec compress model.safetensors model.wcodec
  wcodec verify model.safetensors model.wcodec
  wcodec inspect model.wcodec
  wcodec decompress model.wcodec model.safetensors
  wcodec compress models/SmolLM2-135M SmolLM2-135M.compressed

Exit codes:
    0  done
    1  verification failed: the data differ
    2  wrong usage
    3  a file could not be read or written
    4  the input is no safetensors or GGUF file, or no sound checkpoint
    5  the archive is damaged or not an archive
    6  the archive needs a newer wcodec
    7  the output exists (--force replaces it)
    8  no tensor of that name
    9  the GPU, or its driver, is missing or failed
  130  interrupted";

/// Compress model weights, bit for bit the same when they come back.
///
/// INPUT is a safetensors or GGUF file or a directory of such, ARCHIVE a .wcodec file or a directory of such.
/// A file appears under its name only when it is complete.
#[derive(Debug, Parser)]
#[command(name = "wcodec", version, after_help = AFTER_HELP, max_term_width = 120)]
pub(crate) struct Cli {
    /// Number of threads; 0 is one for each core
    #[arg(long, global = true, value_name = "N", default_value_t = 0)]
    #[arg(value_parser = clap::value_parser!(u16).range(0..=1024))]
    pub(crate) threads: u16,

    /// Show no progress and no summary, only errors and what was asked for
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Compress(compress::Args),
    Decompress(decompress::Args),
    Verify(verify::Args),
    Quantize(quantize::Args),
    #[cfg(feature = "eval")]
    Eval(eval::Args),
    #[cfg(feature = "eval")]
    Curve(curve::Args),
    Inspect(inspect::Args),
    Bench(bench::Args),
    #[cfg(feature = "baseline")]
    Baseline(baseline::Args),
    Completions(completions::Args),
}
