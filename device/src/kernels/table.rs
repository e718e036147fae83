//! Expands a frequency table into shared memory, one symbol a thread and then 16 slots a thread.
//!
//! ```text
//! start = sum of the frequencies of the symbols below mine          (scan over the block)
//! entry[start] = my symbol and frequency, all other slots = 0
//! of my 16 slots: the last start at or before each, which may lie in another thread's (maximum scan over the block)
//! entry[slot] = entry[that start] + (slot - start) << 20
//! ```
//!
//! A table is 512 bytes in memory and 16 KiB expanded: reading it expanded would be 5 % of all bytes that a block reads.

use super::intrinsics::{global, lane_id, shared, shuffle_up, sync_block, thread};
use crate::job::THREADS;
use crate::rans::{Entry, SLOTS};

/// Slots that a thread fills.
const RUN: u32 = SLOTS as u32 / THREADS;
/// Where the words of the warps lie in shared memory.
const WARP_WORDS: u32 = SLOTS as u32;

/// Combines `v` over the threads before this one: within the warp by shuffles, over warps through shared memory.
#[inline(always)]
fn scan_before(v: u32, combine: impl Fn(u32, u32) -> u32) -> u32 {
    let mut inclusive = v;
    let mut delta = 1;
    while delta < 32 {
        inclusive = combine(inclusive, shuffle_up(inclusive, delta));
        delta *= 2;
    }
    let warp = thread() / 32;
    if lane_id() == 31 {
        shared::store(WARP_WORDS + warp, inclusive);
    }
    let mut before = shuffle_up(inclusive, 1);
    sync_block();
    let mut w = 0;
    while w < THREADS / 32 {
        let other = shared::load(WARP_WORDS + w);
        before = if w < warp { combine(before, other) } else { before };
        w += 1;
    }
    // The words may be written again.
    sync_block();
    before
}

/// Expands the 256 frequencies at `freqs`; all threads of the block call it, and may look entries up when it returns.
#[inline(always)]
pub(super) fn expand(freqs: *const u16) {
    let t = thread();
    // SAFETY: a table has 256 frequencies, and a block as many threads.
    let freq = unsafe { *freqs.add(t as usize) } as u32;
    let mut k = 0;
    while k < RUN {
        shared::store(t + k * THREADS, 0);
        k += 1;
    }
    let start = scan_before(freq, |a, b| a + b);
    // The host has checked that the sum is 4096; a table that is not so is harmless here too.
    if freq != 0 && start < SLOTS as u32 {
        shared::store(start, Entry::new(t as u8, freq, 0).0);
    }
    sync_block();
    // Slot + 1 of the last start in my run, 0 where there is none: a maximum then finds the nearest.
    let mine = t * RUN;
    let mut last = 0;
    let mut k = 0;
    while k < RUN {
        last = if shared::load(mine + k) != 0 { mine + k + 1 } else { last };
        k += 1;
    }
    let mut from = scan_before(last, u32::max).saturating_sub(1);
    let mut entry = shared::load(from);
    sync_block();
    let mut k = 0;
    while k < RUN {
        let here = shared::load(mine + k);
        if here != 0 {
            entry = here;
            from = mine + k;
        }
        shared::store(mine + k, entry + ((mine + k - from) << 20));
        k += 1;
    }
    sync_block();
}

/// Writes the expanded table to global memory, at `out` (16-byte aligned), as streams with contexts want it: the symbols of all slots, then for
/// each symbol its first slot and frequency. All threads of the block call it.
///
/// # Safety
/// [`EXPANDED_BYTES`](crate::job::EXPANDED_BYTES) lie at `out`.
#[inline(always)]
pub(super) unsafe fn publish(out: u64) {
    let mine = thread() * RUN;
    let mut symbols = [0; RUN as usize / 4];
    let mut k = 0;
    while k < RUN {
        let entry = Entry(shared::load(mine + k));
        symbols[k as usize / 4] |= (entry.symbol() as u32) << (k % 4 * 8);
        if entry.offset() == 0 {
            // SAFETY: by contract; a symbol has one first slot.
            unsafe { global::store1(out + (SLOTS as u32 + 4 * entry.symbol() as u32) as u64, mine + k | entry.freq() << 16) };
        }
        k += 1;
    }
    // SAFETY: by contract.
    unsafe { global::store4(out + mine as u64, symbols) };
}
