//! One run, from opening files to the last token, and what it took.

use crate::sources::Times;
use candle_core::Device;
use std::time::{Duration, Instant};
use wcodec_eval::{Checkpoint, Generation, Llama, Result, Tensors, generate};

/// What a run came to.
pub(crate) struct Run {
    /// When the weights were there.
    pub(crate) load: Times,
    /// When the model stood: weights loaded and widened.
    pub(crate) built: Duration,
    /// When the first token was there.
    pub(crate) first_token: Duration,
    /// What was generated.
    pub(crate) generation: Generation,
    /// The most memory that the process held, where the system says.
    pub(crate) peak_memory: Option<u64>,
}

/// What is to be generated.
pub(crate) struct Task<'a> {
    pub(crate) checkpoint: &'a Checkpoint,
    pub(crate) prompt: &'a str,
    pub(crate) tokens: usize,
}

impl Task<'_> {
    /// Loads, builds the model and generates.
    pub(crate) fn run(&self, load: impl FnOnce() -> Result<(Tensors, Times)>) -> Result<Run> {
        let Checkpoint { config, tokenizer, .. } = self.checkpoint;
        let resettable = reset_peak();
        let start = Instant::now();
        let (tensors, load) = load()?;
        let shapes: std::collections::HashMap<_, _> = tensors.iter().map(|(name, t)| (name.as_str(), t.dims())).collect();
        config.check(|name| shapes.get(name).copied())?;
        let model = Llama::from_tensors(config, tensors, &Device::Cpu)?;
        let built = start.elapsed();
        let generation = generate(&model, config, tokenizer, self.prompt, self.tokens)?;
        let peak_memory = resettable.then(peak).flatten();
        Ok(Run { load, built, first_token: built + generation.first, generation, peak_memory })
    }
}

/// Empties the page cache; whether that was allowed.
pub(crate) fn drop_caches() -> bool {
    // Only clean pages are dropped, so what was just written goes to disk first.
    let synced = std::process::Command::new("sync").status().is_ok_and(|s| s.success());
    synced && std::fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}

/// Makes the peak the present; whether the system does that.
fn reset_peak() -> bool {
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

/// The most memory held since, in bytes.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}
