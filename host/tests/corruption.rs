//! Damaged and forged archives: an error, or the right bytes; never a panic, a giant allocation, or wrong data unnoticed.

#![allow(missing_docs)]
#![allow(unsafe_code)]

mod oracle;
mod support;

use rayon::prelude::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use support::forge::{Map, fix_superblock};
use support::*;
use wcodec::{Archive, Backing, Dtype, ErrorKind};

/// The system's allocator, and the largest size that was ever asked of it.
struct Watched;

static LARGEST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is the system allocator's doing.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LARGEST.fetch_max(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, p: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST.fetch_max(size, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract.
        unsafe { System.realloc(p, layout, size) }
    }

    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(p, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// An archive, what it holds, and where.
struct Sample {
    name: &'static str,
    archive: Vec<u8>,
    /// All decoded bytes: the source file where there was one.
    truth: Vec<u8>,
    /// Names, types, shapes.
    list: Vec<String>,
    from_file: bool,
    map: Map,
}

impl Sample {
    fn new(name: &'static str, tensors: &[Owned], from_file: bool) -> Self {
        let archive = if from_file { encode_source(&safetensors(tensors)).unwrap() } else { encode_tensors(tensors) };
        let (map, truth) = (Map::of(&archive), oracle::decode(&archive).unwrap().source);
        let list = open(&archive).tensors().map(|t| format!("{t:?}")).collect();
        assert!((2 << 10..20 << 10).contains(&archive.len()), "{name} has {} bytes", archive.len());
        Self { name, archive, truth, list, from_file, map }
    }

    /// What `archive`, a damaged version, is good for: `Some` of its verified bytes and list, `None` if it was refused.
    fn outcome(&self, archive: &[u8]) -> Option<(Vec<u8>, Vec<String>)> {
        let a = Archive::from_bytes(archive).ok()?;
        let list: Vec<String> = a.tensors().map(|t| format!("{t:?}")).collect();
        let all = decoded(&a);
        let whole = if self.from_file { restored(&a) } else { all.clone_result() };
        let verified = a.verify(|_, _| ());
        // Decoding refuses a part of what verifying refuses.
        assert!(all.is_ok() || verified.is_err(), "{}: verified, but does not decode", self.name);
        verified.ok()?;
        Some((whole.unwrap(), list))
    }
}

/// `Result::clone` for errors that have none.
trait CloneResult {
    fn clone_result(&self) -> wcodec::Result<Vec<u8>>;
}

impl CloneResult for wcodec::Result<Vec<u8>> {
    fn clone_result(&self) -> wcodec::Result<Vec<u8>> {
        self.as_ref().cloned().map_err(|e| wcodec::Error::new(e.kind(), e.to_string()))
    }
}

/// Small archives of several layouts and modes; each has tiles that are decoded side by side.
fn samples() -> Vec<Sample> {
    let bf16 = [
        Owned::new("patched", Dtype::BF16, &[2, 1301], Fill::Outliers, 1),
        Owned::new("odd", Dtype::BF16, &[3, 129], Fill::Special, 2),
        Owned::new("none", Dtype::BF16, &[0, 3], Fill::Constant, 3),
    ];
    let wide = [
        Owned::new("f32", Dtype::F32, &[2, 601], Fill::Gaussian, 4),
        Owned::new("i64", Dtype::I64, &[401], Fill::Ramp, 5),
        Owned::new("constant", Dtype::BOOL, &[30, 30], Fill::Constant, 6),
    ];
    let fp8 = [
        Owned::new("apart", Dtype::F8_E4M3, &[2, 2503], Fill::Skewed, 7),
        Owned::new("scalar", Dtype::F64, &[], Fill::Random, 8),
    ];
    let bytes = [
        Owned::new("i8", Dtype::I8, &[2, 2100], Fill::Skewed, 9),
        Owned::new("f16", Dtype::F16, &[1001], Fill::Few, 10),
        Owned::new("rare", Dtype::U8, &[2000], Fill::Rare, 11),
    ];
    vec![
        Sample::new("bf16", &bf16, false),
        Sample::new("wide", &wide, true),
        Sample::new("fp8", &fp8, true),
        Sample::new("bytes", &bytes, false),
    ]
}

/// The most that a reader may ask for at once: the format's own bound, and room for tables and buffers of fixed size.
fn bound(archive: &[u8]) -> usize {
    8192 * archive.len() + (8 << 20)
}

#[test]
fn samples_are_what_they_are_for() {
    let modes: Vec<_> = samples().iter().flat_map(|s| oracle::decode(&s.archive).unwrap().modes).collect();
    for wanted in [(128, 0, 3), (128, 1, 0), (129, 0, 3), (130, 0, 3), (130, 1, 0), (1, 0, 2), (2, 0, 2), (8, 7, 1), (1, 0, 1)] {
        assert!(modes.contains(&wanted), "no (layout, plane, mode) {wanted:?} among {modes:?}");
    }
    for s in samples() {
        assert!(s.map.records.iter().any(|r| r.tiles.len() > 4), "{} has no group of tiles", s.name);
        // Putting the right checksums in their places changes nothing.
        let mut same = s.archive.clone();
        s.map.fix_moved_tiles(&mut same);
        s.map.fix_all(&mut same);
        assert!(same == s.archive);
        assert!(s.outcome(&s.archive) == Some((s.truth.clone(), s.list.clone())));
    }
}

#[test]
fn truncated_anywhere() {
    for s in samples() {
        for len in 0..s.archive.len() {
            assert!(Archive::from_bytes(&s.archive[..len]).is_err(), "{} opens with {len} bytes", s.name);
        }
        for more in [1, 15, 16, 255, 256, 4096] {
            let longer = [&s.archive[..], &vec![0; more]].concat();
            assert!(Archive::from_bytes(longer).is_err(), "{} opens with {more} bytes too many", s.name);
        }
    }
}

#[test]
fn any_bit_flipped() {
    for s in samples() {
        (0..8 * s.archive.len()).into_par_iter().for_each(|bit| {
            let mut damaged = s.archive.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            // Every byte is covered by a checksum.
            assert!(s.outcome(&damaged).is_none(), "{}: bit {bit} may be flipped", s.name);
        });
    }
}

/// Changes each byte of `range` and makes the checksums fit: it is refused, or harmless; and the oracle is of the same opinion.
fn forge(s: &Sample, range: std::ops::Range<usize>, fix: impl Fn(&mut Vec<u8>) + Sync) -> usize {
    let one = |at: usize| {
        let old = s.archive[at];
        let mut accepted = 0;
        for new in [0, 0xff, old ^ 1, old ^ 0x80, old.wrapping_add(1), old.wrapping_sub(1), 1, 16] {
            if new == old {
                continue;
            }
            let mut forged = s.archive.clone();
            forged[at] = new;
            fix(&mut forged);
            let ours = s.outcome(&forged);
            let theirs = oracle::decode(&forged);
            let about = || format!("{}: byte {at} from {old} to {new}; the oracle: {:?}", s.name, theirs.as_ref().err());
            assert_eq!(ours.is_some(), theirs.is_ok(), "{}", about());
            if let Some((bytes, _)) = ours {
                assert!(bytes == s.truth, "{}", about());
                accepted += 1;
            }
        }
        accepted
    };
    range.into_par_iter().map(one).sum()
}

#[test]
fn forged_superblock() {
    for s in samples() {
        // Harmless are the minor version, optional features, what is reserved; for tensors in memory, what is told of a source.
        let harmless = |at: &usize| matches!(at, 10..12 | 24..32 | 112..252) || !s.from_file && matches!(at, 32..72);
        for at in 0..252 {
            let accepted = forge(&s, at..at + 1, |b| fix_superblock(b));
            assert_eq!(accepted > 0, harmless(&at), "{}: byte {at} of the superblock", s.name);
        }
        // A copy that differs, soundly.
        let mut forged = s.archive.clone();
        forged[24] = 1;
        fix_superblock(&mut forged);
        forged[..256].copy_from_slice(&s.archive[..256]);
        assert!(Archive::from_bytes(forged).is_err());
    }
}

#[test]
fn forged_index() {
    for s in samples() {
        let accepted = forge(&s, s.map.index.clone(), |b| s.map.fix_index(b));
        // Names, and what types and shapes of the same size look alike.
        assert!(accepted > 0);
    }
    assert!(LARGEST.load(Ordering::Relaxed) <= samples().iter().map(|s| bound(&s.archive)).max().unwrap());
}

#[test]
fn forged_directories() {
    for s in samples() {
        forge(&s, s.map.directories.clone(), |b| s.map.fix_directories(b));
        // The same with the tiles' checksums made to fit where their payloads are said to be now.
        forge(&s, s.map.directories.clone(), |b| {
            s.map.fix_moved_tiles(b);
            s.map.fix_directories(b);
        });
    }
    assert!(LARGEST.load(Ordering::Relaxed) <= samples().iter().map(|s| bound(&s.archive)).max().unwrap());
}

/// Payloads of noise that no checksum gives away: the streams' own checks and the hashes are left, and every backend must keep
/// inside its buffers.
#[test]
fn forged_payloads() {
    for s in samples() {
        (0..6000u64).into_par_iter().for_each(|seed| {
            let mut rng = Numbers(seed);
            let mut forged = s.archive.clone();
            let tiles: Vec<_> = s.map.records.iter().flat_map(|r| &r.tiles).filter(|t| !t.is_empty()).collect();
            for _ in 0..1 + rng.below(4) {
                let tile = tiles[rng.below(tiles.len() as u64) as usize];
                // States and patches, at a tile's ends, deserve more than their share.
                let at = match rng.below(3) {
                    0 => tile.start + rng.below(160.min(tile.len() as u64)) as usize,
                    1 => tile.end - 1 - rng.below(48.min(tile.len() as u64)) as usize,
                    _ => tile.start + rng.below(tile.len() as u64) as usize,
                };
                let run = 1 + rng.below(8) as usize;
                for byte in &mut forged[at..tile.end.min(at + run)] {
                    *byte = match rng.below(3) {
                        0 => 0,
                        1 => 0xff,
                        _ => rng.next() as u8,
                    };
                }
            }
            s.map.fix_all(&mut forged);
            let mut outcomes = Vec::new();
            for (_, a) in on_every_backend(&forged) {
                let bytes = decoded(&a).ok();
                if a.verify(|_, _| ()).is_ok() {
                    assert!(bytes.as_ref() == Some(&s.tensor_bytes()), "{} {seed}: wrong data verified", s.name);
                }
                outcomes.push(bytes);
            }
            assert!(outcomes.windows(2).all(|w| w[0] == w[1]), "{} {seed}: backends differ", s.name);
            if seed < 1500 {
                assert_eq!(oracle::decode(&forged).is_ok(), s.outcome(&forged).is_some(), "{} {seed}", s.name);
            }
        });
    }
}

impl Sample {
    /// Decoded bytes without the source's header.
    fn tensor_bytes(&self) -> Vec<u8> {
        oracle::decode(&self.archive).unwrap().tensors.into_iter().flat_map(|t| t.bytes).collect()
    }
}

/// A record that claims what the file cannot hold is refused before memory is asked for.
#[test]
fn giant_claims() {
    for s in samples() {
        for r in &s.map.records {
            for (field, len) in [(0, 8), (8, 8), (16, 8), (44, 4), (48, 4), (52, 4)] {
                for value in [1u64 << 20, 1 << 31, 1 << 40, 1 << 62, (1 << 63) - 1, u64::MAX] {
                    let mut forged = s.archive.clone();
                    forged[r.at + field..][..len].copy_from_slice(&value.to_le_bytes()[..len]);
                    s.map.fix_index(&mut forged);
                    // Tiles may be larger than the tensor, and a tensor without elements have rows of any length.
                    assert_eq!(s.outcome(&forged).is_some(), oracle::decode(&forged).is_ok());
                }
            }
        }
        for at in (0..32).step_by(4) {
            for value in [1u32 << 16, 1 << 24, 1 << 31, u32::MAX] {
                let mut forged = s.archive.clone();
                forged[s.map.index.start + at..][..4].copy_from_slice(&value.to_le_bytes());
                s.map.fix_index(&mut forged);
                assert!(s.outcome(&forged).is_none());
                forged[108..112].copy_from_slice(&value.to_le_bytes());
                fix_superblock(&mut forged);
                assert!(s.outcome(&forged).is_none());
            }
        }
    }
    assert!(LARGEST.load(Ordering::Relaxed) <= samples().iter().map(|s| bound(&s.archive)).max().unwrap());
}

#[test]
fn other_versions() {
    for s in samples() {
        let open = |at: usize, value: u8, fix: bool| {
            let mut b = s.archive.clone();
            b[at] = value;
            if fix {
                fix_superblock(&mut b);
            }
            Archive::from_bytes(b)
        };
        // A later major version may have another superblock: its checksum says nothing.
        for fix in [true, false] {
            let e = open(8, 2, fix).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Unsupported);
            assert!(e.to_string().contains("2.0"), "{e}");
        }
        let mut tail = s.archive[..12].to_vec();
        tail[8] = 3;
        assert_eq!(Archive::from_bytes(tail).unwrap_err().kind(), ErrorKind::Unsupported);
        assert_eq!(open(8, 0, true).unwrap_err().kind(), ErrorKind::Unsupported);
        for at in 16..24 {
            let e = open(at, 0x40, true).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Unsupported, "{e}");
            assert!(e.to_string().contains(&format!("{:#x}", 0x40u64 << (8 * (at - 16)))), "{e}");
        }
        assert_eq!(open(10, 7, true).unwrap().version(), (1, 7));
        assert!(open(24, 0xff, true).unwrap().verify(|_, _| ()).is_ok());
        assert_eq!(open(12, 2, true).unwrap_err().kind(), ErrorKind::Unsupported);
        // Damage is no version.
        assert_eq!(open(0, b'V', false).unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(open(16, 1, false).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

/// Errors say where: file, tensor, tile, offset.
#[test]
fn errors_name_the_place() {
    let s = &samples()[0];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("damaged.wcodec");
    let r = &s.map.records[0];
    let write = |at: usize| {
        let mut b = s.archive.clone();
        b[at] ^= 0x10;
        std::fs::write(&path, b).unwrap();
    };
    let named = path.display().to_string();
    for backing in [Backing::Map, Backing::Read] {
        write(r.tiles[3].start + 5);
        let a = Archive::open_with(&path, backing).unwrap();
        let wide = a.tensor("patched").unwrap();
        let slice = wide.decode_slice(0..wide.rows(), 0..wide.columns()).unwrap_err();
        for e in [wide.decode().unwrap_err(), slice, a.decode_all().unwrap_err(), a.verify(|_, _| ()).unwrap_err()] {
            assert_eq!(e.kind(), ErrorKind::Corrupt);
            assert_eq!((e.path(), e.tensor(), e.tile()), (Some(&*path), Some("patched"), Some(3)), "{e}");
            assert_eq!(e.offset(), Some(r.tiles[3].start as u64), "{e}");
            let text = e.to_string();
            for part in [&*named, "'patched'", "tile 3", &r.tiles[3].start.to_string(), "checksum"] {
                assert!(text.contains(part), "'{part}' is not in: {text}");
            }
        }
        // The other tensors are as good as ever, and so is a slice beside the damage.
        assert!(a.tensor("odd").unwrap().decode().is_ok());
        assert!(wide.decode_slice(0..2, 0..10).is_ok());

        write(r.directory.start + 3);
        let e = Archive::open_with(&path, backing).unwrap().tensor("patched").unwrap().decode().unwrap_err();
        assert_eq!((e.path(), e.tensor(), e.offset()), (Some(&*path), Some("patched"), Some(r.directory.start as u64)), "{e}");

        for at in [5, 90, s.map.index.start + 40, s.archive.len() - 100] {
            write(at);
            let e = Archive::open_with(&path, backing).unwrap_err();
            assert_eq!((e.kind(), e.path()), (ErrorKind::Corrupt, Some(&*path)), "{e}");
            assert!(e.offset().is_some(), "{e}");
        }

        for len in [0, 7, 100, 256, 600, s.archive.len() - 1] {
            std::fs::write(&path, &s.archive[..len]).unwrap();
            let e = Archive::open_with(&path, backing).unwrap_err();
            assert_eq!((e.kind(), e.path()), (ErrorKind::Corrupt, Some(&*path)), "{len}: {e}");
            if len >= 256 {
                assert!(e.to_string().contains("cut short"), "{e}");
            }
        }
        let e = Archive::open_with(dir.path().join("missing"), backing).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Io);
        assert!(e.to_string().contains("missing"));
        assert_eq!(Archive::open_with(dir.path(), backing).unwrap_err().kind(), ErrorKind::Io);
    }
    // A wrong hash has no tile, but a tensor.
    let mut b = s.archive.clone();
    b[r.at + 24] ^= 1;
    s.map.fix_index(&mut b);
    std::fs::write(&path, b).unwrap();
    let e = Archive::open(&path).unwrap().verify(|_, _| ()).unwrap_err();
    assert_eq!((e.path(), e.tensor()), (Some(&*path), Some("patched")), "{e}");
    let a = Archive::open(&path).unwrap();
    let e = a.tensor("nothing").unwrap_err();
    assert_eq!((e.kind(), e.path(), e.tensor()), (ErrorKind::NotFound, Some(&*path), Some("nothing")));
}

/// What is restored from a damaged archive does not appear under its name.
#[test]
fn nothing_is_restored_from_damage() {
    let s = &samples()[1];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.wcodec");
    let mut b = s.archive.clone();
    b[s.map.records[1].tiles[0].start] ^= 1;
    std::fs::write(&path, b).unwrap();
    let out = dir.path().join("restored");
    assert!(Archive::open(&path).unwrap().decompress_file(&out, false, |_, _| ()).is_err());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    // Forged so that only the hash of the whole file knows.
    let mut b = s.archive.clone();
    b[40] ^= 1;
    fix_superblock(&mut b);
    std::fs::write(&path, b).unwrap();
    let e = Archive::open(&path).unwrap().decompress_file(&out, false, |_, _| ()).unwrap_err();
    assert!(e.to_string().contains("SHA-256"), "{e}");
    assert!(!out.exists());
}
