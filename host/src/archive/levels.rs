//! Levels of a progressive archive: how much of it there is, and how much of it is decoded.

use super::Archive;
use crate::error::{Error, Result};
use wcodec_device::layout::SUPERBLOCK_BYTES;

/// A level of quality of a progressive archive: with its bytes, and those before, each number is known to so many planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Level {
    /// Planes of refinement: bits of a mantissa, or below the highest bit of a magnitude.
    pub planes: usize,
    /// Bytes that it adds: one range of the archive, which ends at [`end`](Self::end). Those of the first are all that come before.
    pub bytes: u64,
    /// Where it ends: this many first bytes of the archive are enough for it.
    pub end: u64,
    /// Whether the file that is open has all of them.
    pub complete: bool,
}

impl Archive {
    /// The levels of a progressive archive, from the coarsest to the exact one; none of any other.
    pub fn levels(&self) -> Vec<Level> {
        if !self.is_progressive() {
            return Vec::new();
        }
        let ends = &self.index.level_ends;
        let size = self.data.size();
        let mut before = 0;
        let level = |(planes, &end): (usize, &u64)| {
            // Nothing but the superblock's copy comes after the last.
            let end = if planes + 1 == ends.len() { end + SUPERBLOCK_BYTES } else { end };
            let bytes = end - std::mem::replace(&mut before, end);
            Level { planes, bytes, end, complete: end <= size }
        };
        ends.iter().enumerate().map(level).collect()
    }

    /// Decodes numbers to `k` planes of refinement from now on, reading nothing of later ones: a coarse model. As many as there are,
    /// the last level's, is the exact one, which an archive decodes to unless told otherwise.
    ///
    /// Values that are not known exactly are the middle of the interval that they lie in; zeros and infinities stay what they are, NaNs
    /// are infinities (of F8_E4M3: 448) until all their bits are there. Tensors that are not split are exact at every level.
    ///
    /// # Errors
    /// An archive that is not progressive, more planes than it has, or than a file that is cut short has.
    pub fn planes(mut self, k: usize) -> Result<Self> {
        self.set_planes(k)?;
        Ok(self)
    }

    /// [`planes`](Self::planes), of an archive that is in use.
    pub fn set_planes(&mut self, k: usize) -> Result<()> {
        if !self.is_progressive() {
            return Err(self.place(Error::argument("the archive is not progressive: it has no levels to stop at")));
        }
        let last = self.index.level_ends.len() - 1;
        if k > last {
            return Err(self.place(Error::argument(format!("{k} planes of an archive that has {last}"))));
        }
        self.need_level(k)?;
        self.detail = k;
        Ok(())
    }

    /// Whether tensors are stored plane by plane.
    pub fn is_progressive(&self) -> bool {
        crate::container::index::is_progressive(&self.superblock)
    }

    /// Whether what is decoded is the source's bytes.
    pub fn is_exact(&self) -> bool {
        self.detail >= self.index.level_ends.len() - 1
    }

    /// Refuses what a file that is cut short lacks.
    pub(super) fn need_level(&self, level: usize) -> Result<()> {
        let (size, ends) = (self.data.size(), &self.index.level_ends);
        if size == self.superblock.file_len || ends[level.min(ends.len() - 1)] <= size {
            return Ok(());
        }
        let complete = ends.iter().take_while(|&&end| end <= size).count();
        let has = match complete {
            0 => "not even its first level is complete".into(),
            n => format!("complete are {} planes of {}", n - 1, ends.len() - 1),
        };
        let why = format!("the archive is cut short: {size} bytes where {} were written, {has}", self.superblock.file_len);
        Err(self.place(Error::corrupt(why)))
    }
}
