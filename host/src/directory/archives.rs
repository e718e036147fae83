//! A directory of archives: opened, restored, verified.

use super::claim::{Claim, remove, sweep_parents};
use super::lanes::{self, Tally};
use super::manifest::{FileRecord, Manifest, ShardRecord, hex};
use super::{DirectoryReport, copy, path, tree};
use crate::archive::{Archive, Backing};
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::Device;
use crate::progress::Flow;
use crate::source::FileReader;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A directory of archives, as [`Encoder::encode_directory`](crate::Encoder::encode_directory) makes it.
#[derive(Debug)]
pub struct ArchiveDirectory {
    root: PathBuf,
    manifest: Manifest,
    manifest_sha256: [u8; 32],
    device: Device,
}

impl ArchiveDirectory {
    /// Opens a directory, or its `model.wcodec.index.json`: reads that and nothing else.
    ///
    /// # Errors
    /// A directory without it, or one whose compression did not end; a damaged one.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let at = if path.is_dir() { path.join(path::MANIFEST) } else { path.to_owned() };
        let root = at.parent().unwrap_or(Path::new("")).to_owned();
        if path.is_dir() && !at.exists() {
            let why = if root.join(path::UNFINISHED).exists() {
                "it is not finished: the command that makes it goes on where it ended".into()
            } else {
                format!("it is no compressed directory: there is no {}", path::MANIFEST)
            };
            return Err(Error::corrupt(why).with_path(path));
        }
        let text = std::fs::read(&at).map_err(|e| Error::io("reading", e).with_path(&at))?;
        let manifest = Manifest::parse(&text).map_err(|e| e.with_path(&at))?;
        Ok(Self { root, manifest, manifest_sha256: Sha256::digest(&text).into(), device: Device::Cpu })
    }

    /// Decodes on `device` from now on.
    pub fn set_device(&mut self, device: Device) {
        self.device = device;
    }

    /// The shards.
    pub fn shards(&self) -> &[ShardRecord] {
        &self.manifest.shards
    }

    /// The files that are carried along.
    pub fn files(&self) -> &[FileRecord] {
        &self.manifest.files
    }

    /// The archive, by its name in the directory, of each of the model's tensors.
    pub fn weight_map(&self) -> &BTreeMap<String, String> {
        &self.manifest.weight_map
    }

    /// Where a file of the directory is.
    pub fn path_of(&self, name: &str) -> PathBuf {
        path::under(&self.root, name)
    }

    /// Opens the archive of a shard.
    ///
    /// # Errors
    /// Those of [`Archive::open_with`]; an archive of another file than the shard.
    pub fn archive(&self, shard: &ShardRecord) -> Result<Archive> {
        let at = path::under(&self.root, &shard.archive);
        let mut archive = Archive::open_with(&at, Backing::Read)?;
        if archive.source_sha256().map(|sum| hex(&sum)).as_ref() != Some(&shard.source_sha256) {
            let why = format!(
                "it is not the archive of '{}' that {} lists: its source's SHA-256 is another",
                shard.source,
                path::MANIFEST
            );
            return Err(Error::corrupt(why).with_path(&at));
        }
        archive.set_device(self.device.clone());
        Ok(archive)
    }

    /// Restores the checkpoint to `output`, a directory, byte for byte; each file appears only when it is complete, checked and on disk. A run that
    /// was killed is taken up where it ended by the next.
    ///
    /// # Errors
    /// Damage, named; an output directory that is not empty, unless `overwrite` is set.
    pub fn decompress<F: Into<Flow>>(
        &self,
        output: impl AsRef<Path>,
        overwrite: bool,
        progress: impl Fn(u64, u64) -> F + Sync,
    ) -> Result<DirectoryReport> {
        let output = output.as_ref();
        path::apart(&self.root_or_here(), output)?;
        let job = format!("decompress, index {}", hex(&self.manifest_sha256));
        // Files that are there stay until what replaces them is whole.
        let claim = Claim::take(output, &job, overwrite, || Ok(()))?;
        sweep_parents(self.source_names().map(|name| path::under(output, name)))?;

        let tally = Tally::new(Some(Arc::new(|done, total| progress(done, total).into())), self.source_bytes());
        let stopped = |e: Error| match e.kind() {
            ErrorKind::Cancelled => {
                let why = "cancelled; finished files are kept, and the same command goes on with the others";
                Error::new(ErrorKind::Cancelled, why).with_path(output)
            }
            _ => e,
        };
        let carry = |record: &FileRecord| {
            let from = path::under(&self.root, &record.path);
            let to = path::under(output, &record.path);
            let copied = copy::file(&from, &to, &record.path, &tally)?;
            if copied != *record {
                // Not under its name with other bytes than were promised.
                remove(&to)?;
                return Err(damaged_file(&from));
            }
            Ok(())
        };
        lanes::each(&self.manifest.files, |f| f.bytes, &tally, carry).map_err(stopped)?;
        let shards = lanes::each(
            &self.manifest.shards,
            |s| s.source_bytes,
            &tally,
            |shard| {
                let to = path::under(output, &shard.source);
                let archive = self.archive(shard)?;
                if claim.resumed
                    && to.metadata().is_ok_and(|m| m.is_file() && m.len() == shard.source_bytes)
                    && hex(&copy::hash_uncounted(&to, &tally)?.1) == shard.source_sha256
                {
                    tally.count(shard.source_bytes)?;
                    return Ok(true);
                }
                copy::make_parent(&to)?;
                archive.decompress_file(&to, true, tally.part())?;
                Ok(false)
            },
        );
        let resumed = shards.map_err(stopped)?.into_iter().filter(|there| *there).count();
        claim.finish()?;
        Ok(DirectoryReport { resumed, ..self.report() })
    }

    /// Decodes every shard and checks every hash, and those of the files that are carried along; writes nothing.
    ///
    /// # Errors
    /// The first damage, named.
    pub fn verify<F: Into<Flow>>(&self, progress: impl Fn(u64, u64) -> F + Sync) -> Result<DirectoryReport> {
        let tally = Tally::new(Some(Arc::new(|done, total| progress(done, total).into())), self.source_bytes());
        lanes::each(
            &self.manifest.files,
            |f| f.bytes,
            &tally,
            |record| {
                let at = path::under(&self.root, &record.path);
                sound(record, &at, copy::hash(&at, &tally)?)
            },
        )?;
        lanes::each(&self.manifest.shards, |s| s.source_bytes, &tally, |shard| self.archive(shard)?.verify(tally.part()))?;
        Ok(self.report())
    }

    /// Decodes every shard and compares it, and every file that is carried along, with those of `original`, byte for byte.
    ///
    /// # Errors
    /// [`Mismatch`](ErrorKind::Mismatch) names what differs, or is on one side only; damage, named.
    pub fn verify_against<F: Into<Flow>>(
        &self,
        original: impl AsRef<Path>,
        progress: impl Fn(u64, u64) -> F + Sync,
    ) -> Result<DirectoryReport> {
        let original = original.as_ref();
        let there: BTreeMap<_, _> = tree::walk(original)?.into_iter().map(|f| (f.path.clone(), f)).collect();
        let mut here: Vec<_> = self.source_names().collect();
        here.sort();
        let differs = |why: String| Error::new(ErrorKind::Mismatch, why).with_path(&self.root);
        if let Some(name) = here.iter().find(|name| !there.contains_key(**name)) {
            return Err(differs(format!("'{name}' is not in {}", original.display())));
        }
        if let Some(name) = there.keys().find(|name| here.binary_search(name).is_err()) {
            return Err(differs(format!("it does not have '{name}' of {}", original.display())));
        }
        let tally = Tally::new(Some(Arc::new(|done, total| progress(done, total).into())), self.source_bytes());
        lanes::each(
            &self.manifest.files,
            |f| f.bytes,
            &tally,
            |record| {
                let (at, theirs) = (path::under(&self.root, &record.path), &there[&record.path].at);
                let ours = copy::hash(&at, &tally)?;
                sound(record, &at, ours)?;
                if copy::hash_uncounted(theirs, &tally)? != ours {
                    return Err(Error::new(ErrorKind::Mismatch, format!("it differs from {}", theirs.display())).with_path(&at));
                }
                Ok(())
            },
        )?;
        lanes::each(
            &self.manifest.shards,
            |s| s.source_bytes,
            &tally,
            |shard| {
                let theirs = &there[&shard.source].at;
                let reader = FileReader::open(theirs).map_err(|e| Error::io("opening", e).with_path(theirs))?;
                self.archive(shard)?
                    .verify_against(&reader, tally.part())
                    .map_err(|e| if e.path().is_none() { e.with_path(theirs) } else { e })
            },
        )?;
        Ok(self.report())
    }

    /// Names of the checkpoint's files.
    fn source_names(&self) -> impl Iterator<Item = &String> {
        let Manifest { shards, files, .. } = &self.manifest;
        shards.iter().map(|s| &s.source).chain(files.iter().map(|f| &f.path))
    }

    /// Bytes of the checkpoint, files carried along included.
    pub fn source_bytes(&self) -> u64 {
        self.report().source_bytes
    }

    /// What there is, by what the index says: no archive is opened.
    pub fn report(&self) -> DirectoryReport {
        let Manifest { shards, files, .. } = &self.manifest;
        let sum = |numbers: &mut dyn Iterator<Item = u64>| numbers.fold(0, u64::saturating_add);
        let carried = || files.iter().map(|f| f.bytes);
        DirectoryReport {
            shards: shards.len(),
            resumed: 0,
            tensors: shards.iter().fold(0, |n, s| n.saturating_add(s.tensors as usize)),
            files: files.len(),
            source_bytes: sum(&mut carried().chain(shards.iter().map(|s| s.source_bytes))),
            archive_bytes: sum(&mut carried().chain(shards.iter().map(|s| s.archive_bytes))),
        }
    }

    fn root_or_here(&self) -> PathBuf {
        if self.root.as_os_str().is_empty() { ".".into() } else { self.root.clone() }
    }
}

/// Whether a file that is carried along has the length and hash that were recorded.
fn sound(record: &FileRecord, at: &Path, (bytes, sum): (u64, [u8; 32])) -> Result<()> {
    if bytes == record.bytes && hex(&sum) == record.sha256 { Ok(()) } else { Err(damaged_file(at)) }
}

fn damaged_file(at: &Path) -> Error {
    Error::corrupt(format!("its SHA-256 is not the one that {} records", path::MANIFEST)).with_path(at)
}
