//! A directory to work in, files to work on, and the program.
#![allow(dead_code)] // each test program uses some of it

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// A temporary directory, removed at the end.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("temporary directory"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a safetensors file with about `bytes` of BF16 weights and a few small tensors of
    /// other types.
    pub(crate) fn model(&self, name: &str, bytes: usize) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, safetensors(bytes)).expect("write");
        path
    }

    /// `model.safetensors` of 300 kB and `model.wcodec` made of it.
    pub(crate) fn archived(&self) -> (PathBuf, PathBuf) {
        let (model, archive) = (self.model("model.safetensors", 300_000), self.path("model.wcodec"));
        success(wcodec(["compress", "-q"]).args([&model, &archive]));
        (model, archive)
    }

    /// Names of all files, sorted.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).expect("read directory");
        let mut names: Vec<_> = entries.map(|e| e.expect("entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

/// The program with arguments, its streams captured.
pub(crate) fn wcodec(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wcodec"));
    command.args(args).stdin(Stdio::null());
    command
}

/// Exit code, stdout, stderr.
pub(crate) fn run(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("run");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    let (stdout, stderr) = (text(stdout), text(stderr));
    assert!(!stderr.contains("panicked"), "{command:?}: {stderr}");
    (status.code().unwrap_or(-1), stdout, stderr)
}

/// Stdout of a run that must succeed and say nothing on stderr (which is no terminal: no progress
/// either).
pub(crate) fn success(command: &mut Command) -> String {
    let (code, stdout, stderr) = run(command);
    assert_eq!((code, stderr.as_str()), (0, ""), "{command:?}");
    stdout
}

/// Stderr of a run that must fail with `code`, and say why in one `error:` line and perhaps a hint.
pub(crate) fn failure(code: i32, command: &mut Command) -> String {
    let (got, stdout, stderr) = run(command);
    assert_eq!((got, stdout.as_str()), (code, ""), "{command:?}: {stderr}");
    let mut lines = stderr.lines();
    assert!(lines.next().is_some_and(|l| l.starts_with("error: ")), "{stderr}");
    assert!(lines.all(|l| l.starts_with("hint: ")), "{stderr}");
    stderr
}

/// A safetensors file by hand.
fn safetensors(bytes: usize) -> Vec<u8> {
    let columns = 256;
    let rows = bytes.div_ceil(2 * columns);
    let tensors = [
        ("layers.0.weight", "BF16", vec![rows, columns], 2 * rows * columns),
        ("norm.weight", "F32", vec![96], 384),
        ("codes", "I8", vec![3, 5, 7], 105),
        ("nothing", "F16", vec![0, 4], 0),
        ("scalar", "I64", vec![], 8),
    ];
    let (mut header, mut at) = (String::from(r#"{"__metadata__":{"format":"pt"}"#), 0);
    for (name, dtype, shape, len) in &tensors {
        let end = at + len;
        header += &format!(r#","{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{at},{end}]}}"#);
        at = end;
    }
    header.push('}');
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    let data = file.len();
    let mut x = 0x9e37_79b9_7f4a_7c15u64;
    while file.len() < data + at {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        // Sign and mantissa are noise, exponents fall off geometrically: what trained weights look
        // like.
        let exponent = 122 - (x >> 32).trailing_zeros().min(20) as u16;
        file.extend_from_slice(&((x as u16 & 0x807f) | exponent << 7).to_le_bytes());
    }
    file.truncate(data + at);
    file
}

pub(crate) fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).expect("read")
}
