//! The smallest archive whose perplexity stays within a limit.

use super::eval::failed;
use crate::failure::{Exit, Failure, Result};
use crate::output;
use crate::progress::Progress;
use std::io;
use std::path::Path;
use tempfile::TempPath;
use wcodec::quantize::{Checkpoint, QuantizeReport, Quantizer, Target};
use wcodec_eval::{Comparison, Llama, Stock, Window, coarsest_within, read};

/// Tokens that are read at each try: at the least, so that a per cent is seen, and at the most.
const LEAST: usize = 2048;
const MOST: usize = 16384;
const WINDOW: usize = 512;

/// A search for the coarsest form of a model.
pub(super) struct Within<'a> {
    pub stock: &'a Stock,
    pub source: &'a Checkpoint,
    /// With statistics.
    pub quantizer: Quantizer<'a>,
    /// Tokens that the model was not measured by: [`enough`] of them.
    pub rest: &'a [u32],
    /// Per cent.
    pub most: f64,
    pub quiet: bool,
}

/// Refuses a text that has so many tokens left which the model is not measured by.
pub(super) fn enough(rest: usize) -> Result<()> {
    if rest >= LEAST {
        return Ok(());
    }
    let why = format!(
        "the calibration text leaves {rest} tokens to measure perplexity by, and at least {LEAST} are needed: a longer text, or a smaller --calibration-tokens"
    );
    Err(Failure::new(Exit::BadSource, why))
}

impl Within<'_> {
    /// Quantizes until it is found, and gives it its name: the report, by which share perplexity rose, and half of the 95 % interval of that.
    pub(super) fn run(&self, output: &Path, overwrite: bool) -> Result<(QuantizeReport, [f64; 2])> {
        let tokens = &self.rest[..self.rest.len().min(MOST)];
        let config = self.stock.llama().map_err(failed)?;
        let reference = self.windows(&self.stock.load(&config).map_err(failed)?, tokens).map_err(failed)?;
        let beside = if self.stock.path.is_dir() { Some(&*self.stock.path) } else { self.stock.path.parent() };
        let directory = output.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let failure = |doing: &str, e: io::Error| Failure::new(Exit::Io, format!("{doing} {}: {e}", output.display()));
        let temporary = tempfile::Builder::new().prefix(".wcodec-").suffix(".tmp").tempdir_in(directory);
        let temporary = temporary.map_err(|e| failure("creating a directory beside", e))?;
        let (tried, kept) = (temporary.path().join("tried.wcodec"), temporary.path().join("kept.wcodec"));
        let mut best: Option<(f64, QuantizeReport, [f64; 2])> = None;
        let mut last = 0.0;
        let limit = self.most / 100.0;
        let loss = |price: f64| -> wcodec_eval::Result<f64> {
            let progress = Progress::new("quantizing", self.quiet);
            let callback = progress.callback();
            let quantizer = self.quantizer.clone().on_progress(move |_: &str, done, total| callback(done, total));
            let report = quantizer.run(self.source, Target::Lambda(price), &tried)?;
            drop(progress);
            let model = Stock::open(&tried, beside)?.load(&config)?;
            let increase = Comparison::of(&self.windows(&model, tokens)?, &reference).perplexity_increase;
            if !self.quiet {
                let [increase, off] = increase.map(|v| 100.0 * v);
                output::note(format!("{:.3} bits a weight: perplexity {increase:+.3} % (± {off:.3})", report.bits_per_weight()));
            }
            last = increase[0];
            if increase[0] <= limit && best.as_ref().is_none_or(|(before, ..)| *before <= price) {
                std::fs::rename(&tried, &kept)?;
                best = Some((price, report, increase));
            } else {
                std::fs::remove_file(&tried)?;
            }
            Ok(increase[0])
        };
        // A predicted nat of loss is more than one of what is found on another text.
        coarsest_within(limit, 0.8 * limit, loss).map_err(failed)?;
        let Some((_, report, increase)) = best else {
            let why = format!(
                "perplexity within {} % cannot be reached: at the finest steps it rises by {:.3} %, the nearest that can",
                self.most,
                100.0 * last
            );
            return Err(Failure::new(Exit::Usage, why));
        };
        let archive = TempPath::try_from_path(kept).map_err(|e| failure("naming", e))?;
        let named = if overwrite { archive.persist(output) } else { archive.persist_noclobber(output) };
        named.map_err(|e| failure("naming", e.error))?;
        Ok((report, increase))
    }

    fn windows(&self, model: &Llama, tokens: &[u32]) -> wcodec_eval::Result<Vec<Window>> {
        let progress = Progress::new("reading", self.quiet);
        let callback = progress.callback();
        let go_on = |done: u64| callback(done, tokens.len() as u64).is_continue();
        Ok(read(&[model], tokens, WINDOW, &go_on)?.remove(0))
    }
}
