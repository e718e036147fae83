//! Huge pages for memory that the allocator gave.
//!
//! A tensor in a `Vec` is touched first when it is decoded, and each page of 4 KiB then costs a fault: together they take several times as
//! long as decoding. The allocator has written to some of these pages (its own records lie between tensors), so the system gives no huge ones
//! by itself; it does when it is told to put small ones together.
#![allow(unsafe_code)]

use super::memory::HostMemory;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of a huge page; where it is another size, nothing is gained.
const HUGE: usize = 2 << 20;
/// Bytes to put together in one call, so that several threads have some.
const PIECE: usize = 16 * HUGE;
/// Bytes of a page at least; allocations less apart have no page of others between them.
const PAGE: usize = 4096;

/// What is still to be put on huge pages.
pub(super) struct Pages {
    pieces: Vec<Range<usize>>,
    next: AtomicUsize,
}

impl Pages {
    /// The huge pages that lie inside of these memories, several of which may share one.
    pub(super) fn of<'a>(memories: impl Iterator<Item = &'a dyn HostMemory>) -> Self {
        let fresh = memories.filter(|memory| memory.is_fresh() && !memory.is_empty());
        let pieces = pieces(fresh.map(|memory| (memory.address() as usize, memory.len())).collect());
        Self { pieces, next: AtomicUsize::new(0) }
    }

    /// Puts together what no other thread has taken on.
    pub(super) fn work(&self) {
        while let Some(piece) = self.pieces.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            enlarge(piece);
        }
    }
}

/// Whole huge pages within memories of some addresses and lengths, in pieces.
fn pieces(mut memories: Vec<(usize, usize)>) -> Vec<Range<usize>> {
    memories.sort_unstable();
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (start, len) in memories {
        let (start, end) = (start / PAGE * PAGE, (start + len).next_multiple_of(PAGE));
        match runs.last_mut() {
            Some(run) if start <= run.end => run.end = run.end.max(end),
            _ => runs.push(start..end),
        }
    }
    let whole = |run: Range<usize>| run.start.next_multiple_of(HUGE)..run.end / HUGE * HUGE;
    let split = |run: Range<usize>| run.clone().step_by(PIECE).map(move |at| at..(at + PIECE).min(run.end));
    runs.into_iter().map(whole).flat_map(split).collect()
}

/// Asks for huge pages: those that are not touched yet come by faults, those of which a part is are put together. Where the system
/// refuses, pages stay small.
#[cfg(target_os = "linux")]
fn enlarge(piece: &Range<usize>) {
    for advice in [libc::MADV_HUGEPAGE, libc::MADV_COLLAPSE] {
        // SAFETY: neither changes what a byte of the memory is, nor who may touch it.
        let failed = unsafe { libc::madvise(piece.start as *mut libc::c_void, piece.len(), advice) } != 0;
        if failed {
            tracing::trace!(target: "wcodec::load", "no huge pages: {}", std::io::Error::last_os_error());
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn enlarge(_: &Range<usize>) {}

#[cfg(test)]
mod tests {
    use super::super::VecMemory;
    use super::*;

    #[test]
    fn neighbours_share_huge_pages() {
        let at = 7 * HUGE;
        let tensors = |n: usize| (0..n).map(|i| (at + 16 + i * (HUGE / 2 + PAGE), HUGE / 2)).collect::<Vec<_>>();
        assert!(pieces(Vec::new()).is_empty());
        assert!(pieces(tensors(1)).is_empty());
        assert_eq!(pieces(tensors(2)), std::slice::from_ref(&(at..at + HUGE)));
        let all = pieces(tensors(100));
        assert!(all.len() > 1 && all.windows(2).all(|w| w[0].end == w[1].start && w[0].len() == PIECE));
        assert_eq!((all[0].start, all[all.len() - 1].end), (at, (at + 100 * (HUGE / 2 + PAGE)) / HUGE * HUGE));
        // A page between them that is somebody's is left alone.
        assert!(pieces(vec![(at, HUGE - PAGE), (at + HUGE, HUGE / 2)]).is_empty());
    }

    #[test]
    fn bytes_stay() {
        let memories: Vec<_> = (0..9).map(|_| VecMemory::<u8>::zeroed(HUGE - 5000)).collect();
        let pages = Pages::of(memories.iter().map(|m| m as &dyn HostMemory));
        pages.work();
        assert!(pages.next.load(Ordering::Relaxed) > pages.pieces.len());
        assert!(memories.into_iter().flat_map(VecMemory::into_vec).all(|b| b == 0));
    }
}
