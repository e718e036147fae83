//! Fills. None of them waits, as the driver's do not for device memory.

use std::ffi::{c_uchar, c_uint, c_ushort};

use super::entries;
use crate::driver::handle::Handle;
use crate::driver::state;
use crate::driver::status::Checked;
use crate::driver::work::Fill;

/// The legacy default stream, on which calls without a stream work.
const LEGACY: Handle = 0;

fn fill(target: u64, fill: Fill, count: usize, stream: Handle) -> Checked {
    let context = state::current()?;
    let stream = state::state()?.stream(&context, stream)?;
    if count == 0 {
        return Ok(());
    }
    context.fill(&stream, target, fill, count as u64).map(|_| ())
}

entries! {
    fn cuMemsetD8_v2(target: u64, value: c_uchar, count: usize) {
        fill(target, Fill::Bytes(value), count, LEGACY)
    }

    fn cuMemsetD8Async(target: u64, value: c_uchar, count: usize, stream: Handle) {
        fill(target, Fill::Bytes(value), count, stream)
    }

    fn cuMemsetD16_v2(target: u64, value: c_ushort, count: usize) {
        fill(target, Fill::Halves(value), count, LEGACY)
    }

    fn cuMemsetD16Async(target: u64, value: c_ushort, count: usize, stream: Handle) {
        fill(target, Fill::Halves(value), count, stream)
    }

    fn cuMemsetD32_v2(target: u64, value: c_uint, count: usize) {
        fill(target, Fill::Words(value), count, LEGACY)
    }

    fn cuMemsetD32Async(target: u64, value: c_uint, count: usize, stream: Handle) {
        fill(target, Fill::Words(value), count, stream)
    }
}
