//! Ratio and speed beside zstd, LZ4, pco and a plain copy, on real weights.
//!
//! `cargo bench --bench codec [-- --json] [--only SUBSTR] [--runs N] [--threads 1] [--no-peers]`
//!
//! `--no-peers` leaves all but wcodec and the copy out.
//!
//! Everything runs on one thread of one process, codec after codec and round after round, so that whatever slows the machine for
//! a while slows all of them; a figure is the median of the rounds. Inputs and outputs are in memory, begin on a page, and have
//! all their pages before anything is timed. What is decoded is compared with the original every time.

#[path = "codec/coders.rs"]
mod coders;
mod common;
#[path = "codec/source.rs"]
mod source;

use coders::{Coder, LINE, Lz4, Memcpy, Pco, Wcodec, Zstd};
use common::{Args, NO_MODEL, Pages, Result, median, models};
use serde::Serialize;
use source::Source;

const FILES: [&str; 9] = [
    "minilm-bf16",
    "smollm2-bf16",
    "wordllama-bf16",
    "minilm-fp16",
    "minilm/model",
    "minilm-fp8",
    "minilm-int8-channel",
    "minilm-int8-tensor",
    "minilm-int4-g128",
];

/// Archive bytes of random bytes, for each of them, at the most.
const RANDOM_BOUND: f64 = 1.002;

#[derive(Serialize)]
struct Row {
    file: String,
    codec: String,
    bytes: usize,
    coded: usize,
    /// Coded bytes for each uncompressed one: of the whole file for wcodec, of the data section for the others.
    ratio: f64,
    encode_gb_s: Option<f64>,
    decode_gb_s: f64,
    /// Decoding speed in units of the copy's, of pco's, and of the same backend's on one thread.
    of_memcpy: f64,
    of_pco: Option<f64>,
    of_one_thread: Option<f64>,
}

fn main() -> Result<()> {
    let Some(args) = Args::of_cargo_bench() else { return Ok(()) };
    let runs: usize = args.value("--runs", 5)?;
    let only = args.text("--only").unwrap_or("");
    let mut threads = Vec::new();
    for n in args.text("--threads").unwrap_or("1").split(',') {
        threads.push(n.parse::<usize>().map_err(|_| format!("--threads: {n} is not a number"))?);
    }
    // One thread comes first, asked for or not: all else is compared with it.
    threads.retain(|&n| n > 1);
    threads.insert(0, 1);
    let pool = |&n: &usize| rayon::ThreadPoolBuilder::new().num_threads(n).build();
    let pools = threads.iter().map(pool).collect::<std::result::Result<Vec<_>, _>>()?;

    let mut rows = Vec::new();
    let json = args.has("--json");
    if !json {
        println!("Median of {runs} rounds, one thread unless said otherwise; a GB is 1e9 uncompressed bytes.");
        println!("Ratio: coded / uncompressed, of the whole file for wcodec, of the data section for the others.\n");
        println!("| file | codec | ratio | encode GB/s | decode GB/s | × memcpy | × pco | × 1 thread |");
        println!("|---|---|--:|--:|--:|--:|--:|--:|");
    }
    for name in FILES.into_iter().chain(["random"]).filter(|name| name.contains(only)) {
        let path = models().join(format!("{name}.safetensors"));
        let mut source = match name {
            "random" => Source::random()?,
            _ if !path.exists() => {
                eprintln!("{name}: {NO_MODEL}");
                continue;
            }
            _ => Source::read(name, &path)?,
        };
        source.peers &= !args.has("--no-peers");
        let mut measured = measure(&source, runs, &pools)?;
        if !json {
            measured.iter().for_each(print);
        }
        rows.append(&mut measured);
    }
    if json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    }
    let worst = rows.iter().filter(|r| r.file.starts_with("random")).map(|r| r.ratio).fold(0.0, f64::max);
    if worst > RANDOM_BOUND {
        return Err(format!("random bytes grew to {worst:.5}, more than {RANDOM_BOUND}").into());
    }
    Ok(())
}

fn measure(source: &Source, runs: usize, pools: &[rayon::ThreadPool]) -> Result<Vec<Row>> {
    let mut coders: Vec<Box<dyn Coder + '_>> = vec![Box::new(Memcpy(source))];
    for coder in Wcodec::all(source, pools)? {
        coders.push(Box::new(coder));
    }
    if source.peers {
        coders.push(Box::new(Pco::new(source)));
        coders.push(Box::new(Zstd::new(source, 3)?));
        coders.push(Box::new(Zstd::new(source, 19)?));
        coders.push(Box::new(Lz4::new(source)));
    }
    let mut out = Pages::new(source.data.len() + LINE * source.tensors);
    let mut times = vec![(Vec::new(), Vec::new()); coders.len()];
    for round in 0..runs.max(1) {
        for (coder, (encode, decode)) in coders.iter_mut().zip(&mut times) {
            encode.extend(coder.encode()?);
            // What the codec before left must not pass for this one's.
            out.fill(round as u8);
            decode.push(coder.decode(&mut out)?);
        }
    }
    let mut rows = Vec::new();
    for (coder, (encode, decode)) in coders.iter().zip(&times) {
        let (taken, given) = coder.plain();
        rows.push(Row {
            file: source.name.clone(),
            codec: coder.label(),
            bytes: taken,
            coded: coder.coded(),
            ratio: coder.coded() as f64 / taken as f64,
            encode_gb_s: (!encode.is_empty()).then(|| taken as f64 / 1e9 / median(encode)),
            decode_gb_s: given as f64 / 1e9 / median(decode),
            of_memcpy: f64::NAN,
            of_pco: None,
            of_one_thread: None,
        });
    }
    let speed = |codec: &str| rows.iter().find(|r| r.codec == codec).map(|r| r.decode_gb_s);
    let (memcpy, pco) = (speed("memcpy"), speed("pco"));
    let single = |r: &Row| r.codec.split_once(", ").filter(|(_, rest)| rest.ends_with("threads")).and_then(|(one, _)| speed(one));
    let singles: Vec<_> = rows.iter().map(single).collect();
    for (row, single) in rows.iter_mut().zip(singles) {
        row.of_memcpy = row.decode_gb_s / memcpy.unwrap_or(f64::NAN);
        row.of_pco = pco.map(|pco| row.decode_gb_s / pco);
        row.of_one_thread = single.map(|one| row.decode_gb_s / one);
    }
    Ok(rows)
}

fn print(r: &Row) {
    let optional = |x: Option<f64>| x.map_or("–".into(), |x| format!("{x:.2}"));
    println!(
        "| {} | {} | {:.4} | {} | {:.2} | {:.2} | {} | {} |",
        r.file,
        r.codec,
        r.ratio,
        r.encode_gb_s.map_or("–".into(), |x| format!("{x:.3}")),
        r.decode_gb_s,
        r.of_memcpy,
        optional(r.of_pco),
        optional(r.of_one_thread),
    );
}
