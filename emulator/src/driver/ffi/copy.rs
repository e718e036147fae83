//! Copies.

use super::entries;
use super::pointer::copy_bytes;
use crate::driver::context::Context;
use crate::driver::handle::Handle;
use crate::driver::host_memory::{HostBytes, Residence};
use crate::driver::state;
use crate::driver::status::{Checked, Status};
use crate::driver::sync::lock;
use crate::driver::work::Host;
use crate::memory::DEVICE_BASE;

/// Pageable bytes taken at once by an asynchronous copy; of longer ones the caller waits for the end.
const STAGING: usize = 1 << 20;
/// The legacy default stream, on which synchronous calls work.
const LEGACY: Handle = 0;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Return {
    AtOnce,
    WhenDone,
}

/// Where the host range of a copy lies; an error if it can be none.
fn residence(context: &Context, address: usize, len: usize) -> Checked<Residence> {
    let end = address.checked_add(len).ok_or(Status::INVALID_VALUE)?;
    if address == 0 || end as u64 > DEVICE_BASE {
        return Err(Status::INVALID_VALUE);
    }
    match lock(&context.pinned).residence(address..end) {
        Residence::Straddling => Err(Status::INVALID_VALUE),
        residence => Ok(residence),
    }
}

fn host_to_device(target: u64, source: usize, len: usize, stream: Handle, back: Return) -> Checked {
    let context = state::current()?;
    let stream = state::state()?.stream(&context, stream)?;
    if len == 0 {
        return Ok(());
    }
    let residence = residence(&context, source, len)?;
    // SAFETY: the caller's bytes: pinned ones stay until unpinning, which drops queued copies; others until this call returns,
    // which waits for the copy.
    let bytes = || unsafe { HostBytes::new(source, len) };
    let host = match (residence, back) {
        (Residence::Pinned, Return::AtOnce) => Host::Pinned(bytes()),
        (_, Return::AtOnce) if len <= STAGING => Host::Staged(copy_bytes(source, len)),
        _ => Host::Borrowed(bytes()),
    };
    let wait = matches!(host, Host::Borrowed(_));
    let ticket = context.copy_in(&stream, target, host, source, len)?;
    if wait { context.synchronize(&[ticket]) } else { Ok(()) }
}

fn device_to_host(target: usize, source: u64, len: usize, stream: Handle, back: Return) -> Checked {
    let context = state::current()?;
    let stream = state::state()?.stream(&context, stream)?;
    if len == 0 {
        return Ok(());
    }
    let residence = residence(&context, target, len)?;
    // SAFETY: as in `host_to_device`.
    let bytes = unsafe { HostBytes::new(target, len) };
    let wait = residence == Residence::Pageable || back == Return::WhenDone;
    let host = if wait { Host::Borrowed(bytes) } else { Host::Pinned(bytes) };
    let ticket = context.copy_out(&stream, host, target, source, len)?;
    if wait { context.synchronize(&[ticket]) } else { Ok(()) }
}

/// Between device addresses nobody waits, whichever call it is.
fn device_to_device(target: u64, source: u64, len: usize, stream: Handle) -> Checked {
    let context = state::current()?;
    let stream = state::state()?.stream(&context, stream)?;
    if len == 0 {
        return Ok(());
    }
    context.copy_device(&stream, target, source, len as u64).map(|_| ())
}

/// A copy whose direction follows from the addresses. From host to host there is no device work to do.
fn unified(target: u64, source: u64, len: usize, stream: Handle, back: Return) -> Checked {
    match (target >= DEVICE_BASE, source >= DEVICE_BASE) {
        (true, true) => device_to_device(target, source, len, stream),
        (true, false) => host_to_device(target, source as usize, len, stream, back),
        (false, true) => device_to_host(target as usize, source, len, stream, back),
        (false, false) => Err(Status::NOT_SUPPORTED),
    }
}

entries! {
    fn cuMemcpyHtoD_v2(target: u64, source: usize, len: usize) {
        host_to_device(target, source, len, LEGACY, Return::WhenDone)
    }

    fn cuMemcpyHtoDAsync_v2(target: u64, source: usize, len: usize, stream: Handle) {
        host_to_device(target, source, len, stream, Return::AtOnce)
    }

    fn cuMemcpyDtoH_v2(target: usize, source: u64, len: usize) {
        device_to_host(target, source, len, LEGACY, Return::WhenDone)
    }

    fn cuMemcpyDtoHAsync_v2(target: usize, source: u64, len: usize, stream: Handle) {
        device_to_host(target, source, len, stream, Return::AtOnce)
    }

    fn cuMemcpyDtoD_v2(target: u64, source: u64, len: usize) {
        device_to_device(target, source, len, LEGACY)
    }

    fn cuMemcpyDtoDAsync_v2(target: u64, source: u64, len: usize, stream: Handle) {
        device_to_device(target, source, len, stream)
    }

    fn cuMemcpy(target: u64, source: u64, len: usize) {
        unified(target, source, len, LEGACY, Return::WhenDone)
    }

    fn cuMemcpyAsync(target: u64, source: u64, len: usize, stream: Handle) {
        unified(target, source, len, stream, Return::AtOnce)
    }

    fn cuMemcpyPeerAsync(target: u64, to: Handle, source: u64, from: Handle, len: usize, stream: Handle) {
        let current = state::current()?.handle;
        if to != current || from != current {
            return Err(Status::NOT_SUPPORTED);
        }
        device_to_device(target, source, len, stream)
    }
}
