//! Decode latency against warm-up: from a cold or a warm page cache to the first token, once from the raw safetensors file and once from the
//! archive, with one thread and with two; and how long decoding takes, during the load and alone, layer by layer.
//!
//! `cargo bench -p wcodec-examples --bench load_latency [-- --json] [--plot FILE.svg] [--timeline FILE.svg] [--runs N] [CHECKPOINT]`:
//! `--plot` draws what is measured, `--timeline` one more cold load with two threads; relative paths are the repository's. The checkpoint is what `load_llama` takes, SmolLM2-135M unless another is given.
//!
//! Warm-up is what a replica does between its weights and its first token, decoding or not: the model is built (weights widened to what the
//! CPU computes with) and runs once over the prompt. Raw and archive take turns in one process. Numbers of threads have a process each,
//! since rayon and candle ask for theirs once. Loads of the archive are recorded as they are measured; that is in their time.
//!
//! Before each run as much memory as it will need is written to and freed (see `wcodec::back_memory`): whichever side had to wait for a host
//! would lose.

mod common;
mod latency;
// What only the command line uses is dead here.
#[allow(dead_code)]
#[path = "../examples/load_llama/measure.rs"]
mod measure;
#[allow(dead_code)]
#[path = "../examples/load_llama/sources.rs"]
mod sources;

use common::{Args, Pages, Result, timed};
use latency::{Alone, Cache, Decoding, Process, Runs, Times, layer_of, plot, tables, verdicts};
use measure::{Run, Task, drop_caches};
use sources::{Loading, archives, load_archives, load_raw};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use wcodec::observe::{Stage, Timeline};
use wcodec::{Archive, Device, Tensor};
use wcodec_eval::Checkpoint;

const THREADS: [usize; 2] = [1, 2];
/// Times that the model, and each of its layers, is decoded alone.
const REPETITIONS: usize = 30;
/// Memory of a run, in sizes of its weights: themselves in BF16, and twice that in F32.
const MEMORY: u64 = 3;

fn main() -> Result<()> {
    let Some(args) = Args::of_cargo_bench() else { return Ok(()) };
    let runs: usize = args.value("--runs", 7)?;
    let path = args.plain(&["--runs", "--plot", "--timeline"]).first().map(|path| repository().join(path));
    let timeline = args.text("--timeline").map(|path| repository().join(path));
    if args.has("--one-process") {
        let checkpoint = path.map_or_else(Checkpoint::default_model, |path| Checkpoint::open(&path))?;
        println!("{}", serde_json::to_string(&measure(&checkpoint, runs.max(1))?)?);
        return timeline.map_or(Ok(()), |picture| draw_cold(&checkpoint, &picture));
    }
    let processes = THREADS
        .iter()
        .map(|&n| start(n, runs, path.as_deref(), timeline.as_deref().filter(|_| n == THREADS[1])))
        .collect::<Result<Vec<_>>>()?;
    let verdicts = verdicts(&processes);
    let name = path.as_ref().and_then(|p| p.file_name()).map_or("SmolLM2-135M".into(), |name| name.to_string_lossy());
    if let Some(picture) = args.text("--plot") {
        let size = |bytes: u64| format!("{:.0} MB", bytes as f64 / 1e6);
        let sizes = processes.first().map(|p| format!(" ({}, archive {})", size(p.raw_bytes), size(p.archive_bytes)));
        let title = format!("{name}{}: to the first token, and decoding", sizes.unwrap_or_default());
        std::fs::write(repository().join(picture), plot::draw(&title, &processes))?;
    }
    if args.has("--json") {
        let report = serde_json::json!({ "checkpoint": name, "processes": processes, "verdicts": verdicts });
        println!("{report:#}");
        return Ok(());
    }
    println!("{name}: medians of {runs} runs (least to most), tokens and logits identical in all of them");
    for runs in processes.iter().take(1).flat_map(|p| &p.caches) {
        match runs.cache {
            Cache::ColdDropped => println!("cold: the page cache is dropped before every run"),
            Cache::ColdForgotten => println!("cold: both files are dropped from the page cache before every run"),
            Cache::Warm => println!("warm: both files are in the page cache"),
        }
    }
    println!("\n{}\n", tables(&processes));
    for verdict in verdicts {
        println!("{}: {}", verdict.claim, if verdict.holds { "yes" } else { "NO" });
    }
    Ok(())
}

/// Measures with `threads` threads, in a process of their own.
fn start(threads: usize, runs: usize, checkpoint: Option<&Path>, timeline: Option<&Path>) -> Result<Process> {
    let mut child = Command::new(std::env::current_exe()?);
    child.args(["--bench", "--one-process", "--runs", &runs.to_string()]).args(checkpoint);
    child.args(timeline.map(|path| [Path::new("--timeline"), path]).into_iter().flatten());
    let output = child.env("RAYON_NUM_THREADS", threads.to_string()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("measuring with {threads} threads failed: {}", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// What such a process does.
fn measure(checkpoint: &Checkpoint, runs: usize) -> Result<Process> {
    let archives = archives(&checkpoint.weights)?;
    let files: Vec<_> = checkpoint.weights.iter().chain(&archives).collect();
    let mut caches = Vec::new();
    match coldly(&files)? {
        Some(cache) => caches.push(take_turns(checkpoint, &archives, cache, runs, || coldly(&files).map(drop))?),
        None => eprintln!("cold is not measured: the system keeps the files in its page cache"),
    }
    // The archive's loads read past the cache, so they do not warm it.
    files.iter().try_for_each(|path| std::fs::read(path).map(drop))?;
    caches.push(take_turns(checkpoint, &archives, Cache::Warm, runs, || Ok(()))?);
    let size = |paths: &[PathBuf]| paths.iter().map(|path| Ok(path.metadata()?.len())).sum::<Result<u64>>();
    Ok(Process {
        threads: rayon::current_num_threads(),
        layers: checkpoint.config.num_hidden_layers,
        raw_bytes: size(&checkpoint.weights)?,
        archive_bytes: size(&archives)?,
        caches,
        alone: alone(&archives)?,
    })
}

/// Draws a cold load of the archive.
fn draw_cold(checkpoint: &Checkpoint, picture: &Path) -> Result<()> {
    let archives = archives(&checkpoint.weights)?;
    if coldly(&archives.iter().collect::<Vec<_>>())?.is_none() {
        return Err("no cold load can be drawn: the system keeps the archive in its page cache".into());
    }
    let timeline = Timeline::new();
    load_archives(checkpoint, &archives, &recorded(&timeline))?;
    Ok(timeline.write_svg(std::fs::File::create(picture)?)?)
}

/// Empties the page cache, or drops the files from it; nothing if neither is allowed.
fn coldly(files: &[&PathBuf]) -> Result<Option<Cache>> {
    if drop_caches() {
        return Ok(Some(Cache::ColdDropped));
    }
    let forgotten = files.iter().map(|path| Ok(wcodec::forget(path)?)).collect::<Result<Vec<_>>>()?;
    Ok(forgotten.into_iter().all(|all| all).then_some(Cache::ColdForgotten))
}

/// Raw, archive, raw, archive and so on, `before` each of them. All must say the same.
fn take_turns(
    checkpoint: &Checkpoint,
    archives: &[PathBuf],
    cache: Cache,
    runs: usize,
    before: impl Fn() -> Result<()>,
) -> Result<Runs> {
    let task = Task { checkpoint, prompt: "The capital of France is", tokens: 4 };
    let raw_bytes = checkpoint.weights.iter().map(|path| Ok(path.metadata()?.len())).sum::<Result<u64>>()?;
    let before = || -> Result<()> {
        before()?;
        Ok(wcodec::back_memory(MEMORY * raw_bytes)?)
    };
    let (mut measured, mut first) = (Runs { cache, raw: Vec::new(), wcodec: Vec::new(), decoding: Vec::new() }, None);
    for _ in 0..runs {
        before()?;
        let raw = task.run(|| load_raw(checkpoint))?;
        before()?;
        let timeline = Timeline::new();
        let wcodec = task.run(|| load_archives(checkpoint, archives, &recorded(&timeline)))?;
        let decoding = timeline.overlap(Stage::Decode, Stage::Read);
        measured.raw.push(times(&raw));
        measured.wcodec.push(times(&wcodec));
        measured.decoding.push(Decoding { wall: decoding.total_us / 1e3, exposed: decoding.exposed_us() / 1e3 });
        let first = first.get_or_insert_with(|| raw.generation.clone());
        if ![raw.generation, wcodec.generation].iter().all(|generation| generation.same(first)) {
            return Err("the tokens or the logits differ".into());
        }
    }
    Ok(measured)
}

fn recorded(timeline: &Timeline) -> Loading<'_> {
    Loading { device: &Device::Cpu, budget: None, timeline: Some(timeline) }
}

fn times(run: &Run) -> Times {
    let [weights, model, token] = [run.load.all, run.built, run.first_token].map(|d| d.as_secs_f64() * 1e3);
    Times { weights, model, token }
}

/// A tensor, and memory for it that is there already.
struct Place<'a> {
    archive: usize,
    layer: Option<usize>,
    tensor: Tensor<'a>,
    memory: Pages,
}

/// Decodes the whole model and each layer again and again, from archives that are mapped and in the page cache.
fn alone(archives: &[PathBuf]) -> Result<Alone> {
    let archives = archives.iter().map(Archive::open).collect::<std::result::Result<Vec<_>, _>>()?;
    let mut places = Vec::new();
    for (archive, opened) in archives.iter().enumerate() {
        for tensor in opened.tensors() {
            let memory = Pages::new(usize::try_from(tensor.byte_len())?);
            places.push(Place { archive, layer: layer_of(tensor.name()), tensor, memory });
        }
    }
    places.sort_by_key(|place| place.layer);
    // The first time maps the archives' pages.
    decode(&archives, &mut places)?;
    let mut alone = Alone { model: Vec::new(), layer: Vec::new() };
    for _ in 0..REPETITIONS {
        alone.model.push(decode(&archives, &mut places)?);
        for layer in places.chunk_by_mut(|a, b| a.layer == b.layer).filter(|layer| layer[0].layer.is_some()) {
            alone.layer.push(decode(&archives, layer)?);
        }
    }
    Ok(alone)
}

/// Decodes some tensors, side by side as far as they are in one archive; milliseconds.
fn decode(archives: &[Archive], places: &mut [Place<'_>]) -> Result<f64> {
    let mut jobs: Vec<Vec<_>> = archives.iter().map(|_| Vec::new()).collect();
    for place in places {
        jobs[place.archive].push((place.tensor, &mut place.memory[..]));
    }
    let (done, seconds) = timed(|| archives.iter().zip(&mut jobs).try_for_each(|(archive, jobs)| archive.decode_many(jobs)));
    done?;
    Ok(seconds * 1e3)
}

/// Cargo starts benches in their package's directory, which is not what anybody types paths against.
fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
