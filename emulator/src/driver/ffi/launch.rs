//! Launches.

use std::ffi::c_uint;

use super::entries;
use super::pointer::{Array, copy_bytes};
use crate::driver::handle::Handle;
use crate::driver::launch::Shape;
use crate::driver::module::Function;
use crate::driver::state;
use crate::driver::status::{Checked, Status};

/// `CU_LAUNCH_PARAM_…`: keys of the alternative way to pass parameters, each followed by its value.
const END: usize = 0;
const BUFFER_POINTER: usize = 1;
const BUFFER_SIZE: usize = 2;

/// `CUlaunchAttributeID`s that change nothing here: ignore, access policy, priority, memory synchronisation domain and its map.
const HARMLESS_ATTRIBUTES: [u64; 5] = [0, 1, 8, 9, 10];
/// Size of a `CUlaunchAttribute`, in the 64-bit words it is aligned to.
const ATTRIBUTE_WORDS: usize = 9;

/// `CUlaunchConfig`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Config {
    grid: [c_uint; 3],
    block: [c_uint; 3],
    dynamic_shared: c_uint,
    stream: Handle,
    attributes: Array<u64>,
    attribute_count: c_uint,
}

/// The parameter block, from one pointer for each parameter.
fn gather(function: &Function, pointers: Array<usize>) -> Checked<Vec<u8>> {
    let mut block = vec![0; function.kernel.param_bytes()];
    for (index, param) in function.kernel.params().iter().enumerate() {
        let source = pointers.get(index)?;
        if source == 0 {
            return Err(Status::INVALID_VALUE);
        }
        block[param.offset..param.offset + param.size].copy_from_slice(&copy_bytes(source, param.size));
    }
    Ok(block)
}

/// The parameter block, from a buffer already laid out so.
fn unpack(function: &Function, extra: Array<usize>) -> Checked<Vec<u8>> {
    let (mut buffer, mut size) = (None, None);
    for index in (0..).step_by(2) {
        let value = |index| extra.get(index + 1);
        match extra.get(index)? {
            END => break,
            BUFFER_POINTER => buffer = Some(value(index)?),
            BUFFER_SIZE => size = Some(Array::<usize>::at(value(index)?).get(0)?),
            _ => return Err(Status::INVALID_VALUE),
        }
    }
    let needed = function.kernel.param_bytes();
    match (buffer, size) {
        (Some(buffer), Some(size)) if buffer != 0 && size >= needed => Ok(copy_bytes(buffer, needed)),
        _ => Err(Status::INVALID_VALUE),
    }
}

fn launch(function: Handle, shape: Shape, stream: Handle, pointers: Array<usize>, extra: Array<usize>) -> Checked {
    let context = state::current()?;
    let state = state::state()?;
    let function = state.functions.get(function)?;
    if function.module.context != context.handle {
        return Err(Status::INVALID_HANDLE);
    }
    let stream = state.stream(&context, stream)?;
    let params = match (pointers.is_null(), extra.is_null()) {
        (false, false) => return Err(Status::INVALID_VALUE),
        (true, false) => unpack(&function, extra)?,
        (true, true) if function.kernel.params().is_empty() => Vec::new(),
        _ => gather(&function, pointers)?,
    };
    context.launch(&stream, function, shape, params)
}

entries! {
    fn cuLaunchKernel(
        function: Handle,
        grid_x: c_uint, grid_y: c_uint, grid_z: c_uint,
        block_x: c_uint, block_y: c_uint, block_z: c_uint,
        dynamic_shared: c_uint,
        stream: Handle,
        params: Array<usize>,
        extra: Array<usize>,
    ) {
        let shape = Shape { grid: [grid_x, grid_y, grid_z], block: [block_x, block_y, block_z], dynamic_shared };
        launch(function, shape, stream, params, extra)
    }

    fn cuLaunchKernelEx(config: Array<Config>, function: Handle, params: Array<usize>, extra: Array<usize>) {
        let Config { grid, block, dynamic_shared, stream, attributes, attribute_count } = config.get(0)?;
        for index in 0..attribute_count as usize {
            if !HARMLESS_ATTRIBUTES.contains(&(attributes.get(index * ATTRIBUTE_WORDS)? & 0xffff_ffff)) {
                return Err(Status::NOT_SUPPORTED);
            }
        }
        launch(function, Shape { grid, block, dynamic_shared }, stream, params, extra)
    }
}
