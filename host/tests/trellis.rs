//! Integers of a trellis: found by whoever encodes them, smaller for it, and the same again.

#![allow(missing_docs)]

mod support;

use std::io::Cursor;
use support::*;
use wcodec::{Dtype, Encoder};

fn encode(encoder: &Encoder, tensor: &Owned) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    encoder.encode_tensors(&[tensor.input()], &mut out).unwrap();
    out.into_inner()
}

/// Whether a tensor's archive has it on its trellis; it is the same again whether or not.
fn is_found(archive: &[u8], tensor: &Owned) -> bool {
    for (backend, a) in on_every_backend(archive) {
        assert!(decoded(&a).unwrap() == tensor.data, "differs on {}", backend.name());
    }
    open(archive).report().unwrap()[0].trellis
}

#[test]
fn numbers_of_a_trellis_take_a_bit_less() {
    let tensor = Owned::on_trellis("w", [1000, 576], 1);
    let mut other = tensor.clone();
    other.data[400_000] ^= 1;
    for effort in [1, 3, 5, 9] {
        let encoder = Encoder::new().effort(effort);
        let (found, plain) = (encode(&encoder, &tensor), encode(&encoder, &other));
        assert!(is_found(&found, &tensor) && !is_found(&plain, &other));
        let saved = 8.0 * (plain.len() as f64 - found.len() as f64) / tensor.data.len() as f64;
        assert!((0.97..1.03).contains(&saved), "effort {effort}: {saved} bits");
        // The same, however many threads there are.
        let alone = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap().install(|| encode(&encoder, &tensor));
        assert!(alone == found);
    }
}

/// What there is no trellis for: other tools, types, one row, even numbers only.
#[test]
fn others_are_coded_as_they_were() {
    let tensor = Owned::on_trellis("w", [200, 300], 2);
    assert!(is_found(&encode(&Encoder::new(), &tensor), &tensor));
    let bytes = Owned { dtype: Dtype::U8, ..tensor.clone() };
    assert!(!is_found(&encode(&Encoder::new(), &bytes), &bytes));
    let row = Owned { shape: vec![1, 60_000], ..tensor.clone() };
    assert!(!is_found(&encode(&Encoder::new(), &row), &row));
    let zeros = Owned { data: vec![0; 60_000], ..tensor.clone() };
    assert!(!is_found(&encode(&Encoder::new(), &zeros), &zeros));
    let progressive = encode(&Encoder::new().progressive(true), &tensor);
    assert!(!is_found(&progressive, &tensor) && open(&progressive).report().unwrap()[0].progressive);
}
