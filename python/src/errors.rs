//! Errors of the library as exceptions.

use pyo3::exceptions::{PyFileExistsError, PyFileNotFoundError, PyKeyError, PyKeyboardInterrupt, PyOSError, PyValueError};
use pyo3::{PyErr, create_exception};
use wcodec::{Error, ErrorKind};

create_exception!(_wcodec, WcodecError, PyValueError, "What is wrong with an archive, its source, or what was asked of it.");

/// The exception for an error.
pub(crate) fn raise(e: Error) -> PyErr {
    let text = e.to_string();
    match e.kind() {
        ErrorKind::Exists => PyFileExistsError::new_err(text),
        ErrorKind::NotFound => PyKeyError::new_err(text),
        ErrorKind::Cancelled => PyKeyboardInterrupt::new_err(text),
        ErrorKind::Io if e.path().is_some_and(|path| !path.exists()) => PyFileNotFoundError::new_err(text),
        ErrorKind::Io => PyOSError::new_err(text),
        _ => WcodecError::new_err(text),
    }
}
