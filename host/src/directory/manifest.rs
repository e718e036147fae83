//! `model.wcodec.index.json`: what a directory of archives holds. Pure: text in, text out.

use super::path;
use crate::error::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};

/// What tells a manifest from other indexes.
const FORMAT: &str = "wcodec-directory";
/// The version that this library writes, and reads.
const VERSION: u32 = 1;

/// A shard and its archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ShardRecord {
    /// The archive, below the directory, with slashes.
    pub archive: String,
    /// The file that it was made of.
    pub source: String,
    /// Bytes of the archive.
    pub archive_bytes: u64,
    /// Bytes of the source.
    pub source_bytes: u64,
    /// SHA-256 of the source, in lower-case hexadecimal.
    pub source_sha256: String,
    /// Number of tensors.
    pub tensors: u32,
}

/// A file that is carried along as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FileRecord {
    /// Its name below the directory, with slashes.
    pub path: String,
    /// Bytes.
    pub bytes: u64,
    /// Its SHA-256, in lower-case hexadecimal.
    pub sha256: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    format: String,
    version: u32,
    /// That of the model's index.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub metadata: Option<serde_json::Value>,
    /// The archive of each of the model's tensors.
    pub weight_map: BTreeMap<String, String>,
    pub shards: Vec<ShardRecord>,
    pub files: Vec<FileRecord>,
}

impl Manifest {
    pub(super) fn new(
        metadata: Option<serde_json::Value>,
        weight_map: BTreeMap<String, String>,
        shards: Vec<ShardRecord>,
        files: Vec<FileRecord>,
    ) -> Self {
        Self { format: FORMAT.into(), version: VERSION, metadata, weight_map, shards, files }
    }

    /// The same on every machine.
    pub(super) fn text(&self) -> Result<Vec<u8>> {
        let mut text =
            serde_json::to_vec_pretty(self).map_err(|e| Error::new(ErrorKind::Io, format!("writing the index: {e}")))?;
        text.push(b'\n');
        Ok(text)
    }

    /// Parses a manifest: no path leads out of the directory, and none is written twice.
    pub(super) fn parse(text: &[u8]) -> Result<Self> {
        /// What is known of every version.
        #[derive(Deserialize)]
        struct Head {
            format: String,
            version: u32,
        }
        let malformed = |e: serde_json::Error| Error::corrupt(format!("this is no index of archives: {e}"));
        let head: Head = serde_json::from_slice(text).map_err(malformed)?;
        if head.format != FORMAT {
            return Err(Error::corrupt(format!("this is no index of archives: its format is '{}'", head.format)));
        }
        if head.version != VERSION {
            let why = format!("version {} of the index needs a newer wcodec: this one reads {VERSION}", head.version);
            return Err(Error::new(ErrorKind::Unsupported, why));
        }
        let manifest: Self = serde_json::from_slice(text).map_err(malformed)?;
        manifest.check().map_err(|why| Error::corrupt(format!("the index is damaged: {why}")))?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), String> {
        let mut restored = HashSet::from([path::UNFINISHED]);
        let mut kept = HashSet::from([path::MANIFEST, path::UNFINISHED]);
        let sources = self.shards.iter().map(|s| (s.source.as_str(), &s.source_sha256));
        for (name, sum) in sources.chain(self.files.iter().map(|f| (f.path.as_str(), &f.sha256))) {
            path::check(name)?;
            if !restored.insert(name) {
                return Err(format!("'{name}' appears twice"));
            }
            if sum.len() != 64 || !sum.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                return Err(format!("the SHA-256 of '{name}' is none"));
            }
        }
        let archives = self.shards.iter().map(|s| s.archive.as_str());
        for name in archives.chain(self.files.iter().map(|f| f.path.as_str())) {
            path::check(name)?;
            if !kept.insert(name) {
                return Err(format!("'{name}' appears twice"));
            }
        }
        let archives: HashSet<_> = self.shards.iter().map(|s| s.archive.as_str()).collect();
        match self.weight_map.iter().find(|(_, archive)| !archives.contains(archive.as_str())) {
            Some((tensor, archive)) => Err(format!("tensor '{tensor}' is said to be in '{archive}', which is not listed")),
            None => Ok(()),
        }
    }
}

/// A hash as text.
pub(super) fn hex(sum: &[u8; 32]) -> String {
    sum.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let sum = hex(&[0xa5; 32]);
        let shard = |name: &str| ShardRecord {
            archive: format!("{name}.wcodec"),
            source: format!("{name}.safetensors"),
            archive_bytes: 1,
            source_bytes: 2,
            source_sha256: sum.clone(),
            tensors: 1,
        };
        let file = FileRecord { path: "sub/config.json".into(), bytes: 3, sha256: sum.clone() };
        let map = BTreeMap::from([("t".into(), "a.wcodec".into())]);
        Manifest::new(Some(serde_json::json!({"total_size": 1})), map, vec![shard("a"), shard("b")], vec![file])
    }

    #[test]
    fn there_and_back() {
        let text = manifest().text().unwrap();
        assert_eq!(Manifest::parse(&text).unwrap().text().unwrap(), text);
    }

    #[test]
    fn nothing_is_believed() {
        let refused = |change: &dyn Fn(&mut Manifest)| {
            let mut m = manifest();
            change(&mut m);
            let e = Manifest::parse(&m.text().unwrap()).unwrap_err();
            (e.kind(), e.to_string())
        };
        assert_eq!(refused(&|m| m.version = 2).0, ErrorKind::Unsupported);
        for change in [
            &(|m: &mut Manifest| m.format = "other".into()) as &dyn Fn(&mut Manifest),
            &|m| m.shards[0].source = "../a.safetensors".into(),
            &|m| m.shards[0].archive = "/a.wcodec".into(),
            &|m| m.files[0].path = "x/../../y".into(),
            &|m| m.files[0].path = "b.safetensors".into(),
            &|m| m.files[0].path = "b.wcodec".into(),
            &|m| m.files[0].path = path::MANIFEST.into(),
            &|m| m.shards[1].source = "a.safetensors".into(),
            &|m| m.shards[1].archive = "a.wcodec".into(),
            &|m| m.shards[1].source_sha256.truncate(63),
            &|m| drop(m.weight_map.insert("u".into(), "c.wcodec".into())),
        ] {
            let (kind, said) = refused(change);
            assert_eq!(kind, ErrorKind::Corrupt, "{said}");
        }
        assert_eq!(Manifest::parse(b"{").unwrap_err().kind(), ErrorKind::Corrupt);
        let text = manifest().text().unwrap();
        for len in 0..text.len() - 2 {
            assert!(Manifest::parse(&text[..len]).is_err());
        }
    }
}
