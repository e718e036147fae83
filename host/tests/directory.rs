//! Directories through the library: what the loader gives of several shards, progress, being stopped.

#![allow(missing_docs)]

mod support;

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use support::*;
use wcodec::{Archive, ArchiveDirectory, Directory, Dtype, Encoder, ErrorKind, Loader, SingleDirectory};

/// A model in three shards whose layers are not in the order of the shards.
fn shards() -> Vec<Vec<Owned>> {
    let layer = |i: u64| {
        vec![
            Owned::new(&format!("model.layers.{i}.q_proj.weight"), Dtype::BF16, &[576, 576], Fill::Gaussian, i),
            Owned::new(&format!("model.layers.{i}.up_proj.weight"), Dtype::F16, &[768, 576], Fill::Gaussian, 100 + i),
            Owned::new(&format!("model.layers.{i}.norm.weight"), Dtype::F32, &[576], Fill::Random, 200 + i),
        ]
    };
    let embedding = Owned::new("model.embed_tokens.weight", Dtype::BF16, &[2000, 576], Fill::Gaussian, 300);
    let norm = Owned::new("model.norm.weight", Dtype::BF16, &[576], Fill::Gaussian, 301);
    vec![[layer(2), layer(0)].concat(), [vec![norm], layer(3)].concat(), [layer(1), vec![embedding]].concat()]
}

fn write(root: &Path, shards: &[Vec<Owned>]) -> PathBuf {
    let model = root.join("model");
    std::fs::create_dir(&model).unwrap();
    let mut map = BTreeMap::new();
    for (i, tensors) in shards.iter().enumerate() {
        let name = format!("model-{i}.safetensors");
        std::fs::write(model.join(&name), safetensors(tensors)).unwrap();
        map.extend(tensors.iter().map(|t| (t.name.clone(), name.clone())));
    }
    let index = serde_json::json!({ "weight_map": map });
    std::fs::write(model.join("model.safetensors.index.json"), index.to_string()).unwrap();
    std::fs::write(model.join("config.json"), "{}").unwrap();
    model
}

#[test]
fn the_loader_gives_all_shards_in_the_order_of_layers() {
    let place = tempfile::tempdir().unwrap();
    let shards = shards();
    let model = write(place.path(), &shards);
    let small = place.path().join("small");
    let report = Encoder::new().encode_directory(&model, &small).unwrap();
    assert_eq!((report.shards, report.files, report.tensors, report.resumed), (3, 2, 14, 0));
    let tensors: HashMap<_, _> = shards.iter().flatten().map(|t| (t.name.as_str(), t)).collect();

    for path in [small.clone(), small.join("model.wcodec.index.json")] {
        let loader = Loader::open(&path).unwrap().budget(8 << 20).threads(2);
        assert_eq!(loader.archives().len(), 3);
        let load = loader.load().unwrap();
        let total = load.progress();
        let mut order = Vec::new();
        for loaded in load {
            let loaded = loaded.unwrap();
            let expected = tensors[loaded.info.name.as_str()];
            assert_eq!((loaded.info.dtype, &loaded.info.shape), (expected.dtype, &expected.shape));
            assert!(loaded.bytes().unwrap() == expected.data, "{}", loaded.info.name);
            order.push(loaded.info.name);
        }
        assert_eq!((order.len() as u64, total.tensors), (14, 14));
        // Layer by layer, whatever comes first within one: they are in different archives.
        let layers: Vec<_> = order.iter().filter_map(|n| n.strip_prefix("model.layers.")?.split('.').next()).collect();
        assert_eq!(layers, ["0", "0", "0", "1", "1", "1", "2", "2", "2", "3", "3", "3"]);
        assert_eq!(order[0], "model.embed_tokens.weight");
    }

    let some = ["model.norm.weight", "model.layers.0.norm.weight"];
    let loaded = Loader::open(&small).unwrap().tensors(some).load().unwrap().collect_all().unwrap();
    assert_eq!(
        loaded.iter().map(|l| l.info.name.as_str()).collect::<Vec<_>>(),
        ["model.layers.0.norm.weight", "model.norm.weight"]
    );
    let missing = Loader::open(&small).unwrap().tensors(["none"]).load().unwrap_err();
    assert_eq!((missing.kind(), missing.tensor()), (ErrorKind::NotFound, Some("none")));
    assert!(Loader::open(&small).unwrap().tensors([""; 0]).load().unwrap().collect_all().unwrap().is_empty());
    let too_small = Loader::open(&small).unwrap().budget(1).load().unwrap_err();
    assert_eq!(too_small.kind(), ErrorKind::InvalidArgument);

    // Stopped, or dropped, at any tensor.
    for after in [0, 1, 5, 13, 14] {
        let load = Loader::open(&small).unwrap().load().unwrap();
        (0..after).for_each(|_| drop(load.wait().unwrap().unwrap()));
        load.cancel();
        let rest: Vec<_> = load.collect();
        let (last, before) = rest.split_last().map_or((None, &[][..]), |(l, b)| (Some(l), b));
        assert!(before.iter().all(Result::is_ok));
        assert!(last.is_none_or(|l| l.as_ref().map_or_else(|e| e.kind() == ErrorKind::Cancelled, |_| after + rest.len() == 14)));
        drop(Loader::open(&small).unwrap().load().unwrap());
    }

    // A damaged archive ends it, by name.
    let second = small.join("model-1.wcodec");
    let mut bytes = std::fs::read(&second).unwrap();
    bytes[100_000] ^= 1;
    std::fs::write(&second, bytes).unwrap();
    let error = Loader::open(&small).unwrap().load().unwrap().collect_all().unwrap_err();
    assert_eq!((error.kind(), error.path()), (ErrorKind::Corrupt, Some(&*second)));
}

#[test]
fn indexes_that_do_not_fit_are_refused() {
    let place = tempfile::tempdir().unwrap();
    let model = write(place.path(), &shards());
    let small = place.path().join("small");
    assert_eq!(Loader::open(&model).err().unwrap().kind(), ErrorKind::Corrupt);
    Encoder::new().encode_directory(&model, &small).unwrap();
    let manifest = small.join("model.wcodec.index.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let moved = text.replace(r#""model.norm.weight": "model-1.wcodec""#, r#""model.norm.weight": "model-0.wcodec""#);
    assert_ne!(text, moved);
    std::fs::write(&manifest, moved).unwrap();
    let error = Loader::open(&small).err().unwrap();
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::Corrupt, Some("model.norm.weight")));
}

#[test]
fn one_archive_is_loaded_without_what_is_no_tensor() {
    let place = tempfile::tempdir().unwrap();
    let shards = shards();
    let model = write(place.path(), &shards);
    let single = place.path().join("model.wcodec");
    let report = Encoder::new().encode_directory_single(&model, &single).unwrap();
    assert_eq!((report.shards, report.files, report.tensors), (3, 2, 14));
    let loaded = Loader::open(&single).unwrap().load().unwrap().collect_all().unwrap();
    assert_eq!(loaded.len(), 14);
    for l in loaded {
        let expected = shards.iter().flatten().find(|t| t.name == l.info.name).unwrap();
        assert!(l.bytes().unwrap() == expected.data);
    }
    let archive = Archive::open(&single).unwrap();
    let directory = SingleDirectory::of(&archive).unwrap().unwrap();
    assert_eq!(directory.files().count(), 5);
    // As a file it is one safetensors file of all tensors.
    let merged = restored(&archive).unwrap();
    let again = Archive::from_bytes(encode_source(&merged).unwrap()).unwrap();
    assert_eq!(again.tensors().len(), archive.tensors().len());
}

#[test]
fn progress_counts_all_and_stops_all() {
    let place = tempfile::tempdir().unwrap();
    let model = write(place.path(), &shards());
    let (small, back) = (place.path().join("small"), place.path().join("back"));
    let total = Directory::open(&model).unwrap().bytes();
    let stop_at = |fraction: u64| {
        let most = Arc::new(AtomicU64::new(0));
        let seen = most.clone();
        let encoder = Encoder::new().on_progress(move |done, all| {
            assert_eq!(all, total);
            seen.fetch_max(done, Ordering::Relaxed);
            if done > total * fraction / 8 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        (encoder.encode_directory(&model, &small), most.load(Ordering::Relaxed))
    };
    for fraction in [0, 2, 5] {
        let (stopped, _) = stop_at(fraction);
        assert_eq!(stopped.unwrap_err().kind(), ErrorKind::Cancelled);
        assert_eq!(ArchiveDirectory::open(&small).err().unwrap().kind(), ErrorKind::Corrupt);
    }
    let (done, most) = stop_at(8);
    assert_eq!(most, total);
    assert_eq!(done.unwrap().source_bytes, total);
    let directory = ArchiveDirectory::open(&small).unwrap();
    let seen = Mutex::new(0);
    directory
        .decompress(&back, false, |done, _| {
            let mut seen = seen.lock().unwrap();
            *seen = done.max(*seen);
        })
        .unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(seen.into_inner().unwrap(), total);
    assert_eq!(directory.verify_against(&back, |_, _| ()).unwrap().tensors, 14);
}
