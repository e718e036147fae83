//! How long loads would take, by a model: the library's scheduler in virtual time, with rates of disks, buses and GPUs as parameters.
//!
//! `cargo bench --bench load_model [-- --json]`: models of the Llama family, archive beside raw file, on GPUs and storage of
//! `load/devices.toml`. Everything printed is *modelled*.
//!
//! `cargo bench --bench load_model -- --disk-gb-s 2.1 --decode-gb-s 6.5 --file-mb 179`: one load without a GPU, from rates measured on some
//! machine, to be compared with what that machine really takes. Rates of the disk are of stored bytes, of decoding of decoded bytes and one
//! core. Options: `--raw-mb` (269; the ratio of `devices.toml` where it is not given), `--copy-gb-s` (what one core makes tensors of raw
//! bytes at; no time where it is not given), `--cores 2`, `--latency-us 100`, `--unit-mib 1`, `--reads 16`, `--slots 32`, `--open-ms 0`.

//!
//! `cargo bench --bench load_model -- --against models/FILE.safetensors`: the model against real loads of that file's archive by the CPU, on this
//! machine, with its rates (`load/against.rs`). Options: `--runs 7`.

#[path = "load/against.rs"]
mod against;
mod common;
mod load;

use common::{Args, Result};
use load::simulate::{Cpu, Decode, Link, Piece, Pipeline, simulate};
use load::{Parameters, compare};
use serde::Serialize;
use wcodec::schedule::Limits;

fn main() -> Result<()> {
    let Some(args) = Args::of_cargo_bench() else { return Ok(()) };
    let parameters = Parameters::read()?;
    if args.has("--against") {
        return against::run(&args);
    }
    if args.has("--file-mb") { one(&args, &parameters) } else { table(&args, &parameters) }
}

fn table(args: &Args, p: &Parameters) -> Result<()> {
    let mut rows = Vec::new();
    for model in &p.model {
        for gpu in &p.gpu {
            for storage in &p.storage {
                rows.push(compare(p, model, gpu, storage)?);
            }
        }
    }
    if args.has("--json") {
        println!("{}", serde_json::to_string_pretty(&serde_json::json!({ "modelled": rows }))?);
        return Ok(());
    }
    for s in &p.storage {
        println!(
            "modelled, input: {}: {} GB/s, {} us; reads of {} MiB, {} in flight, {} slots ({})",
            s.name, s.gb_s, s.latency_us, s.unit_mib, s.reads, s.slots, s.source
        );
    }
    for g in &p.gpu {
        println!("modelled, input: {}: PCIe {} GB/s, decode {} GB/s ({})", g.name, g.pcie_gb_s, g.decode_gb_s, g.source);
    }
    println!(
        "modelled, input: archives {} of raw, tiles of {} KiB; {} stages, {} lanes; {} us to a copy, {} us to a launch, {} us a tile",
        p.archive.ratio,
        p.archive.tile_kib,
        p.loader.stages,
        p.loader.lanes,
        p.transfer.copy_us,
        p.transfer.launch_us,
        p.transfer.tile_us
    );
    println!("modelled, *: larger than the card's memory: all of it through one, as when one disk feeds several");
    for slower in [1.0, 8.0, 32.0, 64.0] {
        let (model, gpu, storage) = (&p.model[0], &p.gpu[0], &p.storage[0]);
        let row = compare(p, model, &gpu.slowed(slower), storage)?;
        println!(
            "modelled: {} on {} from {}, kernels {slower} x slower: {:.3} of raw, {:.2} ms of decoding not hidden",
            row.model, row.gpu, row.storage, row.ratio, row.unhidden_ms
        );
    }
    println!();
    println!(
        "| model, BF16 | GPU | storage | raw, s | wcodec, s | ratio | decode not hidden, ms | first layer raw, ms | wcodec, ms | |"
    );
    println!("|---|---|---|--:|--:|--:|--:|--:|--:|---|");
    for r in &rows {
        println!(
            "| {} ({:.1} GB) | {}{} | {} | {:.3} | {:.3} | {:.3} | {:.2} | {:.0} | {:.0} | modelled |",
            r.model,
            r.raw_gb,
            r.gpu,
            if r.fits { "" } else { " *" },
            r.storage,
            r.raw_ms / 1e3,
            r.wcodec_ms / 1e3,
            r.ratio,
            r.unhidden_ms,
            r.raw_first_layer_ms,
            r.first_layer_ms
        );
    }
    Ok(())
}

/// A load by the CPU, from rates that were measured.
#[derive(Serialize)]
struct One {
    modelled: bool,
    raw_ms: f64,
    wcodec_ms: f64,
    ratio: f64,
    /// How long the disk is busy, and how long all cores together would take to decode.
    read_ms: f64,
    decode_ms: f64,
    unhidden_ms: f64,
    unhidden_share: f64,
    first_unit_ms: f64,
}

fn one(args: &Args, p: &Parameters) -> Result<()> {
    let needed = |name: &str| -> Result<f64> {
        match args.value(name, f64::NAN)? {
            rate if rate > 0.0 => Ok(rate),
            _ => Err(format!("{name} is needed, and must be more than 0").into()),
        }
    };
    let stored = needed("--file-mb")? * 1e6;
    let raw = args.value("--raw-mb", stored / p.archive.ratio / 1e6)? * 1e6;
    let decode_gb_s = needed("--decode-gb-s")?;
    let cores = args.value("--cores", 2usize)?;
    let unit = args.value("--unit-mib", 1.0f64)?.max(0.001) * 1048576.0;
    let pipeline = Pipeline {
        disk: Link { gb_s: needed("--disk-gb-s")?, latency_us: args.value("--latency-us", 100.0)? },
        bus: Link { gb_s: f64::INFINITY, latency_us: 0.0 },
        decode: Decode::Core { gb_s: decode_gb_s },
        cpu: Cpu { cores: cores as f64, decoders: cores, ..Cpu::FREE },
        disk_shared: false,
        limits: Limits { slots: args.value("--slots", 32)?, reads: args.value("--reads", 16)?, stages: 0, lanes: 2 * cores },
        open_us: 1e3 * args.value("--open-ms", 0.0)?,
    };
    let load = |stored: f64, decode: Decode| -> Result<_> {
        let count = (stored / unit).ceil().max(1.0) as u32;
        let each = |total: f64| total / f64::from(count);
        let pieces: Vec<_> = (0..count)
            .map(|u| Piece { stored: each(stored), decoded: each(raw), tensors: vec![u], ..Piece::default() })
            .collect();
        Ok(simulate(&pieces, count, &Pipeline { decode, ..pipeline })?)
    };
    let copy = match args.value("--copy-gb-s", 0.0)? {
        gb_s if gb_s > 0.0 => Decode::Core { gb_s },
        _ => Decode::Instant,
    };
    let (raw_load, times) = (load(raw, copy)?, load(stored, pipeline.decode)?);
    let unhidden = times.total_ms - load(stored, Decode::Instant)?.total_ms;
    let one = One {
        modelled: true,
        raw_ms: raw_load.total_ms,
        wcodec_ms: times.total_ms,
        ratio: times.total_ms / raw_load.total_ms,
        read_ms: stored / pipeline.disk.gb_s / 1e6,
        decode_ms: raw / decode_gb_s / cores as f64 / 1e6,
        unhidden_ms: unhidden,
        unhidden_share: unhidden / times.total_ms,
        first_unit_ms: times.ready_ms.first().copied().unwrap_or(f64::NAN),
    };
    if args.has("--json") {
        println!("{}", serde_json::to_string_pretty(&one)?);
        return Ok(());
    }
    println!(
        "modelled, input: {:.1} MB stored, {:.1} MB raw, disk {} GB/s, decode {decode_gb_s} GB/s a core, {cores} cores, units of {:.2} MiB",
        stored / 1e6,
        raw / 1e6,
        pipeline.disk.gb_s,
        unit / 1048576.0
    );
    println!("modelled: raw {:.1} ms, wcodec {:.1} ms: {:.3} x", one.raw_ms, one.wcodec_ms, one.ratio);
    println!(
        "modelled: disk busy {:.1} ms, cores busy {:.1} ms each, decode not hidden {:.1} ms ({:.1} %), first unit ready after {:.2} ms",
        one.read_ms,
        one.decode_ms,
        one.unhidden_ms,
        100.0 * one.unhidden_share,
        one.first_unit_ms
    );
    Ok(())
}
