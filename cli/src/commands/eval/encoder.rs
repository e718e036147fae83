//! `wcodec eval` of sentence encoders.

use super::{Args, failed, text};
use crate::failure::{Exit, Failure, Result};
use crate::output;
use crate::progress::Progress;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Instant;
use wcodec_eval::sentences::{Likeness, compare, encode, sentences};
use wcodec_eval::{Bert, Stock};

#[derive(Serialize)]
struct Row<'a> {
    model: &'a Path,
    #[serde(flatten)]
    likeness: Likeness,
}

#[derive(Serialize)]
struct Report<'a> {
    text: &'a Path,
    sentences: usize,
    tokens: usize,
    seconds: f64,
    reference: &'a Path,
    models: Vec<Row<'a>>,
}

/// Compares the models with the reference, the first of `stocks`.
pub(super) fn run(args: &Args, paths: &[&PathBuf], stocks: &[Stock], quiet: bool) -> Result<()> {
    if args.reference.is_none() {
        let why = format!("{} is a sentence encoder, which can only be compared with another", paths[0].display());
        return Err(Failure::new(Exit::Usage, why).with_hint("give --reference"));
    }
    let text = text(&args.text)?;
    let start = Instant::now();
    let (models, mut tokenizers): (Vec<Bert>, Vec<_>) =
        stocks.iter().map(Stock::bert).collect::<Result<Vec<_>, _>>().map_err(failed)?.into_iter().unzip();
    let of_text = |e| Failure::new(Exit::BadSource, format!("{}: {e}", args.text.display()));
    let tokens = encode(&sentences(&text), &tokenizers.swap_remove(0), args.tokens).map_err(of_text)?;
    if tokens.is_empty() {
        return Err(of_text("there is no sentence in it".into()));
    }
    let count = tokens.iter().map(Vec::len).sum();
    let progress = Progress::new("reading", quiet);
    let callback = progress.callback();
    let go_on = |done: u64| callback(done, (count * models.len()) as u64).is_continue();
    let others: Vec<&Bert> = models[1..].iter().collect();
    let cosines = compare(&models[0], &others, &tokens, &go_on).map_err(failed)?;
    drop(progress);
    let report = Report {
        text: &args.text,
        sentences: tokens.len(),
        tokens: count,
        seconds: start.elapsed().as_secs_f64(),
        reference: paths[0],
        models: paths[1..].iter().zip(&cosines).map(|(model, c)| Row { model, likeness: Likeness::of(c) }).collect(),
    };
    if args.json { output::print_json(&report) } else { output::print(table(&report)) }
}

fn table(report: &Report<'_>) -> String {
    let line = |row: &Row<'_>| {
        let Likeness { mean_cosine, least_cosine } = row.likeness;
        let name = output::plain(&row.model.display().to_string());
        format!(
            "{name}\n  cosine of {} sentences' vectors with the reference's: mean {mean_cosine:.6}, least {least_cosine:.6}\n",
            report.sentences
        )
    };
    report.models.iter().map(line).collect()
}
