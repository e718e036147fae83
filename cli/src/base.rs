//! `--base`.

use clap::ValueHint;
use std::path::PathBuf;
use wcodec::{Archive, Backing, Base, Result};

/// The base of an archive that was made with one.
#[derive(Debug, clap::Args)]
pub(crate) struct BaseArg {
    /// The base that the archive was made with: the safetensors file, or its archive
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    base: Option<PathBuf>,
}

impl BaseArg {
    /// Has `archive` decode with the base, if it is given.
    pub(crate) fn apply(&self, archive: &mut Archive) -> Result<()> {
        match &self.base {
            Some(path) => archive.set_base(Base::open_with(path, Backing::Read)?),
            None => Ok(()),
        }
    }
}
