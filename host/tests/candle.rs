//! Tensors that candle takes over, and a model built while they arrive.

#![allow(missing_docs)]
#![cfg(feature = "candle")]

mod support;

use candle_core::{DType, Device};
use support::*;
use wcodec::{Dtype, ErrorKind, Loader};

#[test]
fn bits_shapes_and_errors() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.wcodec");
    let tensors = [
        Owned::new("a", Dtype::BF16, &[300, 64], Fill::Special, 1),
        Owned::new("b", Dtype::F32, &[7], Fill::Gaussian, 2),
        Owned::new("c", Dtype::I64, &[3, 2, 5], Fill::Few, 3),
    ];
    std::fs::write(&path, encode_tensors(&tensors)).unwrap();
    let all = wcodec::candle::load(Loader::open(&path).unwrap()).unwrap();
    let bits: Vec<u8> =
        all["a"].flatten_all().unwrap().to_vec1::<half::bf16>().unwrap().iter().flat_map(|x| x.to_bits().to_le_bytes()).collect();
    assert!(bits == tensors[0].data);
    assert_eq!(all["c"].dims(), [3, 2, 5]);

    let vb = wcodec::candle::var_builder(Loader::open(&path).unwrap(), DType::F32, &Device::Cpu).unwrap();
    assert!(vb.contains_tensor("b") && !vb.contains_tensor("x"));
    assert_eq!(vb.get(7, "b").unwrap().dtype(), DType::F32);
    assert_eq!(vb.get((300, 64), "a").unwrap().dtype(), DType::F32);
    let e = vb.get((64, 300), "a").unwrap_err().to_string();
    assert!(e.contains("shape mismatch for a"), "{e}");
    assert!(vb.get(1, "x").unwrap_err().to_string().contains('x'));
}

#[test]
fn damage_and_types_that_candle_has_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.wcodec");
    std::fs::write(&path, encode_tensors(&[Owned::new("f", Dtype::F8_E5M2, &[8, 8], Fill::Random, 1)])).unwrap();
    let e = wcodec::candle::Weights::start(Loader::open(&path).unwrap()).err().unwrap();
    assert_eq!((e.kind(), e.tensor()), (ErrorKind::InvalidArgument, Some("f")));

    let mut archive = encode_tensors(&[Owned::new("w", Dtype::BF16, &[500, 300], Fill::Gaussian, 1)]);
    archive[5000] ^= 4;
    std::fs::write(&path, archive).unwrap();
    let weights = wcodec::candle::Weights::start(Loader::open(&path).unwrap()).unwrap();
    for _ in 0..2 {
        let e = weights.wait("w").unwrap_err().to_string();
        assert!(e.contains("checksum") && e.contains("'w'"), "{e}");
    }
}
