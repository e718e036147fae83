//! `wcodec bench --load`: the raw file against its archive, from the same disk, each into memory of its own.

use super::bench::{Args, median};
use crate::failure::{Exit, Failure, Result};
use crate::output::{self, bytes};
use serde::Serialize;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::Instant;
use wcodec::observe::{Stage, Timeline};
use wcodec::{Archive, Encoder, GpuFacts, Loader, forget};

#[derive(Serialize)]
struct Report {
    file: String,
    device: String,
    /// What NVIDIA's management library said of the GPU after the last run.
    #[serde(skip_serializing_if = "Option::is_none")]
    gpu: Option<GpuFacts>,
    threads: usize,
    runs: u32,
    raw_bytes: u64,
    archive_bytes: u64,
    loads: Vec<Row>,
}

/// Medians, in milliseconds.
#[derive(Serialize)]
struct Row {
    cache: &'static str,
    raw_ms: f64,
    wcodec_ms: f64,
    first_tensor_ms: f64,
    /// wcodec's time over raw's.
    ratio: f64,
    reader: &'static str,
    /// The share of the load's time in which something was decoded and nothing was being read.
    decode_not_overlapped: f64,
}

pub(super) fn run(args: &Args) -> Result<()> {
    let failed = |path: &Path, e: std::io::Error| Failure::new(Exit::Io, format!("{}: {e}", path.display()));
    // Beside the file: the same disk.
    let directory = args.file.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let archive = tempfile::Builder::new().prefix(".wcodec-bench-").suffix(".wcodec").tempfile_in(directory);
    let archive = archive.map_err(|e| failed(directory, e))?.into_temp_path();
    let report = Encoder::new().overwrite(true).encode_file(&args.file, &archive)?;
    let device = args.device.open()?;
    // The tensors' places in the raw file, as the archive knows them; their headers are read before the clock starts on either side.
    let lens: Vec<u64> = Archive::open(&archive)?.tensors().map(|t| t.byte_len()).collect();
    let mut loads = Vec::new();
    let mut last = Timeline::new();
    let mut gpu = None;
    for cache in ["cold", "warm"] {
        let (mut raw, mut ours, mut first, mut alone, mut reader) = (vec![], vec![], vec![], vec![], "");
        let mut forgotten = true;
        if cache == "warm" {
            // What read the archive so far may have passed the cache by.
            std::fs::read(&archive).map_err(|e| failed(&archive, e))?;
        }
        for _ in 0..args.runs {
            if cache == "cold" {
                for path in [&*args.file, &*archive] {
                    forgotten &= forget(path).map_err(|e| failed(path, e))?;
                }
            }
            // Neither side is to wait for a host's memory.
            wcodec::back_memory(2 * report.source_bytes).map_err(|e| failed(&args.file, e))?;
            let start = Instant::now();
            let tensors = load_raw(&args.file, &lens).map_err(|e| failed(&args.file, e))?;
            raw.push(start.elapsed().as_secs_f64());
            drop(tensors);
            last = Timeline::new();
            let start = Instant::now();
            let mut load = Loader::open(&archive)?.device(device.clone()).timeline(&last).load()?;
            reader = load.reader();
            let mut tensors = Vec::with_capacity(lens.len());
            for tensor in load.by_ref() {
                tensors.push(tensor?);
                if tensors.len() == 1 {
                    first.push(start.elapsed().as_secs_f64());
                }
            }
            ours.push(start.elapsed().as_secs_f64());
            alone.push(last.exposed_share(Stage::Decode, Stage::Read));
        }
        gpu = device.gpu_facts();
        if !forgotten {
            eprintln!("cold: the system kept the file in memory, so it was not cold");
            continue;
        }
        let (raw, ours) = (median(raw), median(ours));
        loads.push(Row {
            cache,
            raw_ms: raw * 1e3,
            wcodec_ms: ours * 1e3,
            first_tensor_ms: if first.is_empty() { 0.0 } else { median(first) * 1e3 },
            ratio: ours / raw,
            reader,
            decode_not_overlapped: median(alone),
        });
    }
    for (path, chrome) in [(&args.trace, true), (&args.picture, false)] {
        let Some(path) = path else { continue };
        let written = File::create(path).and_then(|f| {
            let out = std::io::BufWriter::new(f);
            if chrome { last.write_chrome(out) } else { last.write_svg(out) }
        });
        written.map_err(|e| failed(path, e))?;
    }
    let report = Report {
        file: args.file.display().to_string(),
        device: device.name().to_owned(),
        gpu,
        threads: rayon::current_num_threads(),
        runs: args.runs,
        raw_bytes: report.source_bytes,
        archive_bytes: report.archive_bytes,
        loads,
    };
    if args.json { output::print_json(&report) } else { output::print(text(&report)) }
}

fn text(r: &Report) -> String {
    let mut text = format!(
        "{}: {} raw, {} compressed; {}, {}, median of {}\n",
        r.file,
        bytes(r.raw_bytes),
        bytes(r.archive_bytes),
        r.device,
        output::count(r.threads, "thread"),
        output::count(r.runs as usize, "run")
    );
    for row in &r.loads {
        text += &format!(
            "{:5} raw {:8.1} ms   wcodec {:8.1} ms ({:.2} × raw; first tensor {:.1} ms; {}; {:.1} % of the time decoding with no read beside it)\n",
            row.cache,
            row.raw_ms,
            row.wcodec_ms,
            row.ratio,
            row.first_tensor_ms,
            row.reader,
            100.0 * row.decode_not_overlapped
        );
    }
    text
}

/// Reads tensors of these lengths, which end the file, into buffers of their own.
fn load_raw(path: &Path, lens: &[u64]) -> std::io::Result<Vec<Vec<u8>>> {
    let mut file = File::open(path)?;
    let data = lens.iter().sum::<u64>();
    file.seek(SeekFrom::End(-(data as i64)))?;
    lens.iter()
        .map(|&len| {
            let mut bytes = vec![0; len as usize];
            file.read_exact(&mut bytes)?;
            Ok(bytes)
        })
        .collect()
}
