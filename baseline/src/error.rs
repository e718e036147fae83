//! Why a run did not succeed.

use std::fmt;
use std::path::Path;

/// What kind of failure it was; the command has an exit code for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Arguments that do not fit.
    Usage,
    /// The input is no checkpoint.
    BadSource,
    /// A read or write failed.
    Io,
    /// An output exists.
    Exists,
    /// A coder did not give back what it was given.
    Mismatch,
    /// Stopped by the progress callback.
    Cancelled,
}

/// Why a run did not succeed.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

/// `Result` with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of a kind that says `message`.
    pub fn new(kind: ErrorKind, message: impl fmt::Display) -> Self {
        Self { kind, message: message.to_string() }
    }

    /// A failure of the system at a path.
    pub(crate) fn io(path: &Path, doing: &str, e: &std::io::Error) -> Self {
        Self::new(ErrorKind::Io, format!("{}: {doing}: {e}", path.display()))
    }

    /// What kind it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
