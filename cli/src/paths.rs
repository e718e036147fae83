//! Checks on paths before anything is written.

use crate::failure::{Exit, Failure, Result};
use std::fs::Metadata;
use std::path::Path;

/// Refuses an output that must not be replaced even where replacing is asked for: the input itself,
/// and what is no file. (The output is renamed into place, so that a device such as `/dev/null`
/// would be replaced, not written to.)
pub(crate) fn check_output(input: &Path, output: &Path) -> Result<()> {
    let Ok(there) = output.metadata() else {
        return Ok(());
    };
    if let Ok(from) = input.metadata()
        && same_file((input, &from), (output, &there))
    {
        let why = format!("{}: the output is the input: give it another name", output.display());
        return Err(Failure::new(Exit::Usage, why));
    }
    if !there.is_file() {
        let what = if there.is_dir() { "a directory" } else { "not a regular file" };
        return Err(Failure::new(Exit::Exists, format!("{}: the output exists and is {what}", output.display())));
    }
    Ok(())
}

#[cfg(unix)]
fn same_file((_, a): (&Path, &Metadata), (_, b): (&Path, &Metadata)) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(not(unix))]
fn same_file((a, _): (&Path, &Metadata), (b, _): (&Path, &Metadata)) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
