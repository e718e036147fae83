//! A checkpoint to archives: one a shard, the other files beside them, the manifest last.

use super::checkpoint::{Directory, Shard};
use super::claim::{Claim, remove, sweep};
use super::lanes::{self, Tally};
use super::manifest::{Manifest, ShardRecord, hex};
use super::{DirectoryReport, copy, path};
use crate::archive::{Archive, Backing};
use crate::encode::Encoder;
use crate::error::{Error, ErrorKind, Result};
use crate::output::replace_file;
use std::io::Write;
use std::path::Path;

impl Encoder {
    /// Encodes a directory of a checkpoint: each shard to an archive of its name, all other files as they are, and a manifest,
    /// `model.wcodec.index.json`, when everything else is there. Several shards at a time on the threads of the current rayon pool.
    ///
    /// A run that was killed is taken up where it ended by the next with the same input, output and options: shards that are finished are kept if
    /// their recorded SHA-256 is that of the shard as it is now. The result has the same bytes as that of a run that was not disturbed.
    ///
    /// # Errors
    /// Those of [`Directory::open`] and of [`encode_file`](Self::encode_file); an output directory that is not empty, unless
    /// [`overwrite`](Self::overwrite) is set (then archives that are replaced go before others are made); one that another process is writing to.
    pub fn encode_directory(&self, input: impl AsRef<Path>, output: impl AsRef<Path>) -> Result<DirectoryReport> {
        let (input, output) = (input.as_ref(), output.as_ref());
        if self.options.base.is_some() {
            return Err(Error::argument("directories cannot be coded against a base: encode shard by shard"));
        }
        let directory = Directory::open(input)?;
        path::apart(input, output)?;
        let job = format!(
            "compress, {:?}, filters {}, progressive {}, wcodec {}",
            self.options.effort,
            self.options.filters,
            self.options.progressive,
            env!("CARGO_PKG_VERSION")
        );
        let claim = Claim::take(output, &job, self.options.overwrite, || {
            remove(&output.join(path::MANIFEST))?;
            directory.shards.iter().try_for_each(|s| remove(&path::under(output, &s.archive)))
        })?;
        let run = Run { encoder: self, directory: &directory, output, resumed: claim.resumed };
        let done = run.all()?;
        claim.finish()?;
        Ok(done)
    }
}

struct Run<'a> {
    encoder: &'a Encoder,
    directory: &'a Directory,
    output: &'a Path,
    resumed: bool,
}

impl Run<'_> {
    fn all(&self) -> Result<DirectoryReport> {
        let Directory { shards, files, .. } = self.directory;
        let paths = shards.iter().map(|s| &s.archive).chain(files.iter().map(|f| &f.path));
        let mut parents: Vec<_> = paths.map(|p| path::under(self.output, path::parent(p).trim_end_matches('/'))).collect();
        parents.sort();
        parents.dedup();
        parents.iter().try_for_each(|p| sweep(p))?;

        let tally = Tally::new(self.encoder.progress.clone(), self.directory.bytes());
        let stopped = |e: Error| match e.kind() {
            ErrorKind::Cancelled => {
                let why = "cancelled; finished shards are kept, and the same command goes on with the others";
                Error::new(ErrorKind::Cancelled, why).with_path(self.output)
            }
            _ => e,
        };
        let files =
            lanes::each(files, |f| f.len, &tally, |f| copy::file(&f.at, &path::under(self.output, &f.path), &f.path, &tally))
                .map_err(stopped)?;
        let shards = lanes::each(shards, |s| s.file.len, &tally, |shard| self.shard(shard, &tally)).map_err(stopped)?;
        let carried: u64 = files.iter().map(|f| f.bytes).sum();
        let done = DirectoryReport {
            shards: shards.len(),
            resumed: shards.iter().filter(|s| s.1).count(),
            tensors: shards.iter().map(|s| s.0.tensors as usize).sum(),
            files: files.len(),
            source_bytes: carried + shards.iter().map(|s| s.0.source_bytes).sum::<u64>(),
            archive_bytes: carried + shards.iter().map(|s| s.0.archive_bytes).sum::<u64>(),
        };
        let shards = shards.into_iter().map(|s| s.0).collect();
        let manifest = Manifest::new(self.directory.metadata.clone(), self.directory.weight_map.clone(), shards, files);
        let (to, text) = (self.output.join(path::MANIFEST), manifest.text()?);
        replace_file(&to, true, |file| file.write_all(&text).map_err(|e| Error::io("writing", e).with_path(&to)))?;
        Ok(done)
    }

    /// What becomes of a shard, and whether it was there already.
    fn shard(&self, shard: &Shard, tally: &Tally<'static>) -> Result<(ShardRecord, bool)> {
        let to = path::under(self.output, &shard.archive);
        if self.resumed
            && let Ok(record) = record(shard, &to)
            && record.source_bytes == shard.file.len
        {
            // Of this shard, as it is now?
            let (_, sum) = copy::hash_uncounted(&shard.file.at, tally)?;
            if record.source_sha256 == hex(&sum) {
                tally.count(shard.file.len)?;
                return Ok((record, true));
            }
        }
        copy::make_parent(&to)?;
        // What is there under an archive's name, in a directory that is claimed, is of no worth.
        self.encoder.clone().overwrite(true).on_progress(tally.part()).encode_file(&shard.file.at, &to)?;
        Ok((record(shard, &to)?, false))
    }
}

/// What an archive says of itself.
fn record(shard: &Shard, archive: &Path) -> Result<ShardRecord> {
    let opened = Archive::open_with(archive, Backing::Read)?;
    let Some(sum) = opened.source_sha256() else {
        return Err(Error::corrupt("the archive was made of no file").with_path(archive));
    };
    Ok(ShardRecord {
        archive: shard.archive.clone(),
        source: shard.file.path.clone(),
        archive_bytes: opened.archive_bytes(),
        source_bytes: opened.source_bytes(),
        source_sha256: hex(&sum),
        tensors: opened.tensors().len() as u32,
    })
}
