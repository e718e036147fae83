//! Decoding past the caches, where streams are joined as they are decoded: outputs of megabytes, on cache lines and off them.

#![allow(missing_docs)]

mod support;

use support::forge::Map;
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
    // As an allocator gives them, all alike and mixed.
    for behind in [16, 32, 48] {
        check(&tensors, |_| behind);
    }
    check(&tensors, |i| [32, 0, 48, 16, 8][i % 5]);
}

/// Decodes the first tensor of an archive onto a cache line.
fn decode(archive: &[u8], backend: wcodec::Backend, len: usize) -> Result<Vec<u8>, String> {
    let mut archive = wcodec::Archive::from_bytes(archive).map_err(|e| e.to_string())?;
    archive.set_backend(backend);
    let mut arena = vec![0u8; len + LINE];
    let start = arena.as_ptr().align_offset(LINE);
    let out = &mut arena[start..][..len];
    let tensor = archive.tensors().next().unwrap();
    archive.decode_many(&mut [(tensor, &mut *out)]).map_err(|e| e.to_string())?;
    Ok(out.to_vec())
}

/// Damage behind checksums that fit: whatever it does, all decoders say the same of it, though one writes elements as it decodes them.
#[test]
fn forged_streams() {
    let mut rng = Numbers(11);
    let mut said = std::collections::HashSet::new();
    for (dtype, shape, how) in [
        (Dtype::BF16, [6000, 512], Fill::Outliers),
        (Dtype::BF16, [12_000, 192], Fill::Gaussian),
        (Dtype::F16, [6000, 512], Fill::Gaussian),
        (Dtype::I8, [12_000, 512], Fill::Gaussian),
    ] {
        let tensor = Owned::new("w", dtype, &shape, how, 7);
        let good = encode_tensors(std::slice::from_ref(&tensor));
        let map = Map::of(&good);
        let record = &map.records[0];
        for _ in 0..25 {
            let mut bad = good.clone();
            let k = rng.below(record.tiles.len() as u64) as usize;
            let tile = record.tiles[k].clone();
            let at = match rng.below(4) {
                // A state; the end, where words end and patches are; the directory's counts of words and patches; anything.
                0 => tile.start + rng.below(128) as usize,
                1 => tile.end - 1 - rng.below(64) as usize,
                2 if record.stride > 8 => {
                    record.directory.start + k * record.stride + 8 + rng.below(record.stride as u64 - 8) as usize
                }
                _ => tile.start + rng.below(tile.len() as u64) as usize,
            };
            bad[at] ^= 1 << rng.below(8);
            map.fix_all(&mut bad);
            let truth = decode(&bad, wcodec::Backend::Portable, tensor.data.len());
            said.extend(truth.as_ref().err().cloned().into_iter().map(|e| e.rsplit(": ").next().unwrap_or("").to_owned()));
            for &backend in wcodec::Backend::available() {
                let got = decode(&bad, backend, tensor.data.len());
                assert!(got == truth, "{dtype:?}, byte {at}, {}: {:?} and {:?}", backend.name(), got.err(), truth.err());
            }
        }
    }
    assert!(said.len() > 3, "{said:?}");
}
