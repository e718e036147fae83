//! Decoded bytes that NumPy arrays share: by the array interface, since the limited API of Python 3.9 has no buffers.
#![allow(unsafe_code)]

use pyo3::prelude::*;
use pyo3::types::PyDict;
use wcodec::{HostMemory, HostTensor};

/// Bytes that nobody else has. `numpy.asarray` makes an array of it that shares them and keeps them alive.
#[pyclass(frozen)]
pub(crate) struct Memory(Bytes);

enum Bytes {
    Loaded(HostTensor),
    Decoded(Vec<u8>),
}

impl From<HostTensor> for Memory {
    fn from(tensor: HostTensor) -> Self {
        Self(Bytes::Loaded(tensor))
    }
}

impl From<Vec<u8>> for Memory {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Bytes::Decoded(bytes))
    }
}

#[pymethods]
impl Memory {
    /// The array protocol, version 3: unsigned bytes, writable.
    #[getter]
    fn __array_interface__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (address, len) = match &self.0 {
            Bytes::Loaded(tensor) => (tensor.address() as usize, HostMemory::len(tensor)),
            Bytes::Decoded(bytes) => (bytes.as_ptr() as usize, bytes.len()),
        };
        let interface = PyDict::new(py);
        interface.set_item("version", 3)?;
        interface.set_item("shape", (len,))?;
        interface.set_item("typestr", "|u1")?;
        interface.set_item("data", (address, false))?;
        Ok(interface)
    }

    fn __len__(&self) -> usize {
        match &self.0 {
            Bytes::Loaded(tensor) => HostMemory::len(tensor),
            Bytes::Decoded(bytes) => bytes.len(),
        }
    }
}
