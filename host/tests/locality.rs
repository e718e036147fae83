//! Nothing is read that is not needed.

#![allow(missing_docs)]

mod support;

use std::ops::Range;
use std::sync::{Arc, Mutex};
use support::forge::Map;
use support::*;
use wcodec::{Archive, Dtype, ErrorKind, ReadAt};

/// Bytes that keep a list of what was read; they are reached by reads only.
struct Recorded {
    bytes: Vec<u8>,
    reads: Arc<Mutex<Vec<Range<usize>>>>,
}

impl ReadAt for Recorded {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        let range = offset as usize..offset as usize + buffer.len();
        buffer.copy_from_slice(self.bytes.get(range.clone()).ok_or(std::io::ErrorKind::UnexpectedEof)?);
        self.reads.lock().unwrap().push(range);
        Ok(())
    }
}

/// An archive, where everything in it is, and what was read since last asked.
struct Watched {
    archive: Archive,
    map: Map,
    reads: Arc<Mutex<Vec<Range<usize>>>>,
    opening: Vec<Range<usize>>,
}

impl Watched {
    fn open(bytes: Vec<u8>) -> Self {
        let (map, reads) = (Map::of(&bytes), Arc::<Mutex<Vec<_>>>::default());
        let archive = Archive::from_reader(Box::new(Recorded { bytes, reads: reads.clone() })).unwrap();
        let opening = std::mem::take(&mut *reads.lock().unwrap());
        Self { archive, map, reads, opening }
    }

    fn reads(&self) -> Vec<Range<usize>> {
        std::mem::take(&mut *self.reads.lock().unwrap())
    }
}

/// All of `reads` lie in one of `allowed`.
fn check_inside(reads: &[Range<usize>], allowed: &[Range<usize>]) {
    for read in reads {
        let inside = allowed.iter().any(|a| a.start <= read.start && read.end <= a.end);
        assert!(inside, "{read:?} was read, allowed are {allowed:?}");
    }
}

fn sum(reads: &[Range<usize>]) -> usize {
    reads.iter().map(|r| r.len()).sum()
}

fn hundred() -> Vec<Owned> {
    let make = |i: u64| Owned::new(&format!("layer.{i}.weight"), Dtype::BF16, &[40 + i, 300], Fill::Gaussian, i);
    (0..100).map(make).collect()
}

#[test]
fn opening_reads_superblocks_and_index() {
    for bytes in [encode_tensors(&hundred()), encode_source(&safetensors(&hundred())).unwrap()] {
        let w = Watched::open(bytes);
        check_inside(&w.opening, &[0..256, w.map.index.clone(), w.map.len - 256..w.map.len]);
        assert!(sum(&w.opening) <= 512 + w.map.index.len(), "{:?}", w.opening);
        // What the index tells needs no reads.
        for t in w.archive.tensors() {
            let _ = (t.name(), t.shape(), t.dtype_name(), t.byte_len(), t.rows(), t.columns());
        }
        assert!(w.archive.tensor("layer.7.weight").is_ok() && w.archive.tensor("layer.700.weight").is_err());
        assert!(w.reads().is_empty());
    }
}

#[test]
fn a_tensor_reads_its_own_directory_and_segment() {
    let tensors = hundred();
    let w = Watched::open(encode_source(&safetensors(&tensors)).unwrap());
    for i in [0, 1, 57, 99] {
        assert!(w.archive.tensor(&tensors[i].name).unwrap().decode().unwrap() == tensors[i].data);
        // The first record is the source's header.
        let r = &w.map.records[i + 1];
        let reads = w.reads();
        check_inside(&reads, &[r.directory.clone(), r.segment.clone()]);
        assert_eq!(sum(&reads), r.directory.len() + r.segment.len(), "bytes were read twice, or not at all");
    }
    let (a, b) = (w.archive.tensor(&tensors[3].name).unwrap(), w.archive.tensor(&tensors[80].name).unwrap());
    let (mut x, mut y) = (vec![0; tensors[3].data.len()], vec![0; tensors[80].data.len()]);
    w.archive.decode_many(&mut [(b, &mut y), (a, &mut x)]).unwrap();
    assert!(x == tensors[3].data && y == tensors[80].data);
    let allowed: Vec<_> =
        [4, 81].iter().flat_map(|&i| [w.map.records[i].directory.clone(), w.map.records[i].segment.clone()]).collect();
    check_inside(&w.reads(), &allowed);
}

#[test]
fn a_row_reads_the_tiles_that_it_touches() {
    let t = Owned::new("t", Dtype::BF16, &[2000, 1000], Fill::Gaussian, 1);
    let w = Watched::open(encode_tensors(std::slice::from_ref(&t)));
    let (r, tensor) = (&w.map.records[0], w.archive.tensor("t").unwrap());
    for row in [0, 999, 1999u64] {
        let bytes = tensor.decode_slice(row..row + 1, 0..1000).unwrap();
        assert!(bytes == t.data[row as usize * 2000..][..2000]);
        let reads = w.reads();
        check_inside(&reads, &[vec![r.directory.clone()], r.tiles.clone()].concat());
        assert!(sum(&reads) - r.directory.len() < r.segment.len() / 10, "a row reads {} of {}", sum(&reads), r.segment.len());
        // One element needs one tile.
        tensor.decode_slice(row..row + 1, 500..501).unwrap();
        let reads = w.reads();
        assert_eq!(reads.len(), 2, "{reads:?}");
        assert!(reads.contains(&r.directory) && r.tiles.iter().any(|tile| reads.contains(tile)));
    }
    // Whole columns need no other ones' tiles, where the grid has several side by side.
    let wide = Owned::new("t", Dtype::BF16, &[50, 10_000], Fill::Gaussian, 2);
    let w = Watched::open(encode_tensors(&[wide]));
    let tensor = w.archive.tensor("t").unwrap();
    tensor.decode_slice(0..50, 0..10).unwrap();
    assert!(sum(&w.reads()) < w.map.records[0].segment.len() / 2);
    // Nothing needs nothing.
    assert!(tensor.decode_slice(3..3, 0..10).unwrap().is_empty());
    assert!(tensor.decode_slice(3..5, 7..7).unwrap().is_empty());
    assert!(w.reads().is_empty());
}

/// Reading all of a file reads each part once.
#[test]
fn verifying_reads_everything_once() {
    let w = Watched::open(encode_source(&safetensors(&hundred())).unwrap());
    w.archive.verify(|_, _| ()).unwrap();
    let mut reads = [w.opening.clone(), w.reads()].concat();
    reads.retain(|r| !r.is_empty());
    reads.sort_by_key(|r| r.start);
    assert!(reads.windows(2).all(|r| r[0].end == r[1].start), "gaps or overlaps");
    assert_eq!((reads[0].start, reads[reads.len() - 1].end), (0, w.map.len));
}

/// Bytes of which a part cannot be read.
struct Failing {
    bytes: Vec<u8>,
    bad: Range<usize>,
}

impl ReadAt for Failing {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        let range = offset as usize..offset as usize + buffer.len();
        if range.start < self.bad.end && self.bad.start < range.end {
            return Err(std::io::Error::other("the disk is on fire"));
        }
        buffer.copy_from_slice(&self.bytes[range]);
        Ok(())
    }
}

/// A read that fails is an error of its own kind, with the system's reason and the place; other tensors do not notice.
#[test]
fn reads_that_fail() {
    let tensors = hundred();
    let bytes = encode_tensors(&tensors);
    let map = Map::of(&bytes);
    let open = |bad: &Range<usize>| Archive::from_reader(Box::new(Failing { bytes: bytes.clone(), bad: bad.clone() }));
    for bad in [0..1, map.index.start..map.index.start + 1, map.len - 1..map.len] {
        let e = open(&bad).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Io);
        assert!(e.to_string().contains("on fire"), "{e}");
    }
    let r = &map.records[5];
    for (bad, tile) in [(&r.directory, None), (&r.segment, Some(0))] {
        let archive = open(bad).unwrap();
        let e = archive.tensor(&tensors[5].name).unwrap().decode().unwrap_err();
        assert_eq!((e.kind(), e.tensor(), e.tile()), (ErrorKind::Io, Some(&*tensors[5].name), tile), "{e}");
        assert_eq!(e.offset(), Some(bad.start as u64));
        assert!(e.to_string().contains("on fire"), "{e}");
        assert_eq!(archive.verify(|_, _| ()).unwrap_err().kind(), ErrorKind::Io);
        assert!(archive.tensor(&tensors[6].name).unwrap().decode().unwrap() == tensors[6].data);
    }
    // The same for the source of an encoding.
    let source = safetensors(&tensors);
    let n = source.len();
    for bad in [0..1, 8..9, n / 2..n / 2 + 1, n - 1..n] {
        let e = encode_source(&Failing { bytes: source.clone(), bad }).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Io, "{e}");
        assert!(e.to_string().contains("on fire"), "{e}");
    }
}
