//! How far a load is: written by the loader, read by whoever asks.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes loaded, of how many.
///
/// The two are independent counters and the reader wants no more than a number to show, so relaxed order is enough.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    done: AtomicU64,
    total: AtomicU64,
}

impl Progress {
    /// Says how far the load is.
    pub(crate) fn set(&self, done: u64, total: u64) {
        self.total.store(total, Ordering::Relaxed);
        self.done.store(done, Ordering::Relaxed);
    }

    /// The bytes loaded, and in all; `(0, 0)` until it is known how many there are.
    pub(crate) fn get(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }
}
