//! Archives that version 1 wrote: every later version must read them.
//!
//! Each `golden/v1_NAME.wcodec` lies beside its source. They are written once, by
//! `cargo test --release -p wcodec --test golden -- --ignored`, which touches nothing that exists.

#![allow(missing_docs)]

mod oracle;
mod support;

use std::path::{Path, PathBuf};
use support::writer::{Mode, Record, write};
use support::*;
use wcodec::{Archive, Backend, Backing, Dtype};

/// Layout, plane, mode.
type Coded = (u8, usize, u8);

/// Name, what it is there for, and whether its archive is of tensors in memory.
const GOLDENS: [(&str, &[Coded], bool); 17] = [
    ("bf16", &[(128, 0, 3), (128, 1, 0), (128, 0, 2)], false),
    ("f32", &[(129, 0, 3), (129, 1, 0), (129, 3, 0)], false),
    ("f16", &[(2, 0, 0), (2, 1, 2)], false),
    ("fp8_apart", &[(130, 0, 3), (130, 1, 0)], false),
    ("fp8_whole", &[(1, 0, 2)], false),
    ("i8", &[(1, 0, 2)], false),
    ("constants", &[(8, 7, 1), (1, 0, 1)], false),
    ("unknown", &[], false),
    ("memory", &[(128, 0, 3)], true),
    ("every_mode", &EVERY_MODE, false),
    ("contexts", &[(128, 0, 4)], true),
    ("contexts_bytes", &[(1, 0, 4)], true),
    ("filters", &[(1, 0, 4)], true),
    ("weights", &[(1, 0, 4)], true),
    // The oracle's own number of trellises, and the tools beside each other.
    ("trellis", &[(203, 0, 65), (203, 0, 64), (1, 0, 4), (1, 0, 2)], true),
    // The oracle's own numbers: 200 categories, 201 signs, 202 bits of refinement; of this dtype; modes.
    ("progressive", &[(200, 15, 2), (201, 15, 0), (202, 15, 0), (200, 6, 2), (202, 6, 2), (202, 18, 1), (128, 0, 3)], false),
    ("contexts_everywhere", &[(128, 0, 4), (129, 0, 4), (129, 1, 4), (130, 0, 4), (3, 2, 4)], false),
];

/// What the format allows and the encoder may not choose: this one is not the encoder's.
const EVERY_MODE: [Coded; 13] = [
    (1, 0, 0),
    (3, 1, 2),
    (128, 0, 0),
    (128, 0, 2),
    (128, 0, 3),
    (128, 1, 2),
    (129, 0, 0),
    (129, 0, 2),
    (129, 0, 3),
    (129, 3, 2),
    (130, 0, 2),
    (130, 0, 3),
    (130, 1, 2),
];

fn path(name: &str, extension: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("v1_{name}.{extension}"))
}

fn tensors(name: &str) -> Vec<Owned> {
    let new = Owned::new;
    match name {
        "bf16" => vec![
            sprinkled(new("model.embed.weight", Dtype::BF16, &[41, 131], Fill::Gaussian, 1)),
            new("model.norm.weight", Dtype::BF16, &[257], Fill::Special, 2),
            new("model.head.weight", Dtype::BF16, &[21, 260], Fill::Outliers, 3),
        ],
        "f32" => vec![
            new("w", Dtype::F32, &[29, 130], Fill::Gaussian, 3),
            new("b", Dtype::F32, &[131], Fill::Outliers, 4),
            new("step", Dtype::F32, &[], Fill::Gaussian, 5),
        ],
        "f16" => vec![new("w", Dtype::F16, &[5, 11, 151], Fill::Gaussian, 6)],
        "fp8_apart" => {
            vec![new("w", Dtype::F8_E4M3, &[71, 203], Fill::Skewed, 7), new("v", Dtype::F8_E4M3FNUZ, &[4099], Fill::Skewed, 8)]
        }
        "fp8_whole" => vec![
            new("w", Dtype::F8_E4M3, &[71, 203], Fill::Few, 9),
            new("v", Dtype::F8_E5M2, &[4099], Fill::Gaussian, 10),
            new("scale", Dtype::F8_E8M0, &[33], Fill::Few, 11),
        ],
        "i8" => vec![new("w", Dtype::I8, &[90, 151], Fill::Skewed, 12), new("noise", Dtype::U8, &[1001], Fill::Random, 13)],
        "constants" => vec![
            new("ids", Dtype::I64, &[1, 512], Fill::Ramp, 14),
            new("mask", Dtype::BOOL, &[1200, 7], Fill::Constant, 15),
            new("zeros", Dtype::U16, &[3000], Fill::Rare, 16),
            new("none", Dtype::F64, &[0, 3], Fill::Constant, 17),
            new("scalar", Dtype::I64, &[], Fill::Random, 18),
        ],
        "memory" => vec![
            new("w", Dtype::BF16, &[41, 150], Fill::Gaussian, 19),
            new("nibbles", Dtype::F4, &[3, 333, 2], Fill::Random, 20),
            new("complex", Dtype::C64, &[99], Fill::Gaussian, 21),
            new("none", Dtype::F32, &[0], Fill::Constant, 22),
        ],
        "contexts" => vec![Owned::scaled("w", Dtype::BF16, [139, 131], 23)],
        "contexts_bytes" => vec![
            Owned::scaled("i8", Dtype::I8, [130, 131], 24),
            Owned::scaled("fp8", Dtype::F8_E4M3, [131, 130], 25),
            new("noise", Dtype::U8, &[1001], Fill::Random, 26),
        ],
        "filters" => vec![
            Owned::smooth("i8", Dtype::I8, [75, 83], 27),
            Owned::smooth("bf16", Dtype::BF16, [50, 71], 28),
            Owned::smooth("i32", Dtype::I32, [41, 60], 29),
        ],
        "weights" => vec![
            Owned::waves("f16", Dtype::F16, [50, 71], 30),
            Owned::waves("bf16", Dtype::BF16, [41, 70], 31),
            Owned::waves("f32", Dtype::F32, [37, 60], 32),
            Owned::waves("i8", Dtype::I8, [75, 83], 33),
        ],
        "trellis" => vec![
            Owned::scaled_on_trellis("contexts", [300, 66], 34),
            Owned::on_trellis("small", [33, 70], 35),
            new("noise", Dtype::I8, &[65, 67], Fill::Few, 36),
        ],
        "progressive" => vec![
            sprinkled(new("model.embed.weight", Dtype::BF16, &[33, 131], Fill::Gaussian, 1)),
            new("model.norm.weight", Dtype::BF16, &[257], Fill::Gaussian, 2),
            new("quantized", Dtype::I8, &[65, 67], Fill::Few, 3),
            halves(new("exact halves", Dtype::F32, &[4097], Fill::Gaussian, 4)),
            new("fp8", Dtype::F8_E5M2, &[4099], Fill::Gaussian, 5),
        ],
        _ => unreachable!(),
    }
}

/// FP32 of which FP16 would be enough: the lower bits of mantissas are zero.
fn halves(mut t: Owned) -> Owned {
    t.data.chunks_mut(4).for_each(|x| (x[0], x[1]) = (0, x[1] & 0xe0));
    t
}

/// With one element in 1400 far outside the window of exponents.
fn sprinkled(mut t: Owned) -> Owned {
    t.data.iter_mut().skip(1).step_by(2800).for_each(|b| *b ^= 0x60);
    t
}

fn source(name: &str) -> Vec<u8> {
    if let Some(records) = forced(name) {
        return records.iter().flat_map(|r| r.data.clone()).collect();
    }
    if name != "unknown" {
        return safetensors(&tensors(name));
    }
    let data = [fill(Dtype::U8, 3001, Fill::Few, 30), fill(Dtype::BF16, 4000, Fill::Gaussian, 31)].concat();
    let entries = [header_entry("known", "BF16", &[40, 50], 3001, 7001), header_entry("weird", "F3_WEIRD", &[8003], 0, 3001)];
    raw_safetensors(&format!("{{ \"__metadata__\": {{\"format\": \"pt\"}},\n {} }}   ", entries.join(", ")), &data)
}

/// The records of an archive that is not the encoder's.
fn forced(name: &str) -> Option<Vec<Record>> {
    use Mode::{Bytes, Contexts, Pairs, Raw};
    match name {
        "every_mode" => Some(every_layout([
            &[Pairs, Raw, Bytes, Bytes, Raw],
            &[Pairs, Raw, Bytes, Raw, Bytes],
            &[Pairs, Raw, Bytes],
            &[Bytes, Raw],
        ])),
        "contexts_everywhere" => Some(every_layout([
            &[Contexts, Contexts, Contexts, Raw, Bytes],
            &[Contexts, Contexts, Raw, Raw],
            &[Contexts, Raw],
            &[Bytes, Raw, Contexts],
        ])),
        _ => None,
    }
}

/// Small tiles, of every layout with exponents and some without, in these modes.
fn every_layout(modes: [&[Mode]; 4]) -> Vec<Record> {
    use Mode::Raw;
    let tensors = [
        sprinkled(Owned::new("bf16", Dtype::BF16, &[9, 301], Fill::Gaussian, 40)),
        Owned::new("f32", Dtype::F32, &[9, 151], Fill::Outliers, 41),
        Owned::new("fp8", Dtype::F8_E4M3, &[9, 603], Fill::Skewed, 42),
        Owned::new("bytes", Dtype::U8, &[9, 300], Fill::Few, 43),
    ];
    let header = safetensors(&tensors);
    let header = header[..header.len() - tensors.iter().map(|t| t.data.len()).sum::<usize>()].to_vec();
    let n = header.len();
    let mut records = vec![Record { blob: true, shape: vec![], ..Record::new("", 1, [1, 1], [n, n], header, &[Raw]) }];
    for ((t, modes), (layout, tile)) in tensors.into_iter().zip(modes).zip([(128, 202), (129, 300), (130, 205), (3, 60)]) {
        let width = t.data.len() / 9;
        let record = Record::new(&t.name, layout, [9, 4], [width, tile], t.data, modes);
        records.push(Record { dtype: t.dtype as u16, shape: t.shape, ..record });
    }
    records
}

#[test]
fn every_golden_decodes() {
    for (name, wanted, in_memory) in GOLDENS {
        let source = std::fs::read(path(name, "safetensors")).unwrap();
        let bytes = std::fs::read(path(name, "wcodec")).unwrap();
        assert!(bytes.len() < 40_000 && source.len() < 40_000);
        let truth = oracle::decode(&bytes).unwrap();
        assert!(in_memory || truth.source == source, "{name}: the oracle");
        // A predictor that only this one is there for.
        assert_eq!(truth.filters.contains(&10), name == "weights", "{name}");
        for mode in wanted {
            assert!(truth.modes.contains(mode), "{name}: no (layout, plane, mode) {mode:?}");
        }
        // What the source says of its tensors, read without the library.
        let header_len = u64::from_le_bytes(*source.first_chunk().unwrap()) as usize;
        let (header, data) = source[8..].split_at(header_len);
        let header: serde_json::Value = serde_json::from_slice(header).unwrap();
        assert_eq!(truth.tensors.len(), header.as_object().unwrap().keys().filter(|k| *k != "__metadata__").count());

        let maps = [Archive::open(path(name, "wcodec")), Archive::open_with(path(name, "wcodec"), Backing::Read)];
        for archive in maps.into_iter().chain([Archive::from_bytes(&bytes[..])]) {
            let mut archive = archive.unwrap();
            for &backend in Backend::available() {
                archive.set_backend(backend);
                assert_eq!(archive.tensors().len(), truth.tensors.len());
                for ((tensor, bytes), t) in archive.decode_all().unwrap().iter().zip(&truth.tensors) {
                    let info = &header[&t.name];
                    let range = [0, 1].map(|i| info["data_offsets"][i].as_u64().unwrap() as usize);
                    assert!(*bytes == data[range[0]..range[1]], "{name}: {} on {}", t.name, backend.name());
                    assert_eq!(*bytes, t.bytes);
                    assert_eq!((tensor.name(), tensor.dtype_name()), (&*t.name, info["dtype"].as_str().unwrap()));
                    let shape: Vec<_> = info["shape"].as_array().unwrap().iter().map(|d| d.as_u64().unwrap()).collect();
                    assert_eq!(tensor.shape(), shape);
                }
                archive.verify(|_, _| ()).unwrap();
                if !in_memory {
                    assert!(restored(&archive).unwrap() == source, "{name}: the source");
                }
            }
        }
    }
}

/// All files in the directory belong to the list, so that none lies there untested.
#[test]
fn nothing_else_lies_there() {
    let mut found: Vec<_> = std::fs::read_dir(path("", "").parent().unwrap()).unwrap().map(|f| f.unwrap().path()).collect();
    let mut listed: Vec<_> = GOLDENS.iter().flat_map(|g| ["safetensors", "wcodec"].map(|e| path(g.0, e))).collect();
    // `gguf.rs` tests these.
    listed.extend(["gguf", "wcodec"].map(|e| path("gguf", e)));
    found.sort();
    listed.sort();
    assert_eq!(found, listed);
}

#[test]
#[ignore = "writes the goldens that are missing, once"]
fn write_missing_goldens() {
    for (name, _, in_memory) in GOLDENS {
        let (from, to) = (path(name, "safetensors"), path(name, "wcodec"));
        if from.exists() || to.exists() {
            eprintln!("{name} exists and stays as it is");
            continue;
        }
        let source = source(name);
        let archive = match name {
            _ if forced(name).is_some() => write(&forced(name).unwrap()),
            "contexts" | "contexts_bytes" | "filters" | "weights" | "trellis" => encode_max(&tensors(name)),
            "progressive" => encode_progressive(&source),
            _ if in_memory => encode_tensors(&tensors(name)),
            _ => encode_source(&source).unwrap(),
        };
        std::fs::write(from, source).unwrap();
        std::fs::write(to, archive).unwrap();
    }
}
