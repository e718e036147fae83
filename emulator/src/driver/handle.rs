//! Handles given to C callers: numbers looked up in a table, so that a stale or foreign one is an error, never a bad pointer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::status::{Checked, Status};
use super::sync::lock;

/// A value of a C handle type (`CUcontext`, `CUstream`, …); never zero.
pub(crate) type Handle = usize;

/// The first handle; clear of the special streams 0, 1 and 2.
const FIRST: usize = 0x1000;
static NEXT: AtomicUsize = AtomicUsize::new(FIRST);

/// A handle that no object of any kind had before.
pub(crate) fn fresh() -> Handle {
    NEXT.fetch_add(16, Ordering::Relaxed)
}

/// The live objects of one kind.
pub(crate) struct Registry<T> {
    objects: Mutex<HashMap<Handle, Arc<T>>>,
    missing: Status,
}

impl<T> Registry<T> {
    /// `missing` is what a lookup of an unknown handle returns.
    pub(crate) fn new(missing: Status) -> Self {
        Registry { objects: Mutex::default(), missing }
    }

    pub(crate) fn insert(&self, handle: Handle, object: Arc<T>) {
        lock(&self.objects).insert(handle, object);
    }

    pub(crate) fn get(&self, handle: Handle) -> Checked<Arc<T>> {
        lock(&self.objects).get(&handle).cloned().ok_or(self.missing)
    }

    pub(crate) fn remove(&self, handle: Handle) -> Checked<Arc<T>> {
        lock(&self.objects).remove(&handle).ok_or(self.missing)
    }

    /// Drops every object for which `keep` is false.
    pub(crate) fn retain(&self, mut keep: impl FnMut(&T) -> bool) {
        lock(&self.objects).retain(|_, object| keep(object));
    }
}
