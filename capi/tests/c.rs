//! The header is what the code says, and a C program that includes it loads an archive.

#![allow(missing_docs)]

use std::path::{Path, PathBuf};
use std::process::Command;
use wcodec::{Dtype, Encoder, TensorInput};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

#[test]
fn header() {
    let crate_dir = env!("CARGO_MANIFEST_DIR");
    let config = cbindgen::Config::from_file(Path::new(crate_dir).join("cbindgen.toml")).unwrap();
    let mut text = Vec::new();
    cbindgen::Builder::new()
        .with_config(config)
        .with_src(Path::new(crate_dir).join("src/lib.rs"))
        .generate()
        .unwrap()
        .write(&mut text);
    let path = Path::new(crate_dir).join("include/wcodec.h");
    if std::env::var_os("WCODEC_WRITE_HEADER").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let committed = std::fs::read(&path).unwrap_or_default();
    assert!(committed == text, "include/wcodec.h is stale: WCODEC_WRITE_HEADER=1 cargo test -p wcodec-capi header");
}

/// The directory of the shared library: where this test's own program is, or above.
fn library() -> PathBuf {
    let deps = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let places = [deps.clone(), deps.parent().unwrap().to_owned()];
    let found = places.iter().find(|d| d.join("libwcodec_c.so").exists());
    found.unwrap_or_else(|| panic!("no libwcodec_c.so in {places:?}")).clone()
}

#[test]
#[cfg(target_os = "linux")]
fn an_example_in_c() {
    let directory = tempfile::tempdir().unwrap();
    let (archive, program) = (directory.path().join("model.wcodec"), directory.path().join("load"));
    let data: Vec<u8> = (0..60_000u32).map(|i| ((i * i) >> 9) as u8).collect();
    let input = TensorInput { name: "layer.weight", dtype: Dtype::BF16, shape: &[100, 300], data: &data };
    Encoder::new().encode_tensors(&[input], std::fs::File::create(&archive).unwrap()).unwrap();

    let library = library();
    let compiled = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".into()))
        .args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-I"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("include"))
        .arg(root().join("examples/c/load.c"))
        .arg("-L")
        .arg(&library)
        .arg("-lwcodec_c")
        .arg(format!("-Wl,-rpath,{}", library.display()))
        .arg("-o")
        .arg(&program)
        .output()
        .unwrap();
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));

    let ran = Command::new(&program).arg(&archive).output().unwrap();
    let text = String::from_utf8(ran.stdout).unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let sum = data.iter().fold(0u64, |sum, &b| sum.wrapping_mul(31).wrapping_add(b as u64));
    assert_eq!(text, format!("layer.weight BF16 [100, 300] 60000 bytes\n1 tensors, checksum {sum:016x}\n"));

    let mut bytes = std::fs::read(&archive).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(&archive, bytes).unwrap();
    let ran = Command::new(&program).arg(&archive).output().unwrap();
    let error = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(1));
    assert!(error.contains("layer.weight") && error.contains("checksum"), "{error}");
    let ran = Command::new(&program).arg(directory.path().join("nothing")).output().unwrap();
    assert_eq!(ran.status.code(), Some(1));
    assert!(String::from_utf8(ran.stderr).unwrap().contains("nothing"));
}
