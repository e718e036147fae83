//! `--base`.

use crate::failure::{Exit, Failure, Result};
use clap::ValueHint;
use std::path::PathBuf;
use wcodec::{Archive, Backing, Base};

/// The base of an archive that was made with one.
#[derive(Debug, clap::Args)]
pub(crate) struct BaseArg {
    /// The base that the archive was made with: the safetensors file, or its archive
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    base: Option<PathBuf>,
}

impl BaseArg {
    /// Directories have no base.
    pub(crate) fn refuse_for_directories(&self) -> Result<()> {
        match &self.base {
            Some(_) => Err(Failure::new(Exit::Usage, "a directory is not coded against a base")),
            None => Ok(()),
        }
    }

    /// Has `archive` decode with the base, if it is given.
    pub(crate) fn apply(&self, archive: &mut Archive) -> Result<()> {
        match (&self.base, archive.base_sha256()) {
            (Some(path), _) => archive.set_base(Base::open_with(path, Backing::Read)?)?,
            (None, Some(sum)) => {
                let sum: String = sum.iter().map(|b| format!("{b:02x}")).collect();
                let why = format!("the archive is coded against a base that is not given: the file of SHA-256 {sum}");
                return Err(Failure::new(Exit::Usage, why).with_hint("--base names that file, or its archive"));
            }
            (None, None) => {}
        }
        Ok(())
    }
}
