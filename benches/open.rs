//! Opening an archive of 10,000 small tensors and decoding one of them.
//!
//! `cargo bench --bench open [-- --tensors 10000] [--runs 51] [--json]`
//!
//! Times are medians with the file in the page cache: what is measured is the work, not the disk. How much of the disk it would
//! take is in the bytes read, which are counted.

mod common;

use common::{Args, Gaussian, Random, Result, median, timed};
use safetensors::SafeTensors;
use serde::Serialize;
use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use wcodec::{Archive, Backing, Dtype, Encoder, ReadAt, TensorInput};

const SHAPE: [u64; 2] = [32, 64];
const BYTES: usize = 4096;

/// Tensors decoded, one after the other, by random name.
const DECODED: usize = 1000;

/// Memory that counts what is read of it, and that cannot be looked at in place.
struct Counting {
    bytes: Arc<[u8]>,
    reads: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    calls: AtomicU64,
    bytes: AtomicU64,
}

impl Counts {
    fn take(&self) -> (u64, u64) {
        (self.calls.swap(0, Relaxed), self.bytes.swap(0, Relaxed))
    }
}

impl ReadAt for Counting {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        self.reads.calls.fetch_add(1, Relaxed);
        self.reads.bytes.fetch_add(buffer.len() as u64, Relaxed);
        self.bytes.read_exact_at(offset, buffer)
    }
}

#[derive(Serialize)]
struct Report {
    tensors: usize,
    source_bytes: usize,
    archive_bytes: usize,
    open: Reads,
    /// Of the tensors decoded, the one that took the most bytes.
    decode_one: Reads,
    rows: Vec<Row>,
}

#[derive(Default, Serialize)]
struct Reads {
    calls: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct Row {
    backing: &'static str,
    open_us: f64,
    decode_one_us: f64,
}

fn main() -> Result<()> {
    let Some(args) = Args::of_cargo_bench() else { return Ok(()) };
    let count: usize = args.value("--tensors", 10_000)?;
    let runs: usize = args.value("--runs", 51)?;
    let names: Vec<_> = (0..count).map(|i| format!("model.layers.{}.block.{}.weight", i / 100, i % 100)).collect();
    let mut data = vec![0; count * BYTES];
    Gaussian::new(7).fill(0.02, &mut data);
    let of = |i: usize| &data[i * BYTES..][..BYTES];

    let input = |(i, name)| TensorInput { name, dtype: Dtype::BF16, shape: &SHAPE, data: of(i) };
    let inputs: Vec<_> = names.iter().map(String::as_str).enumerate().map(input).collect();
    let mut archive = Vec::new();
    Encoder::new().encode_tensors(&inputs, Cursor::new(&mut archive))?;
    let archive: Arc<[u8]> = archive.into();
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let path = directory.path().join("it.wcodec");
    std::fs::write(&path, &archive)?;

    let mut random = Random::new(3);
    let picks: Vec<usize> = (0..DECODED).map(|_| (random.next() % count as u64) as usize).collect();
    type Open<'a> = Box<dyn Fn() -> wcodec::Result<Archive> + 'a>;
    let ways: [(&'static str, Open<'_>); 3] = [
        ("memory", Box::new(|| Archive::from_bytes(archive.clone()))),
        ("file, mapped", Box::new(|| Archive::open_with(&path, Backing::Map))),
        ("file, positioned reads", Box::new(|| Archive::open_with(&path, Backing::Read))),
    ];
    let mut rows = Vec::new();
    for (backing, open) in ways {
        let mut opened = Vec::new();
        for _ in 0..runs.max(1) {
            let (archive, seconds) = timed(&open);
            archive?;
            opened.push(seconds);
        }
        let archive = open()?;
        let mut decoded = Vec::new();
        let mut out = vec![0; BYTES];
        for &i in &picks {
            let (done, seconds) = timed(|| archive.tensor(&names[i])?.decode_into(&mut out));
            done?;
            must_be(&out, of(i), &names[i])?;
            decoded.push(seconds);
        }
        rows.push(Row { backing, open_us: median(&opened) * 1e6, decode_one_us: median(&decoded) * 1e6 });
    }
    rows.push(safetensors(&names, &picks, &of, runs)?);

    let reads = Arc::new(Counts::default());
    let counted = Archive::from_reader(Box::new(Counting { bytes: archive.clone(), reads: reads.clone() }))?;
    let (calls, bytes) = reads.take();
    let open = Reads { calls, bytes };
    let mut decode_one = Reads::default();
    for &i in &picks {
        must_be(&counted.tensor(&names[i])?.decode()?, of(i), &names[i])?;
        let (calls, bytes) = reads.take();
        if bytes > decode_one.bytes {
            decode_one = Reads { calls, bytes };
        }
    }
    print(&Report { tensors: count, source_bytes: data.len(), archive_bytes: archive.len(), open, decode_one, rows }, &args)
}

/// The same tensors without compression, as the scale: reading the header of a safetensors file in memory, and a copy.
fn safetensors<'a>(names: &[String], picks: &[usize], of: &dyn Fn(usize) -> &'a [u8], runs: usize) -> Result<Row> {
    let view = |(i, name): (usize, _)| {
        let shape = SHAPE.map(|n| n as usize).to_vec();
        Ok((name, safetensors::tensor::TensorView::new(safetensors::Dtype::BF16, shape, of(i))?))
    };
    let views = names.iter().enumerate().map(view).collect::<Result<Vec<_>>>()?;
    let file = safetensors::serialize(views, None)?;
    let mut opened = Vec::new();
    for _ in 0..runs.max(1) {
        let (tensors, seconds) = timed(|| SafeTensors::deserialize(&file));
        tensors?;
        opened.push(seconds);
    }
    let tensors = SafeTensors::deserialize(&file)?;
    let mut copied = Vec::new();
    let mut out = vec![0; BYTES];
    for &i in picks {
        let (done, seconds) = timed(|| tensors.tensor(&names[i]).map(|t| out.copy_from_slice(t.data())));
        done?;
        must_be(&out, of(i), &names[i])?;
        copied.push(seconds);
    }
    let backing = "(uncompressed safetensors, memory)";
    Ok(Row { backing, open_us: median(&opened) * 1e6, decode_one_us: median(&copied) * 1e6 })
}

fn must_be(decoded: &[u8], original: &[u8], name: &str) -> Result<()> {
    if decoded == original { Ok(()) } else { Err(format!("{name}: the decoded bytes differ").into()) }
}

fn print(r: &Report, args: &Args) -> Result<()> {
    if args.has("--json") {
        println!("{}", serde_json::to_string_pretty(r)?);
        return Ok(());
    }
    println!(
        "{} BF16 tensors of {BYTES} bytes, {} bytes together; archive {} bytes.\n",
        r.tensors, r.source_bytes, r.archive_bytes
    );
    println!("| backing | open µs | decode one tensor µs |\n|---|--:|--:|");
    r.rows.iter().for_each(|row| println!("| {} | {:.1} | {:.2} |", row.backing, row.open_us, row.decode_one_us));
    println!("\n| step | reads | bytes read |\n|---|--:|--:|");
    println!("| open | {} | {} |", r.open.calls, r.open.bytes);
    println!("| decode one tensor, at most | {} | {} |", r.decode_one.calls, r.decode_one.bytes);
    Ok(())
}
