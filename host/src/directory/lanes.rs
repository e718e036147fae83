//! Several files at a time on the current rayon pool, one count of what is done, one error.

use crate::error::{Error, ErrorKind, Result};
use crate::progress::Flow;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Files in hand at a time, at most: each has its own buffers.
const LANES: usize = 8;

/// What a count of bytes is told to, and may stop all.
pub(super) type Report<'a> = Arc<dyn Fn(u64, u64) -> Flow + Send + Sync + 'a>;

/// Bytes done in all files, of all; clones count together.
#[derive(Clone)]
pub(super) struct Tally<'a>(Arc<Inner<'a>>);

struct Inner<'a> {
    report: Option<Report<'a>>,
    total: u64,
    done: AtomicU64,
    stop: AtomicBool,
}

impl<'a> Tally<'a> {
    pub(super) fn new(report: Option<Report<'a>>, total: u64) -> Self {
        Self(Arc::new(Inner { report, total, done: AtomicU64::new(0), stop: AtomicBool::new(false) }))
    }

    /// One that nobody looks at.
    pub(super) fn unseen() -> Self {
        Self::new(None, 0)
    }

    /// Counts `bytes` more; the answer is whether to go on.
    pub(super) fn add(&self, bytes: u64) -> ControlFlow<()> {
        let done = self.0.done.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if self.0.report.as_ref().is_some_and(|report| report(done, self.0.total).check().is_err()) {
            self.stop();
        }
        if self.stopped() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// [`add`](Self::add), for those who end with an error.
    pub(super) fn count(&self, bytes: u64) -> Result<()> {
        Flow::from(self.add(bytes)).check()
    }

    /// A file's own progress (bytes done, of its bytes), as what it adds to all.
    pub(super) fn part(&self) -> impl Fn(u64, u64) -> ControlFlow<()> + Send + Sync + use<'a> {
        let (all, seen) = (self.clone(), AtomicU64::new(0));
        move |done, _| {
            let before = seen.fetch_max(done, Ordering::Relaxed);
            all.add(done.saturating_sub(before))
        }
    }

    /// Has everybody stop at the next report.
    fn stop(&self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }

    /// Whether all are to stop.
    fn stopped(&self) -> bool {
        self.0.stop.load(Ordering::Relaxed)
    }
}

/// Runs `one` on each item, several at a time, begun in order. After an error no more are begun, and what goes on is stopped.
///
/// # Errors
/// The first that is not another's consequence.
pub(super) fn each<T: Sync, R: Send>(items: &[T], tally: &Tally<'_>, one: impl Fn(&T) -> Result<R> + Sync) -> Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<R>>> = items.iter().map(|_| Mutex::new(None)).collect();
    let error: Mutex<Option<Error>> = Mutex::new(None);
    let lane = || {
        while !tally.stopped() {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(at) else { break };
            match one(item) {
                Ok(result) => *unpoisoned(&results[at]) = Some(result),
                Err(e) => {
                    tally.stop();
                    let mut first = unpoisoned(&error);
                    if first.as_ref().is_none_or(|f| f.kind() == ErrorKind::Cancelled) {
                        *first = Some(e);
                    }
                }
            }
        }
    };
    let lanes = rayon::current_num_threads().min(items.len()).clamp(1, LANES);
    rayon::scope(|scope| {
        for _ in 1..lanes {
            scope.spawn(|_| lane());
        }
        lane();
    });
    if let Some(e) = error.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(e);
    }
    let results: Option<Vec<R>> = results.into_iter().map(|r| r.into_inner().unwrap_or_else(PoisonError::into_inner)).collect();
    results.ok_or_else(|| Error::new(ErrorKind::Cancelled, "cancelled"))
}

/// A poisoned lock is none: what it guards is only ever replaced whole.
fn unpoisoned<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_in_order_and_bytes_in_all() {
        let items: Vec<u64> = (0..100).collect();
        let most = AtomicU64::new(0);
        let report = |done, total| {
            assert_eq!(total, 4950);
            most.fetch_max(done, Ordering::Relaxed);
            Flow::from(())
        };
        let tally = Tally::new(Some(Arc::new(report)), 4950);
        let doubled = each(&items, &tally, |&n| {
            let part = tally.part();
            assert!(part(n / 2, n).is_continue() && part(n, n).is_continue());
            Ok(2 * n)
        });
        assert_eq!(doubled.unwrap(), items.iter().map(|n| 2 * n).collect::<Vec<_>>());
        assert_eq!(most.load(Ordering::Relaxed), 4950);
    }

    #[test]
    fn the_error_is_the_cause() {
        let items: Vec<u64> = (0..100).collect();
        let tally = Tally::unseen();
        let error = each(&items, &tally, |&n| match n {
            3 => Err(Error::argument("three")),
            _ => tally.count(1),
        });
        assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidArgument);
        let refuse = |_, _| Flow::from(ControlFlow::Break(()));
        let tally = Tally::new(Some(Arc::new(refuse)), 100);
        let error = each(&items, &tally, |_| tally.count(1));
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Cancelled);
        assert!(each(&[] as &[u64], &tally, |_| Ok(())).unwrap().is_empty());
    }
}
