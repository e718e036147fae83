//! The files of a directory and of those in it.

use super::path::{UNFINISHED, is_temporary};
use crate::error::{Error, Result};
use std::fs::Metadata;
use std::path::{Path, PathBuf};

/// Directories in directories, at most: beyond it links are going round.
const DEPTH: usize = 32;
/// Directories that are no part of a checkpoint: those of version control, and what downloads leave.
const SKIPPED: [&str; 4] = [".git", ".hg", ".svn", ".cache"];

/// A file of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct File {
    /// Its name below the directory, with slashes.
    pub path: String,
    /// Where it is.
    pub at: PathBuf,
    /// Bytes.
    pub len: u64,
}

/// All files below `root`, sorted by name. Links count as what they lead to.
///
/// # Errors
/// Links that lead nowhere or round in circles, what is neither file nor directory, names that are not UTF-8.
pub(super) fn walk(root: &Path) -> Result<Vec<File>> {
    let mut files = Vec::new();
    let mut above = Vec::new();
    descend(root, "", &mut above, &mut files)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn descend(at: &Path, prefix: &str, above: &mut Vec<PathBuf>, files: &mut Vec<File>) -> Result<()> {
    let reading = |e| Error::io("reading the directory", e).with_path(at);
    let real = at.canonicalize().map_err(reading)?;
    if above.contains(&real) || above.len() >= DEPTH {
        return Err(Error::bad_source("directories and links to them go round in circles").with_path(at));
    }
    above.push(real);
    for entry in std::fs::read_dir(at).map_err(reading)? {
        let entry = entry.map_err(reading)?;
        let at = entry.path();
        let Ok(name) = entry.file_name().into_string() else {
            return Err(Error::bad_source("the file's name is not UTF-8: an index cannot name it").with_path(&at));
        };
        let metadata = at.metadata().map_err(|e| Error::io("opening", e).with_path(&at))?;
        if metadata.is_dir() {
            if !SKIPPED.contains(&name.as_str()) {
                descend(&at, &format!("{prefix}{name}/"), above, files)?;
            }
        } else if name != UNFINISHED && !is_temporary(&name) {
            check(&at, &name, &metadata)?;
            files.push(File { path: format!("{prefix}{name}"), at, len: metadata.len() });
        }
    }
    above.pop();
    Ok(())
}

fn check(at: &Path, name: &str, metadata: &Metadata) -> Result<()> {
    if !metadata.is_file() {
        return Err(Error::bad_source("neither a file nor a directory: it cannot be carried along").with_path(at));
    }
    if name.contains('\\') {
        return Err(Error::bad_source("a file's name with a backslash cannot be carried along").with_path(at));
    }
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_and_circles_are_not() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("model");
        std::fs::create_dir_all(root.join("sub/.git")).unwrap();
        std::fs::write(place.path().join("blob"), "1234").unwrap();
        std::fs::write(root.join("sub/.git/x"), "").unwrap();
        std::fs::write(root.join(".wcodec-1.tmp"), "").unwrap();
        symlink("../blob", root.join("b.safetensors")).unwrap();
        symlink("../../blob", root.join("sub/a")).unwrap();
        let files = walk(&root).unwrap();
        let names: Vec<_> = files.iter().map(|f| (f.path.as_str(), f.len)).collect();
        assert_eq!(names, [("b.safetensors", 4), ("sub/a", 4)]);

        symlink("..", root.join("sub/up")).unwrap();
        assert!(walk(&root).unwrap_err().to_string().contains("circles"));
        std::fs::remove_file(root.join("sub/up")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        assert!(walk(&root).unwrap_err().to_string().contains("dangling"));
    }
}
