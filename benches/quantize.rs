//! Quantizing a real model by its weights alone: how long it takes, what the integers' trellis costs whoever decodes them.
//!
//! `cargo bench --bench quantize [-- --lambda 1.1e-3] [--effort 1] [--runs 5] [--json]`
//!
//! One λ, one pass, on all threads. Then one thread decodes the archive's integers from memory, and, round after round beside it, the same
//! streams as plain integers (what is stored of each): the ratio is the trellis's work alone. What is decoded is compared every time.

mod common;

use common::{Args, NO_MODEL, Pages, Result, median, models, timed};
use serde::Serialize;
use std::io::Cursor;
use wcodec::quantize::{Checkpoint, Format, Quantizer, Rules, Target};
use wcodec::{Archive, Dtype, Encoder, TensorInput};

const MODEL: &str = "smollm2-bf16.safetensors";

#[derive(Serialize)]
struct Report {
    model: &'static str,
    effort: u8,
    lambda: f64,
    weights: u64,
    bits_per_weight: f64,
    /// The share of the model's squared weights that is lost.
    loss: f64,
    seconds: f64,
    million_weights_per_second: f64,
    /// Tensors whose integers are a trellis's, of so many that are quantized.
    trellises: usize,
    quantized: usize,
    decode_gb_s: f64,
    decode_plain_gb_s: f64,
    /// Time with the trellis to time without, median of the rounds.
    decode_ratio: f64,
}

/// A matrix of integers.
struct Matrix {
    shape: Vec<u64>,
    data: Vec<u8>,
}

fn main() -> Result<()> {
    let Some(args) = Args::of_cargo_bench() else { return Ok(()) };
    let (lambda, effort, runs) = (args.value("--lambda", 1.1e-3)?, args.value("--effort", 1u8)?, args.value("--runs", 5usize)?);
    let path = models().join(MODEL);
    if !path.exists() {
        println!("{NO_MODEL}");
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let output = directory.path().join("quantized.wcodec");
    let quantizer = Quantizer::new(Rules::new(Format::Int8)).encoder(Encoder::new().effort(effort));
    let source = Checkpoint::open(&path)?;
    let (report, seconds) = timed(|| quantizer.run(&source, Target::Lambda(lambda), &output));
    let report = report?;

    let archive = Archive::open(&output)?;
    let reports = archive.report()?;
    let mut integers = Vec::new();
    for tensor in archive.tensors().filter(|t| t.dtype() == Dtype::I8) {
        integers.push(Matrix { shape: tensor.shape().to_vec(), data: tensor.decode()? });
    }
    let stored: Vec<Matrix> = integers
        .iter()
        .map(|m| Matrix { shape: m.shape.clone(), data: m.data.iter().map(|&b| (b as i8 >> 1) as u8).collect() })
        .collect();
    let rates = rounds(&[encode(&integers, effort)?, encode(&stored, effort)?], [&integers, &stored], runs)?;
    let bytes = integers.iter().map(|m| m.data.len()).sum::<usize>() as f64;
    let ratios: Vec<f64> = rates.iter().map(|[with, without]| with / without).collect();
    let speed = |which: usize| bytes / 1e9 / median(&rates.iter().map(|r| r[which]).collect::<Vec<_>>());
    let report = Report {
        model: MODEL,
        effort,
        lambda,
        weights: report.weights,
        bits_per_weight: report.bits_per_weight(),
        loss: report.loss,
        seconds,
        million_weights_per_second: report.weights as f64 / 1e6 / seconds,
        trellises: reports.iter().filter(|t| t.trellis).count(),
        quantized: integers.len(),
        decode_gb_s: speed(0),
        decode_plain_gb_s: speed(1),
        decode_ratio: median(&ratios),
    };
    if args.has("--json") {
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(());
    }
    println!(
        "{MODEL}, λ {lambda:.3e}, effort {effort}: {:.1} s, {:.1} million weights a second, {:.3} bits a weight, loss {:.3e}",
        report.seconds, report.million_weights_per_second, report.bits_per_weight, report.loss
    );
    println!("{} of {} tensors on a trellis", report.trellises, report.quantized);
    println!(
        "one thread decodes {:.2} GB/s, the same streams as plain integers {:.2} GB/s: {:.3} × the time",
        report.decode_gb_s, report.decode_plain_gb_s, report.decode_ratio
    );
    Ok(())
}

fn encode(matrices: &[Matrix], effort: u8) -> Result<Archive> {
    let names: Vec<String> = (0..matrices.len()).map(|i| i.to_string()).collect();
    let input = |(m, name)| -> TensorInput<'_> {
        let (m, name): (&Matrix, &String) = (m, name);
        TensorInput { name, dtype: Dtype::I8, shape: &m.shape, data: &m.data }
    };
    let inputs: Vec<_> = matrices.iter().zip(&names).map(input).collect();
    let mut out = Cursor::new(Vec::new());
    Encoder::new().effort(effort).encode_tensors(&inputs, &mut out)?;
    Ok(Archive::from_bytes(out.into_inner())?)
}

/// Seconds of one thread for each archive, round after round.
fn rounds(archives: &[Archive; 2], expected: [&[Matrix]; 2], runs: usize) -> Result<Vec<[f64; 2]>> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    let mut out: Vec<Pages> = expected[0].iter().map(|m| Pages::new(m.data.len())).collect();
    let mut rates = Vec::new();
    // The first round warms up.
    for round in 0..=runs {
        let mut seconds = [0.0; 2];
        for ((archive, expected), seconds) in archives.iter().zip(expected).zip(&mut seconds) {
            let decode = || archive.tensors().zip(&mut out).try_for_each(|(tensor, out)| tensor.decode_into(out));
            let (result, time) = timed(|| pool.install(decode));
            result?;
            *seconds = time;
            if out.iter().zip(expected).any(|(out, m)| out[..] != m.data) {
                return Err("decoded to something else".into());
            }
        }
        if round > 0 {
            rates.push(seconds);
        }
    }
    Ok(rates)
}
