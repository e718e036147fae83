//! PTX text to decoded kernels.

mod error;
mod program;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use error::PtxError;
pub use program::{Kernel, LoadedGlobals, Param, Space, Variable};

/// A module: kernels, and variables of its scope.
#[derive(Debug)]
pub struct Module {
    kernels: BTreeMap<String, Arc<Kernel>>,
    variables: Vec<Variable>,
}

impl Module {
    /// Decodes PTX text. Whatever is not understood to the last modifier is an error that names its line.
    pub fn parse(_text: &str) -> Result<Self, PtxError> {
        todo!()
    }

    /// The kernel (`.entry`) of this name.
    pub fn kernel(&self, name: &str) -> Option<&Arc<Kernel>> {
        self.kernels.get(name)
    }

    /// All kernels, by name.
    pub fn kernels(&self) -> impl Iterator<Item = &Arc<Kernel>> {
        self.kernels.values()
    }

    /// Variables of module scope in `.global` and `.const`.
    pub fn globals(&self) -> &[Variable] {
        &self.variables
    }
}
