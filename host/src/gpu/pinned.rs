//! Host memory that the device copies from by itself, and copies to places of which only the address is known.
#![allow(unsafe_code)]

use super::context::{Gpu, failed};
use crate::error::Result;
use crate::io::{Buffer, Memory};
use cudarc::driver::{CudaContext, result};
use std::ffi::c_void;
use std::sync::Arc;

/// Bytes of a page: what reads past the page cache want buffers to begin on.
const PAGE: usize = 4096;

/// Page-locked memory, mapped for every context.
struct Pinned {
    allocation: *mut c_void,
    first: *mut u8,
    len: usize,
    context: Arc<CudaContext>,
}

// SAFETY: memory, which may be used from any thread.
unsafe impl Send for Pinned {}

// SAFETY: `first` is the first page of an allocation that has `len` bytes behind it and is freed when this is dropped.
unsafe impl Memory for Pinned {
    fn address(&self) -> *mut u8 {
        self.first
    }

    fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if self.context.bind_to_thread().is_ok() {
            // SAFETY: allocated by `pinned`, and copies from it were waited for.
            let _ = unsafe { result::free_host(self.allocation) };
        }
    }
}

impl Gpu {
    /// A page-locked buffer of `len` bytes.
    pub(crate) fn pinned(&self, len: usize) -> Result<Buffer> {
        let doing = |e| failed(&format!("reserving {len} bytes of pinned memory"), e);
        let context = self.stream().context().clone();
        context.bind_to_thread().map_err(doing)?;
        // SAFETY: no flags: not write-combined, since the CPU may read it too.
        let allocation = unsafe { result::malloc_host(len + PAGE, 0) }.map_err(doing)?;
        let first = allocation.cast::<u8>();
        // SAFETY: the allocation has a page more than is asked for.
        let first = unsafe { first.add(first.align_offset(PAGE)) };
        // SAFETY: as long as that; what was never written must not be read by a copy of a whole slot.
        unsafe { first.write_bytes(0, len) };
        Ok(Buffer::from_memory(Box::new(Pinned { allocation, first, len, context })))
    }

    /// Queues a copy of `from` to device memory at `to`.
    pub(super) fn copy_to_address(&self, from: &[u8], to: u64) -> Result<()> {
        let doing = |e| failed("copying to the device", e);
        self.stream().context().bind_to_thread().map_err(doing)?;
        if from.is_empty() {
            return Ok(());
        }
        // SAFETY: the caller's stage has room for the bytes, and waits for the copy while `from` is borrowed.
        unsafe { result::memcpy_htod_async(to, from, self.stream().cu_stream()) }.map_err(doing)
    }
}
