//! Modules and functions: PTX compiled for a context, and what a caller may set on a kernel.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use super::context::Context;
use super::handle::Handle;
use super::inject::{self, Point};
use super::launch::Limits;
use super::settings::settings;
use super::status::{Checked, Status};
use super::sync::lock;
use crate::ptx::{Kernel, LoadedGlobals, Module};

/// A module loaded into a context.
pub(crate) struct LoadedModule {
    /// The handle of the context it belongs to.
    pub context: Handle,
    pub ptx: Module,
    pub globals: LoadedGlobals,
    /// Functions handed out, by kernel name.
    functions: Mutex<HashMap<String, Handle>>,
}

/// A kernel of a loaded module.
pub(crate) struct Function {
    pub module: Arc<LoadedModule>,
    pub kernel: Arc<Kernel>,
    max_dynamic_shared: AtomicU32,
    pub cache_config: AtomicU32,
}

/// Why an image was not loaded: the code, and the text for the error log.
pub(crate) struct LoadError {
    pub status: Status,
    pub log: String,
}

impl LoadedModule {
    /// Compiles PTX `text` and places its variables in the context's memory.
    pub(crate) fn load(context: &Context, text: &str) -> Result<LoadedModule, LoadError> {
        let refuse = |status, log: String| LoadError { status, log };
        if inject::pass(Point::Module, text.len() as u64) {
            return Err(refuse(Status::INVALID_PTX, "injected: the module does not compile".into()));
        }
        let (major, minor) = settings().capability;
        match target(text) {
            Some(target) if target > (major * 10 + minor) as u32 => {
                return Err(refuse(
                    Status::INVALID_PTX,
                    format!("PTX .target sm_{target} is newer than the device, which is sm_{major}{minor}"),
                ));
            }
            _ => {}
        }
        let ptx = Module::parse(text).map_err(|error| refuse(Status::INVALID_PTX, error.to_string()))?;
        let globals = LoadedGlobals::load(ptx.globals(), &context.memory)
            .map_err(|error| refuse(Status::OUT_OF_MEMORY, format!("module variables: {error}")))?;
        Ok(LoadedModule { context: context.handle, ptx, globals, functions: Mutex::default() })
    }

    /// The handle of the kernel `name`; `register` makes one the first time.
    pub(crate) fn function(self: &Arc<Self>, name: &str, register: impl FnOnce(Function) -> Handle) -> Checked<Handle> {
        let kernel = self.ptx.kernel(name).ok_or(Status::NOT_FOUND)?;
        let mut functions = lock(&self.functions);
        Ok(*functions.entry(name.to_owned()).or_insert_with(|| register(Function::new(self.clone(), kernel.clone()))))
    }

    /// Handles of all functions handed out.
    pub(crate) fn functions(&self) -> Vec<Handle> {
        lock(&self.functions).values().copied().collect()
    }

    /// Device address and size of the variable `name`.
    pub(crate) fn global(&self, name: &str) -> Checked<(u64, u64)> {
        let variable = self.ptx.globals().iter().find(|variable| variable.name == name).ok_or(Status::NOT_FOUND)?;
        Ok((self.globals.address(name).ok_or(Status::NOT_FOUND)?, variable.size))
    }

    /// The address ranges of all variables.
    pub(crate) fn variables(&self) -> impl Iterator<Item = Range<u64>> {
        self.ptx.globals().iter().filter_map(|variable| {
            let address = self.globals.address(&variable.name)?;
            Some(address..address + variable.size)
        })
    }
}

impl Function {
    fn new(module: Arc<LoadedModule>, kernel: Arc<Kernel>) -> Function {
        let limits = Limits::new(kernel.static_shared(), kernel.max_threads());
        Function {
            module,
            kernel,
            max_dynamic_shared: AtomicU32::new(limits.max_dynamic_shared),
            cache_config: AtomicU32::new(0),
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            static_shared: self.kernel.static_shared(),
            max_dynamic_shared: self.max_dynamic_shared.load(Ordering::Relaxed),
            max_threads: self.kernel.max_threads(),
        }
    }

    /// `cuFuncGetAttribute`. Registers, local and constant memory are decided by the machine code, which there is none of: 0.
    pub(crate) fn attribute(&self, id: u32) -> Checked<i32> {
        let limits = self.limits();
        let (major, minor) = settings().capability;
        Ok(match id {
            0 => limits.max_threads as i32,
            1 => limits.static_shared as i32,
            2..=4 | 7 => 0,
            5 | 6 => major * 10 + minor, // PTX and binary version
            8 => limits.max_dynamic_shared as i32,
            9 => -1, // shared memory carve-out: the driver's choice
            10..=15 => 0,
            _ => return Err(Status::INVALID_VALUE),
        })
    }

    /// `cuFuncSetAttribute`: dynamic shared memory; a carve-out, which has no effect here.
    pub(crate) fn set_attribute(&self, id: u32, value: i32) -> Checked {
        match id {
            8 => {
                let bytes = Limits::allows_dynamic_shared(self.kernel.static_shared(), value)?;
                self.max_dynamic_shared.store(bytes, Ordering::Relaxed);
                Ok(())
            }
            9 if (-1..=100).contains(&value) => Ok(()),
            _ => Err(Status::INVALID_VALUE),
        }
    }
}

/// The number of the `.target sm_NN` directive, if there is one to be read.
fn target(text: &str) -> Option<u32> {
    let directive = text.lines().find_map(|line| line.trim_start().strip_prefix(".target"))?;
    let digits = directive.trim_start().strip_prefix("sm_")?;
    digits[..digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len())].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::target;

    #[test]
    fn target_is_read_from_its_directive() {
        assert_eq!(target("// a\n.version 8.0\n.target sm_90a, debug\n.address_size 64"), Some(90));
        assert_eq!(target("\t.target\tsm_120"), Some(120));
        assert_eq!(target(".version 8.0"), None);
    }
}
