//! Tensors by name, wherever they are stored.

use super::checkpoint::Checkpoint;
use crate::archive::Archive;
use crate::dtype::Dtype;
use crate::error::{Error, ErrorKind, Result};

/// Stored tensors, by name.
pub trait Stored {
    /// Name, type and shape of each.
    fn list(&self) -> Vec<(String, Dtype, Vec<u64>)>;

    /// A tensor's bytes.
    ///
    /// # Errors
    /// Where they cannot be read or decoded.
    fn read(&self, name: &str) -> Result<Vec<u8>>;

    /// Names the file in an error.
    fn place(&self, e: Error) -> Error {
        e
    }
}

impl<S: Stored + ?Sized> Stored for &S {
    fn list(&self) -> Vec<(String, Dtype, Vec<u64>)> {
        (**self).list()
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        (**self).read(name)
    }

    fn place(&self, e: Error) -> Error {
        (**self).place(e)
    }
}

impl Stored for Archive {
    fn list(&self) -> Vec<(String, Dtype, Vec<u64>)> {
        self.tensors().map(|t| (t.name().to_owned(), t.dtype(), t.shape().to_vec())).collect()
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        self.tensor(name)?.decode()
    }

    fn place(&self, e: Error) -> Error {
        Archive::place(self, e)
    }
}

impl Stored for Checkpoint {
    fn list(&self) -> Vec<(String, Dtype, Vec<u64>)> {
        self.tensors().map(|(name, dtype, shape)| (name.to_owned(), dtype, shape.to_vec())).collect()
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        let number = self.tensors().position(|(n, ..)| n == name);
        let number = number.ok_or_else(|| Error::new(ErrorKind::NotFound, "no tensor of this name").with_tensor(name))?;
        Checkpoint::read(self, number)
    }

    fn place(&self, e: Error) -> Error {
        e.with_path(self.path())
    }
}
