//! Loads of progressive archives, their errors, and GPUs.

#![allow(missing_docs)]

mod support;

use std::path::Path;
use support::progressive::{expected_of, model};
use support::*;
use wcodec::{Archive, Device, ErrorKind, IoChoice, Loader, Shard};

fn loaded(loader: Loader) -> Vec<(String, Vec<u8>)> {
    let all = loader.load().unwrap().collect_all().unwrap();
    all.into_iter().map(|t| (t.info.name.clone(), t.bytes().unwrap().to_vec())).collect()
}

fn write(dir: &Path, tensors: &[Owned]) -> std::path::PathBuf {
    let path = dir.join("model.wcodec");
    std::fs::write(&path, encode_progressive(&safetensors(tensors))).unwrap();
    path
}

#[test]
fn loads() {
    let tensors = model();
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), &tensors);
    for io in [IoChoice::Auto, IoChoice::Threads, IoChoice::Mmap] {
        for k in [23, 5, 0] {
            let all = loaded(Loader::open(&path).unwrap().planes(k).unwrap().io(io).budget(2 << 20));
            assert_eq!(all.len(), tensors.len());
            for (name, bytes) in all {
                let t = tensors.iter().find(|t| t.name == name).unwrap();
                assert!(bytes == expected_of(t, k), "{name} {k} {io:?}");
            }
        }
    }
    for rank in 0..2 {
        for (name, bytes) in loaded(Loader::open(&path).unwrap().shard(Shard::llama(rank, 2).unwrap())) {
            let t = tensors.iter().find(|t| t.name == name).unwrap();
            let half = rank as usize * bytes.len()..(rank as usize + 1) * bytes.len();
            if name.contains("down_proj") {
                let rows = t.data.chunks(300).flat_map(|row| &row[150 * rank as usize..][..150]).copied();
                assert!(bytes == rows.collect::<Vec<_>>());
            } else if bytes.len() < t.data.len() {
                assert!(bytes == t.data[half], "{name}");
            } else {
                assert!(bytes == t.data, "{name}");
            }
        }
    }
    // A prefix is loaded as far as it goes.
    let level = Archive::open(&path).unwrap().levels()[2];
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..level.end as usize]).unwrap();
    for (name, bytes) in loaded(Loader::open(&path).unwrap().planes(2).unwrap()) {
        let t = tensors.iter().find(|t| t.name == name).unwrap();
        assert!(bytes == expected_of(t, 2), "{name}");
    }
    let e = Loader::open(&path).unwrap().load().and_then(wcodec::Load::collect_all).unwrap_err();
    assert!(e.kind() == ErrorKind::Corrupt && e.to_string().contains("cut short"), "{e}");
}

/// Progressive tensors are decoded by kernels, whether they stay on the GPU or not.
#[test]
fn on_the_emulator() {
    let tensors = model();
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), &tensors);
    let Some(gpu) = target::Target::Emulator.gpu() else { return };
    let mut archive = Archive::open(&path).unwrap();
    archive.set_device(Device::Gpu(gpu.clone()));
    assert!(decoded(&archive).unwrap() == tensors.iter().flat_map(|t| t.data.clone()).collect::<Vec<_>>());
    archive.verify(|_, _| ()).unwrap();
    let tensor = archive.tensor("model.embed_tokens.weight").unwrap();
    assert!(tensor.decode_slice(3..5, 0..576).unwrap() == tensors[0].data[3 * 1152..5 * 1152]);
    assert!(gpu.decode(&[tensor]).unwrap()[0].to_vec().unwrap() == tensors[0].data);
    assert!(gpu.decode_slice(&tensor, 3..5, 0..576).unwrap().to_vec().unwrap() == tensors[0].data[3 * 1152..5 * 1152]);
    assert!(gpu.time_kernels(&[tensor], 1).unwrap() > 0.0);
    // From the page cache, and from the disk, whose blocks begin where they like.
    for choice in [IoChoice::Auto, IoChoice::Uring] {
        let load = match Loader::open(&path).unwrap().device(Device::Gpu(gpu.clone())).io(choice).load() {
            Err(e) if choice == IoChoice::Uring => {
                target::skipped(&format!("io_uring: {e}"));
                continue;
            }
            load => load.unwrap(),
        };
        for loaded in load {
            let loaded = loaded.unwrap();
            let wcodec::Data::Device(there) = &loaded.data else { panic!("{} is not on the device", loaded.info.name) };
            assert!(there.to_vec().unwrap() == tensors.iter().find(|t| t.name == loaded.info.name).unwrap().data);
        }
    }
}

/// Damage says where it is: of whose planes, in which tile, at which byte.
#[test]
fn errors_name_the_place() {
    let tensors = model();
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), &tensors);
    let mut bytes = std::fs::read(&path).unwrap();
    let map = forge::Map::of(&bytes);
    // The first plane of refinement of the embedding, tile 3.
    let record = map.records.iter().find(|r| bytes[r.at + 59] == 2 && r.tiles.len() > 3).unwrap();
    let at = record.tiles[3].start;
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let archive = Archive::open(&path).unwrap();
    let tensor = archive.tensor("model.embed_tokens.weight").unwrap();
    for e in [tensor.decode().unwrap_err(), archive.verify(|_, _| ()).unwrap_err()] {
        assert_eq!((e.kind(), e.path(), e.tensor(), e.tile()), (ErrorKind::Corrupt, Some(&*path), Some(tensor.name()), Some(3)));
        assert_eq!(e.offset(), Some(at as u64));
    }
    let load = Loader::open(&path).unwrap().load().unwrap().collect_all().unwrap_err();
    assert_eq!((load.tensor(), load.tile()), (Some(tensor.name()), Some(3)));
}
