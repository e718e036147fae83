//! Damaged, forged and cut progressive archives: an error, or the right bytes; never a panic, a giant allocation, or wrong data unnoticed.

#![allow(missing_docs)]

mod oracle;
mod support;

use rayon::prelude::*;
use std::io::Cursor;
use std::sync::atomic::Ordering;
use support::allocator::{LARGEST, Watched};
use support::forge::{Map, fix_superblock};
use support::*;
use wcodec::{Archive, Dtype, Encoder, ErrorKind};

#[global_allocator]
static ALLOCATOR: Watched = Watched;

struct Sample {
    name: &'static str,
    tensors: Vec<Owned>,
    archive: Vec<u8>,
    map: Map,
}

impl Sample {
    fn new(name: &'static str, tensors: Vec<Owned>) -> Self {
        let inputs: Vec<_> = tensors.iter().map(Owned::input).collect();
        let mut out = Cursor::new(Vec::new());
        Encoder::new().progressive(true).encode_tensors(&inputs, &mut out).unwrap();
        let archive = out.into_inner();
        Self { name, tensors, map: Map::of(&archive), archive }
    }

    /// Whether `archive`, a damaged version, verifies; what does must be right. Whatever coarser levels give must not panic.
    fn verifies(&self, archive: &[u8]) -> bool {
        let Ok(mut a) = Archive::from_bytes(archive) else { return false };
        let levels = a.levels();
        for level in levels.iter().filter(|l| l.complete) {
            if a.set_planes(level.planes).is_err() {
                continue;
            }
            let Ok(mut all) = a.decode_all() else { continue };
            let slices = a.tensors().map(|t| t.decode_slice(0..t.rows(), 0..t.columns()));
            let slices: wcodec::Result<Vec<_>> = slices.collect();
            assert!(slices.is_ok_and(|s| s.iter().zip(&all).all(|(s, (_, t))| s == t)), "{}: slices differ", self.name);
            // What is already there needs nothing, and what is not what it says is found out, or not, without a panic.
            all.iter_mut().for_each(|(t, bytes)| t.refine(level.planes / 2, bytes).unwrap_or(()));
        }
        let Ok(a) = Archive::from_bytes(archive) else { return false };
        let all = decoded(&a);
        if let Err(e) = a.verify(|_, _| ()) {
            assert!(matches!(e.kind(), ErrorKind::Corrupt), "{e}");
            return false;
        }
        assert!(all.unwrap() == self.truth(), "{}: wrong data verified", self.name);
        true
    }

    fn truth(&self) -> Vec<u8> {
        self.tensors.iter().flat_map(|t| t.data.clone()).collect()
    }
}

fn samples() -> Vec<Sample> {
    let new = Owned::new;
    vec![
        Sample::new(
            "bf16",
            vec![new("w", Dtype::BF16, &[41, 100], Fill::Outliers, 1), new("norm", Dtype::BF16, &[70], Fill::Gaussian, 2)],
        ),
        Sample::new("i8", vec![new("w", Dtype::I8, &[64, 65], Fill::Gaussian, 3), new("few", Dtype::I8, &[4097], Fill::Few, 4)]),
        Sample::new(
            "fp8",
            vec![new("w", Dtype::F8_E5M2, &[4096], Fill::Special, 5), new("c", Dtype::F16, &[4100], Fill::Constant, 6)],
        ),
    ]
}

#[test]
fn samples_are_what_they_are_for() {
    let mut modes = Vec::new();
    for s in samples() {
        modes.extend(oracle::decode(&s.archive).unwrap().modes);
        let mut same = s.archive.clone();
        s.map.fix_moved_tiles(&mut same);
        s.map.fix_all(&mut same);
        assert!(same == s.archive && s.verifies(&s.archive) && s.archive.len() < 20 << 10, "{}", s.archive.len());
    }
    // Categories, signs and bits of planes, by mode.
    for wanted in [(200, 15, 2), (201, 15, 0), (202, 15, 0), (200, 6, 2), (202, 6, 2), (200, 14, 1), (202, 14, 1)] {
        assert!(modes.contains(&wanted), "no {wanted:?} among {modes:?}");
    }
}

/// A file that is cut opens as far as its levels are complete, gives those, and nothing else.
#[test]
fn truncated_anywhere() {
    for s in samples() {
        let whole = open(&s.archive);
        let levels = whole.levels();
        let coarse: Vec<Vec<u8>> = (0..levels.len()).map(|k| decoded(&open(&s.archive).planes(k).unwrap()).unwrap()).collect();
        assert!(coarse.last() == Some(&s.truth()));
        (0..s.archive.len()).into_par_iter().for_each(|len| {
            let complete = levels.iter().filter(|l| l.end <= len as u64).count();
            let a = Archive::from_bytes(&s.archive[..len]);
            // Only the superblock's copy may be missing from the last.
            let all_planes = len + 256 >= s.archive.len();
            assert_eq!(a.is_ok(), complete > 0, "{}: {len} bytes", s.name);
            let Ok(mut a) = a else { return };
            for (k, coarse) in coarse.iter().enumerate() {
                let there = k < complete || all_planes;
                assert_eq!(a.levels()[k].complete, k < complete);
                assert_eq!(a.set_planes(k).is_ok(), there, "{}: {len} bytes, {k} planes", s.name);
                if there && (len % 64 == 0 || levels.iter().any(|l| l.end == len as u64)) {
                    assert!(decoded(&a).unwrap() == *coarse, "{}: {len} bytes, {k} planes", s.name);
                }
            }
            if !all_planes && len % 16 == 0 {
                let e = decoded(&Archive::from_bytes(&s.archive[..len]).unwrap()).unwrap_err();
                assert!(e.kind() == ErrorKind::Corrupt && e.to_string().contains("cut short"), "{e}");
            }
        });
        for more in [1, 16, 256] {
            assert!(Archive::from_bytes([&s.archive[..], &vec![0; more]].concat()).is_err());
        }
    }
}

#[test]
fn any_bit_flipped() {
    for s in samples() {
        (0..8 * s.archive.len()).into_par_iter().for_each(|bit| {
            // Of payloads some bits in each byte are enough.
            if bit / 8 > s.map.index.end && bit % 7 != 0 {
                return;
            }
            let mut damaged = s.archive.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(!s.verifies(&damaged), "{}: bit {bit} may be flipped", s.name);
        });
    }
}

/// Changes each byte of `range` and makes the checksums fit: it is refused, or harmless; and the oracle is of the same opinion.
fn forge(s: &Sample, range: std::ops::Range<usize>, fix: impl Fn(&mut Vec<u8>) + Sync) {
    range.into_par_iter().for_each(|at| {
        let old = s.archive[at];
        for new in [0, 0xff, old ^ 1, old ^ 0x80, old.wrapping_add(1), 1, 2, 8, 16] {
            if new == old {
                continue;
            }
            let mut forged = s.archive.clone();
            forged[at] = new;
            fix(&mut forged);
            let theirs = oracle::decode(&forged);
            let about = || format!("{}: byte {at} from {old} to {new}; the oracle: {:?}", s.name, theirs.as_ref().err());
            assert_eq!(s.verifies(&forged), theirs.is_ok(), "{}", about());
        }
    });
}

#[test]
fn forged_superblock_index_and_directories() {
    for s in samples() {
        forge(&s, 0..252, |b| fix_superblock(b));
        forge(&s, s.map.index.clone(), |b| s.map.fix_index(b));
        forge(&s, s.map.directories.clone(), |b| s.map.fix_directories(b));
        forge(&s, s.map.directories.clone(), |b| {
            s.map.fix_moved_tiles(b);
            s.map.fix_directories(b);
        });
    }
    // As in `corruption.rs`: the format's bound, and tables and buffers of fixed size.
    assert!(LARGEST.load(Ordering::Relaxed) <= samples().iter().map(|s| 8192 * s.archive.len() + (8 << 20)).max().unwrap());
}

/// Fields of records with values that no byte alone has.
#[test]
fn giant_claims() {
    for s in samples() {
        for r in &s.map.records {
            for (field, len) in [(0, 8), (8, 8), (16, 8), (44, 4), (48, 4), (52, 4)] {
                for value in [1u64 << 20, 1 << 31, 1 << 40, 1 << 62, (1 << 63) - 1, u64::MAX] {
                    let mut forged = s.archive.clone();
                    forged[r.at + field..][..len].copy_from_slice(&value.to_le_bytes()[..len]);
                    s.map.fix_index(&mut forged);
                    assert_eq!(s.verifies(&forged), oracle::decode(&forged).is_ok());
                }
            }
        }
    }
}

/// Payloads of noise that no checksum gives away: hashes are left, and what is coarse must keep inside its buffers.
#[test]
fn forged_payloads() {
    for s in samples() {
        (0..2000u64).into_par_iter().for_each(|seed| {
            let mut rng = Numbers(seed);
            let mut forged = s.archive.clone();
            let tiles: Vec<_> = s.map.records.iter().flat_map(|r| &r.tiles).filter(|t| !t.is_empty()).collect();
            for _ in 0..1 + rng.below(4) {
                let tile = tiles[rng.below(tiles.len() as u64) as usize];
                let at = match rng.below(3) {
                    0 => tile.start + rng.below(160.min(tile.len() as u64)) as usize,
                    1 => tile.end - 1 - rng.below(48.min(tile.len() as u64)) as usize,
                    _ => tile.start + rng.below(tile.len() as u64) as usize,
                };
                let run = 1 + rng.below(8) as usize;
                forged[at..tile.end.min(at + run)].iter_mut().for_each(|byte| *byte = rng.next() as u8);
            }
            s.map.fix_all(&mut forged);
            assert_eq!(s.verifies(&forged), oracle::decode(&forged).is_ok(), "{} {seed}", s.name);
        });
    }
}

/// The same of a tensor of several tiles, of which groups are decoded side by side; on every backend.
#[test]
fn forged_groups_of_tiles() {
    let tensors = [
        Owned::new("w", Dtype::BF16, &[600, 257], Fill::Outliers, 8),
        Owned::new("i", Dtype::I8, &[2, 200_001], Fill::Gaussian, 9),
    ];
    for t in tensors {
        let s = Sample::new("tiles", vec![t]);
        assert!(s.map.records[0].tiles.len() > 4 && s.verifies(&s.archive));
        (0..150u64).into_par_iter().for_each(|seed| {
            let mut rng = Numbers(seed);
            let mut forged = s.archive.clone();
            let r = &s.map.records[rng.below(s.map.records.len() as u64) as usize];
            let range = if rng.below(2) == 0 { r.directory.clone() } else { r.segment.clone() };
            if range.is_empty() {
                return;
            }
            for _ in 0..1 + rng.below(3) {
                forged[range.start + rng.below(range.len() as u64) as usize] = rng.next() as u8;
            }
            if rng.below(2) == 0 {
                s.map.fix_all(&mut forged);
            } else {
                s.map.fix_moved_tiles(&mut forged);
                s.map.fix_directories(&mut forged);
            }
            let mut outcomes = Vec::new();
            for (_, a) in on_every_backend(&forged) {
                let bytes = decoded(&a).ok();
                assert!(a.verify(|_, _| ()).is_err() || bytes.as_ref() == Some(&s.truth()), "{seed}: wrong data verified");
                outcomes.push(bytes);
            }
            assert!(outcomes.windows(2).all(|w| w[0] == w[1]), "{seed}: backends differ");
            if seed < 40 {
                assert_eq!(s.verifies(&forged), oracle::decode(&forged).is_ok(), "{seed}");
            }
        });
    }
}
