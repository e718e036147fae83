//! Device memory, and what a pointer points to.

use std::ffi::{c_int, c_uint};

use super::entries;
use super::pointer::Out;
use crate::driver::handle::Handle;
use crate::driver::state;
use crate::driver::status::{Checked, Status};
use crate::driver::sync::lock;

/// `CUmemorytype`.
const HOST: c_uint = 1;
const ON_DEVICE: c_uint = 2;

/// Stores the attribute `id` of `address` at `data`, which has the attribute's type.
fn pointer_attribute(data: Out<u64>, id: c_uint, address: u64) -> Checked {
    let context = state::current()?;
    let (base, len) = context.memory.find(address).ok_or(Status::INVALID_VALUE)?;
    let host = lock(&context.pinned).holding(address as usize).is_some();
    let kind = if host { HOST } else { ON_DEVICE };
    match id {
        1 => data.put(context.handle as u64),
        2 => data.cast().put(kind),
        3 => data.put(address),
        4 if host => data.put(address),
        6 | 8 => data.cast().put(0_u32), // synchronous operations, managed
        7 | 11 => data.put(base),        // id of the buffer (no base is ever given out twice), start
        9 => data.cast().put(context.device),
        12 => data.put(len),
        13 => data.cast().put(1_u32), // mapped
        4 => Err(Status::INVALID_VALUE),
        _ => Err(Status::NOT_SUPPORTED),
    }
}

entries! {
    fn cuMemGetInfo_v2(free: Out<usize>, total: Out<usize>) {
        let context = state::current()?;
        free.put((context.memory.capacity() - context.memory.used()) as usize)?;
        total.put(context.memory.capacity() as usize)
    }

    fn cuMemAlloc_v2(address: Out<u64>, len: usize) {
        let context = state::current()?;
        address.check()?;
        if len == 0 {
            return Err(Status::INVALID_VALUE);
        }
        address.put(context.allocate(len as u64, None)?)
    }

    fn cuMemFree_v2(address: u64) {
        let context = state::current_any()?;
        if address == 0 { context.check() } else { context.free_now(address) }
    }

    fn cuMemAllocAsync(address: Out<u64>, len: usize, stream: Handle) {
        let context = state::current()?;
        let stream = state::state()?.stream(&context, stream)?;
        address.check()?;
        address.put(if len == 0 { 0 } else { context.allocate(len as u64, Some(&stream))? })
    }

    fn cuMemFreeAsync(address: u64, stream: Handle) {
        let context = state::current()?;
        let stream = state::state()?.stream(&context, stream)?;
        if address == 0 { Ok(()) } else { context.free_later(&stream, address) }
    }

    fn cuMemGetAddressRange_v2(base: Out<u64>, len: Out<usize>, address: u64) {
        let found = state::current()?.memory.find(address).ok_or(Status::NOT_FOUND)?;
        base.put_if(found.0);
        len.put_if(found.1 as usize);
        Ok(())
    }

    fn cuPointerGetAttribute(data: Out<u64>, attribute: c_uint, address: u64) {
        pointer_attribute(data, attribute, address)
    }

    fn cuCtxEnablePeerAccess(_peer: Handle, _flags: c_uint) {
        state::current()?;
        Err(Status::NOT_SUPPORTED)
    }

    fn cuDeviceGetP2PAttribute(value: Out<c_int>, _attribute: c_uint, source: c_int, target: c_int) {
        state::device(source)?;
        state::device(target)?;
        value.put(0)
    }
}
