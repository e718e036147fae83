//! Whole files.

use crate::errors::WcodecError;
use crate::run::{Watch, run};
use pyo3::prelude::*;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use wcodec::{
    Archive, ArchiveDirectory, Backing, Base, Encoder, Error, ErrorKind, FileReader, Profile, SingleDirectory, TorchFile,
};

/// `profile` is "default" or "max"; `effort`, from 1 to 9, says it in finer steps. Gives the bytes of the source and of the archive.
#[pyfunction]
#[pyo3(signature = (source, archive, *, profile="default", effort=None, base=None, force=false, threads=0, progress=None))]
pub(crate) fn compress(
    py: Python<'_>,
    source: PathBuf,
    archive: PathBuf,
    profile: &str,
    effort: Option<u8>,
    base: Option<PathBuf>,
    force: bool,
    threads: usize,
    progress: Option<Py<PyAny>>,
) -> PyResult<(u64, u64)> {
    let profile = match profile {
        "default" => Profile::Default,
        "max" => Profile::Max,
        other => return Err(WcodecError::new_err(format!("there is no profile '{other}': default or max"))),
    };
    if effort.is_some_and(|e| !(1..=9).contains(&e)) {
        return Err(WcodecError::new_err("effort goes from 1 to 9"));
    }
    let watch = Watch::new(progress);
    watch.run(py, threads, || {
        differ(&source, &archive)?;
        let mut encoder = Encoder::new().profile(profile).overwrite(force);
        if let Some(effort) = effort {
            encoder = encoder.effort(effort);
        }
        if let Some(base) = base {
            differ(&base, &archive)?;
            encoder = encoder.base(Base::open_with(base, Backing::Read)?);
        }
        let told = watch.clone();
        let encoder = encoder.on_progress(move |done, total| told.tell(done, total));
        if source.is_dir() {
            return encoder.encode_directory(&source, &archive).map(|report| (report.source_bytes, report.archive_bytes));
        }
        let report = if TorchFile::looks_like_one(&source) {
            encoder.encode_torch_file(&source, &archive)?
        } else {
            encoder.encode_file(&source, &archive)?
        };
        Ok((report.source_bytes, report.archive_bytes))
    })
}

/// Refuses to write to what is read.
fn differ(input: &Path, output: &Path) -> Result<(), Error> {
    match (input.canonicalize(), output.canonicalize()) {
        (Ok(a), Ok(b)) if a == b => Err(Error::new(ErrorKind::InvalidArgument, "it is input and output").with_path(input)),
        _ => Ok(()),
    }
}

fn open(path: &Path, base: Option<PathBuf>) -> Result<Archive, Error> {
    let archive = Archive::open_with(path, Backing::Read)?;
    match base {
        Some(base) => archive.with_base(base),
        None => Ok(archive),
    }
}

/// A directory of archives, which has no base.
fn open_directory(path: &Path, base: Option<&PathBuf>) -> Result<ArchiveDirectory, Error> {
    if base.is_some() {
        return Err(Error::new(ErrorKind::InvalidArgument, "a base is for single archives").with_path(path));
    }
    ArchiveDirectory::open(path)
}

/// Gives the bytes of the file, or of the files.
#[pyfunction]
#[pyo3(signature = (archive, output, *, base=None, force=false, threads=0, progress=None))]
pub(crate) fn decompress(
    py: Python<'_>,
    archive: PathBuf,
    output: PathBuf,
    base: Option<PathBuf>,
    force: bool,
    threads: usize,
    progress: Option<Py<PyAny>>,
) -> PyResult<u64> {
    let watch = Watch::new(progress);
    let tell = |done, total| watch.tell(done, total);
    watch.run(py, threads, || {
        if archive.is_dir() {
            let directory = open_directory(&archive, base.as_ref())?;
            return directory.decompress(&output, force, tell).map(|report| report.source_bytes);
        }
        differ(&archive, &output)?;
        let archive = open(&archive, base)?;
        if let Some(directory) = SingleDirectory::of(&archive)? {
            return directory.decompress(&output, force, tell).map(|report| report.source_bytes);
        }
        archive.decompress_file(&output, force, tell).map(|report| report.bytes)
    })
}

/// Checks every checksum and hash; with `original`, every byte against it. Gives tensors and bytes.
#[pyfunction]
#[pyo3(signature = (archive, original=None, *, base=None, threads=0, progress=None))]
pub(crate) fn verify(
    py: Python<'_>,
    archive: PathBuf,
    original: Option<PathBuf>,
    base: Option<PathBuf>,
    threads: usize,
    progress: Option<Py<PyAny>>,
) -> PyResult<(usize, u64)> {
    let watch = Watch::new(progress);
    let tell = |done, total| watch.tell(done, total);
    watch.run(py, threads, || {
        if archive.is_dir() {
            let directory = open_directory(&archive, base.as_ref())?;
            let report = match original {
                Some(original) => directory.verify_against(original, tell)?,
                None => directory.verify(tell)?,
            };
            return Ok((report.tensors, report.source_bytes));
        }
        let archive = open(&archive, base)?;
        let report = match original {
            Some(path) => {
                let io = |e: std::io::Error| Error::new(ErrorKind::Io, e.to_string()).with_path(&path);
                archive.verify_against(&FileReader::open(&path).map_err(io)?, tell)?
            }
            None => archive.verify(tell)?,
        };
        Ok((report.tensors, report.bytes))
    })
}

/// Reports of all tensors, as JSON.
#[pyfunction]
pub(crate) fn inspect(py: Python<'_>, archive: PathBuf) -> PyResult<String> {
    let reports = run(py, 0, || Archive::open(&archive)?.report())?;
    serde_json::to_string(&reports).map_err(|e| WcodecError::new_err(e.to_string()))
}

/// The command, with these arguments (the first is its name); its exit code.
#[pyfunction]
pub(crate) fn main(py: Python<'_>, arguments: Vec<OsString>) -> u8 {
    py.detach(|| wcodec_cli::run(arguments))
}
