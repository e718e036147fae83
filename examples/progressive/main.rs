//! How good is a model of which only the first bytes are there? A checkpoint is compressed as a progressive archive; at each level the
//! weights are refined in place, and what they are worth is measured: the bytes that were needed, the error of the weights, the perplexity of a
//! text, and how often the likeliest next token is that of the exact model.
//!
//! ```text
//! cargo run --release --example progressive                # SmolLM2-135M, fetched if need be
//! cargo run --release --example progressive -- path/to/a/hugging-face/directory
//! ```

mod quality;

use candle_core::{DType, Device, Tensor};
use llama::{Checkpoint, Llama, Result, Tensors, scratch};
use quality::{Errors, Reading, agreement};
use std::path::Path;
use std::time::Instant;
use wcodec::{Archive, Dtype, Encoder};

/// What is read to the model.
const TEXT: &str = include_str!("text.txt");

fn main() -> Result<()> {
    let path = std::env::args().nth(1);
    let checkpoint = path.map_or_else(Checkpoint::default_model, |path| Checkpoint::open(Path::new(&path)))?;
    let [weights] = &checkpoint.weights[..] else { return Err("a checkpoint of one file, please".into()) };
    let file = scratch().join("progressive.wcodec");
    std::fs::create_dir_all(scratch())?;
    let report = Encoder::new().progressive(true).overwrite(true).encode_file(weights, &file)?;
    println!("{}: {} bytes, {:.2} %", weights.display(), report.source_bytes, 100.0 * report.ratio());
    let tokens = checkpoint.tokenizer.encode(TEXT)?;
    println!("a text of {} tokens\n", tokens.len());

    let mut archive = Archive::open(&file)?;
    let exact: Vec<Vec<u8>> = archive.decode_all()?.into_iter().map(|(_, bytes)| bytes).collect();
    let mut buffers: Vec<Vec<u8>> = Vec::new();
    let mut levels = Vec::new();
    for level in archive.levels() {
        archive.set_planes(level.planes)?;
        let start = Instant::now();
        if level.planes == 0 {
            buffers = archive.decode_all()?.into_iter().map(|(_, bytes)| bytes).collect();
        } else {
            let mut jobs: Vec<_> = archive.tensors().zip(buffers.iter_mut().map(|b| &mut b[..])).collect();
            archive.refine_many(level.planes - 1, &mut jobs)?;
        }
        let took = start.elapsed();
        let mut errors = Errors::default();
        for ((tensor, coarse), exact) in archive.tensors().zip(&buffers).zip(&exact) {
            errors.add(tensor.dtype(), coarse, exact);
        }
        let model = Llama::from_tensors(&checkpoint.config, tensors(&archive, &buffers)?, &Device::Cpu)?;
        levels.push((level, took, errors, Reading::of(&model, &tokens)?));
    }
    let Some((.., truth)) = levels.last() else {
        return Err("the archive has no levels: nothing of the checkpoint is split".into());
    };
    println!(
        "| planes | bytes | of the archive | of the source | decoding, ms | mean relative error | max | perplexity | next token agrees |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for (level, took, errors, reading) in &levels {
        let share = |of: u64| 100.0 * level.end as f64 / of as f64;
        println!(
            "| {} | {:.1} MB | {:.1} % | {:.1} % | {:.0} | {:.3} % | {:.2} % | {:.2} | {:.1} % |",
            level.planes,
            level.end as f64 / 1e6,
            share(report.archive_bytes),
            share(report.source_bytes),
            1e3 * took.as_secs_f64(),
            100.0 * errors.mean(),
            100.0 * errors.max,
            reading.perplexity,
            100.0 * agreement(reading, truth),
        );
    }
    if buffers != exact {
        return Err("what was refined is not what is decoded at once".into());
    }
    Ok(())
}

/// The tensors as candle's.
fn tensors(archive: &Archive, buffers: &[Vec<u8>]) -> Result<Tensors> {
    let one = |(tensor, bytes): (wcodec::Tensor<'_>, &Vec<u8>)| {
        let dtype = match tensor.dtype() {
            Dtype::BF16 => DType::BF16,
            Dtype::F16 => DType::F16,
            Dtype::F32 => DType::F32,
            other => return Err(format!("{}: no weights of {other:?} here", tensor.name()).into()),
        };
        let shape = tensor.shape().iter().map(|&d| usize::try_from(d)).collect::<Result<Vec<_>, _>>()?;
        Ok((tensor.name().to_owned(), Tensor::from_raw_buffer(bytes, dtype, &shape, &Device::Cpu)?))
    };
    archive.tensors().zip(buffers).map(one).collect()
}
