//! An open archive.

use crate::errors::raise;
use crate::files::run;
use crate::memory::Memory;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::collections::HashMap;
use std::path::PathBuf;
use wcodec::{Base, HostTensor, Loader};

/// A tensor's dtype as its source spelt it, and its shape.
type Info = (String, Vec<u64>);

/// Name, dtype, shape, bytes.
type Loaded = (String, String, Vec<u64>, Memory);

#[pyclass(frozen)]
pub(crate) struct Archive {
    archive: wcodec::Archive,
    path: PathBuf,
    base: Option<PathBuf>,
}

#[pymethods]
impl Archive {
    #[new]
    #[pyo3(signature = (path, base=None))]
    fn new(py: Python<'_>, path: PathBuf, base: Option<PathBuf>) -> PyResult<Self> {
        let open = || {
            let archive = wcodec::Archive::open(&path)?;
            match &base {
                Some(base) => archive.with_base(base),
                None => Ok(archive),
            }
        };
        let archive = py.detach(open).map_err(raise)?;
        Ok(Self { archive, path, base })
    }

    /// Names of the tensors, in the order of the source file.
    fn keys(&self) -> Vec<&str> {
        self.archive.tensors().map(|t| t.name()).collect()
    }

    fn info(&self, name: &str) -> PyResult<Info> {
        let tensor = self.archive.tensor(name).map_err(raise)?;
        Ok((tensor.dtype_name().to_owned(), tensor.shape().to_vec()))
    }

    /// The source file's header, where there was a file.
    fn header<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let header = py.detach(|| self.archive.source_header()).map_err(raise)?;
        Ok(header.map(|h| PyBytes::new(py, &h)))
    }

    /// A tensor's bytes.
    fn tensor(&self, py: Python<'_>, name: &str) -> PyResult<Memory> {
        py.detach(|| self.archive.tensor(name)?.decode()).map(Memory::from).map_err(raise)
    }

    /// Bytes of rows `first..end` (of the product of all dimensions but the last) of a tensor, from columns `left..right`: of its tiles only
    /// those are read that these touch.
    fn rows(&self, py: Python<'_>, name: &str, first: u64, end: u64, left: u64, right: u64) -> PyResult<Memory> {
        py.detach(|| self.archive.tensor(name)?.decode_slice(first..end, left..right)).map(Memory::from).map_err(raise)
    }

    /// Rows of a tensor, and elements of a row (bytes, where elements are none).
    fn grid(&self, name: &str) -> PyResult<(u64, u64)> {
        let tensor = self.archive.tensor(name).map_err(raise)?;
        Ok((tensor.rows(), tensor.columns()))
    }

    /// All tensors, or some, loaded side by side: name, dtype, shape, bytes.
    #[pyo3(signature = (names=None, threads=0))]
    fn load(&self, py: Python<'_>, names: Option<Vec<String>>, threads: usize) -> PyResult<Vec<Loaded>> {
        let spelt: HashMap<&str, &str> = self.archive.tensors().map(|t| (t.name(), t.dtype_name())).collect();
        run(py, threads, || {
            let mut loader = Loader::open(&self.path)?;
            if let Some(base) = &self.base {
                loader = loader.base(Base::open(base)?)?;
            }
            if let Some(names) = names {
                loader = loader.tensors(names);
            }
            let mut out = Vec::new();
            for tensor in loader.load()? {
                let tensor = tensor?;
                let info = tensor.info.clone();
                let dtype = spelt.get(&*info.name).map_or("", |d| *d).to_owned();
                if let Some(memory) = tensor.into_host::<HostTensor>() {
                    out.push((info.name, dtype, info.shape, memory.into()));
                }
            }
            Ok(out)
        })
    }
}
