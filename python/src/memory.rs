//! Decoded bytes that arrays of others share: by the array interface for NumPy (the limited API of Python 3.9 has no buffers), by DLPack for
//! everybody else.
#![allow(unsafe_code)]

use crate::errors::raise;
use crate::region::{Region, Shared};
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::ffi::CStr;
use std::sync::Arc;
use wcodec::dlpack::DlManagedTensor;
use wcodec::{Data, Dtype, Loaded, TensorInfo};

/// Bytes of a tensor that nobody else has. `numpy.asarray` makes an array of bytes of it, `from_dlpack` a tensor, each of which shares them and keeps
/// them alive.
#[pyclass(frozen)]
pub(crate) struct Memory {
    region: Arc<Region>,
    dtype: Dtype,
    shape: Vec<u64>,
}

impl Memory {
    pub(crate) fn new(region: Region, dtype: Dtype, shape: Vec<u64>) -> Self {
        Self { region: Arc::new(region), dtype, shape }
    }

    fn capsule_of<'py>(&self, py: Python<'py>, dtype: Dtype, shape: Vec<u64>) -> PyResult<Bound<'py, PyAny>> {
        let info = TensorInfo { name: String::new(), dtype, shape, byte_len: self.region.len() as u64 };
        capsule(py, Loaded { info, data: Data::Host(Box::new(Shared(self.region.clone()))) })
    }
}

#[pymethods]
impl Memory {
    /// The array protocol, version 3: unsigned bytes, writable.
    #[getter]
    fn __array_interface__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let interface = PyDict::new(py);
        interface.set_item("version", 3)?;
        interface.set_item("shape", (self.region.len(),))?;
        interface.set_item("typestr", "|u1")?;
        interface.set_item("data", (self.region.address() as usize, false))?;
        Ok(interface)
    }

    /// The tensor, as DLPack has it. There is one kind of memory here, so whatever is asked for beside that changes nothing.
    #[pyo3(signature = (**_asked))]
    fn __dlpack__<'py>(&self, py: Python<'py>, _asked: Option<&Bound<'_, PyDict>>) -> PyResult<Bound<'py, PyAny>> {
        self.capsule_of(py, self.dtype, self.shape.clone())
    }

    /// The CPU.
    fn __dlpack_device__(&self) -> (i32, i32) {
        (1, 0)
    }

    /// Its bytes, as DLPack has them: for consumers that do not know all types.
    fn raw<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.capsule_of(py, Dtype::U8, vec![self.region.len() as u64])
    }

    fn __len__(&self) -> usize {
        self.region.len()
    }
}

/// A tensor in anybody's memory as a capsule of DLPack's.
pub(crate) fn capsule(py: Python<'_>, tensor: Loaded) -> PyResult<Bound<'_, PyAny>> {
    let tensor = tensor.into_dlpack().map_err(|e| match e.kind() {
        wcodec::ErrorKind::InvalidArgument => PyBufferError::new_err(e.to_string()),
        _ => raise(e),
    })?;
    // SAFETY: the name lives for ever, and the destructor is for such capsules.
    let capsule = unsafe { ffi::PyCapsule_New(tensor.cast(), NAME.as_ptr(), Some(destroy)) };
    // SAFETY: a new reference, or null with an exception set.
    unsafe { Bound::from_owned_ptr_or_err(py, capsule) }.inspect_err(|_| free(tensor))
}

/// What a capsule is called that nobody has taken yet.
const NAME: &CStr = c"dltensor";

unsafe extern "C" fn destroy(capsule: *mut ffi::PyObject) {
    // SAFETY: Python calls this with a capsule that `capsule` made, holding its lock. Who takes the tensor gives the capsule another name.
    unsafe {
        if ffi::PyCapsule_IsValid(capsule, NAME.as_ptr()) == 1 {
            free(ffi::PyCapsule_GetPointer(capsule, NAME.as_ptr()).cast());
        }
    }
}

fn free(tensor: *mut DlManagedTensor) {
    // SAFETY: from `into_dlpack`, and nobody has called its deleter, or it would not be here.
    unsafe {
        if let Some(deleter) = (*tensor).deleter {
            deleter(tensor);
        }
    }
}
