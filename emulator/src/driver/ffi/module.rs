//! Modules and functions.

use std::ffi::{c_int, c_uint};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::entries;
use super::pointer::{Array, Out, Text, put_text};
use crate::driver::context::Context;
use crate::driver::fault;
use crate::driver::handle::{self, Handle};
use crate::driver::module::{LoadError, LoadedModule};
use crate::driver::state;
use crate::driver::status::{Checked, Status};

/// `CUjit_option`: a buffer for messages is followed by its size, which is replaced by the bytes written.
const INFO_LOG: [c_uint; 2] = [3, 4];
const ERROR_LOG: [c_uint; 2] = [5, 6];
/// First bytes of images that are no PTX: ELF (a cubin) and the two fat binary formats.
const BINARIES: [[u8; 4]; 3] = [*b"\x7fELF", [0x50, 0xed, 0x55, 0xba], [0xb1, 0x43, 0x62, 0x46]];

/// Options of a load: ids, and values that are numbers or addresses.
#[derive(Clone, Copy)]
struct JitOptions {
    count: usize,
    ids: Array<c_uint>,
    values: Array<usize>,
}

impl JitOptions {
    /// Writes `text` into the log named by the ids of its buffer and its size, if the caller gave both.
    fn log(self, [buffer, size]: [c_uint; 2], text: &str) -> Checked {
        let mut at = [None; 2];
        for index in 0..self.count {
            let id = self.ids.get(index)?;
            let slot = [buffer, size].iter().position(|&wanted| wanted == id);
            slot.into_iter().for_each(|slot| at[slot] = Some(index));
        }
        let [Some(buffer), Some(size)] = at else { return Ok(()) };
        // Sizes are `unsigned int`s cast to pointers.
        let written = put_text(self.values.get(buffer)?, self.values.get(size)? as u32 as usize, text);
        self.values.set(size, written)
    }
}

/// Loads PTX; `log` gets the messages.
fn load(module: Out<Handle>, image: Text, log: impl Fn([c_uint; 2], &str) -> Checked) -> Checked {
    let context = state::current()?;
    module.check()?;
    let image = image.bytes()?;
    let loaded = match std::str::from_utf8(image) {
        _ if BINARIES.iter().any(|magic| image.starts_with(magic)) => {
            Err(LoadError { status: Status::NO_BINARY_FOR_GPU, log: "the emulator runs PTX, not machine code".into() })
        }
        Err(error) => Err(LoadError { status: Status::INVALID_IMAGE, log: format!("the image is no text: {error}") }),
        Ok(text) => LoadedModule::load(&context, text),
    };
    match loaded {
        Ok(loaded) => {
            log(INFO_LOG, &format!("wcodec emulator: {} kernels", loaded.ptx.kernels().count()))?;
            let handle = handle::fresh();
            state::state()?.modules.insert(handle, Arc::new(loaded));
            module.put(handle)
        }
        Err(LoadError { status, log: text }) => {
            fault::report(&text);
            log(ERROR_LOG, &text)?;
            Err(status)
        }
    }
}

/// The module behind a handle, which must be the current context's.
fn module(handle: Handle) -> Checked<Arc<LoadedModule>> {
    module_of(&*state::current()?, handle)
}

/// The module behind a handle, which must be `context`'s.
fn module_of(context: &Context, handle: Handle) -> Checked<Arc<LoadedModule>> {
    let module = state::state_any()?.modules.get(handle)?;
    if module.context == context.handle { Ok(module) } else { Err(Status::INVALID_HANDLE) }
}

entries! {
    fn cuModuleLoadData(handle: Out<Handle>, image: Text) {
        load(handle, image, |_, _| Ok(()))
    }

    fn cuModuleLoadDataEx(handle: Out<Handle>, image: Text, count: c_uint, ids: Array<c_uint>, values: Array<usize>) {
        let options = JitOptions { count: count as usize, ids, values };
        load(handle, image, |log, text| options.log(log, text))
    }

    fn cuModuleLoad(handle: Out<Handle>, path: Text) {
        state::current()?;
        let image = std::fs::read(path.get()?).map_err(|_| Status::FILE_NOT_FOUND)?;
        let image = std::ffi::CString::new(image).map_err(|_| Status::INVALID_IMAGE)?;
        load(handle, Text::from(image.as_c_str()), |_, _| Ok(()))
    }

    fn cuModuleUnload(handle: Handle) {
        let (context, state) = (state::current_any()?, state::state_any()?);
        let loaded = module_of(&context, handle)?;
        for variable in loaded.variables() {
            if let Err(failure) = context.check_unused(&variable, "unloading of a module with the variable") {
                context.fail(failure);
            }
        }
        state.modules.remove(handle)?;
        for function in loaded.functions() {
            state.functions.remove(function)?;
        }
        loaded.globals.unload(&context.memory).map_err(|_| Status::UNKNOWN)?;
        context.check()
    }

    fn cuModuleGetLoadingMode(mode: Out<c_uint>) {
        state::state()?;
        mode.put(1) // eager
    }

    fn cuModuleGetFunctionCount(count: Out<c_uint>, handle: Handle) {
        count.put(module(handle)?.ptx.kernels().count() as c_uint)
    }

    fn cuModuleGetFunction(function: Out<Handle>, handle: Handle, name: Text) {
        function.check()?;
        let registry = &state::state()?.functions;
        function.put(module(handle)?.function(name.get()?, |made| {
            let handle = handle::fresh();
            registry.insert(handle, Arc::new(made));
            handle
        })?)
    }

    fn cuModuleGetGlobal_v2(address: Out<u64>, len: Out<usize>, handle: Handle, name: Text) {
        let (start, size) = module(handle)?.global(name.get()?)?;
        address.put_if(start);
        len.put_if(size as usize);
        Ok(())
    }

    fn cuFuncGetAttribute(value: Out<c_int>, attribute: c_uint, function: Handle) {
        state::current()?;
        value.put(state::state()?.functions.get(function)?.attribute(attribute)?)
    }

    fn cuFuncSetAttribute(function: Handle, attribute: c_uint, value: c_int) {
        state::current()?;
        state::state()?.functions.get(function)?.set_attribute(attribute, value)
    }

    fn cuFuncSetCacheConfig(function: Handle, config: c_uint) {
        state::current()?;
        let function = state::state()?.functions.get(function)?;
        if config > 3 {
            return Err(Status::INVALID_VALUE);
        }
        function.cache_config.store(config, Ordering::Relaxed);
        Ok(())
    }
}
