//! What ends a command early, and the exit code that tells a script which it was.

use std::fmt;
use std::io::{self, Write};
use wcodec::{Error, ErrorKind};

/// Exit codes; they are part of the command's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Compared data differ.
    Mismatch = 1,
    /// Arguments that do not fit; the argument parser uses the same number.
    Usage = 2,
    /// A read or write failed.
    Io = 3,
    /// The input is neither a safetensors nor a GGUF file.
    BadSource = 4,
    /// The archive is damaged, or no archive.
    Corrupt = 5,
    /// The archive needs a newer version.
    Unsupported = 6,
    /// The output exists.
    Exists = 7,
    /// No tensor of that name.
    NotFound = 8,
    /// A GPU or its driver is missing or failed.
    Device = 9,
    /// Stopped by a signal: 128 and the number of SIGINT, as shells count.
    Interrupted = 130,
}

impl From<ErrorKind> for Exit {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Mismatch => Exit::Mismatch,
            ErrorKind::InvalidArgument => Exit::Usage,
            ErrorKind::BadSource => Exit::BadSource,
            ErrorKind::Corrupt => Exit::Corrupt,
            ErrorKind::Unsupported => Exit::Unsupported,
            ErrorKind::Exists => Exit::Exists,
            ErrorKind::NotFound => Exit::NotFound,
            ErrorKind::Device => Exit::Device,
            ErrorKind::Cancelled => Exit::Interrupted,
            // `Io`, and kinds that the library may add.
            _ => Exit::Io,
        }
    }
}

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    message: String,
    hint: Option<String>,
}

/// `Result` with [`Failure`].
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string(), hint: None }
    }

    /// Adds what may be done about it.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Prints it to stderr, with no regard to whether that succeeds: there is nobody left to tell.
    pub(crate) fn print(&self) {
        let mut err = io::stderr().lock();
        let _ = writeln!(err, "error: {}", self.message);
        if let Some(hint) = &self.hint {
            let _ = writeln!(err, "hint: {hint}");
        }
    }
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        let failure = Self::new(e.kind().into(), &e);
        match e.kind() {
            ErrorKind::Exists => failure.with_hint("--force replaces it"),
            _ => failure,
        }
    }
}
