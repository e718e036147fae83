//! What a model is measured by before it is quantized: a text, or one that it writes itself.

use super::eval::{failed, text};
use super::within;
use crate::failure::{Exit, Failure, Result};
use crate::output;
use crate::progress::Progress;
use clap::ValueHint;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use wcodec::quantize::Quantizer;
use wcodec_eval::sentences::{encode, keep_reached, sentences};
use wcodec_eval::{Calibration, Compensator, Config, Stock, Stream, calibrate_sentences};

#[derive(Debug, clap::Args)]
pub(crate) struct CalibrationArgs {
    /// A text to measure by what depends on which weights; of models that `wcodec eval` knows. Without it language models write one themselves
    #[arg(long, value_name = "TEXT", value_hint = ValueHint::FilePath)]
    pub calibration: Option<PathBuf>,
    /// Tokens of that text that are used, at most
    #[arg(long, value_name = "N", default_value_t = 32768, value_parser = enough)]
    calibration_tokens: usize,
    /// Measure nothing: errors count relative to each tensor's weights
    #[arg(long, conflicts_with = "calibration")]
    uncalibrated: bool,
}

/// As many tokens as say anything.
fn enough(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(tokens) if tokens >= wcodec_eval::LEAST_TOKENS => Ok(tokens),
        _ => Err(format!("expected a number of tokens, at least {}", wcodec_eval::LEAST_TOKENS)),
    }
}

/// Bytes of memory that can be had without swapping, where the system tells.
fn available() -> Option<u64> {
    let told = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = told.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(1024 * line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()?)
}

/// What a model was measured by.
pub(crate) struct Measured<'a> {
    statistics: Calibration,
    compensator: Option<Compensator<'a>>,
    /// What the text has after the tokens that were measured by.
    pub rest: Vec<u32>,
    /// What losses are in.
    pub unit: &'static str,
}

impl Measured<'_> {
    /// A quantizer that knows it.
    pub(crate) fn inform<'a>(&'a self, quantizer: Quantizer<'a>) -> Quantizer<'a> {
        let quantizer = quantizer.statistics(&self.statistics);
        match &self.compensator {
            Some(compensator) => quantizer.compensation(compensator),
            None => quantizer,
        }
    }
}

impl CalibrationArgs {
    /// Whether anything is to be measured.
    pub(crate) fn wanted(&self) -> bool {
        !self.uncalibrated
    }

    /// Measures a model; `None` where it is not to be, or cannot be and need not. With `spare` a quarter of a text that is given is left over.
    pub(crate) fn measure<'a>(&self, stock: &'a Stock, spare: bool, quiet: bool) -> Result<Option<Measured<'a>>> {
        if !self.wanted() {
            return Ok(None);
        }
        if stock.architecture().is_ok_and(|name| name == "bert") {
            if spare {
                let why = format!("{} is a sentence encoder, which has no perplexity", stock.path.display());
                return Err(
                    Failure::new(Exit::Usage, why).with_hint("--target-ratio, --target-bpw and --lambda are for any model")
                );
            }
            let Some(path) = &self.calibration else {
                note_unmeasured(quiet, "a sentence encoder writes no text; --calibration TEXT measures it by one");
                return Ok(None);
            };
            let statistics = self.encoder(stock, path, quiet)?;
            return Ok(Some(Measured { statistics, compensator: None, rest: Vec::new(), unit: "of a sentence's cosine" }));
        }
        let (config, stream, rest) = match &self.calibration {
            Some(path) => {
                let config = stock.llama().map_err(unmeasured)?;
                let (stream, rest) = self.followed(stock, &config, path, spare, quiet)?;
                (config, stream, rest)
            }
            None => {
                let config = match stock.llama() {
                    Ok(config) => config,
                    Err(e) => {
                        note_unmeasured(quiet, e);
                        return Ok(None);
                    }
                };
                let (takes, available) = (wcodec_eval::sample_bytes(&config, self.calibration_tokens), available());
                if available.is_some_and(|available| takes > available) {
                    let takes = output::bytes(takes);
                    let why = format!(
                        "to write a text itself the model takes {takes} of memory, which there is not; --calibration TEXT takes a layer at a time"
                    );
                    note_unmeasured(quiet, why);
                    return Ok(None);
                }
                let stream = self.written(stock, &config, quiet)?;
                (config, stream, Vec::new())
            }
        };
        let progress = Progress::new("measuring", quiet);
        let statistics = wcodec_eval::calibrate(&stream, &parts(config.weights(), progress.callback())).map_err(unmeasured)?;
        Ok(Some(Measured { statistics, compensator: Some(Compensator::new(stream)), rest, unit: "nats a token" }))
    }

    /// What sentences tell of an encoder of them.
    fn encoder(&self, stock: &Stock, path: &Path, quiet: bool) -> Result<Calibration> {
        let text = text(path)?;
        let (model, tokenizer) = stock.bert().map_err(unmeasured)?;
        let mut sentences = encode(&sentences(&text), &tokenizer, None).map_err(failed)?;
        keep_reached(&mut sentences, self.calibration_tokens);
        let tokens: usize = sentences.iter().map(Vec::len).sum();
        let progress = Progress::new("measuring", quiet);
        let go_on = parts(tokens as u64, progress.callback());
        calibrate_sentences(stock, &model, &sentences, &go_on).map_err(unmeasured)
    }

    /// A text's stream, and what the text has beside.
    fn followed<'a>(
        &self,
        stock: &'a Stock,
        config: &Config,
        path: &Path,
        spare: bool,
        quiet: bool,
    ) -> Result<(Stream<'a>, Vec<u32>)> {
        let text = text(path)?;
        let mut tokens = stock.tokenizer(config).and_then(|t| t.encode(&text)).map_err(failed)?;
        let least = wcodec_eval::LEAST_TOKENS;
        if tokens.len() < least {
            let (path, n) = (path.display(), tokens.len());
            let why = format!("{path} has {n} tokens: at least {least} are needed to measure anything by");
            return Err(Failure::new(Exit::BadSource, why));
        }
        let most = if spare { tokens.len() / 4 * 3 } else { tokens.len() };
        let rest = tokens.split_off(self.calibration_tokens.min(most));
        if spare {
            within::enough(rest.len())?;
        }
        let progress = Progress::new("reading a text to measure by", quiet);
        let go_on = parts(config.weights(), progress.callback());
        Ok((Stream::new(&*stock.weights, config.clone(), &tokens, &go_on).map_err(unmeasured)?, rest))
    }

    /// The stream of a text by the model itself.
    fn written<'a>(&self, stock: &'a Stock, config: &Config, quiet: bool) -> Result<Stream<'a>> {
        let progress = Progress::new("writing a text to measure by", quiet);
        let go_on = parts(config.weights(), progress.callback());
        wcodec_eval::sample(stock, config, self.calibration_tokens, &go_on).map_err(unmeasured)
    }
}

/// Says why a model is quantized without being measured.
pub(crate) fn note_unmeasured(quiet: bool, why: impl std::fmt::Display) {
    if !quiet {
        output::note(format!("not measured, errors count relative to each tensor's weights: {why}"));
    }
}

/// What kept a model from being measured, and that it need not be.
fn unmeasured(e: Box<dyn std::error::Error + Send + Sync>) -> Failure {
    let failure = failed(e);
    if failure.exit == Exit::Interrupted { failure } else { failure.with_hint("with --uncalibrated any model can be quantized") }
}

/// A bar that counts to `total`, for what tells a share.
fn parts(total: u64, callback: impl Fn(u64, u64) -> ControlFlow<()> + Sync) -> impl Fn(f64) -> bool + Sync {
    move |share| callback((share * total as f64) as u64, total).is_continue()
}
