//! Decoding past the caches, where streams are joined as they are decoded: outputs of megabytes, on cache lines and off them.

#![allow(missing_docs)]

mod support;

use support::*;
use wcodec::{Dtype, Tensor};

const LINE: usize = 64;

/// Decodes all tensors into one arena, tensor `i` `offset(i)` bytes beyond a cache line, and compares them.
fn check(tensors: &[Owned], offset: impl Fn(usize) -> usize) {
    let archive = encode_tensors(tensors);
    let place = |len: usize| (len + LINE).next_multiple_of(LINE);
    for (backend, archive) in on_every_backend(&archive) {
        let mut arena = vec![0xa5u8; tensors.iter().map(|t| place(t.data.len())).sum::<usize>() + LINE];
        let mut rest = {
            let start = arena.as_ptr().align_offset(LINE);
            &mut arena[start..]
        };
        let mut jobs: Vec<(Tensor<'_>, &mut [u8])> = Vec::new();
        for (i, (tensor, t)) in archive.tensors().zip(tensors).enumerate() {
            let (buffer, after) = rest.split_at_mut(place(t.data.len()));
            jobs.push((tensor, &mut buffer[offset(i)..][..t.data.len()]));
            rest = after;
        }
        archive.decode_many(&mut jobs).unwrap();
        let inside: Vec<_> =
            jobs.iter().map(|(_, bytes)| bytes.as_ptr_range()).map(|r| (r.start as usize, r.end as usize)).collect();
        for ((_, bytes), t) in jobs.iter().zip(tensors) {
            assert!(**bytes == t.data, "{t:?} on {}", backend.name());
        }
        // What lies between the tensors is as it was.
        let (base, mut at) = (arena.as_ptr() as usize, 0);
        for (start, end) in inside {
            assert!(arena[at..start - base].iter().all(|&b| b == 0xa5), "a byte beside a tensor on {}", backend.name());
            at = end - base;
        }
        assert!(arena[at..].iter().all(|&b| b == 0xa5));
    }
}

/// Shapes whose rows are whole lines, are not, are wider than a tile, and tensors of less than a chunk.
const SHAPES: [&[u64]; 9] =
    [&[700, 192], &[300, 384], &[64, 1000], &[3, 40_000], &[129], &[127, 3], &[256, 256], &[1, 70_001], &[1500, 96]];

#[test]
fn every_join() {
    let mut tensors = vec![Owned::new("filler", Dtype::U8, &[8 << 20], Fill::Random, 0)];
    for dtype in [Dtype::BF16, Dtype::F16, Dtype::I8, Dtype::F8_E4M3, Dtype::F32] {
        for (s, shape) in SHAPES.iter().enumerate() {
            for how in [Fill::Gaussian, Fill::Outliers, Fill::Rare, Fill::Special, Fill::Skewed] {
                tensors.push(Owned::new(&format!("{dtype:?} {s} {how:?}"), dtype, shape, how, s as u64));
            }
        }
    }
    check(&tensors, |_| 0);
    check(&tensors, |i| [0, 16, 2, 63][i % 4]);
}

/// A stream that runs out of words, or has too many, is found although its elements are written as they are decoded.
#[test]
fn faults_are_found() {
    let tensors = [Owned::new("w", Dtype::BF16, &[6000, 512], Fill::Gaussian, 7)];
    let good = encode_tensors(&tensors);
    let mut found = 0;
    for at in (300..good.len()).step_by(good.len() / 40) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        for backend in wcodec::Backend::available() {
            let Ok(mut archive) = wcodec::Archive::from_bytes(&bad[..]) else { continue };
            archive.set_backend(*backend);
            let mut arena = vec![0u8; tensors[0].data.len() + LINE];
            let start = arena.as_ptr().align_offset(LINE);
            let out = &mut arena[start..][..tensors[0].data.len()];
            let tensor = archive.tensors().next().unwrap();
            match archive.decode_many(&mut [(tensor, &mut *out)]) {
                Ok(()) => assert!(*out == tensors[0].data, "wrong data without an error: byte {at} on {}", backend.name()),
                Err(_) => found += 1,
            }
        }
    }
    assert!(found > 0);
}
