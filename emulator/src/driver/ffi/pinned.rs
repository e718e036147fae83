//! Pinned host memory.

use std::ffi::c_uint;

use super::entries;
use super::pointer::Out;
use crate::driver::fault::Failure;
use crate::driver::host_memory;
use crate::driver::inject::{self, Point};
use crate::driver::state;
use crate::driver::status::{Checked, Status};
use crate::driver::sync::lock;

/// Flags of `cuMemHostAlloc`: portable, mapped, write-combined.
const ALLOC_FLAGS: c_uint = 0x07;
/// Flags of `cuMemHostRegister`: portable, mapped, I/O memory, read-only.
const REGISTER_FLAGS: c_uint = 0x0f;

/// Allocates pinned memory and maps it for the device.
fn allocate(address: Out<usize>, len: usize, flags: c_uint) -> Checked {
    let context = state::current()?;
    address.check()?;
    if flags & !ALLOC_FLAGS != 0 {
        return Err(Status::INVALID_VALUE);
    }
    if inject::pass(Point::HostAlloc, len as u64) {
        return Err(Status::OUT_OF_MEMORY);
    }
    let (start, layout) = host_memory::allocate(len)?;
    // SAFETY: just allocated; released only after it is unmapped, or with no work left that could access it.
    if unsafe { context.memory.map_host(start as *mut u8, len as u64) }.is_err() {
        host_memory::release(start, layout);
        return Err(Status::UNKNOWN);
    }
    lock(&context.pinned).adopt(start, layout, len, flags);
    address.put(start)
}

/// Ends the pinning of what starts at `address`: allocated memory is released, registered memory stays its owner's.
fn end(address: usize, owned: bool, missing: Status) -> Checked {
    let context = state::current_any()?;
    let range = lock(&context.pinned).at(address, owned).ok_or(missing)?;
    let deed = if owned { "free of pinned host memory" } else { "unregistering of host memory" };
    if let Err(failure) = context.check_unused(&(range.start as u64..range.end as u64), deed) {
        // From here on queued work is skipped, so that it cannot touch what is gone.
        context.fail(failure);
    }
    context.paused(|| {
        let layout = lock(&context.pinned).remove(address);
        let unmapped = context.memory.unmap_host(address as *mut u8);
        if let Some(layout) = layout {
            host_memory::release(address, layout);
        }
        if let Err(error) = unmapped {
            context.fail(Failure { status: Status::UNKNOWN, text: format!("{deed}: {error}") });
        }
    });
    context.check()
}

entries! {
    fn cuMemHostAlloc(address: Out<usize>, len: usize, flags: c_uint) {
        allocate(address, len, flags)
    }

    fn cuMemAllocHost_v2(address: Out<usize>, len: usize) {
        allocate(address, len, 0)
    }

    fn cuMemFreeHost(address: usize) {
        end(address, true, Status::INVALID_VALUE)
    }

    fn cuMemHostRegister_v2(address: usize, len: usize, flags: c_uint) {
        let context = state::current()?;
        if flags & !REGISTER_FLAGS != 0 {
            return Err(Status::INVALID_VALUE);
        }
        if inject::pass(Point::HostAlloc, len as u64) {
            return Err(Status::OUT_OF_MEMORY);
        }
        lock(&context.pinned).register(address, len, flags)?;
        // SAFETY: the caller keeps registered memory allocated until it is unregistered.
        unsafe { context.memory.map_host(address as *mut u8, len as u64) }.map_err(|_| {
            lock(&context.pinned).remove(address);
            Status::HOST_MEMORY_ALREADY_REGISTERED
        })
    }

    fn cuMemHostUnregister(address: usize) {
        end(address, false, Status::HOST_MEMORY_NOT_REGISTERED)
    }

    fn cuMemHostGetDevicePointer_v2(device: Out<u64>, address: usize, flags: c_uint) {
        let context = state::current()?;
        if flags != 0 || lock(&context.pinned).holding(address).is_none() {
            return Err(Status::INVALID_VALUE);
        }
        device.put(address as u64)
    }

    fn cuMemHostGetFlags(flags: Out<c_uint>, address: usize) {
        let context = state::current()?;
        let found = lock(&context.pinned).holding(address).map(|(_, pinned)| pinned.flags);
        flags.put(found.ok_or(Status::INVALID_VALUE)?)
    }
}
