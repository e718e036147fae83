//! The extension module `wcodec._wcodec`: what `python/wcodec` is made of.
//!
//! ```text
//! errors    an exception for each kind of error
//! files     compress, decompress, verify, inspect; the command
//! archive   an open archive: names, tensors, slices, all of them
//! memory    decoded bytes that NumPy arrays share
//! save      tensors of somebody else's memory, as a safetensors file that is never written
//! ```

mod archive;
mod errors;
mod files;
mod memory;
mod save;

use pyo3::prelude::*;

#[pymodule]
fn _wcodec(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add("__version__", env!("CARGO_PKG_VERSION"))?;
    m.add("WcodecError", m.py().get_type::<errors::WcodecError>())?;
    m.add_class::<archive::Archive>()?;
    m.add_class::<memory::Memory>()?;
    m.add_function(wrap_pyfunction!(files::compress, m)?)?;
    m.add_function(wrap_pyfunction!(files::decompress, m)?)?;
    m.add_function(wrap_pyfunction!(files::verify, m)?)?;
    m.add_function(wrap_pyfunction!(files::inspect, m)?)?;
    m.add_function(wrap_pyfunction!(files::main, m)?)?;
    m.add_function(wrap_pyfunction!(save::save, m)?)
}
