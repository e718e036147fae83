//! The suite: what every decoder must do.

use crate::support::forge::Map;
use crate::support::target::{Target, skipped};
use crate::support::writer::{Mode, Record, write};
use crate::support::*;
use std::path::Path;
use wcodec::{Archive, Backend, Dtype, Encoder, ErrorKind};

/// `archive`, to be decoded on `target`.
pub(crate) fn on(target: Target, archive: &[u8]) -> Option<Archive> {
    let mut a = open(archive);
    target.set(&mut a).then_some(a)
}

/// Whole tensors, and slices of them.
fn check(target: Target, tensors: &[Owned]) {
    check_archive(target, &encode_tensors(tensors), tensors);
}

pub(crate) fn check_archive(target: Target, archive: &[u8], tensors: &[Owned]) {
    if let Some(a) = on(target, archive) {
        check_opened(&a, tensors);
    }
}

/// [`check_archive`] of one that is to be decoded where the caller says.
pub(crate) fn check_opened(a: &Archive, tensors: &[Owned]) {
    for (t, (tensor, bytes)) in tensors.iter().zip(a.decode_all().unwrap()) {
        assert!(bytes == t.data, "{t:?} differs");
        let (rows, columns, size) = (tensor.rows(), tensor.columns(), tensor.column_bytes());
        let mut rng = Numbers(t.data.len() as u64);
        for _ in 0..2 {
            let (r0, c0) = (rng.below(rows.max(1)), rng.below(columns.max(1)));
            let (r1, c1) = (r0 + rng.below(rows - r0.min(rows) + 1), c0 + rng.below(columns - c0.min(columns) + 1));
            let row = |r: u64| &t.data[((r * columns + c0) * size) as usize..((r * columns + c1) * size) as usize];
            let expected: Vec<u8> = (r0..r1).flat_map(|r| row(r).to_vec()).collect();
            assert!(tensor.decode_slice(r0..r1, c0..c1).unwrap() == expected, "{t:?} rows {r0}..{r1} columns {c0}..{c1}");
        }
    }
    assert_eq!(a.verify(|_, _| ()).unwrap().tensors, tensors.len());
}

/// Every type with every distribution, in shapes that meet every kind of tile.
pub(crate) fn types(target: Target) {
    let shapes: [&[u64]; 8] = [&[], &[8], &[0], &[5, 0, 2], &[3, 5, 7, 2, 4], &[127, 136], &[8, 2051], &[300, 768]];
    for &dtype in &DTYPES {
        let mut list = Vec::new();
        for (f, &how) in FILLS.iter().enumerate() {
            for (s, shape) in shapes.iter().enumerate() {
                let bits = shape.iter().product::<u64>() * dtype.bits().unwrap() as u64;
                if bits.is_multiple_of(8) && (s < 7 || f % 3 == 2) {
                    list.push(Owned::new(&format!("{how:?} {s}"), dtype, shape, how, (100 * f + s) as u64));
                }
            }
        }
        check(target, &list);
    }
}

/// Layouts, with a type that suits and its bytes.
pub(crate) const LAYOUTS: [(u8, Dtype, usize); 8] = [
    (1, Dtype::U8, 1),
    (2, Dtype::F16, 2),
    (3, Dtype::U8, 3),
    (4, Dtype::U32, 4),
    (8, Dtype::U64, 8),
    (128, Dtype::BF16, 2),
    (129, Dtype::F32, 4),
    (130, Dtype::F8_E4M3, 1),
];

/// Ways to code a tile's planes.
const MODES: [&[Mode]; 7] = [
    &[Mode::Raw],
    &[Mode::Bytes],
    &[Mode::Pairs, Mode::Raw, Mode::Raw, Mode::Raw],
    &[Mode::Pairs, Mode::Bytes],
    &[Mode::Bytes, Mode::Raw, Mode::Bytes],
    &[Mode::Contexts],
    &[Mode::Raw, Mode::Contexts, Mode::Contexts, Mode::Bytes, Mode::Contexts],
];

/// Grids, layouts and modes that the format allows, whatever the encoder would choose.
pub(crate) fn modes(target: Target) {
    let mut rng = Numbers(5);
    for (layout, dtype, element) in LAYOUTS {
        for modes in MODES {
            for how in [Fill::Gaussian, Fill::Outliers, Fill::Special] {
                let (rows, columns) = (1 + rng.below(70) as usize, 1 + rng.below(900) as usize);
                let tile_columns = 1 + rng.below(columns as u64) as usize;
                let tile_rows = (1 + rng.below(40) as usize).min(65536 / (tile_columns * element));
                let data = fill(dtype, rows * columns * element, how, rng.next());
                let grid = [columns * element, tile_columns * element];
                let record = Record::new("t", layout, [rows, tile_rows], grid, data.clone(), modes);
                let Some(a) = on(target, &write(&[record])) else { return };
                let what =
                    || format!("layout {layout}, {modes:?}, {how:?}, {rows} × {columns}, tiles {tile_rows} × {tile_columns}");
                match a.tensors().next().unwrap().decode() {
                    Ok(bytes) => assert!(bytes == data, "{}", what()),
                    Err(e) => panic!("{}: {e}", what()),
                }
            }
        }
    }
}

/// Patches out of order, so that two lanes would change one element: flagged, and the device goes on.
pub(crate) fn patches_twice(target: Target) {
    for (layout, dtype, element) in LAYOUTS.into_iter().filter(|&(layout, ..)| layout == 1 || layout >= 128) {
        for mode in [Mode::Bytes, Mode::Pairs] {
            // Three symbols of plane 0 are too rare for the table; the other planes are raw.
            let width = 16384 * element;
            let mut data = fill(dtype, width, Fill::Skewed, 3);
            for (i, rare) in [(100, 1), (1100, 2), (2100, 3)] {
                match &mut data[i * element..(i + 1) * element] {
                    [byte] if layout == 1 => *byte = 100 + rare,
                    [byte] => *byte = *byte & 0x87 | rare << 3,
                    [.., low, high] => (*low, *high) = (*low & 0x7f | rare << 7, *high & 0x80 | rare >> 1),
                    [] => unreachable!(),
                }
            }
            let modes = [mode, Mode::Raw, Mode::Raw, Mode::Raw];
            let sound = write(&[Record::new("t", layout, [1, 1], [width, width], data.clone(), &modes)]);
            let map = Map::of(&sound);
            let (entry, payload) = (map.records[0].directory.start + 8, map.records[0].tiles[0].start);
            let half = |at: usize| usize::from(u16::from_le_bytes([sound[at], sound[at + 1]]));
            assert!(half(entry + 6) >= 3, "layout {layout}, {mode:?}");
            let positions = payload + 128 + 2 * half(entry + 4);
            for list in [[500u16, 300, 500], [300, 500, 500], [300, 300, 500], [300, 500, 16384]] {
                let mut damaged = sound.clone();
                for (i, position) in list.iter().enumerate() {
                    damaged[positions + 2 * i..][..2].copy_from_slice(&position.to_le_bytes());
                }
                map.fix_all(&mut damaged);
                let Some(a) = on(target, &damaged) else { return };
                let error = a.tensors().next().unwrap().decode().unwrap_err();
                let what = format!("layout {layout}, {mode:?}, {list:?}: {error}");
                assert_eq!((error.kind(), error.tile()), (ErrorKind::Corrupt, Some(0)), "{what}");
                // The same device decodes the next archive.
                let a = on(target, &sound).unwrap();
                assert!(a.tensors().next().unwrap().decode().unwrap() == data, "after {what}");
            }
        }
    }
}

/// The archives of version 1.
pub(crate) fn goldens(target: Target) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut count = 0;
    for file in std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()) {
        if file.extension().is_some_and(|e| e == "wcodec") {
            let bytes = std::fs::read(&file).unwrap();
            let Some(a) = on(target, &bytes) else { return };
            let mut by_cpu = open(&bytes);
            by_cpu.set_backend(Backend::Portable);
            count += 1;
            if let Some(gpu) = target.gpu() {
                // To stay there.
                for t in by_cpu.tensors() {
                    assert!(
                        gpu.decode(&[t]).unwrap()[0].to_vec().unwrap() == t.decode().unwrap(),
                        "{} of {}",
                        t.name(),
                        file.display()
                    );
                    let (rows, columns) = (t.rows() / 3..t.rows(), 0..t.columns().min(40));
                    let there = gpu.decode_slice(&t, rows.clone(), columns.clone()).unwrap().to_vec().unwrap();
                    assert!(there == t.decode_slice(rows, columns).unwrap(), "rows of {}", t.name());
                }
            }
            assert!(decoded(&a).unwrap() == decoded(&by_cpu).unwrap(), "{}", file.display());
            a.verify(|_, _| ()).unwrap();
            if a.source_sha256().is_some() {
                assert!(
                    restored(&a).unwrap()
                        == std::fs::read(file.with_extension(if a.is_gguf() { "gguf" } else { "safetensors" })).unwrap()
                );
            }
        }
    }
    assert_eq!(count, 18);
}

/// Real checkpoints, whole.
pub(crate) fn real_models(target: Target) {
    let here = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let models = std::env::var_os("WCODEC_MODELS").map_or_else(here, Into::into);
    let names = [
        "minilm/model.safetensors",
        "minilm-bf16.safetensors",
        "minilm-fp16.safetensors",
        "minilm-fp8.safetensors",
        "minilm-int8-channel.safetensors",
        "minilm-int8-tensor.safetensors",
        "minilm-int4-g128.safetensors",
        "smollm2-bf16.safetensors",
        "smollm2-fp16.safetensors",
        "smollm2-fp8.safetensors",
        "smollm2-int8-channel.safetensors",
        "smollm2-int8-tensor.safetensors",
        "smollm2-int4-g128.safetensors",
        "wordllama-fp16.safetensors",
        "wordllama-bf16.safetensors",
    ];
    let directory = tempfile::tempdir().unwrap();
    for name in names {
        let path = models.join(name);
        if !path.exists() {
            skipped(&format!("{name} is not there; `cargo xtask models` fetches it"));
            continue;
        }
        let archive = directory.path().join("model.wcodec");
        Encoder::new().overwrite(true).encode_file(&path, &archive).unwrap();
        let mut a = Archive::open(&archive).unwrap();
        if !target.set(&mut a) {
            return;
        }
        let start = std::time::Instant::now();
        // Every byte is compared, and every hash.
        a.verify_against(&wcodec::FileReader::open(&path).unwrap(), |_, _| ()).unwrap();
        println!("{name}: {:.2} s", start.elapsed().as_secs_f64());
    }
}

/// What decodes has a time, and what does not has an error.
pub(crate) fn timing(target: Target) {
    let Some(gpu) = target.gpu() else { return };
    let mut archive = encode_tensors(&[Owned::new("t", Dtype::BF16, &[64, 512], Fill::Gaussian, 1)]);
    let time = |archive: &[u8]| gpu.time_kernels(&open(archive).tensors().collect::<Vec<_>>(), 2);
    assert!(time(&archive).unwrap() > 0.0);
    // The first state of a lane becomes impossible.
    let map = Map::of(&archive);
    let stream = map.records[0].tiles[0].start;
    archive[stream + 2..stream + 4].fill(0);
    map.fix_all(&mut archive);
    let error = time(&archive).unwrap_err();
    assert_eq!((error.kind(), error.tile()), (ErrorKind::Corrupt, Some(0)), "{error}");
}

/// Payload checksums that the device verifies: sound ones pass, and whatever bit of a payload is flipped, its tile is named.
pub(crate) fn checksums(target: Target) {
    let Some(gpu) = target.gpu() else { return };
    let make = |i: u64| Owned::new(&format!("{i}"), DTYPES[i as usize % 22], &[1 + 9 * i, 264], FILLS[i as usize % 9], i);
    let tensors: Vec<_> = (0..44).map(make).collect();
    let archive = encode_tensors(&tensors);
    let a = open(&archive);
    let all: Vec<_> = a.tensors().collect();
    for (t, decoded) in tensors.iter().zip(gpu.decode_checking_there(&all).unwrap()) {
        assert!(decoded.to_vec().unwrap() == t.data, "{t:?}");
    }
    let map = Map::of(&archive);
    let mut rng = Numbers(3);
    for _ in 0..200 {
        let number = rng.below(map.records.len() as u64) as usize;
        let record = &map.records[number];
        let tile = rng.below(record.tiles.len().max(1) as u64);
        let Some(payload) = record.tiles.get(tile as usize).filter(|p| !p.is_empty()) else { continue };
        let mut damaged = archive.clone();
        damaged[payload.start + rng.below(payload.len() as u64) as usize] ^= 1 << rng.below(8);
        let a = open(&damaged);
        let tensor = a.tensors().nth(number).unwrap();
        let error = gpu.decode_checking_there(&[tensor]).unwrap_err();
        assert_eq!((error.kind(), error.tile()), (ErrorKind::Corrupt, Some(tile)), "{error}");
        assert!(error.to_string().contains("checksum"), "{error}");
    }
}
