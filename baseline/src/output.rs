//! Files that appear under their names only when all of them are complete.

use crate::error::{Error, ErrorKind, Result};
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Files of a run, under temporary names in their directory until [`Output::commit`].
#[derive(Debug)]
pub(crate) struct Output {
    directory: PathBuf,
    /// Whether the directory is this run's, to be removed if it stays empty.
    is_ours: bool,
    files: Vec<(PathBuf, NamedTempFile)>,
    force: bool,
}

impl Output {
    /// Begins files of these names, so that a directory that cannot be written is known before anything is measured.
    pub(crate) fn begin(directory: &Path, names: &[String], force: bool) -> Result<Self> {
        let is_ours = !directory.exists();
        std::fs::create_dir_all(directory).map_err(|e| Error::io(directory, "making the directory", &e))?;
        let mut output = Self { directory: directory.to_owned(), is_ours, files: Vec::new(), force };
        for name in names {
            let path = directory.join(name);
            if path.is_dir() {
                return Err(Error::new(ErrorKind::Exists, format!("{}: the output exists and is a directory", path.display())));
            }
            if path.exists() && !force {
                return Err(Error::new(ErrorKind::Exists, format!("{}: the output exists", path.display())));
            }
            let file = temporary(directory).map_err(|e| Error::io(directory, "writing into it", &e))?;
            output.files.push((path, file));
        }
        Ok(output)
    }

    /// Adds to a file.
    pub(crate) fn write(&mut self, index: usize, bytes: &[u8]) -> Result<()> {
        let (path, file) = &mut self.files[index];
        file.write_all(bytes).map_err(|e| Error::io(path, "writing", &e))
    }

    /// Gives all files their names; what they are.
    pub(crate) fn commit(mut self) -> Result<Vec<PathBuf>> {
        let mut done = Vec::new();
        for (path, file) in std::mem::take(&mut self.files) {
            let failed = |e: &std::io::Error| Error::io(&path, "writing", e);
            file.as_file().sync_all().map_err(|e| failed(&e))?;
            let kept = if self.force { file.persist(&path) } else { file.persist_noclobber(&path) };
            kept.map_err(|e| failed(&e.error))?;
            done.push(path);
        }
        self.is_ours = false;
        Ok(done)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.files.clear();
        if self.is_ours {
            // Fails, as it should, if anybody put anything there.
            let _ = std::fs::remove_dir(&self.directory);
        }
    }
}

/// A temporary file with the permissions of an ordinary one: 0644 where the umask is 022.
fn temporary(directory: &Path) -> std::io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".wcodec-baseline-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_there_until_all_is() {
        let place = tempfile::tempdir().expect("directory");
        let directory = place.path().join("new");
        let names = ["a".to_owned(), "b".to_owned()];
        let mut output = Output::begin(&directory, &names, false).expect("begins");
        output.write(0, b"half").expect("writes");
        assert!(!directory.join("a").exists());
        drop(output);
        assert!(!directory.exists());

        let mut output = Output::begin(&directory, &names, false).expect("begins");
        output.write(1, b"whole").expect("writes");
        let files = output.commit().expect("commits");
        assert_eq!(std::fs::read(&files[1]).expect("reads"), b"whole");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(files[1].metadata().expect("stat").permissions().mode() & 0o600, 0o600);
            assert_ne!(files[1].metadata().expect("stat").permissions().mode() & 0o044, 0);
        }
        assert_eq!(Output::begin(&directory, &names, false).expect_err("there").kind(), ErrorKind::Exists);
        drop(Output::begin(&directory, &names, true).expect("begins"));
        assert_eq!(std::fs::read_dir(&directory).expect("lists").count(), 2);
    }
}
