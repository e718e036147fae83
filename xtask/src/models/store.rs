//! Files of the model directory: written whole or not at all, and known by their SHA-256.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

/// The SHA-256 of some bytes, in lower-case hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Fails unless bytes have the SHA-256 they are pinned to.
pub(super) fn check_sha256(what: &str, bytes: &[u8], expected: &str) -> Result<()> {
    let found = sha256(bytes);
    ensure!(
        found == expected,
        "{what} is not the pinned file: its SHA-256 is {found}, {expected} was expected; nothing was written from it"
    );
    Ok(())
}

/// Reads a file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Writes a file under a temporary name beside its own and renames it, so that no reader sees a part of it.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let attempt = || -> Result<()> {
        let folder = path.parent().context("it has no folder")?;
        fs::create_dir_all(folder)?;
        let mut builder = tempfile::Builder::new();
        builder.prefix(".partial-");
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut file = builder.tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.persist(path)?;
        Ok(())
    };
    attempt().with_context(|| format!("cannot write {}", path.display()))
}

/// Gives a file a second name, which takes no space where the file system has hard links; elsewhere it is copied.
pub(super) fn link(from: &Path, to: &Path) -> Result<()> {
    let attempt = || -> Result<()> {
        fs::create_dir_all(to.parent().context("it has no folder")?)?;
        match fs::remove_file(to) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        match fs::hard_link(from, to) {
            Ok(()) => Ok(()),
            Err(_) => write(to, &read(from)?),
        }
    };
    attempt().with_context(|| format!("cannot link {} to {}", to.display(), from.display()))
}

/// Makes the model directory and holds it for this process until the returned file is dropped.
///
/// Two runs at once would fetch and derive everything twice; the second waits and then finds the files.
pub(super) fn lock(folder: &Path) -> Result<File> {
    let attempt = || -> Result<File> {
        fs::create_dir_all(folder)?;
        let file = File::options().create(true).truncate(false).write(true).open(folder.join(".lock"))?;
        file.lock()?;
        Ok(file)
    };
    attempt().with_context(|| format!("cannot use {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_digest_that_differs_is_an_error_that_names_both() {
        check_sha256("the wheel", b"abc", ABC).expect("the standard's example");
        let error = check_sha256("the wheel", b"abd", ABC).expect_err("differs").to_string();
        assert!(error.contains("the wheel") && error.contains(ABC) && error.contains(&sha256(b"abd")), "{error}");
    }

    #[test]
    fn a_file_is_replaced_whole_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a/b");
        write(&path, b"one").expect("written");
        write(&path, b"two").expect("replaced");
        assert_eq!(read(&path).expect("there"), b"two");
        assert_eq!(fs::read_dir(folder.path().join("a")).expect("there").count(), 1);
        assert!(read(&folder.path().join("c")).is_err());
    }

    #[test]
    fn a_second_name_replaces_what_had_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (folder.path().join("a"), folder.path().join("b/c"));
        write(&from, b"one").expect("written");
        link(&from, &to).expect("linked");
        link(&from, &to).expect("linked again");
        assert_eq!(read(&to).expect("there"), b"one");
        // A file is replaced, never written into, so the second name keeps what it named.
        write(&from, b"two").expect("replaced");
        assert_eq!(read(&to).expect("there"), b"one");
        assert!(link(&folder.path().join("d"), &to).is_err());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        write(&file, b"").expect("written");
        assert!(lock(&file).is_err());
        assert!(write(&file.join("below"), b"").is_err());
    }
}
