//! Peak memory of compressing and restoring a file much larger than it.
//!
//! `cargo bench --bench memory [-- --gib 2] [--json]`
//!
//! Makes a synthetic checkpoint (BF16, Gaussian, shapes like Llama's), then runs itself once for compressing and once for
//! restoring, so that each peak is that of a fresh process. Fails if one is above twice the largest tensor and 64 MiB, or if the
//! restored file differs. Its files lie in the target directory and are removed.

mod common;

use common::{Args, Gaussian, Result, timed};
use serde::Serialize;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;
use std::process::Command;
use wcodec::{Archive, Backing, Encoder};

const MIB: f64 = (1 << 20) as f64;

/// The embedding and the output matrix, the largest tensors: 256 MiB.
const VOCABULARY: [u64; 2] = [32768, 4096];

const LAYER: [(&str, &[u64]); 9] = [
    ("input_layernorm", &[4096]),
    ("self_attn.q_proj", &[4096, 4096]),
    ("self_attn.k_proj", &[1024, 4096]),
    ("self_attn.v_proj", &[1024, 4096]),
    ("self_attn.o_proj", &[4096, 4096]),
    ("post_attention_layernorm", &[4096]),
    ("mlp.gate_proj", &[14336, 4096]),
    ("mlp.up_proj", &[14336, 4096]),
    ("mlp.down_proj", &[4096, 14336]),
];

struct Tensor {
    name: String,
    shape: Vec<u64>,
}

impl Tensor {
    fn new(name: impl Into<String>, shape: &[u64]) -> Self {
        Self { name: name.into(), shape: shape.to_vec() }
    }

    fn bytes(&self) -> u64 {
        2 * self.shape.iter().product::<u64>()
    }
}

#[derive(Serialize)]
struct Report {
    step: &'static str,
    source_mib: f64,
    largest_tensor_mib: f64,
    peak_mib: f64,
    bound_mib: f64,
    ratio: f64,
    seconds: f64,
}

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().collect();
    if let [_, step, input, output] = &arguments[..]
        && step.starts_with("--child-")
    {
        return child(step, input.as_ref(), output.as_ref());
    }
    let Some(args) = Args::of_cargo_bench() else { return Ok(()) };
    if peak().is_none() {
        println!("skipped: the peak is read from /proc/self/status, which this system does not have");
        return Ok(());
    }
    let gib: f64 = args.value("--gib", 2.0)?;
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let [source, archive, restored] =
        ["source.safetensors", "it.wcodec", "restored.safetensors"].map(|f| directory.path().join(f));

    let tensors = checkpoint((gib * 1024.0 * MIB) as u64);
    let ((), seconds) = timed_result(|| write(&source, &tensors))?;
    let bytes = source.metadata()?.len();
    let largest = tensors.iter().map(Tensor::bytes).max().unwrap_or(0);
    eprintln!("made {:.0} MiB in {seconds:.1} s", bytes as f64 / MIB);

    let bound_mib = 2.0 * largest as f64 / MIB + 64.0;
    let mut reports = Vec::new();
    for (step, from, to) in [("compress", &source, &archive), ("decompress", &archive, &restored)] {
        let (peak, seconds) = run(step, from, to)?;
        reports.push(Report {
            step,
            source_mib: bytes as f64 / MIB,
            largest_tensor_mib: largest as f64 / MIB,
            peak_mib: peak as f64 / MIB,
            bound_mib,
            ratio: archive.metadata()?.len() as f64 / bytes as f64,
            seconds,
        });
    }
    if !same(&source, &restored)? {
        return Err("the restored file differs from the source".into());
    }
    if args.has("--json") {
        println!("{}", serde_json::to_string_pretty(&reports)?);
    } else {
        println!("| step | file MiB | largest tensor MiB | peak MiB | bound MiB | ratio | seconds | restored |");
        println!("|---|--:|--:|--:|--:|--:|--:|---|");
        for r in &reports {
            println!(
                "| {} | {:.0} | {:.0} | {:.1} | {:.0} | {:.4} | {:.1} | byte-identical |",
                r.step, r.source_mib, r.largest_tensor_mib, r.peak_mib, r.bound_mib, r.ratio, r.seconds
            );
        }
    }
    match reports.iter().find(|r| r.peak_mib > r.bound_mib) {
        Some(r) => Err(format!("{}: {:.1} MiB are more than {:.0}", r.step, r.peak_mib, r.bound_mib).into()),
        None => Ok(()),
    }
}

/// Runs a step in a process of its own; its peak in bytes, and its seconds.
fn run(step: &str, input: &Path, output: &Path) -> Result<(u64, f64)> {
    let done = Command::new(std::env::current_exe()?).arg(format!("--child-{step}")).args([input, output]).output()?;
    let text = String::from_utf8_lossy(&done.stdout);
    if !done.status.success() {
        return Err(format!("{step} failed: {}", String::from_utf8_lossy(&done.stderr)).into());
    }
    let (peak, seconds) = text.trim().split_once(' ').ok_or("the child said nothing")?;
    Ok((peak.parse()?, seconds.parse()?))
}

fn child(step: &str, input: &Path, output: &Path) -> Result<()> {
    let ((), seconds) = timed_result(|| {
        if step == "--child-compress" {
            Encoder::new().encode_file(input, output)?;
        } else {
            // Mapped pages would count as memory though the system may drop them at any time.
            Archive::open_with(input, Backing::Read)?.decompress_file(output, false, |_, _| ())?;
        }
        Ok(())
    })?;
    println!("{} {seconds}", peak().ok_or("no peak in /proc/self/status")?);
    Ok(())
}

fn timed_result<T>(f: impl FnOnce() -> Result<T>) -> Result<(T, f64)> {
    let (result, seconds) = timed(f);
    Ok((result?, seconds))
}

/// Peak resident bytes of this process. Not `ru_maxrss`: that one survives `exec`, so a child begins with its parent's.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

/// As many layers as it takes to reach `bytes`.
fn checkpoint(bytes: u64) -> Vec<Tensor> {
    let mut tensors = vec![Tensor::new("model.embed_tokens.weight", &VOCABULARY), Tensor::new("lm_head.weight", &VOCABULARY)];
    let mut layer = 0;
    while tensors.iter().map(Tensor::bytes).sum::<u64>() < bytes {
        tensors.extend(LAYER.map(|(name, shape)| Tensor::new(format!("model.layers.{layer}.{name}.weight"), shape)));
        layer += 1;
    }
    tensors
}

/// Writes the file a few MiB at a time.
fn write(path: &Path, tensors: &[Tensor]) -> Result<()> {
    let mut header = serde_json::Map::new();
    let mut end = 0;
    for t in tensors {
        let start = end;
        end += t.bytes();
        let info = serde_json::json!({ "dtype": "BF16", "shape": t.shape, "data_offsets": [start, end] });
        header.insert(t.name.clone(), info);
    }
    let mut header = serde_json::to_vec(&header)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;
    let mut gaussian = Gaussian::new(2026);
    let mut buffer = vec![0; 4 << 20];
    for (i, t) in tensors.iter().enumerate() {
        // Real tensors differ in scale.
        let sigma = 0.01 * (1.0 + (i % 7) as f32 / 3.0);
        let mut left = t.bytes() as usize;
        while left > 0 {
            let part = &mut buffer[..left.min(4 << 20)];
            gaussian.fill(sigma, part);
            file.write_all(part)?;
            left -= part.len();
        }
    }
    file.into_inner()?.sync_all()?;
    Ok(())
}

fn same(a: &Path, b: &Path) -> Result<bool> {
    let (mut a, mut b) = (File::open(a)?, File::open(b)?);
    let mut left = a.metadata()?.len();
    if b.metadata()?.len() != left {
        return Ok(false);
    }
    let (mut x, mut y) = (vec![0; 4 << 20], vec![0; 4 << 20]);
    while left > 0 {
        let n = left.min(4 << 20) as usize;
        a.read_exact(&mut x[..n])?;
        b.read_exact(&mut y[..n])?;
        if x[..n] != y[..n] {
            return Ok(false);
        }
        left -= n as u64;
    }
    Ok(true)
}
