//! Huge pages for memory that the allocator gave.
//!
//! A tensor in a `Vec` is touched first when it is decoded, and each page of 4 KiB then costs a fault: together they take several times as
//! long as decoding. The allocator has written to some of these pages (its own records lie between tensors), so the system gives no huge ones
//! by itself; it does when it is told to put small ones together.
#![allow(unsafe_code)]

use super::memory::HostMemory;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Instant;

/// Bytes of a huge page; where it is another size, nothing is gained.
const HUGE: usize = 2 << 20;
/// Bytes of a page at least; allocations less apart have no page of others between them.
const PAGE: usize = 4096;
/// What the faults of 512 small pages take, in microseconds. A huge page takes a fifth of that, but several times as long in a guest whose
/// host has not backed the memory yet.
const SMALL: i64 = 500;
/// What may be lost by trying, in microseconds.
const LOSS: i64 = 10_000;

/// Memory that can be on huge pages, and what of it was asked for.
pub(super) struct Pages {
    /// Address of each huge page, in order, and whether it was taken on.
    pages: Vec<(usize, AtomicBool)>,
    /// What has been gained over small ones, in microseconds.
    gain: AtomicI64,
}

impl Pages {
    /// The huge pages that lie inside of these memories, several of which may share one.
    pub(super) fn of<'a>(memories: impl Iterator<Item = &'a dyn HostMemory>) -> Self {
        let fresh = memories.filter(|memory| memory.is_fresh() && !memory.is_empty());
        let pages = whole_pages(fresh.map(|memory| (memory.address() as usize, memory.len())).collect());
        Self { pages: pages.map(|page| (page, AtomicBool::new(false))).collect(), gain: AtomicI64::new(0) }
    }

    /// Asks for the huge pages that bytes at these addresses are on, which somebody is about to write. Each is asked for once; none is
    /// any more, once they have turned out to take longer than small ones.
    pub(super) fn before_writing(&self, addresses: Range<usize>) {
        let first = self.pages.partition_point(|(page, _)| page + HUGE <= addresses.start);
        for (page, taken) in self.pages[first..].iter().take_while(|(page, _)| *page < addresses.end) {
            if self.gain.load(Ordering::Relaxed) < -LOSS {
                return;
            }
            if !taken.swap(true, Ordering::Relaxed) {
                let began = Instant::now();
                enlarge(*page);
                let gain = SMALL - began.elapsed().as_micros() as i64;
                self.gain.fetch_add(gain, Ordering::Relaxed);
            }
        }
    }
}

/// Addresses of the huge pages that are whole within memories of some addresses and lengths, in order.
fn whole_pages(mut memories: Vec<(usize, usize)>) -> impl Iterator<Item = usize> {
    memories.sort_unstable();
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (start, len) in memories {
        let (start, end) = (start / PAGE * PAGE, (start + len).next_multiple_of(PAGE));
        match runs.last_mut() {
            Some(run) if start <= run.end => run.end = run.end.max(end),
            _ => runs.push(start..end),
        }
    }
    runs.into_iter().flat_map(|run| (run.start.next_multiple_of(HUGE)..run.end / HUGE * HUGE).step_by(HUGE))
}

/// Asks for a huge page: one that is not touched yet comes by a fault, one of which a part is is put together. Where the system refuses,
/// pages stay small.
#[cfg(target_os = "linux")]
fn enlarge(page: usize) {
    for advice in [libc::MADV_HUGEPAGE, libc::MADV_COLLAPSE] {
        // SAFETY: neither changes what a byte of the memory is, nor who may touch it.
        let failed = unsafe { libc::madvise(page as *mut libc::c_void, HUGE, advice) } != 0;
        if failed {
            tracing::trace!(target: "wcodec::load", "no huge page: {}", std::io::Error::last_os_error());
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn enlarge(_: usize) {}

#[cfg(test)]
mod tests {
    use super::super::VecMemory;
    use super::*;

    #[test]
    fn neighbours_share_huge_pages() {
        let at = 7 * HUGE;
        let tensors = |n: usize| (0..n).map(|i| (at + 16 + i * (HUGE / 2 + PAGE), HUGE / 2)).collect::<Vec<_>>();
        let pages = |memories| whole_pages(memories).collect::<Vec<_>>();
        assert!(pages(Vec::new()).is_empty());
        assert!(pages(tensors(1)).is_empty());
        assert_eq!(pages(tensors(2)), [at]);
        let whole = (at + 100 * (HUGE / 2 + PAGE)) / HUGE - 7;
        assert_eq!(pages(tensors(100)), (0..whole).map(|i| at + i * HUGE).collect::<Vec<_>>());
        // A page between them that is somebody's is left alone.
        assert!(pages(vec![(at, HUGE - PAGE), (at + HUGE, HUGE / 2)]).is_empty());
    }

    #[test]
    fn pages_are_asked_for_once_and_bytes_stay() {
        let memories: Vec<_> = (0..3).map(|_| VecMemory::<u8>::zeroed(4 * HUGE - 5000)).collect();
        let pages = Pages::of(memories.iter().map(|m| m as &dyn HostMemory));
        let taken = |pages: &Pages| pages.pages.iter().filter(|(_, taken)| taken.load(Ordering::Relaxed)).count();
        let (first, last) = (pages.pages[0].0, pages.pages[pages.pages.len() - 1].0);
        pages.before_writing(first - 1..first);
        assert_eq!(taken(&pages), 0);
        pages.before_writing(first + 1..first + 2);
        assert_eq!(taken(&pages), 1);
        // However long the first took.
        pages.gain.store(0, Ordering::Relaxed);
        pages.before_writing(last..last + 1);
        assert_eq!(taken(&pages), 2);
        pages.gain.store(-LOSS - 1, Ordering::Relaxed);
        pages.before_writing(0..usize::MAX);
        assert_eq!(taken(&pages), 2);
        pages.gain.store(i64::MAX / 2, Ordering::Relaxed);
        pages.before_writing(0..usize::MAX);
        assert_eq!(taken(&pages), pages.pages.len());
        assert!(memories.into_iter().flat_map(VecMemory::into_vec).all(|b| b == 0));
    }
}
