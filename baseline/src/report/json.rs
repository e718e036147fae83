//! The whole report as JSON.

use super::Report;
use crate::error::{Error, ErrorKind, Result};

pub(crate) fn write(report: &Report) -> Result<String> {
    let text = serde_json::to_string_pretty(report).map_err(|e| Error::new(ErrorKind::Io, format!("writing JSON: {e}")))?;
    Ok(text + "\n")
}
