//! `manifest.json`: what was written, so that a later run knows without the network that nothing is to be done.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::catalog::DERIVATION;
use super::store;

/// The manifest's own name.
const NAME: &str = "manifest.json";

/// The files of a model directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// The version of the derivation that wrote them.
    pub(super) derivation: u32,
    /// The files, by path below the directory.
    pub(super) files: BTreeMap<String, FileInfo>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct FileInfo {
    /// Its size.
    pub(super) bytes: u64,
    /// Its SHA-256.
    pub(super) sha256: String,
    /// How many tensors it has of each element type; empty where it is not a model.
    pub(super) tensors: BTreeMap<String, usize>,
}

impl FileInfo {
    /// Describes a file by its contents.
    pub(super) fn new(contents: &[u8], tensors: BTreeMap<String, usize>) -> Self {
        Self { bytes: contents.len() as u64, sha256: store::sha256(contents), tensors }
    }
}

impl Manifest {
    /// A manifest with nothing in it.
    pub(super) fn empty() -> Self {
        Self { derivation: DERIVATION, files: BTreeMap::new() }
    }

    /// Reads a directory's manifest and keeps what still holds: files of the size written and, with `verify`, of the
    /// digest written. One that is absent, unreadable or of another derivation says nothing.
    pub(super) fn load(folder: &Path, verify: bool) -> Self {
        let read = || serde_json::from_slice::<Self>(&fs::read(folder.join(NAME)).ok()?).ok();
        let Some(mut manifest) = read().filter(|manifest| manifest.derivation == DERIVATION) else {
            return Self::empty();
        };
        manifest.files.retain(|path, info| {
            let path = folder.join(path);
            let same_size = fs::metadata(&path).is_ok_and(|meta| meta.is_file() && meta.len() == info.bytes);
            same_size && (!verify || fs::read(&path).is_ok_and(|bytes| store::sha256(&bytes) == info.sha256))
        });
        manifest
    }

    /// Writes the manifest.
    pub(super) fn save(&self, folder: &Path) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(self).context("cannot write the manifest")?;
        text.push(b'\n');
        store::write(&folder.join(NAME), &text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Manifest) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut manifest = Manifest::empty();
        for (name, contents) in [("a", &b"one"[..]), ("b/c", b"two")] {
            store::write(&folder.path().join(name), contents).expect("written");
            let tensors = BTreeMap::from([("BF16".to_owned(), 1)]);
            manifest.files.insert(name.to_owned(), FileInfo::new(contents, tensors));
        }
        manifest.save(folder.path()).expect("saved");
        (folder, manifest)
    }

    #[test]
    fn it_reads_back() {
        let (folder, manifest) = folder();
        assert_eq!(Manifest::load(folder.path(), false), manifest);
        assert_eq!(Manifest::load(folder.path(), true), manifest);
    }

    #[test]
    fn a_file_that_changed_is_forgotten() {
        let (folder, _) = folder();
        fs::write(folder.path().join("a"), b"six").expect("written");
        fs::remove_file(folder.path().join("b/c")).expect("removed");
        let names = |verify| Manifest::load(folder.path(), verify).files.into_keys().collect::<Vec<_>>();
        assert_eq!(names(false), ["a"]);
        assert!(names(true).is_empty());
    }

    #[test]
    fn another_derivation_or_no_manifest_says_nothing() {
        let (folder, mut manifest) = folder();
        manifest.derivation += 1;
        manifest.save(folder.path()).expect("saved");
        assert_eq!(Manifest::load(folder.path(), false), Manifest::empty());
        fs::write(folder.path().join(NAME), b"{").expect("written");
        assert_eq!(Manifest::load(folder.path(), false), Manifest::empty());
        fs::remove_file(folder.path().join(NAME)).expect("removed");
        assert_eq!(Manifest::load(folder.path(), false), Manifest::empty());
    }
}
