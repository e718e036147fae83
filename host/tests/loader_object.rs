//! Archives in a bucket.

#![allow(missing_docs)]
#![cfg(feature = "object-store")]

mod support;

use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use std::sync::Arc;
use support::*;
use wcodec::{Dtype, ErrorKind, Loader};

fn put(store: &Arc<dyn ObjectStore>, bytes: Vec<u8>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(store.put(&Path::from("models/m.wcodec"), bytes.into())).unwrap();
}

#[test]
fn loads_and_fails_as_a_file_does() {
    let tensors: Vec<Owned> =
        (0..20).map(|i| Owned::new(&format!("layers.{i}.w"), Dtype::BF16, &[500, 300], Fill::Gaussian, i)).collect();
    let archive = encode_tensors(&tensors);
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    put(&store, archive.clone());
    let loader = Loader::open_object(store.clone(), "models/m.wcodec").unwrap();
    let loaded = loader.clone().budget(2 << 20).load().unwrap().collect_all().unwrap();
    assert_eq!(loaded.len(), tensors.len());
    for l in &loaded {
        let t = tensors.iter().find(|t| t.name == l.info.name).unwrap();
        assert!(l.bytes().unwrap() == t.data, "{t:?}");
    }
    // Replaced under the loader: never a mixture.
    let mut other = archive.clone();
    let middle = other.len() / 2;
    other[middle] ^= 1;
    put(&store, other);
    let e = loader.load().and_then(wcodec::Load::collect_all).err();
    let fresh =
        Loader::open_object(store.clone(), "models/m.wcodec").unwrap().load().and_then(wcodec::Load::collect_all).unwrap_err();
    assert!(e.is_none_or(|e| matches!(e.kind(), ErrorKind::Io | ErrorKind::Corrupt)));
    assert_eq!(fresh.kind(), ErrorKind::Corrupt);
    assert!(fresh.to_string().contains("m.wcodec") && fresh.tensor().is_some(), "{fresh}");
    let missing = Loader::open_object(store, "models/none").err().unwrap();
    assert_eq!(missing.kind(), ErrorKind::Io);
}

/// Planes are found in the bucket too, and a prefix of the object is a coarse model.
#[test]
fn progressive() {
    let tensors = [
        Owned::new("a", Dtype::BF16, &[900, 700], Fill::Gaussian, 1),
        Owned::new("b", Dtype::I8, &[900, 300], Fill::Gaussian, 2),
    ];
    let archive = encode_progressive(&safetensors(&tensors));
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    put(&store, archive.clone());
    let open = || Loader::open_object(store.clone(), "models/m.wcodec").unwrap();
    let loaded = |loader: Loader| -> Vec<Vec<u8>> {
        let all = loader.load().unwrap().collect_all().unwrap();
        all.iter().map(|l| l.bytes().unwrap().to_vec()).collect()
    };
    let exact = loaded(open());
    assert!(exact.iter().zip(&tensors).all(|(bytes, t)| *bytes == t.data));
    let coarse = loaded(open().planes(2).unwrap());
    assert!(coarse.iter().zip(&exact).all(|(coarse, exact)| coarse != exact && coarse.len() == exact.len()));
    let end = open().archive().levels()[2].end as usize;
    put(&store, archive[..end].to_vec());
    assert!(loaded(open().planes(2).unwrap()) == coarse);
    assert_eq!(open().load().and_then(wcodec::Load::collect_all).unwrap_err().kind(), ErrorKind::Corrupt);
}
