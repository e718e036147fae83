//! `wcodec baseline`.

use crate::failure::{Exit, Failure, Result};
use crate::output::{self, bytes, percent, time};
use crate::progress::Progress;
use crate::{interrupt, paths};
use clap::ValueHint;
use clap::builder::PossibleValuesParser;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;
use wcodec_baseline::report::{Group, Subject};
use wcodec_baseline::{ARCHITECTURES, Architecture, Error, ErrorKind, Finished, Options, Quant, Size, Source, run as measure};

const AFTER_HELP: &str = "\
Examples:
  wcodec baseline --model llama3-8b --quant int8 --size medium --output baselines/
  wcodec baseline --model gpt-oss --quant mxfp4 --size tiny --coders wcodec,zstd --output baselines/
  wcodec baseline --input model.safetensors --output baselines/
  wcodec baseline --input model.safetensors --quant int4 --output baselines/

Writes NAME.json (everything), NAME.csv (a line for each tensor and coder) and NAME.html (a page with charts) into the directory. Coders
have one thread each; slow ones get a part of each tensor, and the report says how much. zipnn and blosc2 are measured if python3
(or WCODEC_PYTHON) has them.

A checkpoint of --model is synthetic: real shapes and names, random weights distributed as SmolLM2's are, kind by kind. Its layers are
quantized as shipped checkpoints are; embeddings, the head, norms and biases stay BF16.";

/// Measure wcodec and other compressors on a checkpoint, and write a report
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Make a synthetic checkpoint of this model's shapes
    #[arg(long, value_parser = models(), required_unless_present = "input", conflicts_with = "input")]
    model: Option<String>,
    /// How much of the model: tiny takes seconds, medium a minute or so, full has every layer
    #[arg(long, value_parser = sizes(), default_value = "medium", conflicts_with = "input")]
    size: String,
    /// Measure this safetensors file instead
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    input: Option<PathBuf>,
    /// How the weights are quantized; a model's are BF16 by default, a file's stay as they are
    #[arg(long, value_parser = quants())]
    quant: Option<String>,
    /// The directory to write reports into; made if it is not there
    #[arg(short, long, value_name = "DIRECTORY", value_hint = ValueHint::DirPath)]
    output: PathBuf,
    /// Only these coders, by name: wcodec, zstd, lz4, pco, xz, zipnn, blosc2
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    coders: Vec<String>,
    /// Write the checkpoint itself, too: NAME.safetensors
    #[arg(long)]
    keep: bool,
    /// Replace reports that are there
    #[arg(short, long)]
    force: bool,
    /// How often what takes next to no time is measured; the median counts
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: u32,
    /// What random weights begin with
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "input")]
    seed: u64,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

fn models() -> PossibleValuesParser {
    ARCHITECTURES.iter().map(|a| a.id).into()
}

fn sizes() -> PossibleValuesParser {
    Size::ALL.iter().map(|s| s.id()).into()
}

fn quants() -> PossibleValuesParser {
    Quant::ALL.iter().map(|q| q.id()).into()
}

/// What `--json` prints.
#[derive(Serialize)]
struct Summary<'a> {
    subject: &'a Subject,
    seconds: f64,
    total: &'a Group,
    files: &'a [PathBuf],
}

pub(crate) fn run(args: &Args, quiet: bool) -> Result<()> {
    let source = match (&args.input, args.model.as_deref().and_then(Architecture::find)) {
        (Some(file), _) => Source::File(file.clone()),
        (None, Some(architecture)) => {
            let size = Size::ALL.into_iter().find(|s| s.id() == args.size);
            Source::Synthetic(architecture, size.unwrap_or(Size::Medium))
        }
        (None, None) => return Err(Failure::new(Exit::Usage, "--model or --input is needed")),
    };
    if let Some(input) = &args.input {
        // What --keep would write.
        paths::check_output(input, &args.output.join(input.file_name().unwrap_or_default()))
            .or_else(|e| if args.keep && args.quant.is_none() { Err(e) } else { Ok(()) })?;
    }
    if args.output.exists() && !args.output.is_dir() {
        return Err(Failure::new(Exit::Exists, format!("{}: the output exists and is no directory", args.output.display())));
    }
    let options = Options {
        source,
        quant: args.quant.as_ref().and_then(|id| Quant::ALL.into_iter().find(|q| q.id() == id)),
        output: args.output.clone(),
        runs: args.runs,
        keep: args.keep,
        force: args.force,
        only: args.coders.clone(),
        seed: args.seed,
    };
    interrupt::watch();
    let progress = Progress::new("measuring", quiet);
    let finished = measure(&options, &progress.callback());
    drop(progress);
    let finished = finished?;
    if args.json {
        let Finished { report, files } = &finished;
        output::print_json(&Summary { subject: &report.subject, seconds: report.seconds, total: &report.total, files })
    } else if quiet {
        Ok(())
    } else {
        output::print(text(&finished))
    }
}

/// A table of coders, and where the rest is.
fn text(Finished { report, files }: &Finished) -> String {
    let subject = &report.subject;
    let group = &report.total;
    let mut out = format!(
        "{}{}: {}, {} in {}\n",
        output::plain(&subject.model),
        if subject.synthetic { " (synthetic)" } else { "" },
        subject.quant.unwrap_or("as stored"),
        bytes(group.bytes),
        output::count(group.tensors, "tensor"),
    );
    out += &format!("{:16} {:>8} {:>9} {:>12} {:>12}\n", "CODER", "RATIO", "BITS/W", "ENCODE GB/S", "DECODE GB/S");
    for total in &group.coders {
        let bits = total.bits_per_weight.map_or_else(String::new, |b| format!("{b:.3}"));
        let ratio = percent(total.ratio);
        out += &format!("{:16} {ratio:>8} {bits:>9} {:>12.3} {:>12.3}\n", total.coder, total.encode_gb_s, total.decode_gb_s);
    }
    for (what, bound) in [("order-0 entropy", group.bounds.order0_bytes), ("order-1 entropy", group.bounds.order1_bytes)] {
        let ratio = percent(bound / group.bytes.max(1) as f64);
        out += &format!("{what:16} {ratio:>8} {:>9.3}\n", 8.0 * bound / group.weights.max(1) as f64);
    }
    for (name, why) in &report.absent {
        out += &format!("{name}: not measured: {why}\n");
    }
    out += &format!("took {}\n", time(Duration::from_secs_f64(report.seconds)));
    files.iter().for_each(|file| out += &format!("{}\n", file.display()));
    out
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        let exit = match e.kind() {
            ErrorKind::Usage => Exit::Usage,
            ErrorKind::BadSource => Exit::BadSource,
            ErrorKind::Io => Exit::Io,
            ErrorKind::Exists => Exit::Exists,
            ErrorKind::Mismatch => Exit::Mismatch,
            ErrorKind::Cancelled => Exit::Interrupted,
        };
        let failure = Self::new(exit, &e);
        match e.kind() {
            ErrorKind::Exists => failure.with_hint("--force replaces files"),
            _ => failure,
        }
    }
}
