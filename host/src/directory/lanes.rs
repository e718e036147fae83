//! Several files at a time on as many threads as the current rayon pool has, one count of what is done, one error.

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
    #[cfg(test)]
    fn unseen() -> Self {
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

/// In which way items are worked on, given their sizes.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    /// One after the other, each on all threads: what is so large that the others would wait for it, and what is left over at the end.
    whole: Vec<usize>,
    /// Side by side, each on its lane's threads: for one thread there is no faster way than alone, since nothing is handed over.
    beside: Vec<usize>,
}

fn plan(sizes: &[u64], lanes: usize) -> Plan {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(sizes[i]));
    let mut rest: u128 = sizes.iter().map(|&n| n as u128).sum();
    let mut large = 0;
    while large < order.len() && sizes[order[large]] as u128 * lanes as u128 > rest {
        rest -= sizes[order[large]] as u128;
        large += 1;
    }
    let mut beside = order.split_off(large);
    let left_over = beside.split_off(beside.len() - beside.len() % lanes);
    order.extend(left_over);
    Plan { whole: order, beside }
}

/// Runs `one` on each item, several at a time. After an error no more are begun, and what goes on is stopped.
///
/// # Errors
/// The first that is not another's consequence.
pub(super) fn each<T: Sync, R: Send>(
    items: &[T],
    size: impl Fn(&T) -> u64,
    tally: &Tally<'_>,
    one: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let threads = rayon::current_num_threads();
    let lanes = threads.clamp(1, LANES);
    let plan = plan(&items.iter().map(size).collect::<Vec<_>>(), lanes);
    let results: Vec<Mutex<Option<R>>> = items.iter().map(|_| Mutex::new(None)).collect();
    let error: Mutex<Option<Error>> = Mutex::new(None);
    let fail = |e: Error| {
        tally.stop();
        let mut first = unpoisoned(&error);
        if first.as_ref().is_none_or(|f| f.kind() == ErrorKind::Cancelled) {
            *first = Some(e);
        }
    };
    let work = |next: &AtomicUsize, numbers: &[usize]| {
        while !tally.stopped() {
            let Some(&number) = numbers.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
            match one(&items[number]) {
                Ok(result) => *unpoisoned(&results[number]) = Some(result),
                Err(e) => fail(e),
            }
        }
    };
    if lanes > 1 && !plan.beside.is_empty() {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for lane in 0..lanes {
                let (next, plan, work, fail) = (&next, &plan, &work, &fail);
                let own = threads / lanes + usize::from(lane < threads % lanes);
                scope.spawn(move || match rayon::ThreadPoolBuilder::new().num_threads(own).build() {
                    Ok(pool) => pool.install(|| work(next, &plan.beside)),
                    Err(e) => fail(Error::io("starting threads", std::io::Error::other(e))),
                });
            }
        });
    } else {
        work(&AtomicUsize::new(0), &plan.beside);
    }
    work(&AtomicUsize::new(0), &plan.whole);
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
        let doubled = each(
            &items,
            |n| *n,
            &tally,
            |&n| {
                let part = tally.part();
                assert!(part(n / 2, n).is_continue() && part(n, n).is_continue());
                Ok(2 * n)
            },
        );
        assert_eq!(doubled.unwrap(), items.iter().map(|n| 2 * n).collect::<Vec<_>>());
        assert_eq!(most.load(Ordering::Relaxed), 4950);
    }

    #[test]
    fn large_ones_and_the_last_have_all_threads() {
        let planned = |sizes: &[u64], lanes| {
            let Plan { whole, beside } = plan(sizes, lanes);
            (whole, beside)
        };
        assert_eq!(planned(&[5, 5, 5, 5], 2), (vec![], vec![0, 1, 2, 3]));
        assert_eq!(planned(&[5, 5, 5], 2), (vec![2], vec![0, 1]));
        assert_eq!(planned(&[1, 9, 2], 2), (vec![1, 2, 0], vec![]));
        assert_eq!(planned(&[1, 2, 3, 10, 3], 2), (vec![3], vec![2, 4, 1, 0]));
        assert_eq!(planned(&[7], 1), (vec![], vec![0]));
        assert_eq!(planned(&[0, 0, 0], 2), (vec![2], vec![0, 1]));
        assert_eq!(planned(&[], 8), (vec![], vec![]));
        assert_eq!(planned(&[u64::MAX, u64::MAX], 8), (vec![0, 1], vec![]));
    }

    #[test]
    fn the_error_is_the_cause() {
        let items: Vec<u64> = (0..100).collect();
        let tally = Tally::unseen();
        let error = each(
            &items,
            |n| *n,
            &tally,
            |&n| match n {
                3 => Err(Error::argument("three")),
                _ => tally.count(1),
            },
        );
        assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidArgument);
        let refuse = |_, _| Flow::from(ControlFlow::Break(()));
        let tally = Tally::new(Some(Arc::new(refuse)), 100);
        let error = each(&items, |n| *n, &tally, |_| tally.count(1));
        assert_eq!(error.unwrap_err().kind(), ErrorKind::Cancelled);
        assert!(each(&[] as &[u64], |n| *n, &tally, |_| Ok(())).unwrap().is_empty());
    }
}
