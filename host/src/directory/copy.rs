//! Files that are carried along, byte for byte, and hashed on the way.

use super::lanes::Tally;
use super::manifest::{FileRecord, hex};
use crate::error::{Error, Result};
use crate::output::replace_file;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

/// Bytes copied at a time.
const CHUNK: usize = 1 << 20;

/// Copies `from`, called `name` in the directory, to `to`; what was there is replaced.
pub(super) fn file(from: &Path, to: &Path, name: &str, tally: &Tally<'_>) -> Result<FileRecord> {
    make_parent(to)?;
    replace_file(to, true, |out| {
        let each = |bytes: &[u8]| out.write_all(bytes).map_err(|e| Error::io("writing", e).with_path(to));
        let (bytes, sum) = read(from, |n| tally.count(n), each)?;
        Ok(FileRecord { path: name.into(), bytes, sha256: hex(&sum) })
    })
}

/// Length and SHA-256 of a file.
pub(super) fn hash(path: &Path, tally: &Tally<'_>) -> Result<(u64, [u8; 32])> {
    read(path, |n| tally.count(n), |_| Ok(()))
}

/// SHA-256 of a file whose bytes are not counted; stopped like all else.
pub(super) fn hash_uncounted(path: &Path, tally: &Tally<'_>) -> Result<(u64, [u8; 32])> {
    read(path, |_| tally.count(0), |_| Ok(()))
}

/// The directory of a file that is to be written.
pub(super) fn make_parent(of: &Path) -> Result<()> {
    match of.parent() {
        Some(parent) => std::fs::create_dir_all(parent).map_err(|e| Error::io("creating the directory", e).with_path(parent)),
        None => Ok(()),
    }
}

fn read(path: &Path, count: impl Fn(u64) -> Result<()>, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<(u64, [u8; 32])> {
    let reading = |e| Error::io("reading", e).with_path(path);
    let mut file = File::open(path).map_err(reading)?;
    let mut buffer = vec![0; CHUNK];
    let (mut sum, mut len) = (Sha256::new(), 0);
    loop {
        let n = match file.read(&mut buffer) {
            Ok(0) => return Ok((len, sum.finalize().into())),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            read => read.map_err(reading)?,
        };
        sum.update(&buffer[..n]);
        each(&buffer[..n])?;
        len += n as u64;
        count(n as u64)?;
    }
}
