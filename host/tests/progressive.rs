//! Progressive archives: coarse at first, refined in place, exact at last.

#![allow(missing_docs)]

mod oracle;
mod support;

use std::io::Cursor;
use std::path::{Path, PathBuf};
use support::*;
use wcodec::{Archive, Device, Dtype, Encoder, ErrorKind, Level, Loader, Profile, ReadAt};

const SPLIT: [Dtype; 7] = [Dtype::BF16, Dtype::F16, Dtype::F32, Dtype::F8_E4M3, Dtype::F8_E5M2, Dtype::I8, Dtype::I16];

fn encode(tensors: &[Owned]) -> Vec<u8> {
    let inputs: Vec<_> = tensors.iter().map(Owned::input).collect();
    let mut out = Cursor::new(Vec::new());
    Encoder::new().progressive(true).encode_tensors(&inputs, &mut out).unwrap();
    out.into_inner()
}

fn encode_file(source: &dyn ReadAt) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    Encoder::new().progressive(true).encode_source(source, &mut out).unwrap();
    out.into_inner()
}

/// Bits of the mantissa, or below the sign and the highest.
fn planes(dtype: Dtype) -> usize {
    match dtype {
        Dtype::BF16 => 7,
        Dtype::F16 => 10,
        Dtype::F32 => 23,
        Dtype::F8_E4M3 => 3,
        Dtype::F8_E5M2 => 2,
        Dtype::I8 => 6,
        Dtype::I16 => 14,
        _ => 0,
    }
}

/// What an element is at `k` planes, said once more and plainly.
fn expected(dtype: Dtype, data: &[u8], k: usize) -> Vec<u8> {
    let bits = match dtype {
        Dtype::F32 => 32,
        Dtype::BF16 | Dtype::F16 | Dtype::I16 => 16,
        _ => 8,
    };
    let all = planes(dtype);
    let integer = matches!(dtype, Dtype::I8 | Dtype::I16);
    let coarse = |x: u64| -> u64 {
        if integer {
            let x = ((x << (64 - bits)) as i64) >> (64 - bits);
            let magnitude = x.unsigned_abs();
            if magnitude == 0 || magnitude == 1 << (bits - 1) {
                return x as u64;
            }
            let below = 63 - magnitude.leading_zeros() as usize;
            let lost = below.saturating_sub(k);
            let kept = magnitude >> lost << lost;
            let magnitude = if lost > 0 { kept | 1 << (lost - 1) } else { kept };
            if x < 0 { magnitude.wrapping_neg() } else { magnitude }
        } else {
            let lost = all.saturating_sub(k);
            let exponents = (1u64 << (bits - 1 - all)) - 1;
            let exponent = x >> all & exponents;
            let kept = x >> lost << lost;
            if lost > 0 && exponent != 0 && exponent != exponents { kept | 1 << (lost - 1) } else { kept }
        }
    };
    let size = bits / 8;
    let element = |e: &[u8]| {
        let mut wide = [0; 8];
        wide[..size].copy_from_slice(e);
        coarse(u64::from_le_bytes(wide)).to_le_bytes()[..size].to_vec()
    };
    if all == 0 { data.to_vec() } else { data.chunks(size).flat_map(element).collect() }
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
