//! The library agrees with a decoder that was written from `docs/format.md` alone.

#![allow(missing_docs)]

mod oracle;
mod support;

use std::path::{Path, PathBuf};
use support::*;
use wcodec::Dtype;

/// Everything that the library and the oracle say about an archive is the same, on each backend.
fn check_parity(archive: &[u8]) -> oracle::Decoded {
    let truth = oracle::decode(archive).unwrap();
    for (backend, a) in on_every_backend(archive) {
        let all = a.decode_all().unwrap();
        assert_eq!(all.len(), truth.tensors.len());
        for ((tensor, bytes), t) in all.iter().zip(&truth.tensors) {
            assert_eq!((tensor.name(), tensor.dtype() as u16, tensor.shape()), (&*t.name, t.dtype, &*t.shape));
            if t.dtype == 65535 {
                assert_eq!(tensor.dtype_name(), t.dtype_name);
            }
            assert!(*bytes == t.bytes, "{} differs on {}", t.name, backend.name());
        }
    }
    truth
}

#[test]
fn crc_is_the_documents() {
    assert_eq!(oracle::crc32c(b"123456789"), 0xe306_9283);
    assert_eq!(forge::crc(b"123456789"), 0xe306_9283);
}

#[test]
fn tensors_of_every_type_and_kind() {
    let shapes: [&[u64]; 5] = [&[], &[12], &[3, 0, 8], &[52, 340], &[30, 2, 1208]];
    let mut modes = Vec::new();
    for (d, &dtype) in DTYPES.iter().enumerate() {
        let mut tensors = Vec::new();
        for (f, &how) in FILLS.iter().enumerate() {
            for (s, &shape) in shapes.iter().enumerate() {
                // No 0-dimensional tensor of less than a byte.
                if dtype.bits().unwrap() % 8 == 0 || !shape.is_empty() {
                    tensors.push(Owned::new(&format!("{f}.{s}"), dtype, shape, how, (d * 100 + f * 10 + s) as u64));
                }
            }
        }
        let truth = check_parity(&encode_tensors(&tensors));
        for (t, theirs) in tensors.iter().zip(&truth.tensors) {
            assert_eq!((&t.name, t.dtype as u16, &t.shape), (&theirs.name, theirs.dtype, &theirs.shape));
            assert!(t.data == theirs.bytes, "{dtype:?} {}", t.name);
        }
        modes.extend(truth.modes);
    }
    // What the test is about was there: streams of bytes and of pairs, raw and constant planes, in each of the special layouts.
    for wanted in
        [(128, 0, 1), (128, 0, 3), (128, 1, 0), (129, 0, 3), (129, 3, 0), (130, 0, 3), (130, 1, 0), (1, 0, 2), (8, 7, 2)]
    {
        assert!(modes.contains(&wanted), "no (layout, plane, mode) {wanted:?}");
    }
    assert!([128, 129].iter().any(|&l| modes.contains(&(l, 0, 2))), "no stream of exponent bytes");
}

/// Grids, layouts and modes that the encoder may never choose, but a reader must understand.
#[test]
fn whatever_the_format_allows() {
    let mut modes = Vec::new();
    for seed in 0..1500 {
        let mut rng = Numbers(seed);
        let records: Vec<_> = (0..1 + rng.below(3)).map(|i| writer::Record::random(&i.to_string(), &mut rng)).collect();
        let archive = writer::write(&records);
        let truth = check_parity(&archive);
        for (r, t) in records.iter().zip(&truth.tensors) {
            assert!(r.data == t.bytes, "the writer of this test is wrong: {seed}");
        }
        for (backend, a) in on_every_backend(&archive) {
            for (r, t) in records.iter().zip(a.tensors()) {
                let (top, left) = (rng.below(r.rows as u64), rng.below(r.row_bytes as u64));
                let slice = t.decode_slice(top..t.rows(), left..t.columns()).unwrap();
                let rows = r.data.chunks(r.row_bytes).skip(top as usize);
                let expected: Vec<u8> = rows.flat_map(|row| &row[left as usize..]).copied().collect();
                assert!(slice == expected, "a slice differs on {}: {seed}", backend.name());
            }
            a.verify(|_, _| ()).unwrap();
        }
        modes.extend(truth.modes);
    }
    modes.sort_unstable();
    modes.dedup();
    // Each layout with exponents, with each mode for them; each mode for bytes.
    for layout in [128, 129, 130] {
        (0..5).for_each(|mode| assert!(modes.contains(&(layout, 0, mode)), "{layout} {mode}"));
        (0..3).for_each(|mode| assert!(modes.contains(&(layout, 1, mode)), "{layout} {mode}"));
    }
    for layout in [1, 2, 3, 4, 5, 8, 16, 33, 64] {
        let wanted = [0, 1, 2, 4].map(|mode| (layout, layout as usize - 1, mode));
        wanted.iter().for_each(|mode| assert!(modes.contains(mode), "{mode:?}"));
    }
    assert!(modes.contains(&(128, 1, 4)) && modes.contains(&(129, 1, 4)), "no deep contexts");
    assert!([64, 65].iter().all(|&tools| modes.contains(&(203, 0, tools))), "no trellis, with contexts or without");
}

/// Profile `max` codes weights whose rows and columns have scales with contexts, and smaller than without.
#[test]
fn contexts_as_the_encoder_chooses_them() {
    let scaled = Owned::scaled;
    let tensors = [
        scaled("bf16", Dtype::BF16, [900, 531], 1),
        scaled("f32", Dtype::F32, [203, 98], 2),
        scaled("f16", Dtype::F16, [97, 300], 3),
        scaled("i8", Dtype::I8, [301, 130], 4),
        scaled("fp8", Dtype::F8_E4M3, [128, 129], 5),
        scaled("u8", Dtype::U8, [131, 260], 6),
        Owned::new("noise", Dtype::BF16, &[128, 200], Fill::Random, 7),
        Owned::new("special", Dtype::F32, &[128, 200], Fill::Special, 8),
        Owned::new("constant", Dtype::F16, &[128, 200], Fill::Constant, 9),
    ];
    let archive = encode_max(&tensors);
    let truth = check_parity(&archive);
    for (t, theirs) in tensors.iter().zip(&truth.tensors) {
        assert!(t.data == theirs.bytes, "{}", t.name);
    }
    for wanted in [(128, 0, 4), (128, 1, 4), (129, 0, 4), (129, 1, 4), (2, 1, 4), (1, 0, 4)] {
        assert!(truth.modes.contains(&wanted), "no (layout, plane, mode) {wanted:?} among {:?}", truth.modes);
    }
    let plain = encode_tensors(&tensors);
    assert!(archive.len() * 100 < plain.len() * 97, "{} of {}", archive.len(), plain.len());
    for (backend, a) in on_every_backend(&archive) {
        for (t, theirs) in tensors.iter().zip(a.tensors()) {
            let slice = theirs.decode_slice(3..theirs.rows() - 5, 7..theirs.columns() - 1).unwrap();
            let (width, size) = (t.shape[1] as usize, t.data.len() / (t.shape[0] * t.shape[1]) as usize);
            let rows = t.data.chunks(width * size).skip(3).take(t.shape[0] as usize - 8);
            let expected: Vec<u8> = rows.flat_map(|row| &row[7 * size..(width - 1) * size]).copied().collect();
            assert!(slice == expected, "{} on {}", t.name, backend.name());
        }
    }
    // The same bytes whatever the threads.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    assert!(pool.install(|| encode_max(&tensors)) == archive);
}

#[test]
fn a_source_file() {
    let tensors = [
        Owned::new("b", Dtype::BF16, &[70, 531], Fill::Outliers, 1),
        Owned::new("a", Dtype::F8_E4M3, &[33, 1003], Fill::Skewed, 2),
        Owned::new("empty", Dtype::F32, &[0, 4], Fill::Constant, 3),
    ];
    let source = safetensors(&tensors);
    let archive = encode_source(&source).unwrap();
    let truth = check_parity(&archive);
    assert!(truth.source == source);
    assert_eq!(truth.source_kind, 1);
}

/// Where the real models are.
fn models() -> PathBuf {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    std::env::var_os("WCODEC_MODELS").map_or_else(beside, PathBuf::from)
}

#[test]
fn real_models() {
    let names = ["minilm-int8-channel", "minilm-int4-g128", "minilm-fp8", "wordllama-fp16", "wordllama-bf16"];
    let mut seen = 0;
    for name in names {
        let Ok(source) = std::fs::read(models().join(name).with_extension("safetensors")) else { continue };
        seen += 1;
        let archive = encode_source(&source).unwrap();
        assert!(archive.len() < source.len(), "{name} did not shrink");
        let truth = check_parity(&archive);
        assert!(truth.source == source, "{name}");
    }
    if seen < names.len() {
        eprintln!("skipped {} of {} models: run `cargo xtask models`", names.len() - seen, names.len());
    }
}
