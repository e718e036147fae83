//! Reads what each block of a filtered tile went through, and refuses what there is not.
//!
//! ```text
//! heads     32 bytes at a time: a byte begins a block's mode unless the one before does and has its flag, so it does where the bytes
//!           with flags right before it are even in number, which one ballot tells all lanes
//! planes    32 blocks at a time: ballots tell how many planes, and weights, lie before a block's
//! classes   a nibble a block; then what is left must be zeros, fewer than 16
//! ```
//!
//! Where the tile's symbols have contexts, these are mapped at once (`bands.rs`).

use super::bands;
use super::intrinsics::{ballot, global, lane_id, lanes_below, sync_warp};
use crate::filter::modes::plane_bytes;
use crate::filter::{Map, Predictor, Ring, Values, WEIGHT_BYTES};
use crate::job::{FilterJob, MODE_BYTES, status};

/// The last predictor that a tile may have.
#[inline(always)]
fn last(job: &FilterJob) -> u32 {
    let map = Map::from_u8(job.map).unwrap_or(Map::Signed);
    match Values::new(map, Ring::new(job.bits as u32), job.fraction as u32) {
        Some(_) => Predictor::Linear as u32,
        None => Predictor::TopParabola as u32,
    }
}

/// Ones at the top of `bits`.
#[inline(always)]
fn leading_ones(bits: u32) -> u32 {
    (!bits).leading_zeros()
}

/// Byte `i` of the modes; those after the last are 0.
#[inline(always)]
unsafe fn byte(job: &FilterJob, i: u32) -> u32 {
    // SAFETY: by the callers' contract.
    if i < job.modes_len { unsafe { global::load_byte(job.modes + i as u64) } } else { 0 }
}

/// Reads a tile's modes; returns its status, the same in all lanes. All 32 lanes call it.
///
/// # Safety
/// The job's addresses are valid for what it says.
#[inline(always)]
pub(super) unsafe fn read(job: &FilterJob) -> u32 {
    let (height, _, across) = job.grid();
    let count = job.rows.div_ceil(height) * across;
    // SAFETY: by contract; each function looks after the modes' length.
    unsafe {
        let Some(planes) = heads(job, if job.how == 1 { 1 } else { count }) else { return status::MODES };
        // Behind this, the heads that other lanes have stored are there.
        sync_warp();
        let Some(classes) = self::planes(job, planes, count) else { return status::MODES };
        sync_warp();
        let Some(end) = self::classes(job, classes, count) else { return status::MODES };
        let left = job.modes_len - end;
        if left >= 16 || ballot(lane_id() < left && byte(job, end + lane_id()) != 0) != 0 {
            return status::MODES;
        }
        if job.contexts != 0 {
            sync_warp();
            bands::map(job);
        }
    }
    status::OK
}

/// Reads `said` modes and stores each in its block's place, the only one in the first's; returns where they end.
#[inline(always)]
unsafe fn heads(job: &FilterJob, said: u32) -> Option<u32> {
    let (lane, below, last_predictor) = (lane_id(), lanes_below(), last(job));
    // The chunk's first byte; modes that begin before it; whether one begins there.
    let (mut at, mut found, mut begins) = (0, 0, true);
    while at < job.modes_len {
        let i = at + lane;
        // SAFETY: by contract.
        let mode = unsafe { byte(job, i) };
        let flags = ballot(mode & 128 != 0);
        // Flags right before this byte, as far back as the chunk goes.
        let before = if lane == 0 { 0 } else { leading_ones(flags << (32 - lane)) };
        let head = (before % 2 == 0) == (before < lane || begins);
        let heads = ballot(head);
        let number = found + (heads & below).count_ones();
        let mine = head && number < said;
        let flagged = mode & 128 != 0;
        // SAFETY: by contract.
        let transforms = if flagged { unsafe { byte(job, i + 1) } } else { 0 };
        let end = i + 1 + flagged as u32;
        // No field of the transforms may be 3.
        let impossible = mode & 127 > last_predictor || transforms & transforms >> 1 & 0x55 != 0 || end > job.modes_len;
        if ballot(mine && impossible) != 0 {
            return None;
        }
        if mine {
            // SAFETY: the tile has as many blocks.
            unsafe { global::store1(job.blocks + number as u64 * MODE_BYTES as u64, mode & 127 | transforms << 8) };
        }
        let last = ballot(mine && number == said - 1);
        if last != 0 {
            let lane = last.trailing_zeros();
            return Some(at + lane + 1 + (flags >> lane & 1));
        }
        let before = leading_ones(flags);
        begins = (before % 2 == 0) == (before < 32 || begins);
        found += heads.count_ones();
        at += 32;
    }
    None
}

/// Notes for each block, of `count`, where its plane or its weights lie, the first of which would begin `at` a byte; returns where they end.
#[inline(always)]
unsafe fn planes(job: &FilterJob, mut at: u32, count: u32) -> Option<u32> {
    let (value, slope) = plane_bytes(Ring::new(job.bits as u32));
    let bytes = (value + 2 * slope) as u32;
    let (lane, below) = (lane_id(), lanes_below());
    // SAFETY: the first block's mode is there.
    let only = unsafe { global::load1(job.blocks) };
    // It may be written again.
    sync_warp();
    let mut first = 0;
    while first < count {
        let i = first + lane;
        let place = job.blocks + i as u64 * MODE_BYTES as u64;
        // SAFETY: the tile has as many blocks.
        let mode = match (i < count, job.how) {
            (false, _) => 0,
            (true, 1) => only,
            _ => unsafe { global::load1(place) },
        };
        let planar = ballot(mode & 255 == Predictor::Planar as u32);
        let linear = ballot(mode & 255 == Predictor::Linear as u32);
        let taken = |lanes: u32| (planar & lanes).count_ones() * bytes + (linear & lanes).count_ones() * WEIGHT_BYTES as u32;
        if i < count {
            // SAFETY: as above.
            unsafe { global::store2(place, [mode, at + taken(below)]) };
        }
        at += taken(u32::MAX);
        if at > job.modes_len {
            return None;
        }
        first += 32;
    }
    Some(at)
}

/// Puts classes, which begin `at` a byte, to the modes of `count` blocks; returns where they end.
#[inline(always)]
unsafe fn classes(job: &FilterJob, at: u32, count: u32) -> Option<u32> {
    if job.with_classes == 0 {
        return Some(at);
    }
    let end = at + count.div_ceil(2);
    if end > job.modes_len {
        return None;
    }
    let mut bad = false;
    let mut i = lane_id();
    while i < count {
        // SAFETY: the tile has as many blocks, and the modes a nibble for each.
        unsafe {
            let class = byte(job, at + i / 2) >> (i % 2 * 4) & 15;
            bad |= class >= job.classes as u32;
            let place = job.blocks + i as u64 * MODE_BYTES as u64;
            global::store1(place, global::load1(place) | class << 16);
        }
        i += 32;
    }
    if ballot(bad) == 0 { Some(end) } else { None }
}
