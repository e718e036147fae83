//! One error type: what went wrong, where, and what can be done about it.

use std::fmt;
use std::path::{Path, PathBuf};

/// `Result` with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, in kinds that a program may want to tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system refused a read, a write, an open.
    Io,
    /// The input is no file of a kind that can be compressed.
    BadSource,
    /// The input is no `.wcodec` archive, or was damaged or cut short.
    Corrupt,
    /// A sound archive that this version cannot read: a newer major version or an unknown required feature.
    Unsupported,
    /// Compared data differ.
    Mismatch,
    /// The output exists already.
    Exists,
    /// No tensor of that name.
    NotFound,
    /// A range, buffer size or option that does not fit.
    InvalidArgument,
    /// A GPU or its driver is missing, does not work, or has no memory left.
    Device,
    /// The progress callback asked to stop.
    Cancelled,
}

/// An error with its place: file, tensor, tile and byte offset as far as they are known.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    path: Option<PathBuf>,
    tensor: Option<String>,
    tile: Option<u64>,
    offset: Option<u64>,
    io: Option<std::io::Error>,
    /// The fault is not with the file that is being read.
    elsewhere: bool,
}

impl Error {
    /// An error of `kind`; say what was found and what was expected.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self(Box::new(Inner { kind, message, path: None, tensor: None, tile: None, offset: None, io: None, elsewhere: false }))
    }

    pub(crate) fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    pub(crate) fn bad_source(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::BadSource, message)
    }

    pub(crate) fn argument(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    pub(crate) fn io(doing: &str, error: std::io::Error) -> Self {
        let mut e = Self::new(ErrorKind::Io, doing);
        e.0.io = Some(error);
        e
    }

    /// Marks an error of another file than the one being read (an output, an original): only whoever knows that file names it.
    pub(crate) fn elsewhere(mut self) -> Self {
        self.0.elsewhere = true;
        self
    }

    pub(crate) fn is_elsewhere(&self) -> bool {
        self.0.elsewhere
    }

    /// Names the file, if none is named yet.
    pub fn with_path(mut self, path: &Path) -> Self {
        self.0.path.get_or_insert_with(|| path.to_owned());
        self
    }

    /// Names the tensor, if none is named yet.
    pub fn with_tensor(mut self, name: &str) -> Self {
        self.0.tensor.get_or_insert_with(|| name.to_owned());
        self
    }

    /// Says which part of the file the message is about.
    pub(crate) fn inside(mut self, part: &str) -> Self {
        self.0.message = format!("{part}: {}", self.0.message);
        self
    }

    pub(crate) fn with_tile(mut self, tile: u64) -> Self {
        self.0.tile.get_or_insert(tile);
        self
    }

    pub(crate) fn at(mut self, offset: u64) -> Self {
        self.0.offset.get_or_insert(offset);
        self
    }

    /// The kind.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The file, where known.
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// The tensor's name, where known.
    pub fn tensor(&self) -> Option<&str> {
        self.0.tensor.as_deref()
    }

    /// The tile's number in its tensor, in raster order, where known.
    pub fn tile(&self) -> Option<u64> {
        self.0.tile
    }

    /// The byte offset in the file, where known.
    pub fn offset(&self) -> Option<u64> {
        self.0.offset
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let e = &*self.0;
        if let Some(path) = &e.path {
            write!(f, "{}: ", path.display())?;
        }
        if let Some(tensor) = &e.tensor {
            write!(f, "tensor '{}'", tensor.escape_debug())?;
            if let Some(tile) = e.tile {
                write!(f, ", tile {tile}")?;
            }
            write!(f, ": ")?;
        }
        // A message may quote the file, and a file may hold what steers a terminal.
        for c in e.message.chars() {
            if c.is_control() { write!(f, "{}", c.escape_debug())? } else { write!(f, "{c}")? }
        }
        if let Some(io) = &e.io {
            write!(f, ": {io}")?;
        }
        if let Some(offset) = e.offset {
            write!(f, " (at byte {offset})")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.io.as_ref().map(|e| e as _)
    }
}
