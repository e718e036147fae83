//! How good is a model of which only the first bytes are there? A checkpoint is compressed as a progressive archive; at each level the
//! weights are refined in place, and what they are worth is measured: the bytes that were needed, the error of the weights, the perplexity of a
//! text, and how often the likeliest next token is that of the exact model.
//!
//! ```text
//! cargo run --release --example progressive                # SmolLM2-135M, fetched if need be
//! cargo run --release --example progressive -- path/to/a/hugging-face/directory
//! ```

mod levels;
mod quality;

use levels::Measured;
use quality::agreement;
use std::path::Path;
use wcodec::{Archive, Encoder};
use wcodec_eval::{Checkpoint, Result, scratch};

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

    let levels = levels::measure(&checkpoint, &mut Archive::open(&file)?, &tokens)?;
    let Some(exact) = levels.last() else {
        return Err("the archive has no levels: nothing of the checkpoint is split".into());
    };
    println!(
        "| planes | bytes | of the archive | of the source | decoding, ms | mean relative error | max | perplexity | next token agrees |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for Measured { level, took, errors, reading } in &levels {
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
            100.0 * agreement(reading, &exact.reading),
        );
    }
    Ok(())
}
