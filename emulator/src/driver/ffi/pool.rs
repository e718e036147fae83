//! The device's one memory pool, from which stream-ordered allocations come. It keeps nothing: freed memory is free.

use std::ffi::{c_int, c_uint};
use std::sync::atomic::{AtomicU64, Ordering};

use super::entries;
use super::pointer::{Array, Out};
use crate::driver::handle::Handle;
use crate::driver::state;
use crate::driver::status::{Checked, Status};

/// The handle of the default pool.
const DEFAULT: Handle = 0x10;

/// `CU_MEMPOOL_ATTR_RELEASE_THRESHOLD`, kept because callers read it back.
static RELEASE_THRESHOLD: AtomicU64 = AtomicU64::new(0);

fn pool(pool: Handle) -> Checked {
    state::state()?;
    if pool == DEFAULT { Ok(()) } else { Err(Status::INVALID_VALUE) }
}

entries! {
    fn cuDeviceGetDefaultMemPool(pool: Out<Handle>, device: c_int) {
        state::device(device)?;
        pool.put(DEFAULT)
    }

    fn cuDeviceGetMemPool(pool: Out<Handle>, device: c_int) {
        state::device(device)?;
        pool.put(DEFAULT)
    }

    fn cuDeviceSetMemPool(device: c_int, handle: Handle) {
        state::device(device)?;
        pool(handle)
    }

    fn cuMemAllocFromPoolAsync(address: Out<u64>, len: usize, handle: Handle, stream: Handle) {
        pool(handle)?;
        let context = state::current()?;
        let stream = state::state()?.stream(&context, stream)?;
        address.check()?;
        address.put(if len == 0 { 0 } else { context.allocate(len as u64, Some(&stream))? })
    }

    fn cuMemPoolTrimTo(handle: Handle, _keep: usize) {
        pool(handle)
    }

    fn cuMemPoolGetAttribute(handle: Handle, attribute: c_uint, value: Out<u64>) {
        pool(handle)?;
        match attribute {
            // Reuse policies, which have nothing to act on.
            1..=3 => value.cast::<c_int>().put(1),
            4 => value.put(RELEASE_THRESHOLD.load(Ordering::Relaxed)),
            5..=8 => value.put(state::current()?.memory.used()),
            _ => Err(Status::INVALID_VALUE),
        }
    }

    fn cuMemPoolSetAttribute(handle: Handle, attribute: c_uint, value: Array<u64>) {
        pool(handle)?;
        match attribute {
            1..=3 | 6 | 8 if !value.is_null() => Ok(()),
            4 => {
                RELEASE_THRESHOLD.store(value.get(0)?, Ordering::Relaxed);
                Ok(())
            }
            _ => Err(Status::INVALID_VALUE),
        }
    }
}
