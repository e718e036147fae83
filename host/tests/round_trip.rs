//! What goes in comes out: every type, shape and distribution, on every backend, whole and in slices.

#![allow(missing_docs)]

mod support;

use proptest::prelude::*;
use std::sync::OnceLock;
use support::*;
use wcodec::{Archive, Dtype, Tensor};

fn pool(threads: usize) -> &'static rayon::ThreadPool {
    static POOLS: [OnceLock<rayon::ThreadPool>; 3] = [const { OnceLock::new() }; 3];
    POOLS[threads].get_or_init(|| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap())
}

/// A range of `0..n`, biased to its ends.
fn part(rng: &mut Numbers, n: u64) -> std::ops::Range<u64> {
    let a = rng.below(n.max(1));
    let b = a + rng.below(n.saturating_sub(a).max(1)) + n.min(1);
    match rng.below(4) {
        0 => 0..a,
        1 => a..n,
        2 => a..a + n.min(1),
        _ => a..b,
    }
}

/// Slices of a tensor are slices of its bytes.
fn check_slices(tensor: &Tensor<'_>, whole: &[u8], rng: &mut Numbers) {
    let (rows, columns, size) = (tensor.rows(), tensor.columns(), tensor.column_bytes());
    assert_eq!(rows * columns * size, whole.len() as u64, "{tensor:?}");
    for _ in 0..3 {
        let (r, c) = (part(rng, rows), part(rng, columns));
        let width = columns * size;
        let mut expected = Vec::new();
        for row in r.clone().take_while(|_| !whole.is_empty()) {
            expected.extend_from_slice(&whole[(row * width + c.start * size) as usize..(row * width + c.end * size) as usize]);
        }
        let slice = tensor.decode_slice(r.clone(), c.clone()).unwrap();
        assert!(slice == expected, "{tensor:?} rows {r:?} columns {c:?}");
    }
    assert!(rows == u64::MAX || tensor.decode_slice(0..rows + 1, 0..columns).is_err());
    assert!(columns == u64::MAX || tensor.decode_slice(0..rows, 0..columns + 1).is_err());
}

/// Encodes, decodes on each backend, whole and in slices, and compares.
fn check(tensors: &[Owned], seed: u64) {
    let archive = pool(2).install(|| encode_tensors(tensors));
    assert!(pool(1).install(|| encode_tensors(tensors)) == archive, "threads make a difference");
    let mut rng = Numbers(seed);
    for (backend, a) in on_every_backend(&archive) {
        let all = a.decode_all().unwrap();
        assert_eq!(all.len(), tensors.len());
        for (t, (tensor, bytes)) in tensors.iter().zip(&all) {
            assert_eq!((tensor.name(), tensor.dtype(), tensor.shape()), (&*t.name, t.dtype, &*t.shape));
            assert_eq!(tensor.byte_len(), t.data.len() as u64);
            assert!(*bytes == t.data, "{t:?} differs on {}", backend.name());
            check_slices(tensor, &t.data, &mut rng);
        }
        assert_eq!(a.verify(|_, _| ()).unwrap().tensors, tensors.len());
    }
}

/// Makes the last dimension even enough for whole bytes.
fn whole_bytes(dtype: Dtype, mut shape: Vec<u64>) -> Vec<u64> {
    let unit = [1, 8, 4, 8, 2, 8, 4, 8][dtype.bits().unwrap() as usize % 8];
    while shape.iter().product::<u64>() % unit > 0 {
        match shape.last_mut() {
            Some(last) => *last += 1,
            None => shape.push(unit),
        }
    }
    shape
}

fn shapes() -> impl Strategy<Value = Vec<u64>> {
    prop_oneof![
        1 => Just(vec![]),
        1 => Just(vec![1]),
        1 => Just(vec![0]),
        1 => (0u64..4, 0u64..4, 0u64..4).prop_map(|(a, b, c)| vec![a, b, c]),
        3 => (1u64..700).prop_map(|n| vec![n]),
        3 => prop::collection::vec(1u64..6, 5),
        6 => (1u64..90, 1u64..400).prop_map(|(a, b)| vec![a, b]),
        // Odd columns: tiles whose widths are no multiples of anything.
        4 => (2u64..40, 100u64..900).prop_map(|(a, b)| vec![a, 2 * b + 1]),
        // Several tiles, in a row and in a grid.
        1 => (65_000u64..150_000).prop_map(|n| vec![n]),
        1 => (200u64..500, 129u64..300).prop_map(|(a, b)| vec![a, b]),
        1 => (2u64..5, 20u64..60, 513u64..700).prop_map(|(a, b, c)| vec![a, b, c]),
    ]
}

fn tensors() -> impl Strategy<Value = Vec<Owned>> {
    let one = (prop::sample::select(&DTYPES[..]), shapes(), prop::sample::select(&FILLS[..]), any::<u64>());
    prop::collection::vec(one, 1..4).prop_map(|list| {
        let make = |(i, (dtype, shape, how, seed)): (usize, (Dtype, Vec<u64>, Fill, u64))| {
            Owned::new(&format!("tensor {i}"), dtype, &whole_bytes(dtype, shape), how, seed)
        };
        list.into_iter().enumerate().map(make).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tensors_in_memory(list in tensors(), seed in any::<u64>()) {
        check(&list, seed);
    }
}

/// What chance may leave out: each type with each distribution, in shapes that meet every kind of tile.
#[test]
fn every_type_with_every_distribution() {
    let shapes: [&[u64]; 7] = [&[], &[1], &[0], &[5, 0, 2], &[3, 5, 7, 2, 4], &[127, 131], &[9, 2051]];
    for (d, &dtype) in DTYPES.iter().enumerate() {
        let mut list = Vec::new();
        for (f, &how) in FILLS.iter().enumerate() {
            for (s, shape) in shapes.iter().enumerate() {
                let shape = whole_bytes(dtype, shape.to_vec());
                list.push(Owned::new(&format!("{how:?} {s}"), dtype, &shape, how, (1000 * d + 10 * f + s) as u64));
            }
        }
        check(&list, d as u64);
    }
}

/// Outputs above a few MiB are written past the caches: another path, which must mind unaligned rows and buffers.
#[test]
fn large_outputs() {
    for dtype in [Dtype::BF16, Dtype::F32, Dtype::F8_E4M3, Dtype::U8, Dtype::I16, Dtype::I32, Dtype::F64, Dtype::F6_E3M2] {
        for (i, columns) in [(0, 1001), (1, 1024), (2, 260)] {
            let size = u64::from(dtype.bits().unwrap()).div_ceil(8);
            let rows = ((5 << 20) / (columns * size)).next_multiple_of(4);
            let how = [Fill::Outliers, Fill::Skewed, Fill::Few][i as usize];
            let t = Owned::new("t", dtype, &[rows, columns], how, 7 + i);
            let archive = encode_tensors(std::slice::from_ref(&t));
            for (backend, a) in on_every_backend(&archive) {
                let tensor = a.tensor("t").unwrap();
                for offset in [0, 1, 4, 13] {
                    // Neighbours of the output stay as they were.
                    let mut buffer = vec![0xa5; offset + t.data.len() + 64];
                    tensor.decode_into(&mut buffer[offset..offset + t.data.len()]).unwrap();
                    assert!(buffer[offset..offset + t.data.len()] == t.data, "{dtype:?} {columns} +{offset} {}", backend.name());
                    assert!(buffer[..offset].iter().chain(&buffer[offset + t.data.len()..]).all(|&b| b == 0xa5));
                }
            }
        }
    }
}

/// Many small tensors into parts of one buffer, in any order.
#[test]
fn many_into_one_buffer() {
    let make = |i: u64| Owned::new(&format!("{i}"), Dtype::BF16, &[40 + i % 7, 501 + i % 5], Fill::Gaussian, i);
    let list: Vec<_> = (0..120).map(make).collect();
    let archive = encode_tensors(&list);
    for (_, a) in on_every_backend(&archive) {
        let total: usize = list.iter().map(|t| t.data.len()).sum();
        assert!(total > 4 << 20);
        let mut buffer = vec![0; total];
        let (mut jobs, mut rest) = (Vec::new(), &mut buffer[..]);
        for t in list.iter().rev() {
            let (part, after) = rest.split_at_mut(t.data.len());
            jobs.push((a.tensor(&t.name).unwrap(), part));
            rest = after;
        }
        a.decode_many(&mut jobs).unwrap();
        assert!(buffer == list.iter().rev().flat_map(|t| t.data.clone()).collect::<Vec<_>>());
    }
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let make = |i: u64| Owned::new(&format!("{i}"), DTYPES[i as usize % 22], &[300, 256 + 8 * i], FILLS[i as usize % 9], i);
    let list: Vec<_> = (0..44).map(make).collect();
    let source = safetensors(&list);
    let one = pool(1).install(|| encode_source(&source)).unwrap();
    for threads in [1, 2] {
        assert!(pool(threads).install(|| encode_source(&source)).unwrap() == one);
        assert!(pool(threads).install(|| encode_tensors(&list)) == pool(1).install(|| encode_tensors(&list)));
    }
    // The encoder has instruction sets to choose from too; it chooses once a process.
    let archive = std::env::var_os("WCODEC_TEST_WRITE");
    if let Some(path) = archive {
        return std::fs::write(path, &one).unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    for backend in ["portable", "avx2", "avx512"] {
        let path = dir.path().join(backend);
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", "the_same_input_gives_the_same_bytes"]).env("WCODEC_CPU", backend).env("WCODEC_TEST_WRITE", &path);
        assert!(again.output().unwrap().status.success());
        assert!(std::fs::read(&path).unwrap() == one, "{backend} writes other bytes");
    }
}

// ------------------------------------------------------------------------------------------------------------------------------
// Source files
// ------------------------------------------------------------------------------------------------------------------------------

/// The archive restores the file, byte for byte.
fn check_source(source: &Vec<u8>) -> Archive {
    let archive = encode_source(source).unwrap();
    for (_, a) in on_every_backend(&archive) {
        assert!(restored(&a).unwrap() == *source);
        assert_eq!(a.source_bytes(), source.len() as u64);
        a.verify_against(source, |_, _| ()).unwrap();
        let mut other = source.clone();
        *other.last_mut().unwrap() ^= 1;
        assert_eq!(a.verify_against(&other, |_, _| ()).unwrap_err().kind(), wcodec::ErrorKind::Mismatch);
    }
    open(&archive)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn source_files(list in tensors()) {
        let source = safetensors(&list);
        let a = check_source(&source);
        for t in &list {
            prop_assert!(a.tensor(&t.name).unwrap().decode().unwrap() == t.data);
        }
    }
}

#[test]
fn peculiar_headers() {
    let data = fill(Dtype::BF16, 3000, Fill::Gaussian, 1);
    let entry = |name, begin, end| header_entry(name, "BF16", &[(end - begin) / 2], begin, end);
    let (a, b, c) = (entry("a", 0, 1000), entry("b", 1000, 2000), entry("c", 2000, 3000));
    let headers = [
        format!("{{{a},{b},{c}}}"),
        // Not in the order of the data.
        format!("{{{c},{a},{b}}}"),
        format!(r#"{{"__metadata__":{{"format":"pt","note":"é \u00e9 \" \\"}},{a},{b},{c}}}"#),
        format!(r#"{{{a},{b},{c},"__metadata__":{{}}}}"#),
        // Padded, and with every kind of space.
        format!("{{{a},{b},{c}}}{}", " ".repeat(37)),
        format!("{{\n\t{a}\r\n ,\n{b}  ,{c}\n}}\n"),
        // Names that want escaping, and one that is empty.
        format!("{{{},{b},{c}}}", entry("\u{1f980}/\"quoted\"\n\\", 0, 1000)),
        format!("{{{},{b},{c}}}", entry("", 0, 1000)),
        format!(r#"{{"\u0061":{{"data_offsets":[0,1000],"shape":[500],"dtype":"BF16"}},{b},{c}}}"#),
        // Tensors without bytes, anywhere.
        format!("{{{},{c},{a},{},{b},{}}}", entry("x", 1000, 1000), entry("y", 0, 0), entry("z", 3000, 3000)),
    ];
    for header in headers {
        let source = raw_safetensors(&header, &data);
        let archive = check_source(&source);
        assert_eq!(archive.tensor("b").unwrap().decode().unwrap(), &data[1000..2000], "{header}");
        let all: Vec<u8> = decoded(&archive).unwrap();
        assert!(all == data, "tensors are not in file order: {header}");
    }
}

#[test]
fn unknown_dtypes() {
    let data = fill(Dtype::U8, 1001, Fill::Few, 5);
    let header = format!("{{{},{}}}", header_entry("w", "F3_WEIRD", &[7, 381], 0, 1000), header_entry("s", "", &[], 1000, 1001));
    let source = raw_safetensors(&header, &data);
    let archive = check_source(&source);
    let w = archive.tensor("w").unwrap();
    assert_eq!((w.dtype(), w.dtype_name(), w.shape()), (Dtype::Other, "F3_WEIRD", &[7, 381][..]));
    assert_eq!(w.decode().unwrap(), &data[..1000]);
    let mut rng = Numbers(3);
    (0..10).for_each(|_| check_slices(&w, &data[..1000], &mut rng));
    assert_eq!(archive.tensor("s").unwrap().dtype_name(), "");
}

#[test]
fn no_tensors() {
    for header in ["{}", r#"{"__metadata__":{"a":"b"}}"#] {
        let archive = check_source(&raw_safetensors(header, &[]));
        assert_eq!(archive.tensors().len(), 0);
    }
    assert_eq!(open(&encode_tensors(&[])).decode_all().unwrap().len(), 0);
}

/// The dimensions of a tensor without elements may be anything, in any order.
#[test]
fn huge_dimensions_of_nothing() {
    let shapes: [&[u64]; 6] = [
        &[0, 1 << 62, 1 << 62],
        &[1 << 62, 1 << 62, 0],
        &[0, u64::MAX],
        &[u64::MAX, 0],
        &[1 << 62, 1 << 62, 0, 5],
        &[0, 1 << 57],
    ];
    for shape in shapes {
        let t = Owned { name: "t".into(), dtype: Dtype::I64, shape: shape.into(), data: vec![] };
        check(std::slice::from_ref(&t), 0);
        check_source(&safetensors(&[t]));
    }
}

#[test]
fn files_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let source = safetensors(&[Owned::new("t", Dtype::F16, &[300, 301], Fill::Gaussian, 1)]);
    std::fs::write(path("in"), &source).unwrap();
    let report = wcodec::Encoder::new().encode_file(path("in"), path("archive")).unwrap();
    assert_eq!(report.archive_bytes, std::fs::metadata(path("archive")).unwrap().len());
    assert_eq!(std::fs::read(path("archive")).unwrap(), encode_source(&source).unwrap());
    for (i, backing) in [wcodec::Backing::Map, wcodec::Backing::Read].into_iter().enumerate() {
        let a = Archive::open_with(path("archive"), backing).unwrap();
        let out = path(&format!("out{i}"));
        a.decompress_file(&out, false, |_, _| ()).unwrap();
        assert!(std::fs::read(&out).unwrap() == source);
    }
    // Nothing else was left behind.
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 4);
}

/// Each level of effort round-trips every type, gives the same bytes whatever the threads, and (but for parameters) none is larger than the first.
#[test]
fn every_effort() {
    let mut tensors: Vec<_> = [Dtype::BF16, Dtype::F32, Dtype::F16, Dtype::I8, Dtype::F8_E4M3, Dtype::F8_E5M2, Dtype::U8]
        .into_iter()
        .enumerate()
        .map(|(i, dtype)| Owned::scaled(&format!("scaled.{i}"), dtype, [160, 131 + i as u64], i as u64))
        .collect();
    for (i, &dtype) in DTYPES.iter().enumerate() {
        let fill = FILLS[i % FILLS.len()];
        tensors.push(Owned::new(&format!("t.{i}"), dtype, &[24, 8 * (i as u64 + 1)], fill, i as u64));
    }
    let inputs: Vec<_> = tensors.iter().map(Owned::input).collect();
    let encode = |level, threads| {
        let mut out = std::io::Cursor::new(Vec::new());
        pool(threads).install(|| wcodec::Encoder::new().effort(level).encode_tensors(&inputs, &mut out)).unwrap();
        out.into_inner()
    };
    let first = encode(1, 2);
    assert!(first == encode_tensors(&tensors) && first == encode(0, 1));
    for level in 1..=9 {
        let archive = encode(level, 1);
        assert!(archive == encode(level, 2), "effort {level}: threads make a difference");
        assert!(archive.len() * 1000 <= first.len() * 1005, "effort {level}: {} of {}", archive.len(), first.len());
        for (backend, a) in on_every_backend(&archive) {
            for (t, (_, bytes)) in tensors.iter().zip(a.decode_all().unwrap()) {
                assert!(t.data == bytes, "{} with effort {level} on {}", t.name, backend.name());
            }
        }
    }
    assert!(encode(9, 1).len() * 100 < first.len() * 98);
    assert!(encode(9, 1) == encode(200, 1) && encode(9, 1) == encode_max(&tensors));
}
