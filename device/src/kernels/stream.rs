//! One warp decodes one stream and joins it with the tile's other planes.
//!
//! ```text
//! for each full chunk but the last (128 symbols, 4 a lane):
//!     stop if the words have run out                       once a chunk: SLACK makes the reads in between harmless
//!     4 x: entry = table[x & 4095]; x = advance(x, entry)
//!          lanes below the floor take the words at p, in lane order; p += how many did
//!     join the lane's 4 symbols with the other planes' bytes, store them at once
//! last full chunk: 2 steps, the other 2 symbols are the low bytes of the final state
//! partial chunk: 4 steps in which the lanes that have a symbol take part, stored element by element
//! patches: all positions are looked at first; then one a lane, each inside its own element
//! ```
//!
//! The chunk's addresses advance by a constant (`Walk`), so that nothing is left of rows and columns in the loop. Tiles whose rows do
//! not fit (a ragged edge, odd strides) take the way of the partial chunk for all chunks.

use super::intrinsics::{ballot, global, lane_id, lanes_below, renormalise, renormalise_some, shared, shuffle_xor, sync_warp};
use super::layouts::{Join, pack};
use crate::job::{SIDE_PLANES, TileJob, status};
use crate::rans::{CHUNK, Entry, FLOOR, LANE_RUN, LANES, STATE_BYTES, advance, slot};

/// How a lane's output address moves from chunk to chunk: by `step`, and by `jump` as well where the lane comes to the end of a row.
/// (A tile of several rows lies within 16 MiB: see `docs/format.md`.)
struct Walk {
    /// Where the lane's first run goes.
    start: u64,
    step: u32,
    jump: u32,
    /// Bytes of a row; 0 where every chunk ends where a row does, or where there is only one row.
    width: u32,
    /// How many bytes of its row lie behind the lane's first run, and how many fewer behind each next one.
    room: u32,
    less: u32,
}

impl Walk {
    /// `None` where runs would not be whole and aligned.
    #[inline(always)]
    fn new<J: Join>(job: &TileJob, lane: u32) -> Option<Self> {
        let run = J::WORDS as u32 * 4;
        let chunk = run * LANES as u32;
        let align = run.min(16) as u64 - 1;
        // Two lanes exchange halves of long runs (`store`): their runs must be neighbours.
        let together = if run > 16 { 2 * run } else { run };
        let at = lane * run;
        if (job.output | job.stride) & align != 0 {
            return None;
        }
        if job.stride == job.width as u64 || job.width >= job.elements * J::ELEMENT_BYTES {
            return Some(Self { start: job.output + at as u64, step: chunk, jump: 0, width: 0, room: 0, less: 0 });
        }
        let width = job.width.max(1);
        if width % together != 0 {
            return None;
        }
        let start = job.output + (at / width) as u64 * job.stride + (at % width) as u64;
        let less = chunk % width;
        let step = chunk / width * job.stride as u32 + less;
        let (width_or_none, room) = (if less == 0 { 0 } else { width }, width - run - at % width);
        Some(Self { start, step, jump: job.stride as u32 - width, width: width_or_none, room, less })
    }
}

/// Stores the words of a lane's run at `out`.
#[inline(always)]
unsafe fn store<J: Join>(out: u64, w: &[u32; 8]) {
    // SAFETY: the run lies in the tile and is aligned (`Walk`).
    unsafe {
        match J::WORDS {
            1 => global::store1(out, w[0]),
            2 => global::store2(out, [w[0], w[1]]),
            4 => global::store4(out, [w[0], w[1], w[2], w[3]]),
            _ => {
                // Two lanes exchange halves, so that each store fills whole sectors.
                let odd = lane_id() & 1 != 0;
                let mut mine = [0; 4];
                let mut other = [0; 4];
                let mut i = 0;
                while i < 4 {
                    mine[i] = if odd { w[4 + i] } else { w[i] };
                    other[i] = shuffle_xor(if odd { w[i] } else { w[4 + i] }, 1);
                    i += 1;
                }
                let (first, second) = if odd { (other, mine) } else { (mine, other) };
                let at = if odd { out - 16 } else { out };
                global::store4(at, first);
                global::store4(at + 32, second);
            }
        }
    }
}

/// Stores a run that may be partial, element by element wherever the rows put them; `symbols` has one a byte.
///
/// Not inlined: it would cost the loops registers.
#[inline(never)]
unsafe fn scatter<J: Join>(job: &TileJob, run: u32, mut symbols: u32) {
    let first = run * J::RUN;
    let end = job.elements.min(first + J::RUN);
    let mut i = first;
    while i < end {
        // SAFETY: element `i` lies in the tile.
        unsafe {
            let address = job.locate(i * J::ELEMENT_BYTES);
            let value = if J::PAIRS { J::element(job, i, (symbols & 15) + job.base) } else { J::element(job, i, symbols & 255) };
            symbols >>= if J::PAIRS { 4 } else { 8 };
            // At once where that is aligned: apart, the bytes would ask for their sector once each. Rows of bytes may begin anywhere.
            if J::ELEMENT_BYTES == 2 && address & 1 == 0 {
                global::store_half(address, value);
            } else if J::ELEMENT_BYTES == 4 && address & 3 == 0 {
                global::store1(address, value);
            } else {
                let mut k = 0;
                while k < J::ELEMENT_BYTES {
                    global::store_byte(address + k as u64, value >> (8 * k));
                    k += 1;
                }
            }
        }
        i += 1;
    }
}

/// A warp's stream in the middle of decoding.
struct Lanes {
    x: u32,
    words: *const u16,
    below: u32,
}

impl Lanes {
    /// One step of all lanes; the entry's low byte is the symbol.
    #[inline(always)]
    fn step(&mut self) -> u32 {
        let entry = shared::entry(slot(self.x));
        let (x, n) = renormalise(advance(self.x, entry), self.words, self.below);
        self.x = x;
        // SAFETY: stays within the stream and `SLACK`, as `decode` looks after every chunk.
        self.words = unsafe { self.words.add(n as usize) };
        entry.0
    }

    /// `n` chunks; whether there were words enough. `WRAP`: rows end within chunks.
    ///
    /// # Safety
    /// The planes and the tile have as many more full chunks.
    #[inline(always)]
    unsafe fn chunks<J: Join, const WRAP: bool>(
        &mut self,
        mut n: u32,
        end: *const u16,
        side: &mut [u64; SIDE_PLANES],
        out: &mut u64,
        room: &mut u32,
        walk: &Walk,
        base: u32,
    ) -> bool {
        // Several chunks between two tests, then the rest one by one.
        while n >= J::TOGETHER {
            if self.words > end {
                return false;
            }
            let mut k = 0;
            while k < J::TOGETHER {
                // SAFETY: by contract.
                unsafe { self.chunk::<J, WRAP>(side, out, room, walk, base) };
                k += 1;
            }
            n -= J::TOGETHER;
        }
        while J::TOGETHER > 1 && n > 0 {
            if self.words > end {
                return false;
            }
            // SAFETY: by contract.
            unsafe { self.chunk::<J, WRAP>(side, out, room, walk, base) };
            n -= 1;
        }
        true
    }

    /// A chunk: four steps, joined with what lies at `side` and stored at `out`; both move on.
    ///
    /// # Safety
    /// Whole runs of all planes and of the output lie there.
    #[inline(always)]
    unsafe fn chunk<J: Join, const WRAP: bool>(
        &mut self,
        side: &mut [u64; SIDE_PLANES],
        out: &mut u64,
        room: &mut u32,
        walk: &Walk,
        base: u32,
    ) {
        // SAFETY: by contract.
        unsafe {
            let others = J::load(side);
            let entries = [self.step(), self.step(), self.step(), self.step()];
            store::<J>(*out, &J::join(&entries, &others, base));
        }
        *out += walk.step as u64;
        if WRAP {
            *room = room.wrapping_sub(walk.less);
            if (*room as i32) < 0 {
                *out += walk.jump as u64;
                *room = room.wrapping_add(walk.width);
            }
        }
        J::advance(side);
    }

    /// One step of the `active` lanes.
    #[inline(always)]
    fn step_some(&mut self, active: bool) -> u32 {
        let entry = if active { shared::entry(slot(self.x)) } else { Entry(0) };
        let next = if active { advance(self.x, entry) } else { self.x };
        let (x, n) = renormalise_some(next, active, self.words, self.below);
        self.x = x;
        // SAFETY: as above.
        self.words = unsafe { self.words.add(n as usize) };
        entry.0
    }
}

/// Decodes a job; returns its status, the same in all lanes. All 32 lanes call it, the block's decode table being in place.
///
/// # Safety
/// The job's addresses are valid for the tile it describes, and [`SLACK`](crate::job::SLACK) bytes follow the payload.
#[inline(always)]
pub(super) unsafe fn decode<J: Join>(job: &TileJob) -> u32 {
    let lane = lane_id();
    // The output may not change what the loop uses of the job, which the compiler cannot know.
    let base = job.base;
    let symbols = J::symbols(job.elements);
    let chunks = symbols / CHUNK as u32;
    // SAFETY: the stream has 32 states, then its words.
    let (x, words) =
        unsafe { (*(job.stream as *const u32).add(lane as usize), (job.stream as *const u8).add(STATE_BYTES) as *const u16) };
    // SAFETY: as above.
    let end = unsafe { words.add(job.words as usize) };
    if ballot(x < FLOOR) != 0 {
        return status::START;
    }
    let mut s = Lanes { x, words, below: lanes_below() };
    let walk = Walk::new::<J>(job, lane);
    let regular = walk.is_some();
    let mut out = 0;
    let mut side = J::side(job, lane);
    let mut carried = [0; LANE_RUN];

    // All full chunks but the last, then two steps of the last.
    if chunks > 0 {
        let left = chunks - 1;
        if let Some(walk) = &walk {
            out = walk.start;
            let mut room = walk.room;
            // SAFETY: the job's tile has as many full chunks.
            let ran = unsafe {
                if walk.width == 0 {
                    s.chunks::<J, false>(left, end, &mut side, &mut out, &mut room, walk, base)
                } else {
                    s.chunks::<J, true>(left, end, &mut side, &mut out, &mut room, walk, base)
                }
            };
            if !ran {
                return status::EXHAUSTED;
            }
        } else {
            let mut c = 0;
            while c < left {
                if s.words > end {
                    return status::EXHAUSTED;
                }
                let entries = [s.step(), s.step(), s.step(), s.step()];
                // SAFETY: stores elements of the tile only.
                unsafe { scatter::<J>(job, c * LANES as u32 + lane, pack(&entries)) };
                c += 1;
            }
        }
        if s.words > end {
            return status::EXHAUSTED;
        }
        carried[0] = s.step();
        carried[1] = s.step();
    }

    // The partial chunk.
    if symbols % CHUNK as u32 != 0 {
        let run = chunks * LANES as u32 + lane;
        let mine = run * LANE_RUN as u32;
        let mut entries = [0; LANE_RUN];
        let mut j = 0;
        while j < LANE_RUN {
            entries[j] = s.step_some(mine + (j as u32) < symbols);
            j += 1;
        }
        // SAFETY: as above.
        unsafe { scatter::<J>(job, run, pack(&entries)) };
    }
    if s.words != end {
        return if s.words > end { status::EXHAUSTED } else { status::SURPLUS };
    }
    let wrong = if chunks > 0 { s.x >> 16 != 1 } else { s.x != FLOOR };
    if ballot(wrong) != 0 {
        return status::STATE;
    }
    if chunks > 0 {
        carried[2] = s.x;
        carried[3] = s.x >> 8;
        // SAFETY: as above.
        unsafe {
            if regular {
                store::<J>(out, &J::join(&carried, &J::load(&side), base));
            } else {
                scatter::<J>(job, (chunks - 1) * LANES as u32 + lane, pack(&carried));
            }
        }
    }
    if job.patches == 0 {
        return status::OK;
    }
    // SAFETY: patches follow the words, in the payload.
    unsafe { patch::<J>(job) }
}

/// Applies the job's patches; returns its status.
///
/// None is applied before all positions are known to ascend: only then is each element one lane's. Not inlined: it would cost the loops
/// registers.
#[inline(never)]
pub(super) unsafe fn patch<J: Join>(job: &TileJob) -> u32 {
    let lane = lane_id();
    // Behind this, the elements that other lanes have stored are there.
    sync_warp();
    // SAFETY: `patches` positions of 16 bits, then as many bytes, follow the words; elements below `elements` lie in the tile.
    unsafe {
        let positions = (job.stream as *const u16).add(STATE_BYTES / 2 + job.words as usize);
        let mut bad = false;
        let mut i = lane;
        while i < job.patches {
            let position = *positions.add(i as usize) as u32;
            bad |= i != 0 && *positions.add(i as usize - 1) as u32 >= position || position >= job.elements;
            i += LANES as u32;
        }
        if ballot(bad) != 0 {
            return status::PATCH;
        }
        let values = positions.add(job.patches as usize) as *const u8;
        let mut i = lane;
        while i < job.patches {
            let position = *positions.add(i as usize) as u32;
            J::patch(job.locate(position * J::ELEMENT_BYTES), *values.add(i as usize) as u32);
            i += LANES as u32;
        }
    }
    status::OK
}
