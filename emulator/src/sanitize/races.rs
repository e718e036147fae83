//! Races: who touched each word of memory last, and whether anything orders the next access after it.
//!
//! For every four bytes, the last read and the last write are kept. Two accesses to common bytes, one of them a write, race unless both
//! are strong (atomic or volatile), or are of one block with a barrier between them, or of one warp with a barrier among its lanes
//! between them, or of one lane. Ordering by fences and flags is not followed: data handed over that way counts as a race.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use crate::memory::View;

/// Who accesses, and after how many barriers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Who {
    pub(crate) block: u64,
    pub(crate) warp: u32,
    pub(crate) lane: u32,
    /// Barriers of the block so far.
    pub(crate) epoch: u32,
    /// Barriers among the warp's lanes so far.
    pub(crate) warp_epoch: u32,
}

/// The earlier one of two accesses that race.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Earlier {
    pub(crate) wrote: bool,
    pub(crate) same_block: bool,
    pub(crate) warp: u32,
    pub(crate) lane: u32,
}

/// An access as it is kept, in 64 bits:
/// `bytes:4 strong:1 lanes:1 warps:1 blocks:1 lane:5 warp:5 warp_epoch:8 epoch:16 block:22`; 0 is none. The plurals say that others than
/// the one named had the same access at the same time. Block and barrier numbers wrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark(u64);

const LANES: u64 = 1 << 5;
const WARPS: u64 = 1 << 6;
const BLOCKS: u64 = 1 << 7;
const BYTES: u64 = 15;
const STRONG: u64 = 1 << 4;

impl Mark {
    fn new(who: Who, bytes: u64, strong: bool) -> Self {
        Self(
            bytes
                | u64::from(strong) << 4
                | u64::from(who.lane & 31) << 8
                | u64::from(who.warp & 31) << 13
                | u64::from(who.warp_epoch & 0xff) << 18
                | u64::from(who.epoch & 0xffff) << 26
                | who.block << 42,
        )
    }

    fn lane(self) -> u64 {
        self.0 >> 8 & 31
    }

    fn warp(self) -> u64 {
        self.0 >> 13 & 31
    }

    fn warp_epoch(self) -> u64 {
        self.0 >> 18 & 0xff
    }

    fn epoch(self) -> u64 {
        self.0 >> 26 & 0xffff
    }

    fn block(self) -> u64 {
        self.0 >> 42
    }

    /// The one flag that says how `self` and `later` are apart if nothing orders them; 0 if something does.
    fn apart(self, later: Self) -> u64 {
        if self.0 & BLOCKS != 0 || self.block() != later.block() {
            BLOCKS
        } else if self.epoch() != later.epoch() {
            0
        } else if self.0 & WARPS != 0 || self.warp() != later.warp() {
            WARPS
        } else if self.warp_epoch() != later.warp_epoch() {
            0
        } else if self.0 & LANES != 0 || self.lane() != later.lane() {
            LANES
        } else {
            0
        }
    }

    fn races(self, later: Self) -> bool {
        self.0 & later.0 & BYTES != 0 && self.0 & later.0 & STRONG == 0 && self.apart(later) != 0
    }

    /// Both accesses in one mark: the later one, or that several were at it.
    fn with(self, later: Self) -> Self {
        let apart = if self.0 & BYTES == 0 { 0 } else { self.apart(later) };
        match apart {
            0 => {
                let same = self.block() == later.block() && self.epoch() == later.epoch();
                let same = same && self.warp() == later.warp() && self.warp_epoch() == later.warp_epoch();
                if same && self.0 & BYTES != 0 { Self(later.0 & (self.0 | !STRONG) | self.0 & BYTES) } else { later }
            }
            // Only of bytes that both touched is it true that several were at them. Where there are none, the later one is kept: who else
            // touched the rest of the word is forgotten rather than blamed for all of it.
            _ if self.0 & later.0 & BYTES == 0 => later,
            flag => {
                let strong = later.0 & (self.0 | !STRONG);
                Self(strong & !BYTES | self.0 & later.0 & BYTES | self.0 & (LANES | WARPS | BLOCKS) | flag)
            }
        }
    }

    fn earlier(self, later: Self, wrote: bool) -> Earlier {
        Earlier { wrote, same_block: self.block() == later.block(), warp: self.warp() as u32, lane: self.lane() as u32 }
    }
}

/// The last accesses to a range of memory.
#[derive(Debug)]
pub(crate) struct Races {
    reads: Box<[AtomicU64]>,
    writes: Box<[AtomicU64]>,
}

impl Races {
    /// None yet, in `len` bytes; none at all if the host has not the memory for it.
    pub(crate) fn new(len: u64) -> Option<Self> {
        let words = usize::try_from(len.div_ceil(4)).ok()?;
        Some(Self { reads: bytemuck::try_zeroed_slice_box(words).ok()?, writes: bytemuck::try_zeroed_slice_box(words).ok()? })
    }

    /// Forgets all accesses.
    pub(crate) fn clear(&self) {
        self.reads.iter().chain(&self.writes).for_each(|mark| mark.store(0, SeqCst));
    }

    /// Notes an access to `len` bytes from `offset`; the earlier one that it races with, if any.
    pub(crate) fn access(&self, offset: u64, len: u64, who: Who, write: bool, strong: bool) -> Option<Earlier> {
        let (first, last) = (offset / 4, (offset + len - 1) / 4);
        (first..=last).find_map(|word| {
            let low = offset.max(word * 4) - word * 4;
            let high = (offset + len).min(word * 4 + 4) - word * 4;
            let mark = Mark::new(who, (1 << high) - (1 << low), strong);
            let (read, written) = (&self.reads[word as usize], &self.writes[word as usize]);
            // Each side notes itself before it looks at the other, so that of two at once one sees the other.
            let (own, other) = if write { (written, read) } else { (read, written) };
            let before = Mark(own.fetch_update(SeqCst, SeqCst, |old| Some(Mark(old).with(mark).0)).expect("always a value"));
            let crossing = Mark(other.load(SeqCst));
            if write && before.races(mark) {
                return Some(before.earlier(mark, true));
            }
            crossing.races(mark).then(|| crossing.earlier(mark, !write))
        })
    }
}

/// The last accesses to every region of a launch. Each is only kept once there is one.
#[derive(Debug)]
pub(crate) struct GlobalRaces(Vec<OnceLock<Option<Races>>>);

impl GlobalRaces {
    pub(crate) fn new(view: &View) -> Self {
        Self(view.regions().iter().map(|_| OnceLock::new()).collect())
    }

    /// The accesses to a region of `len` bytes; none if the host has not the memory to keep them.
    pub(crate) fn of(&self, region: usize, len: u64) -> Option<&Races> {
        self.0[region].get_or_init(|| Races::new(len)).as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(block: u64, warp: u32, lane: u32, epoch: u32) -> Who {
        Who { block, warp, lane, epoch, warp_epoch: 0 }
    }

    #[test]
    fn a_barrier_orders_a_block() {
        let races = Races::new(64).unwrap();
        assert_eq!(races.access(4, 4, who(0, 0, 0, 0), true, false), None);
        assert_eq!(races.access(4, 4, who(0, 1, 0, 1), false, false), None);
        assert!(races.access(4, 4, who(0, 2, 0, 1), true, false).is_some_and(|earlier| !earlier.wrote && earlier.warp == 1));
        assert_eq!(races.access(4, 4, who(0, 3, 0, 2), true, false), None);
    }

    #[test]
    fn nothing_orders_blocks_but_atomics() {
        let races = Races::new(64).unwrap();
        assert_eq!(races.access(8, 4, who(0, 0, 0, 0), true, true), None);
        assert_eq!(races.access(8, 4, who(1, 0, 0, 5), true, true), None);
        assert!(races.access(8, 4, who(2, 0, 0, 9), false, false).is_some_and(|earlier| earlier.wrote && !earlier.same_block));
    }

    #[test]
    fn many_readers_are_not_forgotten() {
        let races = Races::new(64).unwrap();
        for warp in 0..4 {
            assert_eq!(races.access(0, 8, who(0, warp, 3, 0), false, false), None);
        }
        // The last reader was of warp 3, but it was not alone.
        assert!(races.access(4, 4, who(0, 3, 3, 0), true, false).is_some());
    }

    #[test]
    fn lanes_that_change_their_own_bytes_of_a_word_do_not_race() {
        let races = Races::new(64).unwrap();
        for write in [false, true] {
            for lane in 0..4 {
                assert_eq!(races.access(lane as u64, 1, who(0, 0, lane, 0), write, false), None);
            }
        }
    }

    #[test]
    fn neighbours_in_a_word_do_not_race() {
        let races = Races::new(64).unwrap();
        assert_eq!(races.access(0, 2, who(0, 0, 0, 0), true, false), None);
        assert_eq!(races.access(2, 2, who(0, 1, 0, 0), true, false), None);
        assert!(races.access(3, 1, who(0, 0, 0, 0), true, false).is_some());
    }
}
