//! Tensors rebuilt from those of the base.

use super::base::{Base, BaseTensor};
use super::{Archive, Directory, Tensor};
use crate::container::difference::{Difference, Method};
use crate::container::grid::TileRect;
use crate::container::index::Entry;
use crate::error::{Error, Result};
use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;
use wcodec_device::layout::{feature, tool};

impl Archive {
    /// Decodes with `base` from now on, if the archive needs one ([`base_sha256`](Self::base_sha256)).
    ///
    /// # Errors
    /// Another base than the archive's: known by its hash if it is an archive, else by its length; then each of its tensors that is used
    /// is known by its hash.
    pub fn set_base(&mut self, base: Base) -> Result<()> {
        let Some(sum) = self.base_sha256() else { return Ok(()) };
        let len = self.superblock.base_len;
        if base.source_len() != len || base.known_sha256().is_some_and(|theirs| theirs != sum) {
            let why = format!("this is another base: the archive's is the file of {len} bytes and SHA-256 {}", hex(&sum));
            return Err(self.place(base.name(Error::argument(why))));
        }
        self.base = Some(base);
        Ok(())
    }

    /// [`set_base`](Self::set_base) with the safetensors file or archive at `path`.
    pub fn with_base(mut self, path: impl AsRef<Path>) -> Result<Self> {
        self.set_base(Base::open(path)?)?;
        Ok(self)
    }

    /// SHA-256 of the safetensors file of the base, where tensors are coded against one.
    pub fn base_sha256(&self) -> Option<[u8; 32]> {
        (self.superblock.required & feature::BASE != 0).then_some(self.superblock.base_sha256)
    }
}

impl<'a> Tensor<'a> {
    /// Whether it is coded against a tensor of the base.
    pub(crate) fn has_base(&self) -> bool {
        self.entry.record.tools & tool::BASE != 0
    }

    /// The base's tensor that this one is coded against; `None` where there is no such.
    pub(crate) fn base(&self) -> Result<Option<BaseTensor<'a>>> {
        if !self.has_base() {
            return Ok(None);
        }
        let Archive { superblock, base, .. } = self.archive;
        let Some(base) = base else {
            let sum = hex(&superblock.base_sha256);
            let why = format!(
                "it is coded against a base that is not given: the file of {} bytes and SHA-256 {sum}",
                superblock.base_len
            );
            return Err(self.place(Error::argument(why)));
        };
        let Entry { name, dtype, dtype_name, shape, .. } = self.entry;
        match base.find(name, *dtype, dtype_name, shape).filter(|t| t.len() == self.byte_len()) {
            Some(tensor) => Ok(Some(tensor)),
            None => {
                let why = format!("the base has no {dtype_name} tensor of this name and shape {shape:?}");
                Err(base.name(Error::argument(why)).with_tensor(name))
            }
        }
    }

    /// The base's tensor, whose bytes are what they were.
    pub(crate) fn checked_base(&self, difference: &Difference) -> Result<BaseTensor<'a>> {
        let Some(tensor) = self.base()? else { unreachable!("a difference comes with the tool") };
        if tensor.hash()? != difference.hash {
            let why = format!(
                "this tensor of the base is another: the base is the file of SHA-256 {}",
                hex(&self.archive.superblock.base_sha256)
            );
            return Err(tensor.base.name(Error::argument(why)).with_tensor(self.name()));
        }
        Ok(tensor)
    }

    /// The base's bytes where these are; none without a base.
    pub(super) fn base_bytes(&self, directory: &Directory<'_>, bytes: Range<u64>) -> Result<Option<Cow<'a, [u8]>>> {
        directory.difference.map(|d| self.checked_base(&d)?.read(bytes)).transpose()
    }

    /// The base's bytes where a tile is, row by row.
    pub(super) fn base_tile(&self, directory: &Directory<'_>, rect: TileRect) -> Result<Option<Cow<'a, [u8]>>> {
        let (rows, columns) = (rect.row..rect.row + rect.rows as u64, rect.column..rect.column + rect.width as u64);
        let row_bytes = self.entry.grid.row_bytes;
        directory.difference.map(|d| self.checked_base(&d)?.read_slice(rows, columns, row_bytes)).transpose()
    }

    /// How it follows from the base; `None` without.
    pub(super) fn difference(&self, params: &[u8]) -> Result<Option<Difference>, &'static str> {
        if !self.has_base() {
            return Ok(None);
        }
        let Entry { record, dtype, layout, .. } = self.entry;
        if self.entry.is_same() {
            return Ok(Difference::new(Method::Same, *dtype, record.hash));
        }
        Difference::read(params, *dtype, layout.record_bytes()).map(Some)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
