//! A load in progress, as its caller has it.

use super::Loaded;
use super::run::Event;
use crate::error::Result;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::task::{Context, Poll};
use std::thread::JoinHandle;

/// How far a load is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadProgress {
    /// Bytes of the archive read, and to be read: of progressive tensors their categories, for planes are read by the threads that decode.
    pub read: u64,
    /// See [`read`](Self::read).
    pub to_read: u64,
    /// Decoded bytes, and those to be decoded.
    pub decoded: u64,
    /// See [`decoded`](Self::decoded).
    pub to_decode: u64,
    /// Tensors that are ready, and all.
    pub ready: u64,
    /// See [`ready`](Self::ready).
    pub tensors: u64,
}

#[derive(Default)]
pub(super) struct Counters {
    pub read: AtomicU64,
    pub decoded: AtomicU64,
    pub ready: AtomicU64,
}

/// A load in progress: an iterator, and a stream, of tensors as they become ready; after an error there are no more. Dropping it cancels
/// the load and waits until nothing is in flight.
pub struct Load {
    pub(super) tensors: Pin<Box<async_channel::Receiver<Result<Loaded>>>>,
    pub(super) events: Sender<Event>,
    pub(super) counters: Arc<Counters>,
    pub(super) totals: LoadProgress,
    pub(super) reader: &'static str,
    pub(super) driver: Option<JoinHandle<()>>,
}

impl Load {
    /// How far it is.
    pub fn progress(&self) -> LoadProgress {
        LoadProgress {
            read: self.counters.read.load(Ordering::Relaxed),
            decoded: self.counters.decoded.load(Ordering::Relaxed),
            ready: self.counters.ready.load(Ordering::Relaxed),
            ..self.totals
        }
    }

    /// What reads: `io_uring direct`, `threads`, `mmap` and so on.
    pub fn reader(&self) -> &'static str {
        self.reader
    }

    /// Waits for the next tensor; `None` at the end. From any thread: each tensor comes out once.
    pub fn wait(&self) -> Option<Result<Loaded>> {
        self.tensors.recv_blocking().ok()
    }

    /// Asks the load to stop: what is in flight is awaited, then [`Cancelled`](crate::ErrorKind::Cancelled) comes out, unless all was done.
    pub fn cancel(&self) {
        // Nobody listens any more: it is over already.
        let _ = self.events.send(Event::Cancel);
    }

    /// All tensors, or the first error.
    pub fn collect_all(self) -> Result<Vec<Loaded>> {
        self.collect()
    }
}

impl Iterator for Load {
    type Item = Result<Loaded>;

    fn next(&mut self) -> Option<Self::Item> {
        self.wait()
    }
}

impl futures_core::Stream for Load {
    type Item = Result<Loaded>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().tensors.as_mut().poll_next(context)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.cancel();
        if let Some(driver) = self.driver.take() {
            // It does not panic; and if it did, that was said already.
            let _ = driver.join();
        }
    }
}

impl std::fmt::Debug for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Load").field("progress", &self.progress()).field("reader", &self.reader).finish_non_exhaustive()
    }
}
