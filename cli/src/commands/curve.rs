//! `wcodec curve`: loss against size, by the quantizer and in others' formats.

use super::calibration::{CalibrationArgs, Measured};
use super::eval::{failed, tokens};
use super::quantize::FormatName;
use crate::failure::{Exit, Failure, Result};
use crate::progress::Progress;
use crate::{interrupt, output};
use clap::ValueHint;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;
use wcodec::quantize::{Format, Quantizer, Rules, Target};
use wcodec::{Encoder, ErrorKind};
use wcodec_eval::Peer;
use wcodec_eval::curve::{Candidate, Original, Point, csv, measure, svg};

const AFTER_HELP: &str = "\
Examples:
  wcodec curve models/smollm2 --text models/text/evaluation.txt --calibration models/text/calibration.txt --output curve
  wcodec curve models/smollm2 --text models/text/evaluation.txt --tokens 4096 --bpw 3,4,5 --uncalibrated --output curve

Written are rate_distortion.csv and rate_distortion.svg. For each number of bits the model is quantized as by `wcodec quantize`, and rounded uniformly: every matrix to
one step, the same share of its root mean square for all, its integers coded as ours are. Others' formats are llama.cpp's Q4_0, Q5_0, Q6_K (Q8_0 where rows do not
divide into 256) and Q8_0, and INT8 and INT4 g128 rounded to nearest, by their documented layouts. All quantize the same matrices and are compared with the model as it is.

Sizes of archives are those of the whole files, others' those of all tensors with their scales. Points that the quantizer cannot reach are left out, and said to be.";

/// Draw what a model loses at which size, quantized here and elsewhere
///
/// One text says what each form of the model is worth, another what its weights are: once for all points.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// A Llama with float weights: a Hugging Face directory, or a safetensors file with its configuration beside it
    #[arg(value_name = "MODEL", value_hint = ValueHint::AnyPath)]
    model: PathBuf,
    /// The text that all forms of the model read
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    text: PathBuf,
    #[command(flatten)]
    measured: CalibrationArgs,
    /// Read no more than the text's first tokens
    #[arg(long, value_name = "N")]
    tokens: Option<usize>,
    /// Tokens of a window
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u16).range(2..))]
    window: u16,
    /// Bits a weight of the points
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "2.5,3,3.5,4,4.5,5,5.5,6,7", value_parser = bits)]
    bpw: Vec<f64>,
    /// The quantizer's formats: a line for each
    #[arg(long, value_enum, value_name = "LIST", value_delimiter = ',', default_value = "int8")]
    format: Vec<FormatName>,
    /// How hard to try when integers are coded, as in `compress`
    #[arg(long, value_name = "1..9", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=9))]
    effort: u8,
    /// Memory for models, in GiB: more of them are read to side by side, and the reference less often
    #[arg(long, value_name = "GIB", default_value_t = 7)]
    memory: u16,
    /// The directory for table and picture
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    output: PathBuf,
    /// Leave the archives there too
    #[arg(long)]
    keep: bool,
    /// Replace files that exist
    #[arg(short, long)]
    force: bool,
}

fn bits(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(bits) if bits > 0.0 && bits <= 16.0 => Ok(bits),
        _ => Err("expected bits a weight, above 0 and no more than 16".into()),
    }
}

pub(crate) fn run(args: &Args, quiet: bool) -> Result<()> {
    let start = Instant::now();
    interrupt::watch();
    let files = ["rate_distortion.csv", "rate_distortion.svg"].map(|name| args.output.join(name));
    if let Some(there) = files.iter().find(|file| !args.force && file.exists()) {
        return Err(Failure::new(Exit::Exists, format!("{} exists", there.display())).with_hint("--force replaces it"));
    }
    let original = Original::open(&args.model).map_err(failed)?;
    let tokens = tokens(&original.stock, &original.config, &args.text, args.tokens)?;
    std::fs::create_dir_all(&args.output).map_err(|e| io("creating", &args.output, e))?;
    let measured = args.measured.measure(&original.stock, false, quiet)?;
    // Archives are as large as the model, so that they are where the result will be.
    let temporary = tempfile::Builder::new().prefix(".wcodec-curve-").tempdir_in(&args.output);
    let temporary = temporary.map_err(|e| io("creating a directory in", &args.output, e))?;
    let archives = if args.keep { &*args.output } else { temporary.path() };
    let mut candidates = quantized(args, &original, measured.as_ref(), archives, quiet)?;
    candidates.extend(Peer::ALL.map(Candidate::peer));
    let progress = Progress::new("reading", quiet);
    let callback = progress.callback();
    let go_on = |done: u64, total: u64| callback(done, total).is_continue();
    let points = measure(&original, &candidates, &tokens, args.window.into(), u64::from(args.memory) << 30, &go_on);
    drop(progress);
    let points = points.map_err(failed)?;
    let name = args.model.canonicalize().unwrap_or_else(|_| args.model.clone());
    let name = name.file_name().map_or_else(|| "the model".into(), |name| name.to_string_lossy().into_owned());
    let title = format!("{}: what is lost at which size ({} tokens)", output::plain(&name), points[0].evaluation.tokens);
    for (file, content) in files.iter().zip([csv(&points), svg(&title, &points)]) {
        // Beside the file first: an earlier one stays until this one is whole.
        let whole = temporary.path().join("whole");
        std::fs::write(&whole, content).and_then(|()| std::fs::rename(&whole, file)).map_err(|e| io("writing", file, e))?;
    }
    if quiet {
        return Ok(());
    }
    output::print(format!(
        "{}{}\n{}\nin {}\n",
        table(&points),
        files[0].display(),
        files[1].display(),
        output::time(start.elapsed())
    ))
}

/// The points of the quantizer's lines and of uniform rounding, as archives.
fn quantized(
    args: &Args,
    original: &Original,
    measured: Option<&Measured<'_>>,
    archives: &Path,
    quiet: bool,
) -> Result<Vec<Candidate>> {
    let encoder = Encoder::new().effort(args.effort).overwrite(args.force);
    let mut candidates = Vec::new();
    for format in &args.format {
        let format: Format = (*format).into();
        for &bits in &args.bpw {
            let archive = archives.join(format!("{}-{bits}.wcodec", format.name().to_lowercase()));
            let progress = Progress::new(format!("quantizing, {} at {bits} bits", format.name()), quiet);
            let callback = progress.callback();
            let mut quantizer = Quantizer::new(Rules::new(format));
            if let Some(measured) = measured {
                quantizer = measured.inform(quantizer);
            }
            let quantizer = quantizer.encoder(encoder.clone()).on_progress(move |_: &str, done, total| callback(done, total));
            let report = quantizer.run(&original.checkpoint, Target::BitsPerWeight(bits), &archive);
            drop(progress);
            match report {
                Ok(report) => {
                    say(quiet, format!("{} at {bits} bits a weight: {:.3}", format.name(), report.bits_per_weight()));
                    candidates.push(Candidate::quantized(format, bits, &archive));
                }
                // With rules that have no exceptions only a target can be what is not possible.
                Err(e) if e.kind() == ErrorKind::InvalidArgument => output::note(format!("left out, {}: {e}", format.name())),
                Err(e) => return Err(e.into()),
            }
        }
    }
    for &bits in &args.bpw {
        if interrupt::flow().is_break() {
            return Err(Failure::new(Exit::Interrupted, "interrupted"));
        }
        let archive = archives.join(format!("uniform-{bits}.wcodec"));
        candidates.push(Candidate::uniform(original, bits, &encoder, &archive).map_err(failed)?);
        say(quiet, format!("rounded uniformly, with the step of {bits} bits"));
    }
    Ok(candidates)
}

/// A line on stderr, which lasts: what takes hours is followed in a log.
fn say(quiet: bool, what: String) {
    if !quiet {
        let _ = writeln!(std::io::stderr().lock(), "{what}");
    }
}

fn io(doing: &str, path: &Path, e: std::io::Error) -> Failure {
    Failure::new(Exit::Io, format!("{doing} {}: {e}", path.display()))
}

fn table(points: &[Point]) -> String {
    let mut text = format!("{:>7} {:>6} {:>12} {:>18} {:>10}  MODEL\n", "BITS/W", "RATIO", "PERPLEXITY", "INCREASE", "NATS");
    for p in points {
        let [increase, off] = p.comparison.perplexity_increase.map(|v| 100.0 * v);
        text += &format!(
            "{:7.3} {:6.3} {:12.4} {:>18} {:10.6}  {}: {}\n",
            p.bits_per_weight,
            p.ratio,
            p.evaluation.perplexity,
            format!("{increase:+.3} % ± {off:.3}"),
            p.comparison.divergence,
            p.method.name(),
            p.name
        );
    }
    text
}
