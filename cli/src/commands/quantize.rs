//! `wcodec quantize`.

#[cfg(feature = "eval")]
use super::{
    calibration::{CalibrationArgs, note_unmeasured},
    within::Within,
};
use crate::codec::CodecArgs;
use crate::failure::{Exit, Failure, Result};
use crate::progress::Progress;
use crate::{interrupt, output, paths};
use clap::{ValueEnum, ValueHint};
use std::path::PathBuf;
use std::time::Instant;
use wcodec::quantize::{Checkpoint, Format, QuantizeReport, Quantizer, Rule, Rules, Target};

const AFTER_HELP: &str = "\
Examples:
  wcodec quantize models/smollm2 smollm2.wcodec --calibration models/text/calibration.txt --target-ratio 0.65
  wcodec quantize model.safetensors model.wcodec --format int4-g128 --target-bpw 3.5
  wcodec quantize models/smollm2 smollm2.wcodec --rule 'model.layers.0.*=keep' --rule 'lm_head.weight=int8'
  wcodec quantize --progressive models/smollm2 smollm2.wcodec --target-bpw 6

What the archive restores is a checkpoint in compressed-tensors' layout: INT8 with a scale for each row, or INT4 packed in groups of 128 (64 or 32 where rows do not
divide). Norms, biases and whatever is no matrix stay as they are; embeddings and lm_head become INT8 in either format. --rule makes exceptions; of several that
match the last counts.

Language models that `wcodec eval` knows are measured first: on the text of --calibration, or else on one that they write themselves, which takes some minutes. Other models,
and with --uncalibrated all, are quantized by their weights alone, at a fraction of the quality. Without a target, the archive has 0.65 of the flat checkpoint's size.";

/// Quantize a model so that its integers take few bits, and archive it
///
/// Each integer is the one of least error and rate together, and the same price of a bit holds for all tensors.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The safetensors file, or a directory as Hugging Face has them
    #[arg(value_hint = ValueHint::AnyPath)]
    input: PathBuf,
    /// The archive to write
    #[arg(value_hint = ValueHint::FilePath)]
    output: PathBuf,
    /// The integers: INT8 with a scale a row, or INT4 with a scale for each group of 128
    #[arg(long, value_enum, default_value_t)]
    format: FormatName,
    /// Bits of the archive for each weight of the model, everything included
    #[arg(long, value_name = "B", group = "target", value_parser = positive)]
    target_bpw: Option<f64>,
    /// The archive's size as a share of the flat quantized checkpoint's
    #[arg(long, value_name = "R", group = "target", value_parser = positive)]
    target_ratio: Option<f64>,
    /// Loss that a bit for each weight may cost
    #[arg(long, value_name = "L", group = "target")]
    lambda: Option<f64>,
    #[cfg(feature = "eval")]
    #[command(flatten)]
    measured: CalibrationArgs,
    /// By how many per cent the perplexity may rise, on the rest of the text of --calibration: as small as that permits, in up to eight tries
    #[cfg(feature = "eval")]
    #[arg(long, value_name = "X", group = "target", requires = "calibration", value_parser = percent)]
    max_ppl_increase: Option<f64>,
    /// An exception: PATTERN=keep, PATTERN=int8 or PATTERN=int4; may be given several times
    #[arg(long = "rule", value_name = "PATTERN=RULE", value_parser = exception)]
    rules: Vec<(String, Rule)>,
    #[command(flatten)]
    codec: CodecArgs,
    /// Replace the output if it exists
    #[arg(short, long)]
    force: bool,
    /// Print one JSON object instead of a summary
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    report: &'a QuantizeReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    perplexity_increase: Option<[f64; 2]>,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum FormatName {
    #[default]
    Int8,
    #[value(name = "int4-g128")]
    Int4,
}

impl From<FormatName> for Format {
    fn from(name: FormatName) -> Self {
        match name {
            FormatName::Int8 => Self::Int8,
            FormatName::Int4 => Self::Int4,
        }
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok(number),
        _ => Err("expected a number above 0".into()),
    }
}

#[cfg(feature = "eval")]
fn percent(text: &str) -> Result<f64, String> {
    positive(text).map_err(|_| "expected per cent, above 0".into())
}

fn exception(text: &str) -> Result<(String, Rule), String> {
    let (pattern, rule) = text.rsplit_once('=').ok_or("expected PATTERN=keep, PATTERN=int8 or PATTERN=int4")?;
    let rule = match rule {
        "keep" => Rule::Keep,
        "int8" => Rule::Quantize(Format::Int8),
        "int4" => Rule::Quantize(Format::Int4),
        other => return Err(format!("'{other}' is none of keep, int8 and int4")),
    };
    Ok((pattern.to_owned(), rule))
}

pub(crate) fn run(args: &Args, quiet: bool) -> Result<()> {
    paths::check_output(&args.input, &args.output)?;
    if args.output.exists() && !args.force {
        return Err(Failure::new(Exit::Exists, format!("{} exists", args.output.display())).with_hint("--force replaces it"));
    }
    interrupt::watch();
    let start = Instant::now();
    let mut rules = Rules::new(args.format.into());
    for (pattern, rule) in &args.rules {
        rules = rules.except(pattern, *rule)?;
    }
    let target = match (args.target_bpw, args.target_ratio, args.lambda) {
        (Some(bits), ..) => Target::BitsPerWeight(bits),
        (_, Some(ratio), _) => Target::Ratio(ratio),
        (_, _, Some(lambda)) => Target::Lambda(lambda),
        _ => Target::Ratio(0.65),
    };
    let encoder = args.codec.encoder()?;
    let source = Checkpoint::open(&args.input)?;
    let quantizer = Quantizer::new(rules.clone()).encoder(encoder.overwrite(args.force));
    #[cfg(feature = "eval")]
    let stock = wcodec_eval::Stock::open(&args.input, None);
    #[cfg(feature = "eval")]
    let measured = match &stock {
        // What has no floats to quantize, or some that are no numbers, is not measured first: that takes minutes, and then it is refused.
        Ok(stock) if args.measured.wanted() && quantizes(&rules, &source)? => {
            source.refuse_non_finite().map_err(|e| Failure::from(e).with_hint("with --uncalibrated nothing is measured"))?;
            args.measured.measure(stock, args.max_ppl_increase.is_some(), quiet)?
        }
        Err(e) if args.measured.calibration.is_some() => {
            return Err(Failure::new(Exit::BadSource, format!("the model cannot be measured: {e}")));
        }
        Err(e) if args.measured.wanted() => {
            note_unmeasured(quiet, e);
            None
        }
        _ => None,
    };
    #[cfg(feature = "eval")]
    let quantizer = match &measured {
        Some(measured) => measured.inform(quantizer),
        None => quantizer,
    };
    #[cfg(feature = "eval")]
    if let (Some(most), Some(measured), Ok(stock)) = (args.max_ppl_increase, &measured, &stock) {
        let within = Within { stock, source: &source, quantizer, rest: &measured.rest, most, quiet };
        let (report, increase) = within.run(&args.output, args.force)?;
        return print(args, &report, Some(increase), Some(measured.unit), start, quiet);
    }
    let progress = Progress::new("quantizing", quiet);
    let callback = progress.callback();
    let quantizer = quantizer.on_progress(move |_: &str, done, total| callback(done, total));
    let report = quantizer.run(&source, target, &args.output)?;
    drop(progress);
    #[cfg(feature = "eval")]
    let unit = measured.as_ref().map(|measured| measured.unit);
    #[cfg(not(feature = "eval"))]
    let unit = None;
    print(args, &report, None, unit, start, quiet)
}

/// Whether there is a tensor to quantize.
#[cfg(feature = "eval")]
fn quantizes(rules: &Rules, source: &Checkpoint) -> Result<bool> {
    let found = source.tensors().map(|(name, dtype, shape)| rules.of(name, dtype, shape)).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|e| e.with_path(source.path()))?;
    Ok(found.iter().any(|rule| matches!(rule, Rule::Quantize(_))))
}

/// With `increase`, by which share perplexity rose, and half of its 95 % interval; `unit` is that of losses, where they were measured.
fn print(
    args: &Args,
    report: &QuantizeReport,
    increase: Option<[f64; 2]>,
    unit: Option<&str>,
    start: Instant,
    quiet: bool,
) -> Result<()> {
    if args.json {
        return output::print_json(&Report { report, perplexity_increase: increase });
    }
    if quiet {
        return Ok(());
    }
    let mut text = String::from("  bits  step                 largest error  tensor\n");
    for t in &report.tensors {
        let steps = if t.steps[0] == t.steps[2] {
            format!("{:.4}", t.steps[0])
        } else {
            format!("{:.4} - {:.4}", t.steps[0], t.steps[2])
        };
        let share = output::percent(t.largest_relative_error.into());
        let name = output::plain(&t.name);
        text += &format!("{:6.3}  {steps:19}  {:.4} {:>7}  {name}\n", t.bits_per_weight, t.largest_error, format!("({share})"));
    }
    text += &format!(
        "{} -> {}: {:.3} bits a weight, {} of the flat checkpoint; {} kept as they are\npredicted loss {:.3e} {}, lambda {:.3e}; in {}\n",
        output::bytes(report.source_bytes),
        output::bytes(report.archive_bytes),
        report.bits_per_weight(),
        output::percent(report.ratio()),
        output::count(report.kept, "tensor"),
        report.loss,
        unit.unwrap_or("of the squared weights"),
        report.lambda,
        output::time(start.elapsed())
    );
    if let Some([increase, off]) = increase.map(|pair| pair.map(|v| 100.0 * v)) {
        text += &format!("perplexity {increase:+.3} % (± {off:.3}) on what the text has beside\n");
    }
    output::print(text)
}
