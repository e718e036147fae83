//! Directories of checkpoints: `model.safetensors.index.json`, shards, configuration and tokenizer, as Hugging Face lays them out.
//!
//! ```text
//! path         names in a directory: what is safe, what becomes of each
//! tree         the files that there are
//! index        pure: the index of a checkpoint, and whether it agrees with the shards
//! manifest     pure: the index of a directory of archives
//! checkpoint   a directory to be compressed: its shards, the files that go with them
//! claim        an output directory in the making, and one that a killed process left
//! lanes        several files at a time
//! copy         files that are carried along
//! encode       a checkpoint to archives
//! single       a checkpoint as one archive, and back
//! archives     archives, checked against their manifest; the checkpoint from them again, and verification
//! ```

mod archives;
mod checkpoint;
mod claim;
mod copy;
mod encode;
mod index;
mod lanes;
mod manifest;
mod path;
pub(crate) mod single;
mod tree;

pub use archives::ArchiveDirectory;
pub use checkpoint::Directory;
pub use manifest::{FileRecord, ShardRecord};
pub use single::SingleDirectory;

/// What was done with a directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DirectoryReport {
    /// Shards.
    pub shards: usize,
    /// Those of them that an earlier run had finished.
    pub resumed: usize,
    /// Tensors of all shards.
    pub tensors: usize,
    /// Files carried along.
    pub files: usize,
    /// Bytes of the checkpoint, files carried along included.
    pub source_bytes: u64,
    /// Bytes of the archives, and of the files carried along.
    pub archive_bytes: u64,
}

impl DirectoryReport {
    /// Archive bytes per source byte.
    pub fn ratio(&self) -> f64 {
        self.archive_bytes as f64 / self.source_bytes.max(1) as f64
    }
}
