//! An output directory in the making: whose it is, whether it was begun before, and what must not be trusted in it.
//!
//! A file in it, `.wcodec-unfinished`, says what is being made there and holds a lock while somebody does; it goes when all is done. What a
//! killed process left is trusted only if the file says that it was made in the same way.

use super::path::{UNFINISHED, is_temporary};
use crate::error::{Error, ErrorKind, Result};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

/// The right to write to a directory.
pub(super) struct Claim {
    /// Locked until it is closed.
    _file: File,
    path: PathBuf,
    /// Whether what is there was made in the same way by a run that did not end.
    pub resumed: bool,
}

impl Claim {
    /// Claims `directory`, which is made if it is not there. `job` says what is made and how; `clear` removes what another job left.
    ///
    /// # Errors
    /// [`Exists`](ErrorKind::Exists) if something is there, unless it may be overwritten or is this very job's.
    pub(super) fn take(directory: &Path, job: &str, overwrite: bool, clear: impl FnOnce() -> Result<()>) -> Result<Self> {
        let named = |doing: &'static str, path: &Path| {
            let path = path.to_owned();
            move |e| Error::io(doing, e).with_path(&path)
        };
        if directory.metadata().is_ok_and(|m| !m.is_dir()) {
            return Err(Error::new(ErrorKind::Exists, "the output exists and is no directory").with_path(directory));
        }
        std::fs::create_dir_all(directory).map_err(named("creating the output directory", directory))?;
        let path = directory.join(UNFINISHED);
        if !overwrite && path.symlink_metadata().is_err() {
            let mut entries = std::fs::read_dir(directory).map_err(named("reading the output directory", directory))?;
            if entries.next().is_some() {
                return Err(Error::new(ErrorKind::Exists, "the output directory is not empty").with_path(directory));
            }
        }
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(named("creating the output", &path))?;
        match file.try_lock() {
            Ok(()) if path.exists() => {}
            Ok(()) => return Err(Error::new(ErrorKind::Exists, "somebody else has just written it").with_path(directory)),
            Err(TryLockError::WouldBlock) => {
                return Err(Error::new(ErrorKind::Io, "another process is writing to it").with_path(directory));
            }
            // Not every file system has locks.
            Err(TryLockError::Error(_)) => {}
        }
        let mut begun = String::new();
        // What is no text is no job either.
        let _ = Read::by_ref(&mut file).take(1 << 16).read_to_string(&mut begun);
        let resumed = begun == job;
        if !resumed {
            if !begun.is_empty() && !overwrite {
                let why = format!("it holds what was begun in another way ({begun}; now {job})");
                return Err(Error::new(ErrorKind::Exists, why).with_path(directory));
            }
            // Emptied first: whoever comes after a kill in between clears again.
            file.set_len(0).and_then(|()| file.sync_all()).map_err(named("writing", &path))?;
            clear()?;
            let mut write = || {
                file.rewind()?;
                file.write_all(job.as_bytes())?;
                file.sync_all()
            };
            write().map_err(named("writing", &path))?;
        }
        Ok(Self { _file: file, path, resumed })
    }

    /// All is done.
    pub(super) fn finish(self) -> Result<()> {
        std::fs::remove_file(&self.path).map_err(|e| Error::io("removing", e).with_path(&self.path))
    }
}

/// [`sweep`]s the directories that these files go to.
pub(super) fn sweep_parents(files: impl Iterator<Item = PathBuf>) -> Result<()> {
    let mut parents: Vec<_> = files.filter_map(|file| Some(file.parent()?.to_owned())).collect();
    parents.sort();
    parents.dedup();
    parents.iter().try_for_each(|parent| sweep(parent))
}

/// Removes what unfinished writes left in `directory` (not below it). Only for whoever has claimed it.
pub(super) fn sweep(directory: &Path) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Ok(()) };
    for entry in entries.flatten() {
        if entry.file_name().to_str().is_some_and(is_temporary) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes a file, if it is there.
pub(super) fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("removing", e).with_path(path)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(directory: &Path, job: &str, overwrite: bool) -> Result<(Claim, bool)> {
        let mut cleared = false;
        let claim = Claim::take(directory, job, overwrite, || {
            cleared = true;
            Ok(())
        })?;
        Ok((claim, cleared))
    }

    #[test]
    fn begun_and_begun_again() {
        let place = tempfile::tempdir().unwrap();
        let out = place.path().join("a/b");
        let (claim, cleared) = take(&out, "one", false).unwrap();
        assert!(!claim.resumed && cleared);
        // Somebody is at it.
        assert_eq!(take(&out, "one", true).err().unwrap().kind(), ErrorKind::Io);
        drop(claim);
        std::fs::write(out.join("result"), "").unwrap();
        let (claim, cleared) = take(&out, "one", false).unwrap();
        assert!(claim.resumed && !cleared);
        drop(claim);
        // In another way only if asked to.
        assert_eq!(take(&out, "two", false).err().unwrap().kind(), ErrorKind::Exists);
        let (claim, cleared) = take(&out, "two", true).unwrap();
        assert!(!claim.resumed && cleared);
        claim.finish().unwrap();
        assert!(!out.join(UNFINISHED).exists());
        // Finished: not to be touched, unless asked to.
        assert_eq!(take(&out, "two", false).err().unwrap().kind(), ErrorKind::Exists);
        assert!(!out.join(UNFINISHED).exists());
        assert!(take(&out, "two", true).unwrap().1);
    }

    #[test]
    fn killed_while_it_cleared() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join(UNFINISHED), "").unwrap();
        let (claim, cleared) = take(place.path(), "one", false).unwrap();
        assert!(!claim.resumed && cleared);
    }

    #[test]
    fn only_leftovers_are_swept() {
        let place = tempfile::tempdir().unwrap();
        for name in [".wcodec-1.tmp", "a.tmp", UNFINISHED] {
            std::fs::write(place.path().join(name), "").unwrap();
        }
        sweep(place.path()).unwrap();
        assert!(!place.path().join(".wcodec-1.tmp").exists());
        assert!(place.path().join("a.tmp").exists() && place.path().join(UNFINISHED).exists());
    }
}
