//! Whole files.

use crate::errors::{WcodecError, raise};
use pyo3::prelude::*;
use std::ffi::OsString;
use std::ops::ControlFlow;
use std::path::PathBuf;
use wcodec::{Archive, Backing, Base, Encoder, Error, FileReader, Profile};

/// Runs `f` on so many threads (0: one for each core), without the interpreter's lock.
pub(crate) fn run<T: Send>(py: Python<'_>, threads: usize, f: impl FnOnce() -> Result<T, Error> + Send) -> PyResult<T> {
    let pool = match threads {
        0 => None,
        n => Some(rayon::ThreadPoolBuilder::new().num_threads(n).build().map_err(|e| WcodecError::new_err(e.to_string()))?),
    };
    let run = || match pool {
        Some(pool) => pool.install(f),
        None => f(),
    };
    py.detach(run).map_err(raise)
}

/// What is told of progress: the callback, which stops by raising; and a signal that Python has a handler for.
fn flow(progress: Option<&Py<PyAny>>, done: u64, total: u64) -> ControlFlow<()> {
    Python::attach(|py| {
        let told = progress.map_or(Ok(()), |f| f.call1(py, (done, total)).map(drop));
        if told.and_then(|()| py.check_signals()).is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })
}

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
    run(py, threads, || {
        let mut encoder = Encoder::new().profile(profile).overwrite(force);
        if let Some(effort) = effort {
            encoder = encoder.effort(effort);
        }
        if let Some(base) = base {
            encoder = encoder.base(Base::open_with(base, Backing::Read)?);
        }
        let encoder = encoder.on_progress(move |done, total| flow(progress.as_ref(), done, total));
        encoder.encode_file(&source, &archive).map(|report| (report.source_bytes, report.archive_bytes))
    })
}

fn open(path: &PathBuf, base: Option<PathBuf>) -> Result<Archive, Error> {
    let archive = Archive::open_with(path, Backing::Read)?;
    base.map_or(Ok(archive), |base| Archive::open_with(path, Backing::Read)?.with_base(base))
}

/// Gives the bytes of the file.
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
    run(py, threads, || {
        let archive = open(&archive, base)?;
        archive.decompress_file(&output, force, |done, total| flow(progress.as_ref(), done, total)).map(|report| report.bytes)
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
    run(py, threads, || {
        let archive = open(&archive, base)?;
        let tell = |done, total| flow(progress.as_ref(), done, total);
        let report = match original {
            Some(path) => {
                let original =
                    FileReader::open(&path).map_err(|e| Error::new(wcodec::ErrorKind::Io, e.to_string()).with_path(&path))?;
                archive.verify_against(&original, tell)?
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
