//! Structured tensors: prediction and transforms pay on them, and change nothing elsewhere.

#![allow(missing_docs)]

mod oracle;
mod support;

use std::io::Cursor;
use std::path::{Path, PathBuf};
use support::structured::{gabor, made};
use support::*;
use wcodec::{Dtype, Encoder, Profile, TensorInput};

/// The position embedding of the Transformer: sines and cosines of wavelengths from 2 π to 20000 π.
fn sinusoidal(name: &str, dtype: Dtype) -> Owned {
    made(name, dtype, &[1024, 384], |p, d| {
        let angle = p as f64 / 10000f64.powf(2.0 * (d / 2) as f64 / 384.0);
        if d % 2 == 0 { angle.sin() } else { angle.cos() }
    })
}

/// A learned position embedding: of each dimension a few slow waves, and a little noise.
fn learned(name: &str, dtype: Dtype) -> Owned {
    let mut rng = Numbers(7);
    let waves: Vec<[f64; 6]> = (0..384).map(|_| [0; 6].map(|_| rng.normal())).collect();
    let noise: Vec<f64> = (0..512 * 384).map(|_| rng.normal()).collect();
    let scale = if dtype == Dtype::I8 { 300.0 } else { 1.0 };
    made(name, dtype, &[512, 384], |p, d| {
        let t = p as f64 / 512.0;
        let [a, b, c, x, y, z] = waves[d];
        let slow = a * (6.3 * t + x).sin() + b * (12.6 * t + y).sin() + 0.5 * c * (18.9 * t + z).sin();
        scale * (0.05 * slow + 0.001 * noise[p * 384 + d])
    })
}

/// A lookup table of two smooth arguments.
fn table(name: &str, dtype: Dtype) -> Owned {
    made(name, dtype, &[256, 256], |y, x| {
        let (u, v) = (x as f64 / 255.0, y as f64 / 255.0);
        let z = (3.0 * u).sin() * (2.0 * v).exp() / 7.4 + 0.3 * (u * v);
        match dtype {
            Dtype::I16 => 30000.0 * z,
            Dtype::I32 => 1e9 * z,
            _ => z,
        }
    })
}

/// A picture: shades, edges, texture, grain.
fn image(name: &str, dtype: Dtype) -> Owned {
    let mut rng = Numbers(3);
    let discs: Vec<[f64; 4]> =
        (0..25).map(|_| [rng.unit() * 512.0, rng.unit() * 384.0, 20.0 + 60.0 * rng.unit(), rng.unit()]).collect();
    let grain: Vec<f64> = (0..512 * 384).map(|_| rng.normal()).collect();
    made(name, dtype, &[384, 512], |y, x| {
        let mut light = 90.0 + 40.0 * (x as f64 / 90.0).sin() + 30.0 * (y as f64 / 60.0).cos();
        for [cx, cy, radius, shade] in &discs {
            if (x as f64 - cx).hypot(y as f64 - cy) < *radius {
                light = 30.0 + 190.0 * shade + 0.2 * (x as f64 - cx);
            }
        }
        let texture = if y > 250 { 10.0 * (x as f64 / 2.3 + y as f64 / 5.0).sin() } else { 0.0 };
        let byte = (light + texture + 1.2 * grain[y * 512 + x]).clamp(0.0, 255.0);
        if dtype == Dtype::I8 { byte - 128.0 } else { byte }
    })
}

/// The same in four bits, two to a byte.
fn nibbles(name: &str) -> Owned {
    let of = image("", Dtype::U8);
    let data = of.data.chunks(2).map(|two| two[0] >> 4 | two[1] & 0xf0).collect();
    Owned { name: name.into(), dtype: Dtype::U8, shape: vec![384, 256], data }
}

fn structured() -> Vec<Owned> {
    vec![
        sinusoidal("sinusoidal BF16", Dtype::BF16),
        sinusoidal("sinusoidal F32", Dtype::F32),
        learned("learned BF16", Dtype::BF16),
        learned("learned I8", Dtype::I8),
        gabor("gabor F32", Dtype::F32),
        gabor("gabor F16", Dtype::F16),
        gabor("gabor BF16", Dtype::BF16),
        gabor("gabor I8", Dtype::I8),
        table("table F32", Dtype::F32),
        table("table BF16", Dtype::BF16),
        table("table I16", Dtype::I16),
        table("table I32", Dtype::I32),
        image("image I8", Dtype::I8),
        image("image U8", Dtype::U8),
        nibbles("image INT4"),
    ]
}

fn encode(profile: Profile, filters: bool, tensor: &TensorInput<'_>) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    Encoder::new().profile(profile).filters(filters).encode_tensors(&[*tensor], &mut out).unwrap();
    out.into_inner()
}

#[test]
fn structured_tensors_shrink_by_a_fifth() {
    let mut ways = Vec::new();
    for t in structured() {
        let size = |profile, filters| encode(profile, filters, &t.input()).len();
        let (default, max) = (size(Profile::Default, true), size(Profile::Max, false));
        let archive = encode(Profile::Max, true, &t.input());
        let of = |n: usize| n as f64 / t.data.len() as f64;
        println!("{:<16} default {:.4}  max {:.4}  filtered {:.4}", t.name, of(default), of(max), of(archive.len()));
        assert!(archive.len() as f64 <= 0.8 * default as f64 && archive.len() < max, "{}", t.name);
        for (backend, a) in on_every_backend(&archive) {
            assert!(decoded(&a).unwrap() == t.data, "{} on {}", t.name, backend.name());
            let (tensor, size) = (a.tensors().next().unwrap(), t.dtype.bits().unwrap() as usize / 8);
            let (rows, columns) = (5..tensor.rows() - 3, 2..tensor.columns() - 1);
            let slice = tensor.decode_slice(rows.clone(), columns.clone()).unwrap();
            let width = tensor.columns() as usize * size;
            let part = |row: u64| &t.data[row as usize * width..][columns.start as usize * size..columns.end as usize * size];
            assert!(slice == rows.flat_map(part).copied().collect::<Vec<_>>(), "a slice of {}", t.name);
        }
        let truth = oracle::decode(&archive).unwrap();
        assert!(truth.tensors[0].bytes == t.data, "{}: the oracle", t.name);
        ways.extend(truth.filters);
    }
    // What the sizes above are made of.
    ways.sort_unstable();
    ways.dedup();
    println!("predictors, transforms + 16: {ways:?}");
    assert!([2, 5, 6, 7, 8, 9, 10].iter().all(|way| ways.contains(way)), "{ways:?}");
}

/// The same bytes whatever the threads; tiny, empty and one-row tensors; what the default profile does not do.
#[test]
fn odd_sizes_and_threads() {
    let smooth = Owned::smooth;
    let tensors = [
        smooth("i8", Dtype::I8, [75, 83], 1),
        smooth("row", Dtype::I16, [1, 5000], 2),
        smooth("column", Dtype::F16, [5000, 1], 3),
        smooth("wide", Dtype::F32, [3, 40_000], 4),
        smooth("tall", Dtype::BF16, [9000, 3], 5),
        smooth("small", Dtype::I32, [4, 4], 6),
        smooth("empty", Dtype::I32, [0, 4], 7),
        Owned::waves("waves", Dtype::F16, [75, 83], 10),
        Owned::waves("whole waves", Dtype::I16, [75, 83], 11),
        Owned::waves("a wave", Dtype::F32, [2, 9000], 12),
        Owned::new("noise", Dtype::U8, &[300, 300], Fill::Random, 8),
        Owned::new("constant", Dtype::I16, &[300, 300], Fill::Constant, 9),
    ];
    let archive = encode_max(&tensors);
    let truth = oracle::decode(&archive).unwrap();
    assert!(truth.filters.contains(&10));
    for (backend, a) in on_every_backend(&archive) {
        for ((t, (_, bytes)), theirs) in tensors.iter().zip(a.decode_all().unwrap()).zip(&truth.tensors) {
            assert!(t.data == bytes && t.data == theirs.bytes, "{} on {}", t.name, backend.name());
        }
        a.verify(|_, _| ()).unwrap();
    }
    assert!(open(&archive).report().unwrap().iter().any(|t| t.filtered > 0));
    assert!(open(&encode_tensors(&tensors)).report().unwrap().iter().all(|t| t.filtered == 0));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert!(pool.install(|| encode_max(&tensors)) == archive);
}

/// Where the real models are.
fn models() -> PathBuf {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    std::env::var_os("WCODEC_MODELS").map_or_else(beside, PathBuf::from)
}

/// What this process has computed for, all its threads together, where Linux tells.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

#[test]
fn weights_of_models_are_none_the_larger() {
    let names = [
        "minilm-bf16",
        "minilm-int8-channel",
        "minilm-int8-tensor",
        "minilm-int4-g128",
        "minilm-fp8",
        "wordllama-bf16",
        "wordllama-fp16",
    ];
    for name in names {
        let Ok(source) = std::fs::read(models().join(name).with_extension("safetensors")) else {
            println!("skipped: {name} is not there; `cargo xtask models` fetches it");
            continue;
        };
        let encode = |filters| {
            let mut out = Cursor::new(Vec::new());
            let began = cpu_seconds();
            Encoder::new().profile(Profile::Max).filters(filters).encode_source(&source, &mut out).unwrap();
            println!("{name} {filters}: {:.1} MB a second of one core", source.len() as f64 / 1e6 / (cpu_seconds() - began));
            out.into_inner()
        };
        let (without, with) = (encode(false), encode(true));
        let filtered: Vec<_> =
            open(&with).report().unwrap().into_iter().filter(|t| t.filtered > 0).map(|t| (t.name, t.filtered)).collect();
        println!(
            "{name}: {} without, {} with ({:+.4} %), {filtered:?}",
            without.len(),
            with.len(),
            100.0 * (with.len() as f64 / without.len() as f64 - 1.0)
        );
        assert!(with.len() as f64 <= 1.001 * without.len() as f64, "{name}");
        assert!(restored(&open(&with)).unwrap() == source, "{name}");
    }
}
