//! What `load_latency` measures, and what follows from it: pure, so that tests can ask it.

pub(crate) mod plot;

use serde::{Deserialize, Serialize};

/// What one process measured, with so many threads.
#[derive(Serialize, Deserialize)]
pub(crate) struct Process {
    pub(crate) threads: usize,
    /// Layers of the model.
    pub(crate) layers: usize,
    pub(crate) raw_bytes: u64,
    pub(crate) archive_bytes: u64,
    pub(crate) caches: Vec<Runs>,
    pub(crate) alone: Alone,
}

/// Runs of one kind, raw and archive in turn.
#[derive(Serialize, Deserialize)]
pub(crate) struct Runs {
    /// What the page cache held, and who saw to it.
    pub(crate) cache: Cache,
    pub(crate) raw: Vec<Times>,
    pub(crate) wcodec: Vec<Times>,
    /// Of the same runs of the archive.
    pub(crate) decoding: Vec<Decoding>,
}

#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Cache {
    /// Nothing: dropped as a whole.
    ColdDropped,
    /// None of the two files (`wcodec::forget`).
    ColdForgotten,
    /// All of both files.
    Warm,
}

/// Milliseconds from the start of a run.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Times {
    pub(crate) weights: f64,
    pub(crate) model: f64,
    pub(crate) token: f64,
}

/// Milliseconds of a load in which something was decoded, and those of them in which nothing was read.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Decoding {
    pub(crate) wall: f64,
    pub(crate) exposed: f64,
}

/// Milliseconds of decoding from memory into memory, nothing else going on.
#[derive(Serialize, Deserialize)]
pub(crate) struct Alone {
    pub(crate) model: Vec<f64>,
    /// All layers of all repetitions.
    pub(crate) layer: Vec<f64>,
}

/// The middle and the ends.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

/// A claim and whether it holds.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    pub(crate) claim: String,
    pub(crate) holds: bool,
}

impl Cache {
    pub(crate) fn name(self) -> &'static str {
        if self == Self::Warm { "warm" } else { "cold" }
    }
}

impl Times {
    /// From the weights to the model: widening them.
    pub(crate) fn build(self) -> f64 {
        self.model - self.weights
    }

    /// From the model to the first token.
    pub(crate) fn forward(self) -> f64 {
        self.token - self.model
    }

    /// What a replica does once it has its weights, decoding or not.
    pub(crate) fn warm_up(self) -> f64 {
        self.token - self.weights
    }
}

impl Spread {
    pub(crate) fn of<T: Copy>(samples: &[T], value: impl Fn(T) -> f64) -> Self {
        let values: Vec<_> = samples.iter().map(|&s| value(s)).collect();
        let at = |percent| percentile(&values, percent);
        Self { median: at(50.0), min: at(0.0), max: at(100.0) }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.1} ({:.1} to {:.1})", self.median, self.min, self.max)
    }
}

/// The smallest sample that at least so many percent are not above; NaN of none.
pub(crate) fn percentile(samples: &[f64], percent: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

/// The number of the layer that a tensor is of.
pub(crate) fn layer_of(name: &str) -> Option<usize> {
    name.split('.').skip_while(|part| *part != "layers").nth(1)?.parse().ok()
}

/// What should hold, with the numbers: medians.
pub(crate) fn verdicts(processes: &[Process]) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for process in processes {
        for runs in &process.caches {
            let place = format!("{}, {}", count(process.threads), runs.cache.name());
            let mut at_most = |what: &str, ours: f64, factor: f64, theirs: &str, of: f64| {
                let factor_text = if factor == 1.0 { String::new() } else { format!("{factor} x ") };
                let claim = format!("{place}: {what} {ours:.1} ms <= {factor_text}{theirs} {of:.1} ms");
                verdicts.push(Verdict { claim, holds: ours <= factor * of });
            };
            let warm_up = Spread::of(&runs.raw, Times::warm_up).median;
            at_most("decode during the load", Spread::of(&runs.decoding, |d| d.wall).median, 1.0, "warm-up", warm_up);
            at_most("decode alone", percentile(&process.alone.model, 50.0), 1.0, "warm-up", warm_up);
            let [raw, ours] = [&runs.raw, &runs.wcodec].map(|r| Spread::of(r, |t| t.weights).median);
            at_most("all weights", ours, if runs.cache == Cache::Warm { 1.0 } else { 0.75 }, "raw", raw);
            let [raw, ours] = [&runs.raw, &runs.wcodec].map(|r| Spread::of(r, |t| t.token).median);
            at_most("first token", ours, 1.0, "raw", raw);
        }
    }
    verdicts
}

/// The tables, in Markdown.
pub(crate) fn tables(processes: &[Process]) -> String {
    let mut lines = vec![
        "| threads | cache | from | all weights, ms | of raw | model built, ms | first token, ms | of raw |".to_owned(),
        "|--:|---|---|--:|--:|--:|--:|--:|".to_owned(),
    ];
    for (process, runs) in kinds(processes) {
        let raw = [Spread::of(&runs.raw, |t| t.weights).median, Spread::of(&runs.raw, |t| t.token).median];
        for (from, times) in [("safetensors", &runs.raw), ("wcodec", &runs.wcodec)] {
            let [weights, model, token] =
                [|t: Times| t.weights, |t: Times| t.model, |t: Times| t.token].map(|of| Spread::of(times, of));
            let shares = [weights.median / raw[0], token.median / raw[1]].map(|share| format!("{share:.2}"));
            let (threads, cache) = (process.threads, runs.cache.name());
            lines.push(format!(
                "| {threads} | {cache} | {from} | {weights} | {} | {model} | {token} | {} |",
                shares[0], shares[1]
            ));
        }
    }
    lines.push(String::new());
    lines.push(
        "| threads | cache | decode during the load, ms | of it beside no read, ms | warm-up: build + first forward, ms |"
            .to_owned(),
    );
    lines.push("|--:|---|--:|--:|--:|".to_owned());
    for (process, runs) in kinds(processes) {
        let (wall, exposed) = (Spread::of(&runs.decoding, |d| d.wall), Spread::of(&runs.decoding, |d| d.exposed));
        let [build, forward] = [Times::build, Times::forward].map(|of| Spread::of(&runs.raw, of).median);
        let warm_up = Spread::of(&runs.raw, Times::warm_up);
        let (threads, cache) = (process.threads, runs.cache.name());
        lines.push(format!("| {threads} | {cache} | {wall} | {exposed} | {warm_up}: {build:.1} + {forward:.1} |"));
    }
    lines.push(String::new());
    lines.push(
        "| threads | decode alone: the model, ms | a layer: p50, ms | p95 | p99 | a layer's share of the first forward, ms |"
            .to_owned(),
    );
    lines.push("|--:|--:|--:|--:|--:|--:|".to_owned());
    for process in processes {
        let model = Spread::of(&process.alone.model, |ms| ms);
        let [p50, p95, p99] = process.layer_ms();
        let forward = process.forward_of_a_layer();
        lines.push(format!("| {} | {model} | {p50:.2} | {p95:.2} | {p99:.2} | {forward:.2} |", process.threads));
    }
    lines.join("\n")
}

impl Process {
    /// p50, p95 and p99 of decoding a layer alone.
    pub(crate) fn layer_ms(&self) -> [f64; 3] {
        [50.0, 95.0, 99.0].map(|percent| percentile(&self.alone.layer, percent))
    }

    /// The first forward by the number of layers, the output matrix's share included; of warm runs.
    pub(crate) fn forward_of_a_layer(&self) -> f64 {
        let warm = self.caches.iter().filter(|runs| runs.cache == Cache::Warm);
        let forwards: Vec<_> = warm.flat_map(|runs| &runs.raw).map(|t| t.forward()).collect();
        percentile(&forwards, 50.0) / self.layers as f64
    }
}

fn kinds(processes: &[Process]) -> impl Iterator<Item = (&Process, &Runs)> {
    processes.iter().flat_map(|process| process.caches.iter().map(move |runs| (process, runs)))
}

/// How many threads, in words.
fn count(threads: usize) -> String {
    if threads == 1 { "1 thread".to_owned() } else { format!("{threads} threads") }
}
