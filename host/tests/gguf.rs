//! GGUF files: every type of block, byte for byte, and what is wrong with one told.
#![allow(missing_docs)]

mod oracle;
mod support;

use std::path::{Path, PathBuf};
use support::*;
use wcodec::{Archive, Encoder, ErrorKind, Profile};

/// Name, dimensions (the contiguous one first), type, data.
type Tensor = (String, Vec<u64>, u32, Vec<u8>);

/// Type, numbers in a block, bytes of one, as `ggml` has them.
const BLOCKS: [(u32, u64, usize); 27] = [
    (2, 32, 18),
    (3, 32, 20),
    (6, 32, 22),
    (7, 32, 24),
    (8, 32, 34),
    (9, 32, 36),
    (10, 256, 84),
    (11, 256, 110),
    (12, 256, 144),
    (13, 256, 176),
    (14, 256, 210),
    (15, 256, 292),
    (16, 256, 66),
    (17, 256, 74),
    (18, 256, 98),
    (19, 256, 50),
    (20, 32, 18),
    (21, 256, 110),
    (22, 256, 82),
    (23, 256, 136),
    (29, 256, 56),
    (34, 256, 54),
    (35, 256, 66),
    (39, 32, 17),
    (40, 64, 36),
    (41, 128, 18),
    (42, 64, 18),
];

fn string(s: &str) -> Vec<u8> {
    [&(s.len() as u64).to_le_bytes(), s.as_bytes()].concat()
}

/// Key-value pairs of every type: the alignment, a vocabulary, arrays within an array.
fn pairs(alignment: u32) -> (u64, Vec<u8>) {
    let scalar = |name: &str, kind: u32, bytes: &[u8]| [string(name), kind.to_le_bytes().to_vec(), bytes.to_vec()].concat();
    let mut out = scalar("general.architecture", 8, &string("llama"));
    out.extend(scalar("general.alignment", 4, &alignment.to_le_bytes()));
    let sizes = [(0, 1), (1, 1), (2, 2), (3, 2), (5, 4), (6, 4), (7, 1), (10, 8), (11, 8), (12, 8)];
    for (kind, size) in sizes {
        out.extend(scalar(&format!("k{kind}"), kind, &vec![1; size]));
    }
    let array = |kind: u32, count: u64| [kind.to_le_bytes().to_vec(), count.to_le_bytes().to_vec()].concat();
    let words = (0..3000).flat_map(|i| string(&format!("word{}", i % 700)));
    out.extend(scalar("tokens", 9, &[array(8, 3000), words.collect()].concat()));
    out.extend(scalar("nested", 9, &[array(9, 2), array(4, 2), vec![7; 8], array(8, 1), string("x")].concat()));
    (14, out)
}

fn gguf(version: u32, alignment: usize, tensors: &[Tensor], gap: &[u8], tail: &[u8]) -> Vec<u8> {
    let (count, pairs) = pairs(alignment as u32);
    let mut out = [&b"GGUF"[..], &version.to_le_bytes(), &(tensors.len() as u64).to_le_bytes(), &count.to_le_bytes()].concat();
    out.extend(pairs);
    let mut at = 0;
    let mut data = Vec::new();
    for (name, dims, kind, bytes) in tensors {
        out.extend(string(name));
        out.extend((dims.len() as u32).to_le_bytes());
        dims.iter().for_each(|d| out.extend(d.to_le_bytes()));
        out.extend(kind.to_le_bytes());
        out.extend((at as u64).to_le_bytes());
        data.extend(bytes);
        // Padding that somebody may have put something into.
        let end = (at + bytes.len() + gap.len()).next_multiple_of(alignment);
        data.extend(gap.iter().copied().cycle().take(if gap.is_empty() { 0 } else { end - at - bytes.len() }));
        data.resize(end, 0);
        at = end;
    }
    out.resize(out.len().next_multiple_of(alignment), 0);
    out.extend(data);
    out.extend(tail);
    out
}

/// Blocks whose scales are halves of one size, numbers like a normal distribution's.
fn blocks(kind: u32, size: usize, count: usize, rng: &mut Numbers) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..count {
        let mut block: Vec<u8> = (0..size).map(|_| (128.0 + 30.0 * rng.normal()) as u8).collect();
        if [3, 7].contains(&kind) {
            let step = 0.01 * (0.8 * rng.normal()).exp();
            let (d, m) = (half::f16::from_f64(step), half::f16::from_f64(-step * (7.5 + 3.0 * rng.normal())));
            block[..2].copy_from_slice(&d.to_le_bytes());
            block[2..4].copy_from_slice(&m.to_le_bytes());
            let zero = (-m.to_f64() / d.to_f64()) as u8;
            let nibble = |rng: &mut Numbers| (f64::from(zero) + 1.5 * rng.normal()).round().clamp(0.0, 15.0) as u8;
            block[4..].iter_mut().for_each(|b| *b = nibble(rng) | nibble(rng) << 4);
        }
        out.extend(block);
    }
    out
}

/// A tensor of each type of blocks, and some of plain numbers.
fn every_type(rows: u64, across: u64) -> Vec<Tensor> {
    let mut rng = Numbers(1);
    let mut out: Vec<Tensor> = BLOCKS
        .iter()
        .map(|&(kind, numbers, size)| {
            let data = blocks(kind, size, (rows * across) as usize, &mut rng);
            (format!("blk.{kind}.weight"), vec![numbers * across, rows], kind, data)
        })
        .collect();
    for (kind, size) in [(0, 4), (1, 2), (24, 1), (25, 2), (26, 4), (27, 8), (28, 8), (30, 2)] {
        let data = (0..33 * 7 * size).map(|_| (100.0 + 9.0 * rng.normal()) as u8).collect();
        out.push((format!("plain.{kind}"), vec![33, 7], kind, data));
    }
    out.push(("none".into(), vec![32, 0], 2, vec![]));
    out
}

fn encode(source: &[u8], profile: Profile) -> Vec<u8> {
    let mut out = std::io::Cursor::new(Vec::new());
    Encoder::new().profile(profile).encode_source(&source, &mut out).unwrap();
    out.into_inner()
}

/// Encodes, decodes by all means, compares with the oracle; the archive.
fn check(source: &[u8], tensors: &[Tensor], profile: Profile) -> (Vec<u8>, oracle::Decoded) {
    let archive = encode(source, profile);
    let truth = oracle::decode(&archive).unwrap();
    assert!(truth.source == source, "the oracle");
    for (backend, a) in on_every_backend(&archive) {
        assert!(a.is_gguf() && a.tensors().len() == tensors.len());
        for (name, dims, _, data) in tensors {
            let t = a.tensor(name).unwrap();
            assert!(t.decode().unwrap() == *data, "{name} on {}", backend.name());
            assert!(t.shape().iter().rev().eq(dims), "{name}");
            if t.rows() > 2 {
                let row = data.len() / t.rows() as usize;
                assert!(t.decode_slice(1..3, 0..t.columns()).unwrap() == data[row..3 * row], "rows of {name}");
            }
        }
        assert!(restored(&a).unwrap() == source);
        a.verify(|_, _| ()).unwrap();
    }
    (archive, truth)
}

#[test]
fn every_type_of_block_comes_back() {
    for (version, alignment, gap, tail) in
        [(2, 32, &b""[..], &b""[..]), (3, 64, b"\x01gap", b"left over at the end"), (3, 8, b"", b"")]
    {
        let tensors = every_type(5, 3);
        let source = gguf(version, alignment, &tensors, gap, tail);
        check(&source, &tensors, Profile::Default);
    }
    let tensors = every_type(60, 40);
    let source = gguf(3, 32, &tensors, b"", b"");
    let (mut archive, truth) = check(&source, &tensors, Profile::Default);
    assert!(truth.modes.contains(&(1, 0, 5)), "no deflated blob");
    check(&source, &tensors, Profile::Max);
    // Whoever knows no deflated planes is told by the superblock that there are some, or there are none.
    archive[16] &= !32;
    support::forge::fix_superblock(&mut archive);
    let Err(e) = restored(&open(&archive)) else { panic!("decoded") };
    assert!(e.kind() == ErrorKind::Corrupt && e.to_string().contains("does not announce"), "{e}");
}

#[test]
fn zero_says_where_numbers_lie() {
    let tensor = |kind, size, rng: &mut Numbers| (format!("{kind}"), vec![32 * 50, 200], kind, blocks(kind, size, 10_000, rng));
    let tensors = [tensor(3, 20, &mut Numbers(2)), tensor(7, 24, &mut Numbers(3))];
    let source = gguf(3, 32, &tensors, b"", b"");
    let (plain, _) = check(&source, &tensors, Profile::Default);
    let (max, truth) = check(&source, &tensors, Profile::Max);
    assert!(max.len() < plain.len(), "{} {}", plain.len(), max.len());
    for layout in [147, 151] {
        assert!(truth.modes.contains(&(layout, 4, 4)) || truth.modes.contains(&(layout, 5, 4)), "no contexts of {layout}");
    }
    assert!(truth.modes.iter().any(|m| m.0 == 147 && m.1 == 3 && m.2 == 4), "no contexts of a minimum");
}

#[test]
fn unknown_blocks_are_kept_as_bytes() {
    let tensors = [
        ("a".to_owned(), vec![64, 2], 2, blocks(2, 18, 4, &mut Numbers(5))),
        ("strange".to_owned(), vec![77], 99, (0..333u32).map(|i| i as u8).collect()),
        ("b".to_owned(), vec![64, 2], 2, blocks(2, 18, 4, &mut Numbers(6))),
    ];
    let source = gguf(3, 32, &tensors, b"", b"");
    let mut out = std::io::Cursor::new(Vec::new());
    let report = Encoder::new().encode_source(&source, &mut out).unwrap();
    assert_eq!((report.tensors, report.unknown), (3, 1));
    let a = Archive::from_bytes(out.into_inner()).unwrap();
    assert!(restored(&a).unwrap() == source);
    // Its length is not known: it ends where the next begins.
    let t = a.tensor("strange").unwrap();
    assert_eq!((t.dtype_name(), t.shape(), t.byte_len()), ("GGML_99", &[77][..], 352));
    assert!(t.decode().unwrap().starts_with(&tensors[1].3));
}

#[test]
fn what_is_wrong_with_a_file_is_told() {
    let tensors = every_type(2, 1);
    let good = gguf(3, 32, &tensors, b"", b"");
    let refused = |source: &[u8], why: &str| {
        let mut out = std::io::Cursor::new(Vec::new());
        let e = Encoder::new().encode_source(&source, &mut out).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::BadSource, "{e}");
        assert!(e.to_string().contains(why), "{e} does not say: {why}");
    };
    let at = |what: &str| good.windows(what.len()).position(|w| w == what.as_bytes()).unwrap() + what.len();
    let with = |at: usize, bytes: &[u8]| {
        let mut bad = good.clone();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        bad
    };
    refused(&with(4, &1u32.to_le_bytes()), "version 1");
    refused(&with(4, &3u32.to_be_bytes()), "big-endian");
    refused(&with(4, &9u32.to_le_bytes()), "newer");
    refused(&with(8, &u64::MAX.to_le_bytes()), "tensors are more");
    refused(&with(16, &u64::MAX.to_le_bytes()), "");
    refused(&with(at("general.alignment") + 4, &0u32.to_le_bytes()), "alignment of 0");
    refused(&with(at("general.alignment") + 4, &24u32.to_le_bytes()), "no multiple of the alignment");
    refused(&with(at("general.alignment"), &8u32.to_le_bytes()), "");
    refused(&with(at("tokens") + 8, &u64::MAX.to_le_bytes()), "ends within");
    refused(&with(at("nested"), &13u32.to_le_bytes()), "unknown type 13");
    let first = at("blk.2.weight");
    refused(&with(first, &5u32.to_le_bytes()), "5 dimensions");
    refused(&with(first + 4, &33u64.to_le_bytes()), "no possible number of bytes");
    refused(&with(first + 4, &u64::MAX.to_le_bytes()), "no possible number of bytes");
    refused(&with(first + 12, &4u64.to_le_bytes()), "overlap");
    refused(&with(first + 12, &(1u64 << 40).to_le_bytes()), "not in the file");
    refused(&with(first + 24, &32u64.to_le_bytes()), "overlap");
    refused(&with(first + 24, &(1u64 << 60).to_le_bytes()), "not in the file");
    refused(&with(first - 12, b"blk.3"), "twice");
    refused(&with(first - 1, &[0xff]), "UTF-8");
    for cut in (4..good.len() - 1).step_by(97).chain([4, 7, 8, 23, 24]) {
        // Not all of what follows the tensors is needed; all of the rest is.
        let mut out = std::io::Cursor::new(Vec::new());
        if let Err(e) = Encoder::new().encode_source(&&good[..cut], &mut out) {
            assert!(matches!(e.kind(), ErrorKind::BadSource), "{e}");
        } else {
            panic!("cut at {cut} of {}, it is encoded", good.len());
        }
    }
}

/// Every byte of small archives is damaged: an error, or the right bytes.
#[test]
fn damage_is_found_or_harmless() {
    let tensors = [
        ("q".to_owned(), vec![32 * 40, 9], 3, blocks(3, 20, 360, &mut Numbers(7))),
        ("k".to_owned(), vec![256, 3], 14, blocks(14, 210, 3, &mut Numbers(8))),
    ];
    let source = gguf(3, 32, &tensors, b"", b"tail");
    for profile in [Profile::Default, Profile::Max] {
        let good = encode(&source, profile);
        let map = forge::Map::of(&good);
        let step = if profile == Profile::Default { 1 } else { 3 };
        for at in (0..good.len()).step_by(step) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            if at % 2 == 0 {
                map.fix_all(&mut bad);
            }
            let Ok(a) = Archive::from_bytes(&bad[..]) else { continue };
            if let Ok(restored) = restored(&a) {
                assert!(restored == source, "wrong bytes after damage at {at}");
            }
            for t in a.tensors() {
                let _ = t.decode();
            }
        }
    }
}

fn path(extension: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("v1_gguf.{extension}"))
}

#[test]
fn the_golden_decodes() {
    let (source, archive) = (std::fs::read(path("gguf")).unwrap(), std::fs::read(path("wcodec")).unwrap());
    let truth = oracle::decode(&archive).unwrap();
    assert!(truth.source == source);
    for mode in [(1, 0, 5), (147, 4, 4), (146, 2, 2)] {
        assert!(truth.modes.contains(&mode), "no {mode:?}");
    }
    for (_, a) in on_every_backend(&archive) {
        assert!(restored(&a).unwrap() == source);
    }
}

#[test]
#[ignore = "writes the golden, once"]
fn write_the_golden() {
    if path("wcodec").exists() {
        return;
    }
    let tensors = [
        ("a.weight".to_owned(), vec![32 * 40, 30], 3, blocks(3, 20, 1200, &mut Numbers(9))),
        ("b.weight".to_owned(), vec![32 * 10, 20], 2, blocks(2, 18, 200, &mut Numbers(10))),
        ("c.weight".to_owned(), vec![256, 5], 12, blocks(12, 144, 5, &mut Numbers(11))),
    ];
    let source = gguf(3, 32, &tensors, b"", b"");
    std::fs::write(path("wcodec"), encode(&source, Profile::Max)).unwrap();
    std::fs::write(path("gguf"), source).unwrap();
}

/// A real one: SmolLM2 as Q4_1 and Q8_0.
#[test]
fn a_real_model_is_as_small_as_promised() {
    let here = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../models");
    let path = std::env::var_os("WCODEC_MODELS").map_or_else(here, PathBuf::from).join("smollm2.gguf");
    if !path.exists() {
        eprintln!("skipped: run `cargo xtask models`");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("model.wcodec");
    for (profile, most) in [(Profile::Default, 0.890), (Profile::Max, 0.876)] {
        let report = Encoder::new().profile(profile).overwrite(true).encode_file(&path, &archive).unwrap();
        println!("smollm2.gguf, {profile:?}: {:.4}", report.ratio());
        assert!(report.ratio() <= most, "{profile:?}: {:.4} > {most}", report.ratio());
        let source = wcodec::FileReader::open(&path).unwrap();
        Archive::open(&archive).unwrap().verify_against(&source, |_, _| ()).unwrap();
    }
}
