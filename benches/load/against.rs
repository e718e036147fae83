//! The model against real loads: what this machine reads and decodes alone goes in, and what a load takes is compared with what one took.

use crate::common::{Args, Result, median, models, timed};
use crate::load::simulate::{Cpu, Decode, Link, Piece, Pipeline, simulate};
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::Duration;
use wcodec::observe::{Stage, Timeline};
use wcodec::{Alone, Encoder, Loader, Probe, forget};

/// Bytes of memory that a load finds ready.
const BACKED: u64 = 1 << 30;

/// Files to forget before a run, if it is a cold one.
type Forget<'a> = &'a dyn Fn() -> Result<()>;

/// Milliseconds and rates, each of a round.
#[derive(Default)]
struct Rounds {
    real_ms: Vec<f64>,
    open_ms: Vec<f64>,
    /// The share of the real load in which something was decoded and nothing read.
    exposed: Vec<f64>,
    wake_us: Vec<f64>,
    read: Vec<Alone>,
    decode: Vec<Alone>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let file = match args.text("--against") {
        Some(file) if !file.starts_with("--") => found(file),
        _ => models().join("smollm2-bf16.safetensors"),
    };
    let runs = args.value("--runs", 7usize)?.max(1);
    let directory = file.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let archive = tempfile::Builder::new().prefix(".wcodec-bench-").suffix(".wcodec").tempfile_in(directory)?.into_temp_path();
    Encoder::new().overwrite(true).encode_file(&file, &archive)?;
    let cores = std::thread::available_parallelism()?.get();
    println!("{}: {cores} cores, medians of {runs} interleaved rounds", file.display());
    println!();
    println!(
        "| cache | threads | reader | disk, GB/s (measured) | reading's work, GB/s a core (measured) | decode, GB/s a lane (measured) \
         | wake, us (measured) | open, ms (measured) | load, ms (*modelled*) | load, ms (measured) | modelled ÷ measured | decode alone, of the load (measured) |"
    );
    println!("|---|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    for cold in [true, false] {
        let prepare = || -> Result<()> {
            wcodec::back_memory(BACKED)?;
            match cold {
                true if !forget(&archive)? => Err("the system keeps the file in memory: no cold runs here".into()),
                true => Ok(()),
                false => {
                    std::fs::read(&archive)?;
                    Ok(())
                }
            }
        };
        for threads in [1, 2] {
            compare(&archive, cold, threads, runs, cores, &prepare)?;
        }
    }
    Ok(())
}

/// A file as it was named, here or in the repository: cargo runs benches in the package's directory.
fn found(file: &str) -> PathBuf {
    let named = PathBuf::from(file);
    if named.exists() { named } else { Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file) }
}

fn compare(archive: &Path, cold: bool, threads: usize, runs: usize, cores: usize, prepare: Forget<'_>) -> Result<()> {
    let mut rounds = Rounds::default();
    // The first is not counted: it finds no memory, no code, no file where later ones do.
    for round in 0..=runs {
        let one = self::round(archive, threads, prepare)?;
        if round > 0 {
            rounds.real_ms.extend(one.real_ms);
            rounds.exposed.extend(one.exposed);
            rounds.open_ms.extend(one.open_ms);
            rounds.wake_us.extend(one.wake_us);
            rounds.read.extend(one.read);
            rounds.decode.extend(one.decode);
        }
    }
    prepare()?;
    let probe = Loader::open(archive)?.threads(threads).probe()?;
    let (pieces, pipeline) = model(&probe, &rounds, cores);
    let modelled = simulate(&pieces, probe.tensors() as u32, &pipeline)?.total_ms;
    let real = median(&rounds.real_ms);
    let total = |f: fn(&Piece) -> f64| pieces.iter().map(f).sum::<f64>();
    println!(
        "| {} | {threads} | {} | {} | {:.2} | {:.2} | {:.0} | {:.2} | {modelled:.1} | {real:.1} | {:+.1} % | {:.1} % |",
        if cold { "cold" } else { "warm" },
        probe.reader(),
        if probe.copiers() == 0 { format!("{:.2}", pipeline.disk.gb_s) } else { "–".into() },
        pipeline.cpu.read_gb_s,
        total(|p| p.decoded) / total(|p| p.decode_us) / 1e3,
        pipeline.cpu.wake_us,
        pipeline.open_us / 1e3,
        100.0 * (modelled / real - 1.0),
        100.0 * median(&rounds.exposed)
    );
    Ok(())
}

/// A load, and reading and decoding alone.
fn round(archive: &Path, threads: usize, prepare: Forget<'_>) -> Result<Rounds> {
    let mut one = Rounds::default();
    prepare()?;
    let timeline = Timeline::new();
    let (load, seconds) = timed(|| -> Result<_> {
        let mut load = Loader::open(archive)?.threads(threads).timeline(&timeline).load()?;
        let tensors = load.by_ref().collect::<std::result::Result<Vec<_>, _>>()?;
        Ok((load, tensors))
    });
    drop(load?);
    one.exposed.push(timeline.exposed_share(Stage::Decode, Stage::Read));
    one.real_ms.push(seconds * 1e3);
    prepare()?;
    let (probe, seconds) = timed(|| Loader::open(archive)?.threads(threads).probe());
    let probe = probe?;
    one.open_ms.push(seconds * 1e3);
    one.wake_us.push(wake_us()?);
    one.read.push(probe.read()?);
    one.decode.push(probe.decode()?);
    Ok(one)
}

/// From one thread's message to another's being awake, which had been asleep for about as long as a unit takes: half of there and back.
fn wake_us() -> Result<f64> {
    let (there, inbox) = channel::<()>();
    let (back, answers) = channel();
    let echo = std::thread::spawn(move || inbox.into_iter().all(|()| back.send(()).is_ok()));
    let mut times = Vec::new();
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(1));
        let (answer, seconds) = timed(|| there.send(()).is_ok() && answers.recv().is_ok());
        times.push(seconds * 1e6 / 2.0);
        if !answer {
            return Err("the other thread is gone".into());
        }
    }
    drop(there);
    let _ = echo.join();
    Ok(median(&times))
}

/// The real load's units and limits, at the rates that were measured.
fn model(probe: &Probe, rounds: &Rounds, cores: usize) -> (Vec<Piece>, Pipeline) {
    let middle = |of: &[Alone], f: &dyn Fn(&Alone) -> f64| median(&of.iter().map(f).collect::<Vec<_>>());
    let pieces: Vec<_> = (probe.units().into_iter().enumerate())
        .map(|(unit, (stored, decoded, tensors))| Piece {
            stored: stored as f64,
            decoded: decoded as f64,
            decode_us: 1e6 * middle(&rounds.decode, &|d| d.units[unit]),
            tensors,
        })
        .collect();
    let stored: f64 = pieces.iter().map(|p| p.stored).sum();
    let work = stored / middle(&rounds.read, &|r| r.cpu_seconds) / 1e9;
    let disk = match probe.copiers() {
        0 => stored / middle(&rounds.read, &|r| r.seconds) / 1e9,
        _ => f64::INFINITY,
    };
    let pipeline = Pipeline {
        disk: Link { gb_s: disk, latency_us: 0.0 },
        bus: Link { gb_s: f64::INFINITY, latency_us: 0.0 },
        decode: Decode::Piecewise,
        cpu: Cpu {
            cores: cores as f64,
            decoders: probe.threads(),
            readers: probe.copiers().max(1),
            read_gb_s: work,
            wake_us: median(&rounds.wake_us),
        },
        // What a real one does with large reads: each is many requests to it.
        disk_shared: true,
        limits: probe.limits(),
        open_us: 1e3 * median(&rounds.open_ms),
    };
    (pieces, pipeline)
}
