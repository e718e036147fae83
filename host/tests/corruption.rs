//! Damaged and forged archives: an error, or the right bytes; never a panic, a giant allocation, or wrong data unnoticed.

#![allow(missing_docs)]

mod oracle;
mod support;

use rayon::prelude::*;
use std::sync::atomic::Ordering;
use support::allocator::{LARGEST, Watched};
use support::forge::{Map, fix_superblock};
use support::writer::{Mode, Record, write};
use support::*;
use wcodec::{Archive, Backing, Dtype, ErrorKind};

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// An archive, what it holds, and where.
struct Sample {
    name: &'static str,
    archive: Vec<u8>,
    /// The bytes of its tensors, one after the other.
    truth: Vec<u8>,
    /// The source file, where there was one.
    source: Option<Vec<u8>>,
    map: Map,
}

impl Sample {
    /// An archive with a group of tiles that are decoded side by side.
    fn new(name: &'static str, records: &[Record]) -> Self {
        let archive = write(records);
        assert!((2 << 10..20 << 10).contains(&archive.len()), "{name} has {} bytes", archive.len());
        let bytes = |from: usize| records[from..].iter().flat_map(|r| r.data.clone()).collect::<Vec<_>>();
        let from_file = records[0].blob;
        let source = from_file.then(|| bytes(0));
        Self { name, map: Map::of(&archive), truth: bytes(usize::from(from_file)), source, archive }
    }

    /// Whether `archive`, a damaged version, verifies; what does must be right.
    fn verifies(&self, archive: &[u8]) -> bool {
        let Ok(a) = Archive::from_bytes(archive) else { return false };
        let all = decoded(&a);
        let slices: wcodec::Result<Vec<_>> = a.tensors().map(|t| t.decode_slice(0..t.rows(), 0..t.columns())).collect();
        // (A slice of no bytes reads nothing, and so finds nothing.)
        if let Ok(all) = &all {
            assert!(slices.unwrap().concat() == *all, "{}: slices and tensors differ", self.name);
        }
        if let Err(e) = a.verify(|_, _| ()) {
            assert!(matches!(e.kind(), ErrorKind::Corrupt), "{e}");
            return false;
        }
        assert!(all.unwrap() == self.truth, "{}: wrong data verified", self.name);
        if a.source_sha256().is_some() {
            assert!(Some(restored(&a).unwrap()) == self.source, "{}: wrong source verified", self.name);
        }
        true
    }
}

/// Small archives of several layouts and all modes, not left to the encoder's choices.
fn samples() -> Vec<Sample> {
    use Mode::{Bytes, Contexts, Pairs, Raw};
    let record =
        |name, dtype: Dtype, layout, how, [rows, tile_rows]: [usize; 2], [width, tile_width]: [usize; 2], modes: &[Mode]| {
            let data = fill(dtype, rows * width, how, 77);
            let mut r = Record::new(name, layout, [rows, tile_rows], [width, tile_width], data, modes);
            r.dtype = dtype as u16;
            r.shape = vec![rows as u64, width as u64 * 8 / u64::from(dtype.bits().unwrap())];
            r
        };
    let bf16 = [
        record("patched", Dtype::BF16, 128, Fill::Outliers, [3, 2], [1302, 256], &[Pairs, Raw]),
        record("odd", Dtype::BF16, 128, Fill::Special, [3, 3], [258, 86], &[Bytes, Raw, Pairs, Raw]),
        record("none", Dtype::BF16, 128, Fill::Constant, [0, 1], [6, 2], &[Raw]),
    ];
    let f32s = record("f32", Dtype::F32, 129, Fill::Outliers, [7, 7], [1204, 204], &[Pairs, Raw, Raw, Raw, Bytes, Raw, Raw, Raw]);
    let wide = [
        record("i64", Dtype::I64, 8, Fill::Ramp, [2, 1], [2000, 400], &[Bytes, Bytes, Raw]),
        record("constant", Dtype::BOOL, 1, Fill::Constant, [30, 4], [30, 30], &[Raw]),
    ];
    let mut fp8 = vec![
        record("apart", Dtype::F8_E4M3, 130, Fill::Skewed, [3, 1], [1603, 601], &[Pairs, Raw]),
        record("bytes", Dtype::F8_E4M3, 130, Fill::Special, [2, 2], [333, 333], &[Bytes]),
    ];
    let bytes = [
        record("i8", Dtype::I8, 1, Fill::Skewed, [6, 2], [1501, 500], &[Bytes, Bytes, Raw]),
        record("f16", Dtype::F16, 2, Fill::Few, [1, 1], [1002, 1002], &[Bytes]),
    ];
    let contexts = [
        record("deep", Dtype::BF16, 128, Fill::Gaussian, [9, 2], [402, 172], &[Contexts]),
        record("f32", Dtype::F32, 129, Fill::Outliers, [5, 2], [404, 204], &[Contexts, Contexts, Raw, Bytes]),
        record("fp8", Dtype::F8_E4M3, 130, Fill::Skewed, [2, 1], [801, 601], &[Contexts, Raw]),
        record("some", Dtype::F16, 2, Fill::Few, [3, 1], [602, 602], &[Bytes, Contexts, Raw]),
    ];
    // Two have a source: a header that says nothing will do, for nobody reads it.
    let header = raw_safetensors(r#"{"__metadata__":{"a":"b"}}"#, &[]);
    let n = header.len();
    fp8.insert(0, Record { blob: true, shape: vec![], ..Record::new("", 1, [1, 1], [n, n], header, &[Raw]) });
    let with_source = [&fp8[..1], &wide[..]].concat();
    vec![
        Sample::new("bf16", &bf16),
        Sample::new("f32", &[f32s]),
        Sample::new("wide", &with_source),
        Sample::new("fp8", &fp8),
        Sample::new("bytes", &bytes),
        Sample::new("contexts", &contexts),
    ]
}

/// The most that a reader may ask for at once: the format's own bound, and room for tables and buffers of fixed size.
fn bound(archive: &[u8]) -> usize {
    8192 * archive.len() + (8 << 20)
}

#[test]
fn samples_are_what_they_are_for() {
    let modes: Vec<_> = samples().iter().flat_map(|s| oracle::decode(&s.archive).unwrap().modes).collect();
    for wanted in [
        (128, 0, 3),
        (128, 1, 0),
        (129, 0, 3),
        (130, 0, 3),
        (130, 0, 2),
        (130, 1, 0),
        (1, 0, 2),
        (2, 0, 2),
        (8, 7, 1),
        (1, 0, 1),
        (128, 0, 2),
        (128, 0, 4),
        (128, 1, 4),
        (129, 1, 4),
        (130, 0, 4),
        (2, 1, 4),
    ] {
        assert!(modes.contains(&wanted), "no (layout, plane, mode) {wanted:?} among {modes:?}");
    }
    for s in samples() {
        assert!(s.map.records.iter().any(|r| r.tiles.len() > 4), "{} has no group of tiles", s.name);
        // Putting the right checksums in their places changes nothing.
        let mut same = s.archive.clone();
        s.map.fix_moved_tiles(&mut same);
        s.map.fix_all(&mut same);
        assert!(same == s.archive);
        assert!(s.verifies(&s.archive));
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
            assert!(!s.verifies(&damaged), "{}: bit {bit} may be flipped", s.name);
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
            let ours = s.verifies(&forged);
            let theirs = oracle::decode(&forged);
            let about = || format!("{}: byte {at} from {old} to {new}; the oracle: {:?}", s.name, theirs.as_ref().err());
            assert_eq!(ours, theirs.is_ok(), "{}", about());
            accepted += usize::from(ours);
        }
        accepted
    };
    range.into_par_iter().map(one).sum()
}

#[test]
fn forged_superblock() {
    for s in samples() {
        // Harmless are the minor version, optional features, what is reserved; and where there was no source, what is told of it.
        let harmless = |at: &usize| {
            // A feature that nothing makes use of.
            matches!(at, 10..12 | 24..32 | 112..252)
                || *at == 16 && s.archive[16] == 0
                // A GGUF file's archive may look like this one.
                || *at == 12 && s.source.is_some()
                || s.source.is_none() && (32..72).contains(at)
        };
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

/// Filters, as the encoder chooses them: parameters, what tiles say of them, modes and residuals.
#[test]
fn forged_filters() {
    let tensors = [
        Owned::smooth("i8", Dtype::I8, [43, 54], 1),
        Owned::smooth("bf16", Dtype::BF16, [40, 53], 2),
        Owned::smooth("i32", Dtype::I32, [35, 60], 3),
        Owned::waves("f16", Dtype::F16, [40, 53], 4),
        Owned::waves("f32", Dtype::F32, [40, 53], 5),
        Owned::waves("i8 waves", Dtype::I8, [45, 53], 6),
    ];
    let archive = encode_max(&tensors);
    assert!(oracle::decode(&archive).unwrap().filters.contains(&10));
    let truth = tensors.iter().flat_map(|t| t.data.clone()).collect();
    let s = Sample { name: "filters", map: Map::of(&archive), truth, source: None, archive };
    assert!(s.verifies(&s.archive) && s.map.records.iter().all(|r| s.archive[r.at + 62] == 4));
    for r in &s.map.records {
        forge(&s, r.at + 62..r.at + 64, |b| s.map.fix_all(b));
        forge(&s, r.directory.clone(), |b| s.map.fix_all(b));
        // Fractions of floats that there are, and some that there are not.
        for fraction in 0..=255 {
            let mut forged = s.archive.clone();
            forged[r.directory.start + 3] = fraction;
            s.map.fix_all(&mut forged);
            if Archive::from_bytes(&forged[..]).is_ok() {
                let outcomes: Vec<_> = on_every_backend(&forged).map(|(_, a)| decoded(&a).ok()).collect();
                assert!(outcomes.windows(2).all(|w| w[0] == w[1]), "{fraction}: backends differ");
            }
            assert_eq!(oracle::decode(&forged).is_ok(), s.verifies(&forged), "{fraction}");
        }
        // The modes, and some of what follows.
        let tile = &r.tiles[0];
        forge(&s, tile.start..tile.end.min(tile.start + 300), |b| s.map.fix_all(b));
    }
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
                    assert!(bytes.as_ref() == Some(&s.truth), "{} {seed}: wrong data verified", s.name);
                }
                outcomes.push(bytes);
            }
            assert!(outcomes.windows(2).all(|w| w[0] == w[1]), "{} {seed}: backends differ", s.name);
            if seed < 1500 {
                assert_eq!(oracle::decode(&forged).is_ok(), s.verifies(&forged), "{} {seed}", s.name);
            }
        });
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
                    assert_eq!(s.verifies(&forged), oracle::decode(&forged).is_ok());
                }
            }
        }
        for at in (0..32).step_by(4) {
            for value in [1u32 << 16, 1 << 24, 1 << 31, u32::MAX] {
                let mut forged = s.archive.clone();
                forged[s.map.index.start + at..][..4].copy_from_slice(&value.to_le_bytes());
                s.map.fix_index(&mut forged);
                assert!(!s.verifies(&forged));
                forged[108..112].copy_from_slice(&value.to_le_bytes());
                fix_superblock(&mut forged);
                assert!(!s.verifies(&forged));
            }
        }
    }
    assert!(LARGEST.load(Ordering::Relaxed) <= samples().iter().map(|s| bound(&s.archive)).max().unwrap());
}

/// Broken rules that no checksum or hash gives away: the bytes would come out right.
#[test]
fn rules_beyond_hashes() {
    let refused = |archive: &[u8], why: &str| {
        assert!(oracle::decode(archive).is_err(), "the oracle accepts {why}");
        assert!(Archive::from_bytes(archive).and_then(|a| decoded(&a)).is_err(), "accepted: {why}");
    };
    let accepted = |archive: &[u8]| {
        oracle::decode(archive).unwrap();
        open(archive).verify(|_, _| ()).unwrap();
    };
    let record = |name: &str, layout, data: Vec<u8>| {
        let n = data.len();
        Record::new(name, layout, [1, 1], [n, n], data, &[Mode::Pairs, Mode::Raw])
    };
    // Exponents of 242 to 255 and of 1 to 4, within reach of bases that are too high.
    let mut rng = Numbers(5);
    let high: Vec<u8> =
        (0..1200).map(|i| if i % 2 == 0 { rng.next() as u8 | 0x80 } else { rng.pick(&[0x79, 0x7a, 0xfd, 0x7f]) }).collect();
    let low: Vec<u8> = (0..600).map(|_| rng.pick(&[1, 2, 3, 4]) << 3 | rng.next() as u8 & 0x87).collect();
    for (layout, data, good, bad) in [(128, &high, 240, 241), (129, &high, 240, 241), (130, &low, 0, 1)] {
        let with = |base| write(&[Record { base: Some(base), ..record("t", layout, data.clone()) }]);
        accepted(&with(good));
        refused(&with(bad), "a base that is too high");
    }
    // Names.
    let two = |names: [&str; 2]| write(&names.map(|name| record(name, 1, low.clone())));
    accepted(&two(["a", "b"]));
    refused(&two(["a", "a"]), "two tensors of one name");
    // Patches that change places.
    let mut data = vec![9; 6000];
    (data[10], data[20]) = (1, 2);
    let sound = write(&[Record { modes: vec![Mode::Bytes], ..record("t", 1, data) }]);
    let map = Map::of(&sound);
    let r = &map.records[0];
    let field =
        |at: usize| usize::from(u16::from_le_bytes([sound[r.directory.start + 8 + at], sound[r.directory.start + 9 + at]]));
    let (positions, n) = (r.segment.start + 128 + 2 * field(4), field(6));
    assert_eq!(n, 2, "patches");
    let mut forged = sound.clone();
    map.fix_all(&mut forged);
    accepted(&forged);
    (0..2).for_each(|i| forged.swap(positions + i, positions + 2 + i));
    forged.swap(positions + 4, positions + 5);
    map.fix_all(&mut forged);
    refused(&forged, "patches out of order");
    // Tiles that could be larger than there are, and rows of them that are larger than may be.
    let tall = |tile_rows, tile_width| write(&[Record::new("t", 1, [10, tile_rows], [1, tile_width], vec![3; 10], &[Mode::Raw])]);
    accepted(&tall(65536, 1));
    refused(&tall(65537, 1), "a tile above 64 KiB");
    refused(&tall(32769, 2), "a tile above 64 KiB");
    let wide = |width| write(&[Record::new("t", 1, [2, 2], [width, 16384], vec![3; 2 * width], &[Mode::Raw])]);
    accepted(&wide(8 << 20));
    refused(&wide((8 << 20) + 1), "a row of tiles above 16 MiB");
    // Another grid of the same bytes.
    let grid = |shape: &[u64]| {
        write(&[Record { shape: shape.into(), ..Record::new("t", 1, [6, 2], [4, 4], vec![3; 24], &[Mode::Raw]) }])
    };
    accepted(&grid(&[2, 3, 4]));
    refused(&grid(&[4, 6]), "a grid that is not the shape's");
    refused(&grid(&[24]), "a grid that is not the shape's");
    // A first tile that begins late: its segment has 16 bytes too many.
    let sound = write(&[record("t", 1, low.clone())]);
    let map = Map::of(&sound);
    let r = &map.records[0];
    let mut forged = sound.clone();
    forged.splice(256..256, [0; 16]);
    for at in [72, 80, 96] {
        let moved = u64::from_le_bytes(forged[at..at + 8].try_into().unwrap()) + 16;
        forged[at..at + 8].copy_from_slice(&moved.to_le_bytes());
    }
    let len = (r.segment.len() as u64 + 16).to_le_bytes();
    forged[r.at + 16 + 16..][..8].copy_from_slice(&len);
    forged[r.directory.start + 16] = 1;
    let moved = forge::Map::of(&forged);
    moved.fix_directories(&mut forged);
    refused(&forged, "a first tile that begins late");
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
            assert!(e.to_string().contains(&format!("2.{}", s.archive[10])), "{e}");
        }
        let mut tail = s.archive[..12].to_vec();
        tail[8] = 3;
        assert_eq!(Archive::from_bytes(tail).unwrap_err().kind(), ErrorKind::Unsupported);
        assert_eq!(open(8, 0, true).unwrap_err().kind(), ErrorKind::Unsupported);
        for at in 16..24 {
            let e = open(at, 0x80, true).unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Unsupported, "{e}");
            assert!(e.to_string().contains(&format!("{:#x}", 0x80u64 << (8 * (at - 16)))), "{e}");
        }
        assert_eq!(open(10, 7, true).unwrap().version(), (1, 7));
        assert!(open(24, 0xff, true).unwrap().verify(|_, _| ()).is_ok());
        assert_eq!(open(12, 3, true).unwrap_err().kind(), ErrorKind::Unsupported);
        // Damage is no version.
        assert_eq!(open(0, b'V', false).unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(open(16, 0x80, false).unwrap_err().kind(), ErrorKind::Corrupt);
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
    let s = &samples()[3];
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
