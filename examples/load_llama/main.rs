//! The main job on a real model: a checkpoint is compressed if it is not yet, then it is loaded, once from the raw
//! safetensors file and once from the archive, and text is generated from both. Text and logits must be the same, to the
//! bit; what differs is how long it takes until they are there.
//!
//! ```text
//! cargo run --release --example load_llama                 # SmolLM2-135M, fetched if need be
//! cargo run --release --example load_llama -- path/to/a/hugging-face/directory --prompt "Once upon a time"
//! cargo run --release --example load_llama -- --device emulator
//! cargo run --release --example load_llama -- --budget 16 --trace load.json --svg load.svg   # MiB; what the last load did
//! ```
//!
//! Decodes on a GPU where there is one (`--device` or `WCODEC_DEVICE` say otherwise), else on the CPU. The model runs on
//! the CPU. Where no model can be fetched, one is made from a seed, whose text is noise.

mod measure;
mod sources;

use measure::{Run, Task, drop_caches};
use serde_json::json;
use sources::{Loading, archives, load_archives, load_raw};
use std::path::PathBuf;
use std::time::Duration;
use wcodec::Device;
use wcodec::observe::Timeline;
use wcodec_eval::{Checkpoint, Result, raw};

/// What the command line asks for.
struct Arguments {
    path: Option<PathBuf>,
    device: Device,
    prompt: String,
    tokens: usize,
    runs: usize,
    json: bool,
    /// Bytes of buffers; the loader's own choice where it is not given.
    budget: Option<u64>,
    trace: Option<PathBuf>,
    svg: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse()?;
    let checkpoint = arguments.path.as_deref().map_or_else(Checkpoint::default_model, Checkpoint::open)?;
    fits(&checkpoint)?;
    let (weights, archives) = (&checkpoint.weights, archives(&checkpoint.weights)?);
    let size = |paths: &[PathBuf]| paths.iter().map(|path| Ok(path.metadata()?.len())).sum::<Result<u64>>();
    let (raw_size, archive_size) = (size(weights)?, size(&archives)?);
    let device = &arguments.device;
    if !arguments.json {
        let names = |paths: &[PathBuf]| paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ");
        println!("checkpoint  {}", names(weights));
        println!("archive     {}", names(&archives));
        println!("decoder     {}", decoder(device));
        let share = 100.0 * archive_size as f64 / raw_size as f64;
        println!("size        {:.1} MB raw, {:.1} MB compressed: {share:.2} %\n", mb(raw_size), mb(archive_size));
        println!(
            "{:6}{:13}{:>10}{:>14}{:>13}{:>11}{:>13}{:>11}",
            "cache", "from", "open", "first layer", "all weights", "model", "first token", "memory"
        );
    }
    let task = Task { checkpoint: &checkpoint, prompt: &arguments.prompt, tokens: arguments.tokens };
    let (mut rows, mut told) = (Vec::new(), None);
    for cold in [true, false] {
        let cache = if cold { "cold" } else { "warm" };
        if cold && !drop_caches() {
            eprintln!("cold is not measured: the page cache can only be dropped by root on Linux");
            continue;
        }
        let from_raw = best(cold, arguments.runs, raw_size, || task.run(|| load_raw(&checkpoint)))?;
        let load = || load_archives(&checkpoint, &archives, &arguments.loading(None));
        let from_archive = best(cold, arguments.runs, raw_size, || task.run(load))?;
        if !from_raw.generation.same(&from_archive.generation) {
            return Err("the tokens or the logits differ".into());
        }
        for (name, run) in [("safetensors", &from_raw), ("wcodec", &from_archive)] {
            if !arguments.json {
                print_row(cache, name, run);
            }
            rows.push(row(cache, name, run));
        }
        told = Some(from_archive.generation);
    }
    let told = told.ok_or("nothing was run")?;
    if arguments.trace.is_some() || arguments.svg.is_some() {
        // A load of its own, so that recording is in nobody's time.
        let timeline = Timeline::new();
        load_archives(&checkpoint, &archives, &arguments.loading(Some(&timeline)))?;
        let create = |path| Ok::<_, std::io::Error>(std::io::BufWriter::new(std::fs::File::create(path)?));
        arguments.trace.as_ref().map(|path| timeline.write_chrome(create(path)?)).transpose()?;
        arguments.svg.as_ref().map(|path| timeline.write_svg(create(path)?)).transpose()?;
    }
    if arguments.json {
        let report = json!({
            "checkpoint": weights, "archives": archives, "decoder": decoder(device), "gpu": device.gpu_facts(),
            "raw_bytes": raw_size, "archive_bytes": archive_size, "synthetic": checkpoint.is_synthetic(),
            "prompt": arguments.prompt, "text": told.text, "tokens": told.tokens, "identical": true, "runs": rows,
        });
        println!("{report:#}");
        return Ok(());
    }
    let noise = if checkpoint.is_synthetic() { " (noise: the model is made from a seed)" } else { "" };
    println!("\n{}{}{noise}", arguments.prompt, told.text);
    let each = told.per_token().map_or(String::new(), |d| format!(", each further token in {}", ms(d)));
    println!("\n{} tokens and {} logits are identical{each}", told.tokens.len(), told.logits.len());
    Ok(())
}

impl Arguments {
    fn parse() -> Result<Self> {
        let (mut path, mut device, mut json, mut budget, mut trace, mut svg) = (None, None, false, None, None, None);
        let (mut prompt, mut tokens, mut runs) = ("The capital of France is".to_owned(), 24, 3);
        let mut args = std::env::args_os().skip(1);
        while let Some(arg) = args.next() {
            let mut value = |what: &str| args.next().and_then(|a| a.into_string().ok()).ok_or(format!("{what} needs a value"));
            match arg.to_str() {
                Some("--device") => device = Some(Device::open(value("--device")?.parse()?)?),
                Some("--prompt") => prompt = value("--prompt")?,
                Some("--tokens") => tokens = value("--tokens")?.parse()?,
                Some("--runs") => runs = value("--runs")?.parse()?,
                Some("--json") => json = true,
                Some("--budget") => {
                    let mib: u64 = value("--budget")?.parse()?;
                    budget = Some(mib.checked_mul(1 << 20).ok_or("--budget: that many MiB there are not")?);
                }
                Some("--svg") => svg = Some(value("--svg")?.into()),
                Some("--trace") => trace = Some(value("--trace")?.into()),
                Some(option) if option.starts_with("--") => return Err(format!("there is no option {option}").into()),
                _ => path = Some(PathBuf::from(arg)),
            }
        }
        Ok(Self { path, device: device.unwrap_or_else(Device::auto), prompt, tokens, runs, json, budget, trace, svg })
    }

    fn loading<'a>(&'a self, timeline: Option<&'a Timeline>) -> Loading<'a> {
        Loading { device: &self.device, budget: self.budget, timeline }
    }
}

/// Fails if the files lack a tensor or have one of another shape than the model's, before anything is compressed or read.
fn fits(checkpoint: &Checkpoint) -> Result<()> {
    let headers = checkpoint.weights.iter().map(|path| raw::header(path)).collect::<Result<Vec<_>>>()?.concat();
    let shapes: std::collections::HashMap<_, _> = headers.iter().map(|e| (e.name.as_str(), e.shape.as_slice())).collect();
    checkpoint.config.check(|name| shapes.get(name).copied())
}

fn decoder(device: &Device) -> String {
    match device {
        Device::Gpu(gpu) => format!("{}, copied back to the CPU", gpu.name()),
        _ => format!("CPU ({}), {} threads", wcodec::Backend::best().name(), rayon::current_num_threads()),
    }
}

/// The quickest of a few runs (a cold one can only be done once).
///
/// Memory for it, `weights` bytes and twice that for what the CPU computes with, is there before.
fn best(cold: bool, runs: usize, weights: u64, run: impl Fn() -> Result<Run>) -> Result<Run> {
    let run = || {
        wcodec::back_memory(3 * weights)?;
        run()
    };
    if cold {
        drop_caches();
        return run();
    }
    let mut best = run()?;
    for _ in 1..runs {
        let next = run()?;
        if next.first_token < best.first_token {
            best = next;
        }
    }
    Ok(best)
}

fn print_row(cache: &str, name: &str, run: &Run) {
    let memory = run.peak_memory.map_or("-".to_owned(), |bytes| format!("{:.0} MB", mb(bytes)));
    let [open, first, all, built, token] =
        [run.load.open, run.load.first_layer, run.load.all, run.built, run.first_token].map(ms);
    println!("{cache:6}{name:13}{open:>10}{first:>14}{all:>13}{built:>11}{token:>13}{memory:>11}");
}

fn row(cache: &str, name: &str, run: &Run) -> serde_json::Value {
    json!({
        "cache": cache, "from": name, "open_s": run.load.open.as_secs_f64(), "first_layer_s": run.load.first_layer.as_secs_f64(),
        "all_weights_s": run.load.all.as_secs_f64(), "model_s": run.built.as_secs_f64(),
        "first_token_s": run.first_token.as_secs_f64(), "peak_memory_bytes": run.peak_memory,
        "per_token_s": run.generation.per_token().map(|d| d.as_secs_f64()),
    })
}

fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
