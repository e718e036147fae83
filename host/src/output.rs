//! Output files: whole or not at all.

use crate::error::{Error, ErrorKind, Result};
use std::fs::File;
use std::path::Path;
use tempfile::TempPath;

/// Refuses an output that exists unless it may be replaced.
pub(crate) fn refuse_existing(path: &Path, overwrite: bool) -> Result<()> {
    if !overwrite && path.symlink_metadata().is_ok() {
        return Err(exists(path));
    }
    Ok(())
}

fn exists(path: &Path) -> Error {
    Error::new(ErrorKind::Exists, "the output exists already").with_path(path)
}

/// Writes a file by way of a temporary one in the same directory, synced and renamed: a process killed at any moment leaves
/// either nothing or the whole file under the final name.
pub(crate) fn replace_file<T>(path: &Path, overwrite: bool, write: impl FnOnce(&mut File) -> Result<T>) -> Result<T> {
    let named = |doing: &'static str| move |e| Error::io(doing, e).with_path(path);
    path.file_name().ok_or_else(|| Error::argument("the output has no file name").with_path(path))?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".wcodec-").suffix(".tmp");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut temporary = builder.tempfile_in(directory_of(path)).map_err(named("creating the output"))?;
    let done = write(temporary.as_file_mut())?;
    temporary.as_file().sync_all().map_err(named("syncing the output"))?;
    put_in_place(temporary.into_temp_path(), path, overwrite)?;
    Ok(done)
}

/// The directory that a file is in.
pub(crate) fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Gives a file that is whole and on disk, in the same directory or one in it, its final name.
pub(crate) fn put_in_place(temporary: TempPath, path: &Path, overwrite: bool) -> Result<()> {
    if overwrite {
        temporary.persist(path).map_err(|e| Error::io("renaming the output", e.error).with_path(path))?;
    } else {
        temporary.persist_noclobber(path).map_err(|e| match e.error.kind() {
            std::io::ErrorKind::AlreadyExists => exists(path),
            _ => Error::io("renaming the output", e.error).with_path(path),
        })?;
    }
    // The rename itself is durable once the directory is; where directories cannot be opened that is the system's business.
    #[cfg(unix)]
    if let Ok(directory) = File::open(directory_of(path)) {
        directory.sync_all().map_err(|e| Error::io("syncing the output's directory", e).with_path(path))?;
    }
    Ok(())
}
