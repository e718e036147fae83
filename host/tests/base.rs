//! Tensors coded against those of a base: what comes out, what it takes, and what is refused.

#![allow(missing_docs)]

mod oracle;
mod support;

use half::bf16;
use std::io::Cursor;
use support::base::{encode, fine_tuned, model, tune};
use support::forge::{crc, fix_superblock};
use support::target::Target;
use support::*;
use wcodec::{Archive, Base, Dtype, Encoder, ErrorKind, Loader, Profile, Shard, TensorInput};

fn with_base(archive: &[u8], base: &[u8]) -> wcodec::Result<Archive> {
    let mut archive = Archive::from_bytes(archive)?;
    archive.set_base(Base::from_bytes(base)?)?;
    Ok(archive)
}

fn pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
}

#[test]
fn every_type_whole_and_in_slices() {
    let base_tensors = model();
    let tuned = fine_tuned(&base_tensors);
    let (base, source) = (safetensors(&base_tensors), safetensors(&tuned));
    let base_archive = encode_source(&base).unwrap();
    let mut rng = Numbers(1);
    for profile in [Profile::Default, Profile::Max] {
        let archive = pool(2).install(|| encode(&source, &base, profile));
        assert!(pool(1).install(|| encode(&source, &base, profile)) == archive, "threads make a difference");
        assert!(encode(&source, &base_archive, profile) == archive, "the base's archive is another base");
        assert!(archive.len() * 2 < source.len(), "{} of {}", archive.len(), source.len());
        let truth = oracle::decode_with(&archive, Some(&base)).unwrap();
        assert!(truth.source == source, "the oracle says otherwise");
        assert!(truth.modes.iter().any(|m| m.2 == 4), "no contexts");
        for base in [&base, &base_archive] {
            for &backend in wcodec::Backend::available() {
                let mut a = with_base(&archive, base).unwrap();
                a.set_backend(backend);
                for (t, (tensor, bytes)) in tuned.iter().zip(a.decode_all().unwrap()) {
                    assert!(bytes == t.data, "{t:?} differs");
                    let (rows, columns, size) = (tensor.rows(), tensor.columns(), tensor.column_bytes());
                    let (top, left) = (rng.below(rows.max(1)), rng.below(columns.max(1)));
                    let (bottom, right) = ((top + rows).div_ceil(2).min(rows), (left + columns).div_ceil(2));
                    let slice = tensor.decode_slice(top.min(bottom)..bottom, left..right).unwrap();
                    let rows = t.data.chunks((columns * size).max(1) as usize).take(bottom as usize).skip(top as usize);
                    let expected: Vec<u8> =
                        rows.flat_map(|row| &row[(left * size) as usize..(right * size) as usize]).copied().collect();
                    assert!(slice == expected, "a slice of {t:?} differs");
                }
            }
            let a = with_base(&archive, base).unwrap();
            assert!(restored(&a).unwrap() == source);
            a.verify(|_, _| ()).unwrap();
            a.verify_against(&source, |_, _| ()).unwrap();
        }
        let methods: Vec<_> = Archive::from_bytes(&archive[..]).unwrap().report().unwrap().iter().map(|t| t.base).collect();
        for wanted in [None, Some("same"), Some("xor"), Some("subtract")] {
            assert!(methods.contains(&wanted), "no {wanted:?}");
        }
    }
}

/// An unchanged tensor takes its record, a plane record, its dimensions and its name.
#[test]
fn unchanged_tensors_take_their_records() {
    let tensors = [
        Owned::new("a", Dtype::BF16, &[500, 300], Fill::Gaussian, 1),
        Owned::new("bb", Dtype::F32, &[70_000], Fill::Random, 2),
        Owned::new("ccc", Dtype::I8, &[2, 3, 4], Fill::Random, 3),
    ];
    let source = safetensors(&tensors);
    let archive = encode(&source, &source, Profile::Default);
    let a = Archive::from_bytes(&archive[..]).unwrap();
    let reports = a.report().unwrap();
    assert!(reports.iter().all(|t| t.base == Some("same") && t.coded_bytes == 0 && t.tiles == 0));
    let header = u64::from_le_bytes(source[..8].try_into().unwrap()) + 8;
    let records = 3 * (64 + 4) + 6 * 8 + 6;
    // Two superblocks, the index's header, and the source's header with its record, directory and table.
    let rest = 512 + 32 + header as usize + 64 + 4 + 8 + 8 + 300;
    assert!(archive.len() <= records + rest, "{} > {records} + {rest}", archive.len());
    assert!(restored(&with_base(&archive, &source).unwrap()).unwrap() == source);
}

#[test]
fn tensors_that_the_base_does_not_have() {
    let new = Owned::new;
    let base = safetensors(&[
        new("shape", Dtype::BF16, &[100, 200], Fill::Gaussian, 1),
        new("dtype", Dtype::BF16, &[100, 200], Fill::Gaussian, 2),
        new("kept", Dtype::BF16, &[100, 200], Fill::Gaussian, 3),
        new("gone", Dtype::BF16, &[100, 200], Fill::Gaussian, 4),
    ]);
    let mut other = vec![
        new("shape", Dtype::BF16, &[200, 100], Fill::Gaussian, 1),
        new("dtype", Dtype::F16, &[100, 200], Fill::Gaussian, 2),
        new("added", Dtype::BF16, &[100, 200], Fill::Gaussian, 4),
    ];
    // Nothing in common: an archive like any other.
    let source = safetensors(&other);
    let archive = encode(&source, &base, Profile::Default);
    assert!(archive == encode_source(&source).unwrap());
    assert_eq!(open(&archive).base_sha256(), None);
    with_base(&archive, &base).unwrap().verify(|_, _| ()).unwrap();

    other.push(new("kept", Dtype::BF16, &[100, 200], Fill::Gaussian, 3));
    let source = safetensors(&other);
    let archive = encode(&source, &base, Profile::Default);
    let methods: Vec<_> = open(&archive).report().unwrap().iter().map(|t| t.base).collect();
    assert_eq!(methods, [None, None, None, Some("same")]);
    assert!(restored(&with_base(&archive, &base).unwrap()).unwrap() == source);
    // What needs no base comes out without one.
    let a = open(&archive);
    assert!(a.tensor("added").unwrap().decode().unwrap() == other[2].data);
    assert!(a.tensor("kept").unwrap().decode().is_err());
}

/// Tensors in memory against a file; the base again against the result.
#[test]
fn tensors_in_memory() {
    let base_tensors = model();
    let tuned = fine_tuned(&base_tensors);
    let inputs: Vec<TensorInput<'_>> = tuned.iter().map(Owned::input).collect();
    let base = safetensors(&base_tensors);
    let mut out = Cursor::new(Vec::new());
    Encoder::new().base(Base::from_bytes(&base[..]).unwrap()).encode_tensors(&inputs, &mut out).unwrap();
    let a = with_base(out.get_ref(), &base).unwrap();
    assert!(a.decode_all().unwrap().iter().zip(&tuned).all(|((_, bytes), t)| *bytes == t.data));

    let e = Base::from_bytes(&out.get_ref()[..]).unwrap_err();
    assert!(e.to_string().contains("no base"), "{e}");
    let e = Base::from_bytes(encode(&safetensors(&tuned), &base, Profile::Default)).unwrap_err();
    assert!(e.to_string().contains("has a base itself"), "{e}");
    for junk in [&b""[..], b"WCODEC\0\0", b"WCODEC", &[0; 100], &base[..base.len() - 1]] {
        assert!(Base::from_bytes(junk).is_err());
    }
}

#[test]
fn missing_and_wrong_bases() {
    let base_tensors = model();
    let (base, source) = (safetensors(&base_tensors), safetensors(&fine_tuned(&base_tensors)));
    let archive = encode(&source, &base, Profile::Default);
    let a = open(&archive);
    let sum: String = a.base_sha256().unwrap().iter().map(|b| format!("{b:02x}")).collect();
    let mut buffer = vec![0; a.tensor("BF16.0").unwrap().byte_len() as usize];
    let tensor = a.tensor("BF16.0").unwrap();
    for e in [
        tensor.decode().unwrap_err(),
        tensor.decode_into(&mut buffer).unwrap_err(),
        tensor.decode_slice(1..2, 3..4).unwrap_err(),
        a.decode_all().map(|_| ()).unwrap_err(),
        a.verify(|_, _| ()).unwrap_err(),
        restored(&a).unwrap_err(),
    ] {
        assert_eq!(e.kind(), ErrorKind::InvalidArgument);
        assert!(e.tensor().is_some() && e.to_string().contains(&sum) && e.to_string().contains("not given"), "{e}");
    }
    // Another length; the same length as a file, which is noticed tensor by tensor, and as an archive, at once.
    let mut longer = base_tensors.clone();
    longer.push(Owned::new("more", Dtype::U8, &[1], Fill::Random, 1));
    let e = with_base(&archive, &safetensors(&longer)).unwrap_err();
    assert!(e.to_string().contains("another base") && e.to_string().contains(&sum), "{e}");
    let mut other = base_tensors.clone();
    let changed = other.iter().position(|t| t.name == "BF16.0").unwrap();
    other[changed].data[77] ^= 1;
    let e = with_base(&archive, &encode_source(&safetensors(&other)).unwrap()).unwrap_err();
    assert!(e.to_string().contains("another base"), "{e}");
    let a = with_base(&archive, &safetensors(&other)).unwrap();
    let tensor = a.tensor("BF16.0").unwrap();
    for e in [tensor.decode().unwrap_err(), tensor.decode_slice(0..1, 0..1).unwrap_err(), a.verify(|_, _| ()).unwrap_err()] {
        assert_eq!((e.kind(), e.tensor()), (ErrorKind::InvalidArgument, Some("BF16.0")), "{e}");
        assert!(e.to_string().contains("is another"), "{e}");
    }
    assert!(a.tensor("F16.0").unwrap().decode().is_ok(), "a tensor of the base that is right");
}

#[test]
fn loaders_and_devices() {
    let base_tensors: Vec<_> = (0..4)
        .map(|i| Owned::new(&format!("model.layers.{i}.q_proj.weight"), Dtype::BF16, &[1024, 700], Fill::Gaussian, i))
        .collect();
    let tuned = fine_tuned(&base_tensors);
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("base.safetensors"), safetensors(&base_tensors)).unwrap();
    std::fs::write(path("tuned.safetensors"), safetensors(&tuned)).unwrap();
    Encoder::new().encode_file(path("base.safetensors"), path("base.wcodec")).unwrap();
    let encoder = Encoder::new().base(Base::open(path("base.wcodec")).unwrap());
    encoder.encode_file(path("tuned.safetensors"), path("tuned.wcodec")).unwrap();

    for base in ["base.safetensors", "base.wcodec"] {
        for budget in [1 << 20, 64 << 20] {
            let loader = Loader::open(path("tuned.wcodec")).unwrap().base(Base::open(path(base)).unwrap()).unwrap();
            let loader = loader.budget(budget);
            for loaded in loader.clone().load().unwrap() {
                let loaded = loaded.unwrap();
                let t = tuned.iter().find(|t| t.name == loaded.info.name).unwrap();
                assert!(loaded.bytes() == Some(&t.data[..]));
            }
            let columns = Shard::new(1, 2, [("*", wcodec::Split::Columns)]).unwrap();
            let rows = Shard::new(0, 2, [("*", wcodec::Split::Rows)]).unwrap();
            for (shard, rows, columns) in [(columns, 0..1024usize, 700..1400usize), (rows, 0..512, 0..1400)] {
                for loaded in loader.clone().shard(shard).load().unwrap() {
                    let loaded = loaded.unwrap();
                    let t = tuned.iter().find(|t| t.name == loaded.info.name).unwrap();
                    let expected: Vec<u8> = rows.clone().flat_map(|r| &t.data[1400 * r..][columns.clone()]).copied().collect();
                    assert!(loaded.bytes() == Some(&expected[..]));
                }
            }
        }
    }
    let e = Loader::open(path("tuned.wcodec")).unwrap().load().unwrap_err();
    assert!(e.to_string().contains("not given"), "{e}");

    let Some(gpu) = Target::Emulator.gpu() else { return };
    let mut a = Archive::open(path("tuned.wcodec")).unwrap().with_base(path("base.wcodec")).unwrap();
    assert!(Target::Emulator.set(&mut a));
    assert!(a.decode_all().unwrap().iter().zip(&tuned).all(|((_, bytes), t)| *bytes == t.data));
    a.verify(|_, _| ()).unwrap();
    let tensor = a.tensors().next().unwrap();
    assert!(tensor.decode_slice(5..9, 1..3).is_ok());
    // What is to stay on the GPU.
    assert!(gpu.decode(&[tensor]).unwrap()[0].to_vec().unwrap() == tuned[0].data);
    let slice = gpu.decode_slice(&tensor, 5..9, 1..3).unwrap().to_vec().unwrap();
    assert!(slice == tensor.decode_slice(5..9, 1..3).unwrap());
    let loader = || Loader::open(path("tuned.wcodec")).unwrap().device(wcodec::Device::Gpu(gpu.clone()));
    assert!(loader().load().unwrap_err().to_string().contains("not given"));
    for loaded in loader().base(Base::open(path("base.wcodec")).unwrap()).unwrap().load().unwrap() {
        let loaded = loaded.unwrap();
        let wcodec::Data::Device(there) = &loaded.data else { panic!("{} is not on the device", loaded.info.name) };
        let t = tuned.iter().find(|t| t.name == loaded.info.name).unwrap();
        assert!(there.to_vec().unwrap() == t.data, "{}", t.name);
    }
}

/// A small archive with each method.
fn small() -> (Vec<Owned>, Vec<u8>, Vec<u8>) {
    let base = [
        Owned::new("same", Dtype::BF16, &[9, 30], Fill::Gaussian, 1),
        Owned::new("moved", Dtype::BF16, &[40, 30], Fill::Gaussian, 2),
        Owned::new("packed", Dtype::F4, &[30, 80], Fill::Random, 3),
    ];
    let mut rng = Numbers(3);
    let mut tuned = vec![base[0].clone(), tune(&base[1], &mut rng), base[2].clone()];
    tuned[2].data[100] ^= 0x10;
    let base = safetensors(&base);
    let archive = encode(&safetensors(&tuned), &base, Profile::Default);
    let methods: Vec<_> = open(&archive).report().unwrap().iter().map(|t| t.base).collect();
    assert_eq!(methods, [Some("same"), Some("subtract"), Some("xor")]);
    (tuned, base, archive)
}

/// The tensors of a damaged archive: an error, or what they were (`None` if some differ).
fn survives(archive: &[u8], base: &[u8], tuned: &[Owned]) -> wcodec::Result<bool> {
    let a = with_base(archive, base)?;
    let _ = a.report();
    let all = a.decode_all();
    let truth = oracle::decode_with(archive, Some(base));
    assert_eq!(a.verify(|_, _| ()).is_ok(), truth.is_ok(), "the oracle is of another opinion: {:?}", truth.err());
    a.verify(|_, _| ())?;
    Ok(all?.iter().zip(tuned).all(|((_, bytes), t)| *bytes == t.data))
}

#[test]
fn any_byte_changed() {
    let (tuned, base, archive) = small();
    assert!(survives(&archive, &base, &tuned).unwrap());
    for at in 0..archive.len() {
        for flip in [1, 0x80, 0xff] {
            let mut damaged = archive.clone();
            damaged[at] ^= flip;
            assert!(survives(&damaged, &base, &tuned).is_err(), "byte {at} may be changed");
        }
    }
}

/// Superblock, records and parameters changed, with checksums that fit.
#[test]
fn forged() {
    let (tuned, base, archive) = small();
    let word = |b: &[u8], at: usize| u64::from_le_bytes(b[at..at + 8].try_into().unwrap()) as usize;
    let (directory, index) = (word(&archive, 96), word(&archive, 80));
    let index_end = index + word(&archive, 88);
    let fix = |b: &mut Vec<u8>| {
        let sum = crc(&b[index..index_end]);
        b[104..108].copy_from_slice(&sum.to_le_bytes());
        fix_superblock(b);
    };
    for at in (16..24).chain(112..152).chain(index..index_end) {
        for flip in [1, 2, 3, 0x80, 0xff] {
            let mut forged = archive.clone();
            forged[at] ^= flip;
            fix(&mut forged);
            // Nothing but hashes stands between a record and another that is right too.
            if let Ok(same) = survives(&forged, &base, &tuned) {
                assert!(same, "byte {at} changes what comes out");
            }
        }
    }
    // Tools and lengths of parameters, all of them.
    for record in (0..4).map(|i| index + 32 + 64 * i) {
        for (tools, params) in (0..=255u8).flat_map(|t| [0, 1, 2, 3, 255].map(|p| (t, p))) {
            let mut forged = archive.clone();
            (forged[record + 62], forged[record + 63]) = (tools, params);
            fix(&mut forged);
            if let Ok(same) = survives(&forged, &base, &tuned) {
                assert!(same, "tools {tools}, parameters {params}");
            }
        }
    }
    // The difference's parameters: those of `moved` are behind the blob's directory.
    let blob = 8 + 8 * usize::from(archive[index + 32 + 64 * 4] == 255);
    let (start, record) = (directory + blob, index + 32 + 64 * 2);
    let end =
        (start + 32..index).find(|&end| crc(&archive[start..end]).to_le_bytes() == archive[record + 40..record + 44]).unwrap();
    for at in start..start + 32 {
        for value in 0..=255 {
            if archive[at] == value {
                continue;
            }
            let mut forged = archive.clone();
            forged[at] = value;
            let sum = crc(&forged[start..end]);
            forged[record + 40..record + 44].copy_from_slice(&sum.to_le_bytes());
            fix(&mut forged);
            let e = survives(&forged, &base, &tuned).unwrap_err();
            let expected = if at < start + 16 { ErrorKind::InvalidArgument } else { ErrorKind::Corrupt };
            assert_eq!((e.kind(), e.tensor()), (expected, Some("moved")), "{e}");
        }
    }
    // Without the superblock's bit.
    let mut forged = archive.clone();
    forged[16] &= !2;
    fix_superblock(&mut forged);
    assert_eq!(Archive::from_bytes(forged).unwrap_err().kind(), ErrorKind::Corrupt);
}

/// The parameters of contexts, each byte changed: the library and the oracle are of one opinion.
#[test]
fn forged_contexts() {
    let base = [Owned::new("moved", Dtype::BF16, &[130, 130], Fill::Gaussian, 2)];
    // As training moves weights: all by about as much, and so by more units of the last place the smaller they are.
    let mut tuned = vec![base[0].clone()];
    let mut rng = Numbers(3);
    for x in tuned[0].data.chunks_exact_mut(2) {
        let moved = bf16::from_le_bytes([x[0], x[1]]).to_f64() + rng.normal() * 1e-3;
        x.copy_from_slice(&bf16::from_f64(moved).to_le_bytes());
    }
    let base = safetensors(&base);
    let inputs: Vec<TensorInput<'_>> = tuned.iter().map(Owned::input).collect();
    let mut out = Cursor::new(Vec::new());
    Encoder::new().base(Base::from_bytes(&base[..]).unwrap()).encode_tensors(&inputs, &mut out).unwrap();
    let archive = out.into_inner();
    let word = |at: usize| u64::from_le_bytes(archive[at..at + 8].try_into().unwrap()) as usize;
    let (directory, index) = (word(96), word(80));
    let (index_end, record) = (index + word(88), index + 32);
    assert_eq!(archive[record + 62], 3, "no contexts");
    assert!(survives(&archive, &base, &tuned).unwrap());
    let mut refused = 0;
    for at in directory..directory + 16 * usize::from(archive[record + 63]) {
        for flip in [1, 2, 0x10, 0x80, 0xff] {
            let mut forged = archive.clone();
            forged[at] ^= flip;
            let sum = crc(&forged[directory..index]);
            forged[record + 40..record + 44].copy_from_slice(&sum.to_le_bytes());
            let sum = crc(&forged[index..index_end]);
            forged[104..108].copy_from_slice(&sum.to_le_bytes());
            fix_superblock(&mut forged);
            match survives(&forged, &base, &tuned) {
                Ok(same) => assert!(same, "byte {at} changes what comes out"),
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > 100, "{refused}");
}
