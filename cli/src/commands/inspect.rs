//! `wcodec inspect`.

use crate::failure::{Exit, Failure, Result};
use crate::output::{self, bytes, percent, plain, table};
use crate::quantized::{self, QuantizedReport};
use clap::ValueHint;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use wcodec::{Archive, ArchiveDirectory, Backing, DirectoryReport, Level, PlaneReport, SingleDirectory, TensorReport};

const AFTER_HELP: &str = "\
Examples:
  wcodec inspect model.wcodec
  wcodec inspect --tensor lm_head.weight model.wcodec
  wcodec inspect SmolLM2-135M.compressed
  wcodec inspect --json model.wcodec | jq '.tensors[] | {name, bits_per_weight}'

PLANES says how each byte plane of the elements is kept: raw, const (one byte repeated), bytes, pairs or contexts
(entropy-coded); where the tiles of a tensor differ, with the number of tiles. Of tensors that are coded against a base it says first how: same
(nothing is stored), xor or subtract; of tensors of a progressive archive, planes: categories | signs | bits from the highest down. Before them, filters N: in N tiles they are what prediction left. BITS is the bits for each element, RATIO
archive to source.

A second table has the matrices that are stored as integers with scales: BITS are those for each weight, without scales, STEP the least, the median and
the largest scale.";

/// Show what an archive holds and how it is coded
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The archive, or a directory of archives
    #[arg(value_hint = ValueHint::AnyPath)]
    archive: PathBuf,
    /// Only the tensor of this name; may be given several times
    #[arg(long = "tensor", value_name = "NAME")]
    tensors: Vec<String>,
    /// Print one JSON object instead: `archive` with the totals, `tensors` with a report of each, `quantized` with what is known of
    /// matrices of integers; of a directory, `directory` with the totals, `archives` with such an object for each
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    archive: Totals,
    tensors: Vec<TensorReport>,
    /// Matrices of integers with scales; empty of a checkpoint that has none.
    quantized: Vec<QuantizedReport>,
}

#[derive(Serialize)]
struct Directory {
    directory: DirectoryTotals,
    archives: Vec<Report>,
}

#[derive(Serialize)]
struct DirectoryTotals {
    path: String,
    source_bytes: u64,
    archive_bytes: u64,
    /// Archive bytes per source byte.
    ratio: f64,
    archives: usize,
    /// Carried along as they are.
    files: usize,
    tensors: usize,
}

impl DirectoryTotals {
    fn new(path: &Path, report: &DirectoryReport) -> Self {
        Self {
            path: path.display().to_string(),
            source_bytes: report.source_bytes,
            archive_bytes: report.archive_bytes,
            ratio: report.ratio(),
            archives: report.shards,
            files: report.files,
            tensors: report.tensors,
        }
    }
}

#[derive(Serialize)]
struct Totals {
    file: String,
    format_version: String,
    source_bytes: u64,
    archive_bytes: u64,
    /// Archive bytes per source byte.
    ratio: f64,
    tensors: usize,
    tables: usize,
    /// Lower-case hexadecimal; null where the archive was made of tensors in memory.
    source_sha256: Option<String>,
    /// The same of the base's safetensors file; null without a base.
    base_sha256: Option<String>,
    /// Of a progressive archive, what each level adds; empty of any other.
    levels: Vec<Level>,
    /// The files that an archive of a whole directory restores; empty of any other.
    files: Vec<String>,
}

impl Totals {
    fn new(path: &Path, archive: &Archive) -> Result<Self> {
        let single = SingleDirectory::of(archive)?;
        let (major, minor) = archive.version();
        let (source_bytes, archive_bytes) = (archive.source_bytes(), archive.archive_bytes());
        Ok(Self {
            file: path.display().to_string(),
            format_version: format!("{major}.{minor}"),
            source_bytes,
            archive_bytes,
            ratio: archive_bytes as f64 / source_bytes.max(1) as f64,
            tensors: archive.tensors().len(),
            tables: archive.tables(),
            source_sha256: archive.source_sha256().map(hex),
            base_sha256: archive.base_sha256().map(hex),
            levels: archive.levels(),
            files: single.iter().flat_map(|s| s.files()).map(String::from).collect(),
        })
    }
}

fn hex(sum: [u8; 32]) -> String {
    sum.iter().map(|b| format!("{b:02x}")).collect()
}

pub(crate) fn run(args: &Args) -> Result<()> {
    if args.archive.is_dir() {
        let report = directory(args)?;
        return if args.json { output::print_json(&report) } else { output::print(directory_text(&report)) };
    }
    let archive = Archive::open_with(&args.archive, Backing::Read)?;
    let report = inspect(&args.archive, &archive, &args.tensors)?;
    if args.json { output::print_json(&report) } else { output::print(text(&report)) }
}

/// All tensors, or those of these names.
fn inspect(path: &Path, archive: &Archive, names: &[String]) -> Result<Report> {
    let tensors = match names {
        [] => archive.report()?,
        names => names.iter().map(|name| archive.tensor(name)?.report()).collect::<wcodec::Result<_>>()?,
    };
    let quantized = quantized::reports(archive, &tensors, names);
    Ok(Report { archive: Totals::new(path, archive)?, tensors, quantized })
}

/// All archives, or those that hold the tensors of the names that were given.
fn directory(args: &Args) -> Result<Directory> {
    let directory = ArchiveDirectory::open(&args.archive)?;
    for name in &args.tensors {
        if !directory.weight_map().contains_key(name) {
            let why = format!("{}: the model has no tensor '{}'", args.archive.display(), plain(name));
            return Err(Failure::new(Exit::Usage, why));
        }
    }
    let mut archives = Vec::new();
    for shard in directory.shards() {
        let inside = |name: &&String| directory.weight_map().get(*name) == Some(&shard.archive);
        let names: Vec<_> = args.tensors.iter().filter(inside).cloned().collect();
        if names.is_empty() && !args.tensors.is_empty() {
            continue;
        }
        archives.push(inspect(&directory.path_of(&shard.archive), &directory.archive(shard)?, &names)?);
    }
    Ok(Directory { directory: DirectoryTotals::new(&args.archive, &directory.report()), archives })
}

fn directory_text(report: &Directory) -> String {
    let mut out = String::new();
    for archive in &report.archives {
        let _ = writeln!(out, "{}\n{}", archive.archive.file, text(archive));
    }
    let t = &report.directory;
    let _ = writeln!(out, "{}", t.path);
    let _ = writeln!(out, "source   {} ({} bytes)", bytes(t.source_bytes), t.source_bytes);
    let _ = writeln!(out, "archives {} ({} bytes)", bytes(t.archive_bytes), t.archive_bytes);
    let _ = writeln!(out, "ratio    {}", percent(t.ratio));
    let _ = writeln!(out, "holds    {} archives, {} tensors, {} other files", t.archives, t.tensors, t.files);
    out
}

fn text(report: &Report) -> String {
    let head = ["TENSOR", "DTYPE", "SHAPE", "PLANES", "TABLES", "BITS", "RATIO"].map(String::from);
    let rows: Vec<_> = std::iter::once(head).chain(report.tensors.iter().map(row)).collect();
    let mut out = table(&rows, 4);
    if !report.quantized.is_empty() {
        out.push('\n');
        out += &table(&quantized::rows(&report.quantized), 4);
    }
    let t = &report.archive;
    let none = "none (made of tensors in memory)";
    let _ = writeln!(out);
    let _ = writeln!(out, "source   {} ({} bytes)", bytes(t.source_bytes), t.source_bytes);
    let _ = writeln!(out, "archive  {} ({} bytes)", bytes(t.archive_bytes), t.archive_bytes);
    let _ = writeln!(out, "ratio    {}", percent(t.ratio));
    let _ = writeln!(out, "tensors  {}", t.tensors);
    let _ = writeln!(out, "tables   {}", t.tables);
    let _ = writeln!(out, "format   {}", t.format_version);
    let _ = writeln!(out, "sha-256  {}", t.source_sha256.as_deref().unwrap_or(none));
    if let Some(base) = &t.base_sha256 {
        let _ = writeln!(out, "base     {base} (SHA-256 of the file that tensors are coded against)");
    }
    for file in &t.files {
        let _ = writeln!(out, "file     {}", plain(file));
    }
    for level in &t.levels {
        let Level { planes, end, .. } = level;
        let cut = if level.complete { "" } else { ", not in this file" };
        let size = bytes(level.bytes);
        let _ = writeln!(
            out,
            "planes   {planes}: {size} more, {} of the archive (to byte {end}{cut})",
            percent(*end as f64 / t.archive_bytes.max(1) as f64)
        );
    }
    out
}

fn row(t: &TensorReport) -> [String; 7] {
    let shape: Vec<_> = t.shape.iter().map(u64::to_string).collect();
    let planes: Vec<_> = t.planes.iter().map(plane).collect();
    let planes = match t.base {
        None if t.progressive => format!("planes: {}", planes.join(" | ")),
        None if t.trellis => format!("trellis: {}", planes.join(" | ")),
        Some("same") => "same".into(),
        Some(method) => format!("{method}: {}", planes.join(" | ")),
        None => planes.join(" | "),
    };
    let tables: BTreeSet<_> = t.planes.iter().flat_map(|p| &p.tables).collect();
    let empty = t.bytes == 0;
    let filtered = if t.filtered > 0 { format!("filters {}: ", t.filtered) } else { String::new() };
    let or_dash = |s: String, known: bool| if known { s } else { "-".into() };
    [
        plain(&t.name),
        plain(&t.dtype),
        format!("[{}]", shape.join(", ")),
        or_dash(filtered + &planes, !empty),
        tables.len().to_string(),
        or_dash(format!("{:.3}", t.bits_per_weight), t.bits_per_weight > 0.0),
        or_dash(percent(t.ratio), !empty),
    ]
}

/// `pairs`, or `pairs 40 + raw 2` where tiles differ.
fn plane(p: &PlaneReport) -> String {
    let modes = [("pairs", p.pairs), ("bytes", p.bytes), ("contexts", p.contexts), ("const", p.constant), ("raw", p.raw)];
    let used: Vec<_> = modes.into_iter().filter(|m| m.1 > 0).collect();
    match used[..] {
        [] => "-".into(),
        [(name, _)] => name.into(),
        _ => used.iter().map(|(name, tiles)| format!("{name} {tiles}")).collect::<Vec<_>>().join(" + "),
    }
}
