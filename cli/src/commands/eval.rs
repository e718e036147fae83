//! `wcodec eval`: what language models make of a text; [`encoder`] is of those that make vectors of sentences.

mod encoder;

use crate::failure::{Exit, Failure, Result};
use crate::progress::Progress;
use crate::{interrupt, output};
use clap::ValueHint;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Instant;
use wcodec_eval::{Comparison, Config, Evaluation, Llama, Stock, read};

const AFTER_HELP: &str = "\
Examples:
  wcodec eval models/smollm2 --text models/text/evaluation.txt
  wcodec eval smollm2-int8.wcodec --reference models/smollm2 --text models/text/evaluation.txt
  wcodec eval models/minilm-bf16.safetensors --config models/minilm --reference models/minilm --text models/text/evaluation.txt

A model is a Hugging Face directory, a safetensors file with config.json and tokenizer.json beside it, or an archive of either. Weights of compressed-tensors'
INT8 and INT4 layouts are dequantized. All models read the same tokens, those of the first model's tokenizer, window by window; the first token of a window is
given. Intervals are of 95 % and paired: the windows are the same, and are taken for independent.

Known are Llamas, and of sentence encoders BERT: of these the vectors of the text's sentences are compared with the reference's.";

/// What models make of a text: perplexity, accuracy, how far they are from a reference
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The models
    #[arg(required = true, value_name = "MODEL", value_hint = ValueHint::AnyPath)]
    models: Vec<PathBuf>,
    /// The model that they are compared with
    #[arg(long, value_name = "MODEL", value_hint = ValueHint::AnyPath)]
    reference: Option<PathBuf>,
    /// The text that they read
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    text: PathBuf,
    /// Read no more than the text's first tokens, or the sentences that they reach
    #[arg(long, value_name = "N")]
    tokens: Option<usize>,
    /// Tokens of a window
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u16).range(2..))]
    window: u16,
    /// Where config.json and tokenizer.json are, if not with the weights
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    config: Option<PathBuf>,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row<'a> {
    model: &'a Path,
    #[serde(flatten)]
    evaluation: Evaluation,
    comparison: Option<Comparison>,
}

#[derive(Serialize)]
struct Report<'a> {
    text: &'a Path,
    window: u16,
    seconds: f64,
    reference: Option<Row<'a>>,
    models: Vec<Row<'a>>,
}

/// Failures of models and texts.
pub(crate) fn failed(e: Box<dyn std::error::Error + Send + Sync>) -> Failure {
    if interrupt::flow().is_break() {
        return Failure::new(Exit::Interrupted, "interrupted");
    }
    match e.downcast::<wcodec::Error>() {
        Ok(e) => Failure::from(*e),
        Err(e) => Failure::new(Exit::BadSource, e),
    }
}

/// Reads a text file.
pub(crate) fn text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|e| {
        let exit = if e.kind() == std::io::ErrorKind::InvalidData { Exit::BadSource } else { Exit::Io };
        Failure::new(exit, format!("cannot read {} as text: {e}", path.display()))
    })
}

/// A text's tokens, at least two: the first `count`, if that is given.
pub(crate) fn tokens(stock: &Stock, config: &Config, path: &Path, count: Option<usize>) -> Result<Vec<u32>> {
    let text = text(path)?;
    let mut tokens = stock.tokenizer(config).and_then(|t| t.encode(&text)).map_err(failed)?;
    if let Some(least) = count {
        if tokens.len() < least {
            let why = format!("{} has {} tokens, fewer than the {least} that were asked for", path.display(), tokens.len());
            return Err(Failure::new(Exit::BadSource, why));
        }
        tokens.truncate(least);
    }
    if tokens.len() < 2 {
        let why = format!("{} has {} tokens: at least 2 are needed to predict one", path.display(), tokens.len());
        return Err(Failure::new(Exit::BadSource, why));
    }
    Ok(tokens)
}

pub(crate) fn run(args: &Args, quiet: bool) -> Result<()> {
    interrupt::watch();
    let paths: Vec<&PathBuf> = args.reference.iter().chain(&args.models).collect();
    let stocks = paths.iter().map(|path| Stock::open(path, args.config.as_deref()));
    let stocks: Vec<Stock> = stocks.collect::<Result<_, _>>().map_err(failed)?;
    if stocks[0].architecture().map_err(failed)? == "bert" {
        return encoder::run(args, &paths, &stocks, quiet);
    }
    let configs: Vec<_> = stocks.iter().map(Stock::llama).collect::<Result<_, _>>().map_err(failed)?;
    if let Some(other) = (1..configs.len()).find(|&i| configs[i].vocab_size != configs[0].vocab_size) {
        let why = format!(
            "{} has {} tokens where {} has {}: they cannot be compared",
            paths[other].display(),
            configs[other].vocab_size,
            paths[0].display(),
            configs[0].vocab_size
        );
        return Err(Failure::new(Exit::BadSource, why));
    }
    let tokens = tokens(&stocks[0], &configs[0], &args.text, args.tokens)?;
    let start = Instant::now();
    let models: Vec<Llama> = stocks.iter().zip(&configs).map(|(s, c)| s.load(c)).collect::<Result<_, _>>().map_err(failed)?;
    let progress = Progress::new("reading", quiet);
    let callback = progress.callback();
    let total = (tokens.len() * models.len()) as u64;
    let go_on = |done: u64| callback(done, total).is_continue();
    let windows = read(&models.iter().collect::<Vec<_>>(), &tokens, args.window.into(), &go_on).map_err(failed)?;
    drop(progress);
    let row = |i: usize| Row {
        model: paths[i],
        evaluation: Evaluation::of(&windows[i]),
        comparison: (args.reference.is_some() && i > 0).then(|| Comparison::of(&windows[i], &windows[0])),
    };
    let first = usize::from(args.reference.is_some());
    let report = Report {
        text: &args.text,
        window: args.window,
        seconds: start.elapsed().as_secs_f64(),
        reference: args.reference.as_ref().map(|_| row(0)),
        models: (first..paths.len()).map(row).collect(),
    };
    if args.json { output::print_json(&report) } else { output::print(table(&report)) }
}

fn table(report: &Report<'_>) -> String {
    let mut text = String::new();
    for row in report.reference.iter().chain(&report.models) {
        let Evaluation { tokens, perplexity, accuracy } = row.evaluation;
        text += &format!(
            "{}\n  perplexity {perplexity:.4}, next token right {:.3} % of {tokens} times\n",
            output::plain(&row.model.display().to_string()),
            100.0 * accuracy
        );
        if let Some(c) = row.comparison {
            let [perplexity, accuracy] = [c.perplexity_increase, c.accuracy_gain].map(|pair| pair.map(|v| 100.0 * v));
            text += &format!(
                "  against the reference: perplexity {:+.3} % (± {:.3}), right {:+.3} pp (± {:.3}), same token {:.2} %, divergence {:.5} nats\n",
                perplexity[0],
                perplexity[1],
                accuracy[0],
                accuracy[1],
                100.0 * c.agreement,
                c.divergence
            );
        }
    }
    text
}
