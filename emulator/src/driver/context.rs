//! A context: device memory, streams, pinned memory, and the error it may be stuck in.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::fault::{self, Failure};
use super::handle::{self, Handle};
use super::host_memory::{self, PinnedTable};
use super::settings::settings;
use super::status::{Checked, Status};
use super::stream::{Stream, Ticket, Touches};
use super::sync::lock;
use super::{counters, inject};
use crate::memory::Memory;

pub(crate) struct Context {
    pub handle: Handle,
    pub device: i32,
    /// Made by `cuDevicePrimaryCtxRetain`.
    pub primary: bool,
    pub memory: Memory,
    pub pinned: Mutex<PinnedTable>,
    /// Device allocations whose stream-ordered free is queued.
    pub freeing: Mutex<HashSet<u64>>,
    pub flags: AtomicU32,
    pub cache_config: AtomicU32,
    /// Set by `cuCtxSetLimit`; kept for `cuCtxGetLimit`.
    pub limits: Mutex<HashMap<u32, usize>>,
    /// The legacy default stream.
    pub legacy: Arc<Stream>,
    /// Every stream: the legacy one, and destroyed ones as long as they have work left, included.
    streams: Mutex<Vec<Arc<Stream>>>,
    /// The error that every call returns from now on; 0 for none.
    sticky: AtomicU32,
    /// Held by whoever sets it.
    failing: Mutex<()>,
    destroyed: AtomicBool,
    /// Held shared by work under way; exclusively by what would pull memory from under it.
    running: RwLock<()>,
}

impl Context {
    /// A context with the memory capacity set now.
    pub(crate) fn new(device: i32, primary: bool, flags: u32) -> Checked<Arc<Context>> {
        let handle = handle::fresh();
        let legacy = Stream::start(handle::fresh(), handle, true).map_err(|_| Status::OPERATING_SYSTEM)?;
        Ok(Arc::new(Context {
            handle,
            device,
            primary,
            memory: Memory::of_device(device as u32, settings().memory),
            pinned: Mutex::default(),
            freeing: Mutex::default(),
            flags: AtomicU32::new(flags),
            cache_config: AtomicU32::new(0),
            limits: Mutex::default(),
            streams: Mutex::new(vec![legacy.clone()]),
            legacy,
            sticky: AtomicU32::new(0),
            failing: Mutex::default(),
            destroyed: AtomicBool::new(false),
            running: RwLock::new(()),
        }))
    }

    /// The error the context is stuck in, if any.
    pub(crate) fn check(&self) -> Checked {
        if self.destroyed.load(Ordering::Acquire) {
            return Err(Status::CONTEXT_IS_DESTROYED);
        }
        match Status(self.sticky.load(Ordering::Acquire)) {
            Status::SUCCESS => inject::check_device(),
            stuck => Err(stuck),
        }
    }

    /// Fails the context if the device is gone: what it held is lost even if the device comes back.
    pub(crate) fn check_device(&self) -> Checked {
        inject::check_device().map_err(|status| self.fail(Failure { status, text: "injected: the device is lost".into() }))
    }

    /// Makes the failure stick unless another came first, and reports it; returns its code. The report comes first: whoever
    /// sees the code may ask for the text.
    pub(crate) fn fail(&self, failure: Failure) -> Status {
        let _one_at_a_time = lock(&self.failing);
        if self.sticky.load(Ordering::Acquire) == Status::SUCCESS.0 {
            fault::report(&failure.text);
            self.sticky.store(failure.status.0, Ordering::Release);
        }
        failure.status
    }

    /// Adds a stream.
    pub(crate) fn start_stream(&self, blocking: bool) -> Checked<Arc<Stream>> {
        let stream = Stream::start(handle::fresh(), self.handle, blocking).map_err(|_| Status::OPERATING_SYSTEM)?;
        let mut streams = lock(&self.streams);
        streams.retain(|other| !other.is_over());
        streams.push(stream.clone());
        Ok(stream)
    }

    fn streams(&self) -> Vec<Arc<Stream>> {
        lock(&self.streams).clone()
    }

    /// Queues `work`, with the legacy default stream's barriers. It is run whatever state the context is in.
    pub(crate) fn order(
        &self,
        stream: &Arc<Stream>,
        mut waits: Vec<Ticket>,
        touches: Touches,
        work: impl FnOnce() + Send + 'static,
    ) -> Ticket {
        if Arc::ptr_eq(stream, &self.legacy) {
            let others = self.streams().into_iter().filter(|other| other.blocking && !Arc::ptr_eq(other, stream));
            waits.extend(others.map(|other| other.last()).filter(|ticket| !ticket.is_done()));
        } else if stream.blocking {
            waits.extend(Some(self.legacy.last()).filter(|ticket| !ticket.is_done()));
        }
        stream.push(waits, touches, work)
    }

    /// Queues device work: skipped once the context has failed; its own failure makes the context fail.
    pub(crate) fn submit(
        self: &Arc<Self>,
        stream: &Arc<Stream>,
        touches: Touches,
        work: impl FnOnce(&Context) -> Result<(), Failure> + Send + 'static,
    ) -> Ticket {
        let context = self.clone();
        self.order(stream, vec![], touches, move || {
            let _running = context.running.read().unwrap_or_else(PoisonError::into_inner);
            if context.check_device().is_err() || context.check().is_err() {
                return;
            }
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&context)));
            let failure = match outcome {
                Ok(outcome) => outcome.err(),
                Err(_) => {
                    Some(Failure { status: Status::UNKNOWN, text: "the emulator itself failed while it executed work".into() })
                }
            };
            if let Some(failure) = failure {
                context.fail(failure);
            }
        })
    }

    /// The end of all work that a synchronisation with `stream` waits for.
    pub(crate) fn frontier(&self, stream: &Arc<Stream>) -> Vec<Ticket> {
        match Arc::ptr_eq(stream, &self.legacy) {
            true => self.streams().iter().filter(|other| other.blocking).map(Stream::last).collect(),
            false => vec![stream.last()],
        }
    }

    /// Waits for `tickets`, then says what state the context is in.
    pub(crate) fn synchronize(&self, tickets: &[Ticket]) -> Checked {
        tickets.iter().for_each(Ticket::wait);
        counters::flush();
        self.check()
    }

    /// Waits for all work of all streams.
    pub(crate) fn synchronize_all(&self) -> Checked {
        let tickets: Vec<Ticket> = self.streams().iter().map(Stream::last).collect();
        self.synchronize(&tickets)
    }

    /// Whether no stream has work left.
    pub(crate) fn is_idle(&self) -> bool {
        lock(&self.streams).iter().all(|stream| stream.is_idle())
    }

    /// An error if queued work still refers to `range`, which is about to go away by `deed`.
    pub(crate) fn check_unused(&self, range: &Range<u64>, deed: &str) -> Result<(), Failure> {
        if self.check().is_err() || !lock(&self.streams).iter().any(|stream| stream.touches(range)) {
            return Ok(());
        }
        let Range { start, end } = range;
        let text = format!("{deed} {start:#x}..{end:#x} while queued work still refers to it: synchronise its stream first");
        Err(Failure { status: Status::ILLEGAL_ADDRESS, text })
    }

    /// Does what would pull memory from under running work once no work is running.
    pub(crate) fn paused<T>(&self, act: impl FnOnce() -> T) -> T {
        let _alone = self.running.write().unwrap_or_else(PoisonError::into_inner);
        act()
    }

    /// Drops queued work, waits for what is under way, and gives back all memory.
    pub(crate) fn destroy(&self) {
        self.destroyed.store(true, Ordering::Release);
        let streams = std::mem::take(&mut *lock(&self.streams));
        streams.iter().for_each(|stream| stream.close());
        streams.iter().for_each(|stream| stream.last().wait());
        let mut pinned = lock(&self.pinned);
        for address in pinned.addresses() {
            if let Some(layout) = pinned.remove(address) {
                host_memory::release(address, layout);
            }
        }
        counters::flush();
    }
}
