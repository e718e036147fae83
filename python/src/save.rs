//! Tensors of somebody else's memory, as a safetensors file that is never written: the encoder reads its header and their bytes in place.
#![allow(unsafe_code)]

use crate::run::run;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use std::io;
use std::path::PathBuf;
use wcodec::{Encoder, ReadAt};

/// A header, and tensors that follow it without a gap.
struct Source {
    header: Vec<u8>,
    /// Position, address, bytes.
    parts: Vec<(u64, usize, usize)>,
    size: u64,
}

impl Source {
    fn new(header: Vec<u8>, parts: Vec<(usize, usize)>) -> Self {
        let mut size = header.len() as u64;
        let parts = parts.into_iter().map(|(address, len)| {
            size += len as u64;
            (size - len as u64, address, len)
        });
        let parts = parts.collect();
        Self { header, parts, size }
    }
}

impl ReadAt for Source {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_exact_at(&self, mut offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            let from = if let Some(rest) = self.header.get(offset as usize..).filter(|rest| !rest.is_empty()) {
                rest
            } else {
                let at = self.parts.partition_point(|p| p.0 + p.2 as u64 <= offset);
                let &(start, address, len) = self.parts.get(at).ok_or(io::ErrorKind::UnexpectedEof)?;
                // SAFETY: whoever called `save` holds these bytes until it returns, and nobody is to write to them meanwhile.
                let bytes = unsafe { std::slice::from_raw_parts(address as *const u8, len) };
                &bytes[(offset - start) as usize..]
            };
            let n = from.len().min(buffer.len());
            let (front, rest) = buffer.split_at_mut(n);
            front.copy_from_slice(&from[..n]);
            (buffer, offset) = (rest, offset + n as u64);
        }
        Ok(())
    }
}

/// Writes an archive whose source is `header` and then the memory of `tensors`: addresses and lengths, which the caller keeps alive.
#[pyfunction]
#[pyo3(signature = (path, header, tensors, *, effort=1, force=true))]
pub(crate) fn save(
    py: Python<'_>,
    path: PathBuf,
    header: Vec<u8>,
    tensors: Vec<(usize, usize)>,
    effort: u8,
    force: bool,
) -> PyResult<()> {
    let source = Source::new(header, tensors);
    if path.exists() && !force {
        return Err(pyo3::exceptions::PyFileExistsError::new_err(path.display().to_string()));
    }
    // Under its name only when it is complete.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let partial = path.with_file_name(format!(".{name}.{}-{:p}.partial", std::process::id(), &source));
    let done = run(py, 0, || {
        let io = |e: io::Error| wcodec::Error::new(wcodec::ErrorKind::Io, e.to_string()).with_path(&path);
        let file = std::fs::File::create(&partial).map_err(io)?;
        let mut buffered = io::BufWriter::with_capacity(1 << 20, &file);
        Encoder::new().effort(effort).encode_source(&source, &mut buffered)?;
        // A buffer that is dropped tells nobody what it could not write.
        io::Write::flush(&mut buffered).map_err(io)?;
        file.sync_all().map_err(io)
    });
    let done =
        done.and_then(|()| std::fs::rename(&partial, &path).map_err(|e| PyOSError::new_err(format!("{}: {e}", path.display()))));
    if done.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    done
}
