//! Progressive archives: coarse at first, refined in place, exact at last.

#![allow(missing_docs)]

mod oracle;
mod support;

use proptest::prelude::*;
use std::io::Cursor;
use support::progressive::{SPLIT, expected, expected_of, model, planes};
use support::*;
use wcodec::{Archive, Backing, Base, Dtype, Encoder, ErrorKind, Profile};

fn encode(tensors: &[Owned]) -> Vec<u8> {
    let inputs: Vec<_> = tensors.iter().map(Owned::input).collect();
    let mut out = Cursor::new(Vec::new());
    Encoder::new().progressive(true).encode_tensors(&inputs, &mut out).unwrap();
    out.into_inner()
}

fn tensors(dtype: Dtype, seed: u64) -> Vec<Owned> {
    let shapes: [&[u64]; 4] = [&[300, 150], &[5001], &[2, 70_001], &[7, 9, 120]];
    let fills = [Fill::Gaussian, Fill::Special, Fill::Outliers, Fill::Random, Fill::Few, Fill::Constant];
    let all = shapes.iter().flat_map(|shape| fills.map(|fill| (shape, fill))).enumerate();
    all.map(|(i, (shape, fill))| Owned::new(&format!("{i} {fill:?}"), dtype, shape, fill, seed + i as u64)).collect()
}

#[test]
fn every_level_of_every_type() {
    for dtype in SPLIT {
        let tensors = tensors(dtype, 7);
        let bytes = encode(&tensors);
        let truth = oracle::decode(&bytes).unwrap();
        assert!(truth.tensors.iter().zip(&tensors).all(|(theirs, t)| theirs.bytes == t.data));
        for (backend, mut archive) in on_every_backend(&bytes) {
            assert!(archive.is_progressive() && archive.is_exact());
            assert_eq!(archive.levels().len(), 1 + planes(dtype));
            archive.verify(|_, _| ()).unwrap();
            // In place from level to level, and by leaps.
            let mut refined: Vec<Vec<u8>> = Vec::new();
            let mut leaping: Vec<Vec<u8>> = Vec::new();
            for k in 0..=planes(dtype) {
                archive.set_planes(k).unwrap();
                assert_eq!(archive.is_exact(), k == planes(dtype));
                let all = archive.decode_all().unwrap();
                assert_eq!(all.len(), tensors.len());
                if backend == wcodec::Backend::Portable && (k < 3 || k == planes(dtype)) {
                    let theirs = oracle::decode_coarse(&bytes, k as u64).unwrap();
                    assert!(all.iter().zip(&theirs.tensors).all(|((_, ours), theirs)| *ours == theirs.bytes), "{dtype:?} {k}");
                }
                for (i, (of, (tensor, bytes))) in tensors.iter().zip(&all).enumerate() {
                    let wanted = expected(dtype, &of.data, k);
                    assert!(*bytes == wanted, "{of:?} at {k} planes on {}", backend.name());
                    if k == 0 {
                        refined.push(bytes.clone());
                        leaping.push(bytes.clone());
                    } else {
                        tensor.refine(k - 1, &mut refined[i]).unwrap();
                        assert!(refined[i] == wanted, "{of:?} refined to {k}");
                    }
                    if k == planes(dtype) {
                        tensor.refine(0, &mut leaping[i]).unwrap();
                        assert!(leaping[i] == of.data);
                    }
                }
            }
            let all = archive.decode_all().unwrap();
            assert!(all.iter().zip(&tensors).all(|((_, bytes), t)| *bytes == t.data));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any shape and fill, to any level at once, from any level to any other in place, and any slice.
    #[test]
    fn round_trips(
        dtype in prop::sample::select(SPLIT.to_vec()),
        fill in prop::sample::select(FILLS.to_vec()),
        rows in 1u64..400,
        columns in 1u64..400,
        (from, to) in (0usize..24, 0usize..24),
        seed in any::<u64>(),
    ) {
        let t = Owned::new("w", dtype, &[rows, columns], fill, seed);
        let source = safetensors(std::slice::from_ref(&t));
        let mut archive = open(&encode_progressive(&source));
        prop_assert!(restored(&archive).unwrap() == source);
        prop_assert_eq!(archive.is_progressive(), rows * columns >= 4096);
        if !archive.is_progressive() {
            return Ok(());
        }
        let (from, to) = (from.min(to).min(planes(dtype)), from.max(to).min(planes(dtype)));
        archive.set_planes(from).unwrap();
        let mut buffer = archive.tensor("w").unwrap().decode().unwrap();
        prop_assert!(buffer == expected_of(&t, from));
        archive.set_planes(to).unwrap();
        let tensor = archive.tensor("w").unwrap();
        tensor.refine(from, &mut buffer).unwrap();
        prop_assert!(buffer == expected_of(&t, to));
        let (top, left) = (seed % rows, seed / 7 % columns);
        let slice = tensor.decode_slice(top..rows, left..columns).unwrap();
        let size = t.data.len() / (rows * columns) as usize;
        let wanted: Vec<u8> =
            buffer.chunks(columns as usize * size).skip(top as usize).flat_map(|row| &row[left as usize * size..]).copied().collect();
        prop_assert!(slice == wanted);
    }
}

#[test]
fn slices() {
    let t = Owned::new("w", Dtype::BF16, &[300, 1000], Fill::Gaussian, 3);
    let archive = Archive::from_bytes(encode(std::slice::from_ref(&t))).unwrap();
    for k in [0, 3, 7] {
        let mut archive = Archive::from_bytes(encode(std::slice::from_ref(&t))).unwrap();
        archive.set_planes(k).unwrap();
        let whole = expected(Dtype::BF16, &t.data, k);
        let slice = archive.tensor("w").unwrap().decode_slice(17..203, 101..977).unwrap();
        let rows = whole.chunks(2000).skip(17).take(186);
        let wanted: Vec<u8> = rows.flat_map(|row| &row[202..1954]).copied().collect();
        assert!(slice == wanted, "{k}");
    }
    assert_eq!(archive.tensors().len(), 1);
    assert_eq!(archive.source_bytes(), t.data.len() as u64);
}

/// A file is restored exactly, coarsely to what each level says, and a prefix of the archive is enough for that.
#[test]
fn a_source_file_and_its_prefixes() {
    let tensors = model();
    let source = safetensors(&tensors);
    let bytes = encode_progressive(&source);
    assert!(oracle::decode(&bytes).unwrap().source == source);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.wcodec");
    std::fs::write(&path, &bytes).unwrap();
    let archive = Archive::open(&path).unwrap();
    assert!(restored(&archive).unwrap() == source);
    assert_eq!(archive.verify(|_, _| ()).unwrap().bytes, source.len() as u64);
    archive.verify_against(&source, |_, _| ()).unwrap();
    assert_eq!(archive.version(), (1, 1));
    let levels = archive.levels();
    assert_eq!(levels.len(), 24);
    assert_eq!(levels.iter().map(|l| l.bytes).sum::<u64>(), bytes.len() as u64);
    assert_eq!(levels[23].end, bytes.len() as u64);
    let header = source.len() - tensors.iter().map(|t| t.data.len()).sum::<usize>();
    for level in &levels {
        let k = level.planes;
        let coarse: Vec<u8> = tensors.iter().flat_map(|t| expected_of(t, k)).collect();
        let coarse = [&source[..header], &coarse].concat();
        std::fs::write(&path, &bytes[..level.end as usize]).unwrap();
        for backing in [Backing::Map, Backing::Read] {
            let cut = Archive::open_with(&path, backing).unwrap().planes(k).unwrap();
            assert!(restored(&cut).unwrap() == coarse, "{k}");
            let report = cut.verify(|_, _| ()).unwrap();
            assert_eq!(report.sha256, k == 23);
            if k < 23 {
                let e = Archive::open_with(&path, backing).unwrap().planes(k + 1).unwrap_err();
                assert!(
                    e.kind() == ErrorKind::Corrupt && e.to_string().contains(&format!("complete are {k} planes of 23")),
                    "{e}"
                );
                assert_eq!(e.path(), Some(&*path));
                let e = restored(&Archive::open_with(&path, backing).unwrap()).unwrap_err();
                assert!(e.kind() == ErrorKind::Corrupt && e.to_string().contains("cut short"), "{e}");
            }
        }
    }
    // The whole index is there long before the first level is.
    std::fs::write(&path, &bytes[..levels[0].end as usize - 1]).unwrap();
    assert!(Archive::open(&path).unwrap_err().to_string().contains("not even its first level"));
}

/// Threads, and whether there is one batch or several, change nothing; nor does what the writer held before.
#[test]
fn the_same_archive_everywhere() {
    let source = safetensors(&model());
    let bytes = encode_progressive(&source);
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert!(pool.install(|| encode_progressive(&source)) == bytes, "{threads}");
    }
    let mut out = Cursor::new(vec![9; 100]);
    out.set_position(100);
    Encoder::new().progressive(true).encode_source(&source, &mut out).unwrap();
    assert_eq!(out.position(), 100 + bytes.len() as u64);
    assert!(out.into_inner()[100..] == bytes);
    // Nothing to split: an ordinary archive.
    let small = safetensors(&[Owned::new("b", Dtype::BF16, &[100], Fill::Gaussian, 1)]);
    assert!(encode_progressive(&small) == encode_source(&small).unwrap());
}

/// An archive is larger than an ordinary one by a few per cent at most, for small tensors as for large ones.
#[test]
fn sizes() {
    for (dtype, most) in [(Dtype::BF16, 1.01), (Dtype::F32, 1.01), (Dtype::F16, 1.02), (Dtype::F8_E4M3, 1.03), (Dtype::I8, 1.02)]
    {
        let tensors = [Owned::new("w", dtype, &[700, 1000], Fill::Gaussian, 1)];
        let (plain, split) = (encode_tensors(&tensors).len() as f64, encode(&tensors).len() as f64);
        assert!(split < plain * most, "{dtype:?}: {plain} {split}");
    }
}

#[test]
fn refused() {
    let tensors = model();
    let source = safetensors(&tensors);
    let plain = open(&encode_source(&source).unwrap());
    assert!(!plain.is_progressive() && plain.is_exact() && plain.levels().is_empty());
    assert_eq!(plain.planes(0).unwrap_err().kind(), ErrorKind::InvalidArgument);
    let mut archive = open(&encode_progressive(&source));
    let e = archive.set_planes(24).unwrap_err();
    assert!(e.kind() == ErrorKind::InvalidArgument && e.to_string().contains("24 planes of an archive that has 23"), "{e}");
    // Together with other tools.
    let encode = |encoder: Encoder| encoder.progressive(true).encode_source(&source, Cursor::new(Vec::new())).unwrap_err();
    for e in [
        encode(Encoder::new().profile(Profile::Max)),
        encode(Encoder::new().effort(5)),
        encode(Encoder::new().base(Base::from_bytes(source.clone()).unwrap())),
    ] {
        assert!(e.kind() == ErrorKind::InvalidArgument && e.to_string().contains("progressive"), "{e}");
    }
    Encoder::new().progressive(true).effort(4).encode_source(&source, Cursor::new(Vec::new())).unwrap();
    // Refining what is not there.
    archive.set_planes(3).unwrap();
    let tensor = archive.tensor("model.embed_tokens.weight").unwrap();
    let mut buffer = tensor.decode().unwrap();
    assert_eq!(tensor.refine(4, &mut buffer).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(tensor.refine(3, &mut buffer[1..]).unwrap_err().kind(), ErrorKind::InvalidArgument);
    tensor.refine(3, &mut buffer).unwrap();
    let before = buffer.clone();
    archive.set_planes(7).unwrap();
    // What is no coarse version of the tensor is found out at the end.
    let tensor = archive.tensor("model.embed_tokens.weight").unwrap();
    buffer[1] ^= 0x40;
    let e = tensor.refine(3, &mut buffer).unwrap_err();
    assert_eq!((e.kind(), e.tensor()), (ErrorKind::Corrupt, Some("model.embed_tokens.weight")));
    let mut buffer = before;
    tensor.refine(3, &mut buffer).unwrap();
    assert!(buffer == tensors[0].data);
    // Those that are not split stay as they are.
    archive.refine_many(0, &mut [(archive.tensor("packed").unwrap(), &mut tensors[5].data.clone())]).unwrap();
    // As a base, an archive is as good as its source.
    let base = Base::from_bytes(encode_progressive(&source)).unwrap();
    let mut out = Cursor::new(Vec::new());
    Encoder::new().base(base.clone()).encode_source(&source, &mut out).unwrap();
    let mut tuned = Archive::from_bytes(out.into_inner()).unwrap();
    tuned.set_base(base).unwrap();
    assert!(restored(&tuned).unwrap() == source);
}
