//! What each tool of the codec saves on real checkpoints, and how many tiles chose it.
//!
//! `cargo bench -p wcodec --bench ablation [-- --json] [FILE...]`: the checkpoints of `cargo xtask models` unless others are named. Each is
//! encoded with one tool more every time, so what a tool saves is beside all those left of it.

mod common;

use common::{Args, NO_MODEL, Result, models};
use serde::Serialize;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use wcodec::{Archive, Encoder, TensorReport};

/// Enough for every dtype; SmolLM2's other forms are MiniLM's kind.
const CHECKPOINTS: [&str; 9] = [
    "minilm-bf16",
    "smollm2-bf16",
    "minilm-fp16",
    "wordllama-fp16",
    "minilm/model",
    "minilm-fp8",
    "minilm-int8-channel",
    "minilm-int8-tensor",
    "minilm-int4-g128",
];

#[derive(Serialize)]
struct Row {
    checkpoint: String,
    source_bytes: u64,
    tiles: u64,
    /// Archive bytes of the default profile; with tables for size alone; with contexts as well; with filters as well (profile max).
    archive_bytes: [u64; 4],
    /// Tiles with a plane of pairs of exponents, in the default profile.
    pairs: u64,
    /// Frequency tables of the default profile and of the best ones.
    tables: [usize; 2],
    /// Tiles whose leading plane, and whose deep plane, has contexts.
    leading: u64,
    deep: u64,
    /// Tiles that were predicted or transformed.
    filtered: u64,
}

fn main() -> Result<()> {
    let Some(args) = Args::of_cargo_bench() else { return Ok(()) };
    let named: Vec<PathBuf> = args.plain(&[]).iter().map(PathBuf::from).collect();
    let files = if named.is_empty() {
        CHECKPOINTS.iter().map(|name| models().join(format!("{name}.safetensors"))).filter(|path| path.exists()).collect()
    } else {
        named
    };
    if files.is_empty() {
        println!("{NO_MODEL}");
    }
    let rows = files.iter().map(|path| measure(path)).collect::<Result<Vec<_>>>()?;
    if args.has("--json") {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        print(&rows);
    }
    Ok(())
}

fn measure(path: &Path) -> Result<Row> {
    let source = std::fs::read(path)?;
    let encoders = [Encoder::new(), Encoder::new().effort(4), Encoder::new().effort(9).filters(false), Encoder::new().effort(9)];
    let archives = encoders.map(|encoder| -> Result<Archive> {
        let mut bytes = Vec::new();
        encoder.encode_source(&source, Cursor::new(&mut bytes))?;
        Ok(Archive::from_bytes(bytes)?)
    });
    let [plain, tables, contexts, filters] = archives;
    let [plain, tables, contexts, filters] = [plain?, tables?, contexts?, filters?];
    let reports = |archive: &Archive| archive.tensors().map(|t| Ok(t.report()?)).collect::<Result<Vec<TensorReport>>>();
    let (first, last) = (reports(&plain)?, reports(&filters)?);
    let sum = |reports: &[TensorReport], f: fn(&TensorReport) -> u64| reports.iter().map(f).sum();
    Ok(Row {
        checkpoint: path.strip_prefix(models()).unwrap_or(path).with_extension("").display().to_string(),
        source_bytes: source.len() as u64,
        tiles: sum(&last, |t| t.tiles),
        archive_bytes: [&plain, &tables, &contexts, &filters].map(Archive::archive_bytes),
        pairs: sum(&first, |t| t.planes.iter().map(|p| p.pairs).max().unwrap_or(0)),
        tables: [plain.tables(), filters.tables()],
        leading: sum(&last, |t| t.planes.iter().map(|p| p.contexts).max().unwrap_or(0)),
        deep: sum(&last, |t| {
            let mut counts: Vec<u64> = t.planes.iter().map(|p| p.contexts).collect();
            counts.sort_unstable_by(|a, b| b.cmp(a));
            if t.filtered == 0 { counts.get(1).copied().unwrap_or(0) } else { 0 }
        }),
        filtered: sum(&last, |t| t.filtered),
    })
}

fn print(rows: &[Row]) {
    println!(
        "| checkpoint | default | pairs: tiles | tables | tables for size | contexts | filters | tiles | leading | deep | filtered |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    for row in rows {
        let percent = |bytes: u64| 100.0 * bytes as f64 / row.source_bytes as f64;
        let saved = |i: usize| percent(row.archive_bytes[i - 1]) - percent(row.archive_bytes[i]);
        println!(
            "| {} | {:.2} % | {} | {} to {} | {:.2} | {:.2} | {:.2} | {} | {} | {} | {} |",
            row.checkpoint,
            percent(row.archive_bytes[0]),
            row.pairs,
            row.tables[0],
            row.tables[1],
            saved(1),
            saved(2),
            saved(3),
            row.tiles,
            row.leading,
            row.deep,
            row.filtered
        );
    }
}
