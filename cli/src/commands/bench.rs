//! `wcodec bench`.

use super::bench_load;
use crate::device::DeviceArg;
use crate::failure::{Exit, Failure, Result};
use crate::output::{self, bytes, percent};
use clap::ValueHint;
use serde::Serialize;
use std::collections::HashMap;
use std::io::{Cursor, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::time::Instant;
use wcodec::{Archive, Backend, Device, Dtype, EncodeReport, Encoder, Gpu, GpuFacts, TensorInput};

const AFTER_HELP: &str = "\
Examples:
  wcodec bench model.safetensors
  wcodec bench --json --runs 9 --threads 1 model.safetensors | jq .decode_gb_s
  wcodec bench --load --picture load.svg model.safetensors

Encodes to memory and decodes all tensors from memory into memory that is already there, so that neither disk nor page faults
count; the rates are medians, a GB is 1e9 uncompressed bytes. Needs about three times the file's size of memory.

Exits with 1 if anything does not come back exactly.";

/// Measure encoding and decoding of a file in memory
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The safetensors file
    #[arg(value_hint = ValueHint::FilePath)]
    pub(super) file: PathBuf,
    /// Print one JSON object instead
    #[arg(long)]
    pub(super) json: bool,
    /// How many times to encode and to decode
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) runs: u32,
    #[command(flatten)]
    pub(super) device: DeviceArg,
    /// Measure loading from disk instead: the raw file against the archive, cold and warm
    #[arg(long)]
    load: bool,
    /// With --load: write what the last load did as a Chrome trace (chrome://tracing, Perfetto)
    #[arg(long, value_name = "JSON", requires = "load", value_hint = ValueHint::FilePath)]
    pub(super) trace: Option<PathBuf>,
    /// With --load: draw it as an SVG picture
    #[arg(long, value_name = "SVG", requires = "load", value_hint = ValueHint::FilePath)]
    pub(super) picture: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report {
    file: String,
    /// Where it was decoded: `cpu` or the GPU's name.
    device: String,
    /// What NVIDIA's management library said of the GPU after the last run.
    #[serde(skip_serializing_if = "Option::is_none")]
    gpu: Option<GpuFacts>,
    backend: &'static str,
    threads: usize,
    runs: u32,
    bytes: u64,
    archive_bytes: u64,
    /// Archive bytes per source byte.
    ratio: f64,
    encode_gb_s: f64,
    /// Encoding the tensors from memory: without the SHA-256 of a source file, which bounds `encode_gb_s` on one thread.
    encode_tensors_gb_s: f64,
    decode_gb_s: f64,
    /// Whether every decoded tensor, and the restored file, were the source's bytes.
    exact: bool,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if args.load {
        return bench_load::run(args);
    }
    let source =
        std::fs::read(&args.file).map_err(|e| Failure::new(Exit::Io, format!("{}: reading: {e}", args.file.display())))?;
    let device = args.device.open()?;
    let (archive, encode) = encode(args, &source)?;
    let archive_bytes = archive.len() as u64;
    let archive = Archive::from_reader(Box::new(archive))?;
    let encode_tensors = encode_tensors(args, &source, &archive)?;
    let (tensors_exact, decode) = match &device {
        Device::Gpu(gpu) => decode_on(gpu, args, &source, &archive)?,
        _ => decode(args, &source, &archive)?,
    };
    let gpu = device.gpu_facts();
    let mut restored = Compare { rest: &source, equal: true };
    archive.write_source(&mut restored, |_, _| ())?;
    let report = Report {
        file: args.file.display().to_string(),
        device: device.name().to_owned(),
        gpu,
        backend: Backend::best().name(),
        threads: rayon::current_num_threads(),
        runs: args.runs,
        bytes: source.len() as u64,
        archive_bytes,
        ratio: archive_bytes as f64 / source.len().max(1) as f64,
        encode_gb_s: encode,
        encode_tensors_gb_s: encode_tensors,
        decode_gb_s: decode,
        exact: tensors_exact && restored.equal && restored.rest.is_empty(),
    };
    if args.json {
        output::print_json(&report)?;
    } else {
        output::print(text(&report))?;
    }
    if !report.exact {
        return Err(Failure::new(Exit::Mismatch, format!("{}: did not come back exactly", args.file.display())));
    }
    Ok(())
}

fn text(r: &Report) -> String {
    format!(
        "{}: {} → {} ({})\nencode  {:.2} GB/s ({:.2} without the source's SHA-256)\ndecode  {:.2} GB/s\nexact   {}\n({}, {}, median of {})\n",
        r.file,
        bytes(r.bytes),
        bytes(r.archive_bytes),
        percent(r.ratio),
        r.encode_gb_s,
        r.encode_tensors_gb_s,
        r.decode_gb_s,
        if r.exact { "yes" } else { "NO" },
        if r.device == "cpu" { r.backend } else { &r.device },
        output::count(r.threads, "thread"),
        output::count(r.runs as usize, "run"),
    )
}

/// The archive, and GB/s.
fn encode(args: &Args, source: &[u8]) -> Result<(Vec<u8>, f64)> {
    time_encoding(args, source.len(), |out| Encoder::new().encode_source(&source, out))
}

/// GB/s of encoding the tensors alone.
fn encode_tensors(args: &Args, source: &[u8], archive: &Archive) -> Result<f64> {
    let places = expect_places(args, source)?;
    let tensors: Vec<_> = archive
        .tensors()
        .filter_map(|t| Some((t, source.get(places.get(t.name())?.clone())?)))
        .filter(|(t, _)| t.dtype() != Dtype::Other)
        .collect();
    let inputs: Vec<_> =
        tensors.iter().map(|(t, data)| TensorInput { name: t.name(), dtype: t.dtype(), shape: t.shape(), data }).collect();
    let bytes = inputs.iter().map(|t| t.data.len()).sum();
    Ok(time_encoding(args, bytes, |out| Encoder::new().encode_tensors(&inputs, out))?.1)
}

/// What `encode` writes, and GB/s of `bytes` at the median time.
fn time_encoding(
    args: &Args,
    bytes: usize,
    encode: impl Fn(Cursor<&mut Vec<u8>>) -> wcodec::Result<EncodeReport>,
) -> Result<(Vec<u8>, f64)> {
    // Any other value than zero, so that the pages are really there. Grows in the first run should
    // it be too small.
    let mut out = vec![1; bytes + bytes / 16 + (1 << 20)];
    let mut seconds = Vec::new();
    for _ in 0..args.runs {
        out.clear();
        let start = Instant::now();
        encode(Cursor::new(&mut out)).map_err(|e| e.with_path(&args.file))?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    Ok((out, rate(bytes, seconds)))
}

/// Bytes of a cache line.
const LINE: usize = 64;

/// Whether all tensors came out right every time, and GB/s.
fn decode(args: &Args, source: &[u8], archive: &Archive) -> Result<(bool, f64)> {
    let places = expect_places(args, source)?;
    // One allocation, tensors on cache lines: what a loader's arena and pinned memory look like.
    let sizes: Vec<usize> = archive.tensors().map(|t| t.byte_len() as usize).collect();
    let mut arena = vec![1; sizes.iter().map(|n| n.next_multiple_of(LINE)).sum::<usize>() + LINE];
    let aligned = arena.as_ptr().align_offset(LINE);
    let mut exact = archive.tensors().len() == places.len();
    let mut seconds = Vec::new();
    for run in 0..args.runs {
        // What the run before left must not pass for this one's. A byte here and there does: a whole arena written just now would lie
        // in the caches and be written back during the run, which no loader's memory does.
        arena.iter_mut().skip(run as usize).step_by(4099).for_each(|byte| *byte = !*byte);
        let mut rest = &mut arena[aligned..];
        let mut jobs = Vec::with_capacity(sizes.len());
        for (tensor, &size) in archive.tensors().zip(&sizes) {
            let (buffer, after) = rest.split_at_mut(size.next_multiple_of(LINE));
            jobs.push((tensor, &mut buffer[..size]));
            rest = after;
        }
        let start = Instant::now();
        archive.decode_many(&mut jobs)?;
        seconds.push(start.elapsed().as_secs_f64());
        exact &= jobs.iter().all(|(tensor, out)| {
            let original = places.get(tensor.name()).and_then(|place| source.get(place.clone()));
            original == Some(&out[..])
        });
    }
    Ok((exact, rate(sizes.iter().sum(), seconds)))
}

/// [`decode`] into a GPU's memory, payloads copied from the host's.
fn decode_on(gpu: &Gpu, args: &Args, source: &[u8], archive: &Archive) -> Result<(bool, f64)> {
    let places = expect_places(args, source)?;
    let tensors: Vec<_> = archive.tensors().collect();
    let mut exact = tensors.len() == places.len();
    let mut seconds = Vec::new();
    for _ in 0..args.runs {
        let start = Instant::now();
        let decoded = gpu.decode(&tensors)?;
        seconds.push(start.elapsed().as_secs_f64());
        for (tensor, on_device) in tensors.iter().zip(&decoded) {
            let original = places.get(tensor.name()).and_then(|place| source.get(place.clone()));
            exact &= original == Some(&on_device.to_vec()?[..]);
        }
    }
    Ok((exact, rate(tensors.iter().map(|t| t.byte_len() as usize).sum(), seconds)))
}

fn expect_places(args: &Args, source: &[u8]) -> Result<HashMap<String, Range<usize>>> {
    places(source).ok_or_else(|| Failure::new(Exit::BadSource, format!("{}: unexpected header", args.file.display())))
}

/// Where each tensor lies in the source, read from its header here: the archive's own word is what
/// is being checked.
fn places(source: &[u8]) -> Option<HashMap<String, Range<usize>>> {
    let (len, rest) = source.split_first_chunk()?;
    let len = usize::try_from(u64::from_le_bytes(*len)).ok()?;
    let header: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(rest.get(..len)?).ok()?;
    let place = |info: &serde_json::Value| {
        let offset = |i| Some(8 + len + usize::try_from(info["data_offsets"][i].as_u64()?).ok()?);
        Some(offset(0)?..offset(1)?)
    };
    let tensors = header.into_iter().filter(|(name, _)| name != "__metadata__");
    tensors.map(|(name, info)| Some((name, place(&info)?))).collect()
}

/// The median of times.
pub(super) fn median(mut seconds: Vec<f64>) -> f64 {
    seconds.sort_by(f64::total_cmp);
    let middle = seconds.len() / 2;
    if seconds.len() % 2 == 1 { seconds[middle] } else { (seconds[middle - 1] + seconds[middle]) / 2.0 }
}

/// GB/s at the median of the times.
fn rate(bytes: usize, seconds: Vec<f64>) -> f64 {
    bytes as f64 / 1e9 / median(seconds).max(1e-9)
}

/// Takes what is written and compares it with what is expected.
struct Compare<'a> {
    rest: &'a [u8],
    equal: bool,
}

impl Write for Compare<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self.rest.split_at_checked(bytes.len()) {
            Some((expected, rest)) => {
                self.equal &= expected == bytes;
                self.rest = rest;
            }
            None => self.equal = false,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
