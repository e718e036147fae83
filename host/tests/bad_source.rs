//! Sources that are no safetensors files, or bad ones; files beyond 4 GiB; outputs that exist.

#![allow(missing_docs)]

mod support;

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use support::*;
use wcodec::{Archive, Backing, Dtype, Encoder, Error, ErrorKind, TensorInput};

fn refused(source: Vec<u8>) -> Error {
    let e = encode_source(&source).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::BadSource, "{e}");
    e
}

/// Refused, with all of `parts` in the message.
fn check(source: Vec<u8>, parts: &[&str]) {
    let e = refused(source);
    for part in parts {
        assert!(e.to_string().contains(part), "'{part}' is not in: {e}");
    }
}

/// A file of one header and `len` data bytes.
fn check_header(header: &str, len: usize, parts: &[&str]) {
    check(raw_safetensors(header, &vec![7; len]), parts);
}

#[test]
fn no_safetensors_file() {
    for len in 0..8 {
        check(vec![0; len], &[&len.to_string()]);
    }
    check(b"GGUF\x03\0\0\0and so on, and so on".to_vec(), &["ends within"]);
    check(b"\x80\x02ctorch\n_utils\nand a pickle goes on here".to_vec(), &["safetensors"]);
    // The length: none, above the format's limit, past the end.
    check([0u64.to_le_bytes().to_vec(), vec![b'{'; 9]].concat(), &["'{'"]);
    check([100_000_001u64.to_le_bytes().to_vec(), vec![b'{'; 9]].concat(), &["100000001", "limit"]);
    check([u64::MAX.to_le_bytes().to_vec(), vec![b'{'; 9]].concat(), &["limit"]);
    check([10u64.to_le_bytes().to_vec(), b"{}       ".to_vec()].concat(), &["10", "17"]);
    // An archive is no source either.
    check(encode_tensors(&[Owned::new("t", Dtype::U8, &[4], Fill::Random, 1)]), &["safetensors"]);
}

/// As the reference implementation reads them: what a tensor's entry says beyond the three fields is kept with the header.
#[test]
fn unknown_fields_are_kept() {
    let json = r#"{"t":{"dtype":"U8","shape":[4],"data_offsets":[0,4],"more":{"of":"this"}}}"#;
    let mut source = (json.len() as u64).to_le_bytes().to_vec();
    source.extend(json.bytes());
    source.extend([1, 2, 3, 4]);
    let archive = Archive::from_bytes(encode_source(&source).unwrap()).unwrap();
    let mut back = Vec::new();
    archive.write_source(&mut back, |_, _| ()).unwrap();
    assert_eq!(back, source);
}

#[test]
fn malformed_json() {
    let t = header_entry("t", "U8", &[4], 0, 4);
    for header in [
        "{",
        "{]",
        "[]",
        "x",
        " {}",
        "{}{}",
        "{} x",
        &format!("{{{t}"),
        &format!("{{{t},}}"),
        &format!("{{{t}}}\0"),
        r#"{"t":4}"#,
        r#"{"t":{"dtype":"U8","shape":[4]}}"#,
        r#"{"t":{"dtype":"U8","data_offsets":[0,4]}}"#,
        r#"{"t":{"shape":[4],"data_offsets":[0,4]}}"#,
        r#"{"t":{"dtype":8,"shape":[4],"data_offsets":[0,4]}}"#,
        r#"{"t":{"dtype":"U8","shape":4,"data_offsets":[0,4]}}"#,
        r#"{"t":{"dtype":"U8","shape":[4],"data_offsets":[0]}}"#,
        r#"{"t":{"dtype":"U8","shape":[4],"data_offsets":[0,4,8]}}"#,
        r#"{"t":{"dtype":"U8","shape":[4],"data_offsets":[0,"4"]}}"#,
        // Numbers that are no sizes.
        r#"{"t":{"dtype":"U8","shape":[-4],"data_offsets":[0,4]}}"#,
        r#"{"t":{"dtype":"U8","shape":[4.0],"data_offsets":[0,4]}}"#,
        r#"{"t":{"dtype":"U8","shape":[4],"data_offsets":[-4,0]}}"#,
        r#"{"t":{"dtype":"U8","shape":[18446744073709551616],"data_offsets":[0,4]}}"#,
        r#"{"t":{"dtype":"U8","shape":[4],"data_offsets":[0,18446744073709551616]}}"#,
        // A name that is no text.
        r#"{"\ud800":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}"#,
    ] {
        check_header(header, 4, &["header"]);
    }
    // Brackets without end do not exhaust the stack.
    check_header(&format!(r#"{{"__metadata__":{}"#, "[".repeat(1 << 20)), 0, &["header"]);
    let mut broken = raw_safetensors(&format!("{{{t}}}"), &[0; 4]);
    broken[10] = 0xff;
    check(broken, &["header"]);
}

#[test]
fn names_twice() {
    let (a, b) = (header_entry("same\n", "U8", &[2], 0, 2), header_entry("same\n", "U8", &[2], 2, 4));
    check_header(&format!("{{{a},{b}}}"), 4, &["same", "twice"]);
    let escaped = r#""sam\u0065\n":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}"#;
    check_header(&format!("{{{a},{escaped}}}"), 4, &["twice"]);
    check_header(r#"{"__metadata__":{},"__metadata__":{}}"#, 0, &["twice"]);
    // Tensors in memory as well.
    let t = Owned::new("t", Dtype::U8, &[4], Fill::Random, 1);
    let e = Encoder::new().encode_tensors(&[t.input(), t.input()], std::io::Cursor::new(Vec::new())).unwrap_err();
    assert_eq!((e.kind(), e.tensor()), (ErrorKind::InvalidArgument, Some("t")));
}

#[test]
fn data_that_does_not_add_up() {
    let u8s = |name, begin, end| header_entry(name, "U8", &[end - begin], begin, end);
    let file = |entries: &[String], len| raw_safetensors(&format!("{{{}}}", entries.join(",")), &vec![1; len]);
    // In whatever order, without gaps: sound.
    assert!(encode_source(&file(&[u8s("b", 4, 8), u8s("a", 0, 4)], 8)).is_ok());
    let overlap = refused(file(&[u8s("b", 3, 8), u8s("a", 0, 4)], 8));
    assert_eq!(overlap.tensor(), Some("b"));
    assert!(overlap.to_string().contains("overlaps"), "{overlap}");
    assert!(overlap.offset().is_some());
    check(file(&[u8s("a", 0, 4), u8s("b", 0, 4)], 4), &["overlaps"]);
    check(file(&[u8s("a", 0, 8), u8s("b", 2, 4)], 8), &["'b'", "overlaps"]);
    check(file(&[u8s("a", 0, 4), u8s("b", 5, 8)], 8), &["'b'", "gap"]);
    check(file(&[u8s("a", 1, 4)], 4), &["'a'", "gap"]);
    check(file(&[u8s("a", 0, 4), u8s("none", 2, 2)], 4), &["none"]);
    check(file(&[u8s("a", 0, 4)], 5), &["left over"]);
    check(file(&[], 1), &["left over"]);
    check(file(&[u8s("a", 0, 5)], 4), &["'a'", "data_offsets"]);
    check(file(&[u8s("a", 0, u64::MAX)], 4), &["'a'", "data_offsets"]);
    check(file(&[header_entry("a", "U8", &[4], 4, 0)], 4), &["'a'", "data_offsets"]);
}

#[test]
fn shapes_that_do_not_fit() {
    let one = |dtype: &str, shape: &[u64], len: usize| {
        raw_safetensors(&format!("{{{}}}", header_entry("t", dtype, shape, 0, len as u64)), &vec![1; len])
    };
    for (dtype, shape, len) in [
        ("U8", &[3][..], 4),
        ("U8", &[5], 4),
        ("BF16", &[4], 4),
        ("F32", &[], 8),
        ("F32", &[0], 4),
        ("F32", &[1], 0),
        ("F64", &[1, 2], 8),
        // No whole number of bytes.
        ("F4", &[3], 2),
        ("F6_E2M3", &[2], 2),
        // Beyond 2⁶⁴ and around it.
        ("U8", &[1 << 32, 1 << 32], 0),
        ("U8", &[1 << 63, 2, 2], 4),
        ("U8", &[u64::MAX, u64::MAX], 1),
        ("F64", &[1 << 61], 0),
        ("F64", &[(1 << 61) + 1], 8),
    ] {
        check(one(dtype, shape, len), &["'t'", dtype]);
        let data = vec![1; len];
        let t = TensorInput { name: "t", dtype: Dtype::from_name(dtype), shape, data: &data };
        let e = Encoder::new().encode_tensors(&[t], std::io::Cursor::new(Vec::new())).unwrap_err();
        assert_eq!((e.kind(), e.tensor()), (ErrorKind::InvalidArgument, Some("t")), "{e}");
    }
    assert!(encode_source(&one("F4", &[3, 2], 3)).is_ok());
    check(one("U8", &[1; 256], 1), &["256"]);
    assert!(encode_source(&one("U8", &[1; 255], 1)).is_ok());
    check(one(&"X".repeat(256), &[1], 1), &["256"]);
    assert!(encode_source(&one(&"X".repeat(255), &[1], 1)).is_ok());
}

#[test]
fn bad_files_are_named_and_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (input, output) = (dir.path().join("in.safetensors"), dir.path().join("out.wcodec"));
    let e = Encoder::new().encode_file(&input, &output).unwrap_err();
    assert_eq!((e.kind(), e.path()), (ErrorKind::Io, Some(&*input)));
    std::fs::write(&input, b"nothing of the kind").unwrap();
    let e = Encoder::new().encode_file(&input, &output).unwrap_err();
    assert_eq!((e.kind(), e.path()), (ErrorKind::BadSource, Some(&*input)));
    assert!(e.to_string().contains("in.safetensors"), "{e}");
    let e = Encoder::new().encode_file(dir.path(), &output).unwrap_err();
    assert_eq!((e.kind(), e.path()), (ErrorKind::Io, Some(dir.path())));
    std::fs::write(&input, safetensors(&[])).unwrap();
    let nowhere = dir.path().join("no/directory/out.wcodec");
    let e = Encoder::new().encode_file(&input, &nowhere).unwrap_err();
    assert_eq!((e.kind(), e.path()), (ErrorKind::Io, Some(&*nowhere)));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn outputs_that_exist() {
    let dir = tempfile::tempdir().unwrap();
    let (input, output) = (dir.path().join("in"), dir.path().join("out"));
    let source = safetensors(&[Owned::new("t", Dtype::BF16, &[9, 9], Fill::Gaussian, 1)]);
    std::fs::write(&input, &source).unwrap();
    std::fs::write(&output, b"mine").unwrap();
    let e = Encoder::new().encode_file(&input, &output).unwrap_err();
    assert_eq!((e.kind(), e.path()), (ErrorKind::Exists, Some(&*output)));
    assert_eq!(std::fs::read(&output).unwrap(), b"mine");
    // It is refused before the source is looked at.
    let e = Encoder::new().encode_file(dir.path().join("missing"), &output).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Exists);
    Encoder::new().overwrite(true).encode_file(&input, &output).unwrap();
    let archive = Archive::open(&output).unwrap();
    // The other way round.
    let e = archive.decompress_file(&input, false, |_, _| ()).unwrap_err();
    assert_eq!((e.kind(), e.path()), (ErrorKind::Exists, Some(&*input)));
    archive.decompress_file(&input, true, |_, _| ()).unwrap();
    assert_eq!(std::fs::read(&input).unwrap(), source);
    // A failure leaves what was there, even where it might be replaced.
    std::fs::write(&input, b"bad").unwrap();
    let before = std::fs::read(&output).unwrap();
    assert!(Encoder::new().overwrite(true).encode_file(&input, &output).is_err());
    assert_eq!(std::fs::read(&output).unwrap(), before);
    // A link that leads nowhere is an output that exists.
    #[cfg(unix)]
    {
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path().join("nowhere"), &link).unwrap();
        std::fs::write(&input, &source).unwrap();
        assert_eq!(Encoder::new().encode_file(&input, &link).unwrap_err().kind(), ErrorKind::Exists);
    }
}

/// A tensor above 4 GiB, whose end differs from its beginning: positions have 64 bits everywhere.
#[test]
fn beyond_4_gib() {
    const COLUMNS: u64 = 2048;
    const ROWS: u64 = (4 << 30) / (2 * COLUMNS) + 1003;
    let dir = tempfile::tempdir().unwrap();
    let (input, output) = (dir.path().join("in"), dir.path().join("out"));
    let len = 2 * ROWS * COLUMNS;
    let tail = Owned::new("tail", Dtype::BF16, &[7, COLUMNS], Fill::Gaussian, 1).data;
    let entries = [header_entry("big", "BF16", &[ROWS, COLUMNS], 0, len), header_entry("after", "U8", &[3], len, len + 3)];
    let header = raw_safetensors(&format!("{{{}}}", entries.join(",")), &[]);
    let total = header.len() as u64 + len + 3;
    let mut file = File::create(&input).unwrap();
    file.write_all(&header).unwrap();
    if let Err(e) = file.set_len(total) {
        eprintln!("skipped: no sparse file of {total} bytes: {e}");
        return;
    }
    file.seek(SeekFrom::Start(header.len() as u64 + len - tail.len() as u64)).unwrap();
    file.write_all(&tail).unwrap();
    file.write_all(b"end").unwrap();
    drop(file);

    let report = Encoder::new().encode_file(&input, &output).unwrap();
    assert_eq!(report.source_bytes, total);
    assert!(report.archive_bytes < 4 << 20, "{report:?}");
    for backing in [Backing::Map, Backing::Read] {
        let archive = Archive::open_with(&output, backing).unwrap();
        let big = archive.tensor("big").unwrap();
        assert_eq!((big.byte_len(), big.rows(), big.columns()), (len, ROWS, COLUMNS));
        assert!(big.decode_slice(ROWS - 7..ROWS, 0..COLUMNS).unwrap() == tail);
        let rows = big.decode_slice(ROWS - 9..ROWS - 5, 1000..1003).unwrap();
        let row = |i: usize| tail[2 * (i * COLUMNS as usize + 1000)..][..6].to_vec();
        assert_eq!(rows, [vec![0; 12], row(0), row(1)].concat());
        // On both sides of 4 GiB.
        assert!(big.decode_slice(ROWS - 1005..ROWS - 1000, 0..COLUMNS).unwrap().iter().all(|&b| b == 0));
        assert_eq!(archive.tensor("after").unwrap().decode().unwrap(), b"end");
    }
}
