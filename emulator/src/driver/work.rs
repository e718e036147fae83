//! The work that can be queued: copies, fills, frees and launches, each checked when it is made and again when it is done.

use std::ops::Range;
use std::sync::Arc;

use super::context::Context;
use super::counters;
use super::fault::Failure;
use super::host_memory::HostBytes;
use super::inject::{self, Point};
use super::launch::Shape;
use super::module::Function;
use super::settings::settings;
use super::status::{Checked, Status};
use super::stream::{Stream, Ticket};
use super::sync::lock;
use crate::exec;
use crate::memory::MemoryError;

/// What pinned memory holds while a copy into it is under way: whoever reads it too early sees this.
pub(crate) const POISON: u8 = 0xa5;

/// Where host bytes of a copy are, and how they are treated.
pub(crate) enum Host {
    /// Pageable memory whose bytes were taken when the copy was made.
    Staged(Vec<u8>),
    /// Pinned memory, accessed late on purpose.
    Pinned(HostBytes),
    /// Pageable memory whose owner waits for the copy.
    Borrowed(HostBytes),
}

/// A pattern of 1, 2 or 4 bytes.
#[derive(Clone, Copy)]
pub(crate) enum Fill {
    Bytes(u8),
    Halves(u16),
    Words(u32),
}

impl Fill {
    pub(crate) fn width(self) -> u64 {
        match self {
            Fill::Bytes(_) => 1,
            Fill::Halves(_) => 2,
            Fill::Words(_) => 4,
        }
    }
}

fn refused(what: &str, error: MemoryError) -> Failure {
    Failure { status: Status::ILLEGAL_ADDRESS, text: format!("{what}: {error}") }
}

/// The host range of a copy, for [`super::stream::Touches`].
fn span(address: usize, len: usize) -> Range<u64> {
    address as u64..(address + len) as u64
}

impl Context {
    /// Checks that `len` bytes at device address `address` are within one allocation, and returns them as a range.
    pub(crate) fn device_range(&self, address: u64, len: u64) -> Checked<Range<u64>> {
        let end = address.checked_add(len).ok_or(Status::INVALID_VALUE)?;
        match self.memory.find(address) {
            Some((base, size)) if end <= base + size => Ok(address..end),
            _ => Err(Status::INVALID_VALUE),
        }
    }

    /// Queues a copy of `host`'s `len` bytes, at `address`, to the device.
    pub(crate) fn copy_in(
        self: &Arc<Self>,
        stream: &Arc<Stream>,
        target: u64,
        host: Host,
        address: usize,
        len: usize,
    ) -> Checked<Ticket> {
        let mut touches = vec![self.device_range(target, len as u64)?];
        if !matches!(host, Host::Staged(_)) {
            touches.push(span(address, len));
        }
        let planted = inject::pass(Point::Copy, len as u64);
        Ok(self.submit(stream, touches, move |context| {
            strike(planted)?;
            let written = match &host {
                Host::Staged(bytes) => context.memory.write(target, bytes),
                Host::Borrowed(bytes) => context.memory.write(target, bytes.as_slice()),
                Host::Pinned(bytes) => {
                    std::thread::sleep(settings().delay);
                    context.memory.write(target, bytes.as_slice())
                }
            };
            written.map_err(|error| refused("copy from host to device", error))
        }))
    }

    /// Queues a copy of `len` device bytes into `host`'s, at `address`.
    pub(crate) fn copy_out(
        self: &Arc<Self>,
        stream: &Arc<Stream>,
        host: Host,
        address: usize,
        source: u64,
        len: usize,
    ) -> Checked<Ticket> {
        let touches = vec![self.device_range(source, len as u64)?, span(address, len)];
        let planted = inject::pass(Point::Copy, len as u64);
        let pinned = matches!(host, Host::Pinned(_));
        let (Host::Pinned(mut bytes) | Host::Borrowed(mut bytes)) = host else { return Err(Status::INVALID_VALUE) };
        // Once no earlier work can want the old contents, they are gone: now if nothing is queued, else when the turn comes.
        let poison = pinned && settings().sanitize;
        if poison && self.is_idle() {
            bytes.as_mut().fill(POISON);
        }
        Ok(self.submit(stream, touches, move |context| {
            strike(planted)?;
            if pinned {
                if poison {
                    bytes.as_mut().fill(POISON);
                }
                std::thread::sleep(settings().delay);
            }
            context.memory.read(source, bytes.as_mut()).map_err(|error| refused("copy from device to host", error))
        }))
    }

    /// Queues a copy between device addresses.
    pub(crate) fn copy_device(self: &Arc<Self>, stream: &Arc<Stream>, target: u64, source: u64, len: u64) -> Checked<Ticket> {
        let touches = vec![self.device_range(target, len)?, self.device_range(source, len)?];
        let planted = inject::pass(Point::Copy, len);
        Ok(self.submit(stream, touches, move |context| {
            strike(planted)?;
            context.memory.copy(target, source, len).map_err(|error| refused("copy from device to device", error))
        }))
    }

    /// Queues a fill of `count` elements.
    pub(crate) fn fill(self: &Arc<Self>, stream: &Arc<Stream>, target: u64, fill: Fill, count: u64) -> Checked<Ticket> {
        let len = count.checked_mul(fill.width()).ok_or(Status::INVALID_VALUE)?;
        if !target.is_multiple_of(fill.width()) {
            return Err(Status::INVALID_VALUE);
        }
        let touches = vec![self.device_range(target, len)?];
        Ok(self.submit(stream, touches, move |context| {
            let filled = match fill {
                Fill::Bytes(value) => context.memory.fill8(target, value, count),
                Fill::Halves(value) => context.memory.fill16(target, value, count),
                Fill::Words(value) => context.memory.fill32(target, value, count),
            };
            filled.map_err(|error| refused("fill", error))
        }))
    }

    /// Allocates `len` bytes, not zero. Work queued on `stream` may be about to free what is needed: then it is waited for.
    pub(crate) fn allocate(&self, len: u64, stream: Option<&Arc<Stream>>) -> Checked<u64> {
        if inject::pass(Point::Alloc, len) {
            return Err(Status::OUT_OF_MEMORY);
        }
        if let Ok(address) = self.memory.alloc(len) {
            return Ok(address);
        }
        let stream = stream.filter(|_| !lock(&self.freeing).is_empty()).ok_or(Status::OUT_OF_MEMORY)?;
        stream.last().wait();
        self.memory.alloc(len).map_err(|_| Status::OUT_OF_MEMORY)
    }

    /// Queues the free of the allocation at `address`.
    pub(crate) fn free_later(self: &Arc<Self>, stream: &Arc<Stream>, address: u64) -> Checked {
        let range = self.allocation(address)?;
        if !lock(&self.freeing).insert(address) {
            return Err(Status::INVALID_VALUE);
        }
        // Empty touches: the free itself is no use of the memory.
        self.submit(stream, vec![], move |context| {
            context.check_unused(&range, "stream-ordered free of device memory")?;
            lock(&context.freeing).remove(&address);
            context.memory.free(address).map_err(|error| refused("stream-ordered free", error))
        });
        Ok(())
    }

    /// Frees the allocation at `address` at once.
    pub(crate) fn free_now(&self, address: u64) -> Checked {
        let range = self.allocation(address)?;
        if lock(&self.freeing).contains(&address) {
            return Err(Status::INVALID_VALUE);
        }
        if let Err(failure) = self.check_unused(&range, "free of device memory") {
            self.fail(failure);
        }
        self.memory.free(address).map_err(|_| Status::INVALID_VALUE)?;
        self.check()
    }

    /// The device allocation that starts at `address`.
    fn allocation(&self, address: u64) -> Checked<Range<u64>> {
        match self.memory.find(address) {
            Some((base, len)) if base == address && lock(&self.pinned).holding(address as usize).is_none() => {
                Ok(base..base + len)
            }
            _ => Err(Status::INVALID_VALUE),
        }
    }

    /// Queues a launch; `params` is laid out as the kernel's parameter block.
    pub(crate) fn launch(
        self: &Arc<Self>,
        stream: &Arc<Stream>,
        function: Arc<Function>,
        shape: Shape,
        params: Vec<u8>,
    ) -> Checked {
        function.limits().check(&shape)?;
        if inject::pass(Point::Submit, 0) {
            return Err(Status::LAUNCH_OUT_OF_RESOURCES);
        }
        inject::launched();
        self.check_device()?;
        let planted = inject::pass(Point::Launch, 0);
        // A parameter that is an address of live memory is taken for a reference to it; addresses look like nothing else.
        let words = params.chunks_exact(8).filter_map(|word| word.try_into().ok()).map(u64::from_le_bytes);
        let mut touches: Vec<Range<u64>> =
            words.filter_map(|word| self.memory.find(word)).map(|(base, len)| base..base + len).collect();
        touches.extend(function.module.variables());
        self.submit(stream, touches, move |context| {
            if planted {
                return Err(Failure { status: Status::LAUNCH_FAILED, text: "injected: the launch fails".into() });
            }
            let settings = settings();
            let launch = exec::Launch { grid: shape.grid, block: shape.block, dynamic_shared: shape.dynamic_shared, params };
            let options = exec::Options {
                sanitize: settings.sanitize,
                count: settings.counting(),
                threads: settings.threads,
                instruction_limit: settings.instruction_limit,
            };
            let outcome = exec::run(&function.kernel, &function.module.globals, &context.memory, &launch, &options)?;
            counters::add(function.kernel.name(), outcome);
            Ok(())
        });
        Ok(())
    }
}

/// Fails a copy that was chosen to fail.
fn strike(planted: bool) -> Result<(), Failure> {
    match planted {
        true => Err(Failure { status: Status::ECC_UNCORRECTABLE, text: "injected: the copy fails".into() }),
        false => Ok(()),
    }
}
