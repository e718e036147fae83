//! Streams whose symbols each have the table of their context, to scratch memory: one warp decodes one plane.
//!
//! ```text
//! for each full chunk but the last (128 symbols, 4 a lane):
//!     stop if the words have run out                       as in stream.rs
//!     context = class of the row + class of the column     the four columns' classes are one load where runs do not cross rows
//!     deep: clamp(units * exponent - context - bias)       the four exponents are one load
//!     4 x: table  = tables + set[context]                  known before the state is
//!          symbol = table.symbols[x & 4095]                4 KiB a table
//!          first, frequency = table.codes[symbol]          1 KiB a table
//!          x = frequency * (x >> 12) + (x & 4095) - first; refill
//!     store the four symbols
//! last full chunk, partial chunk, patches: as in stream.rs
//! ```
//!
//! Contexts that follow from something else than classes are *mapped*: what lies in the place of the exponents is the context of each symbol, or
//! what is `bias` above it. Other kernels make such maps (`scales.rs`, `modes.rs`, `difference.rs`), or a plane of the tile is one as it is.
//!
//! A tile has symbols of some dozens of tables, so they do not fit shared memory as that of other streams does. Entries of four bytes a
//! slot would be one load instead of two, but 16 KiB a table: tables that are used side by side would not stay in a first-level cache.

use super::intrinsics::{ballot, global, lane_id, lanes_below, renormalise, renormalise_some};
use super::layouts::{Bytes, pack};
use super::stream::patch;
use crate::job::{CONTEXTS, ContextSet, TileJob, status};
use crate::rans::{CHUNK, FLOOR, LANE_RUN, LANES, SCALE_BITS, SLOTS, STATE_BYTES, slot};

/// What tells a symbol's context: the classes of its row and its column,
pub(super) const CLASSES: u8 = 0;
/// these and its exponent,
pub(super) const DEEP: u8 = 1;
/// or a map.
pub(super) const MAPPED: u8 = 2;

/// What the loop uses of a job and its set.
struct Finder {
    rows: u64,
    columns: u64,
    /// Exponents of the lane's next run.
    exponents: u64,
    /// Where the set's tables begin.
    set: u64,
    last: u32,
    deep_last: u32,
    units: u32,
    bias: i32,
    /// Elements of a row; row and column of the lane's next run; how these move on from chunk to chunk.
    width: u32,
    row: u32,
    column: u32,
    row_step: u32,
    column_step: u32,
}

impl Finder {
    #[inline(always)]
    fn new<const KIND: u8>(job: &TileJob, set: &ContextSet, lane: u32) -> Self {
        let width = job.columns.max(1);
        let first = lane * LANE_RUN as u32;
        Self {
            rows: job.planes[1],
            columns: job.planes[2],
            exponents: job.planes[0] + first as u64,
            set: if KIND == DEEP { set.deep.as_ptr() as u64 } else { set.tables.as_ptr() as u64 },
            last: set.last,
            deep_last: set.deep_last.min(CONTEXTS as u32 - 1),
            units: set.units,
            bias: set.bias,
            width,
            row: first / width,
            column: first % width,
            row_step: CHUNK as u32 / width,
            column_step: CHUNK as u32 % width,
        }
    }

    /// Moves on by a chunk.
    #[inline(always)]
    fn advance(&mut self) {
        self.exponents += CHUNK as u64;
        self.row += self.row_step;
        self.column += self.column_step;
        if self.column >= self.width {
            self.column -= self.width;
            self.row += 1;
        }
    }

    /// Where the table of a context begins; `sum` is that of the classes, at most 30 (they have four bits).
    #[inline(always)]
    unsafe fn table<const KIND: u8>(&self, sum: u32, exponent: u32) -> u32 {
        let context = if KIND == MAPPED {
            // Contexts from the last on have its table.
            (exponent as i32 - self.bias).clamp(0, CONTEXTS as i32 - 1) as u32
        } else if KIND == DEEP {
            // Nothing overflows: units and exponents are bytes, the bias has 17 bits.
            let context = (self.units * exponent) as i32 - sum.min(self.last) as i32 - self.bias;
            context.clamp(0, self.deep_last as i32) as u32
        } else {
            // Contexts from the last on have its table.
            sum % CONTEXTS as u32
        };
        // SAFETY: the set has as many.
        unsafe { global::load1(self.set + (context * 4) as u64) }
    }

    /// The tables of the lane's next run, of which `count` elements exist. `REGULAR`: all do, runs do not cross rows, and columns are aligned
    /// to four bytes.
    ///
    /// # Safety
    /// The elements are the tile's.
    #[inline(always)]
    unsafe fn tables<const KIND: u8, const REGULAR: bool>(&self, count: u32) -> [u32; LANE_RUN] {
        let mut tables = [0; LANE_RUN];
        // SAFETY: by contract.
        unsafe {
            if REGULAR {
                let sums = if KIND == MAPPED {
                    0
                } else {
                    let row = global::load_byte(self.rows + self.row as u64);
                    global::load1(self.columns + self.column as u64) + row * 0x0101_0101
                };
                let exponents = if KIND == CLASSES { 0 } else { global::load1(self.exponents) };
                let mut j = 0;
                while j < LANE_RUN {
                    tables[j] = self.table::<KIND>(sums >> (8 * j) & 255, exponents >> (8 * j) & 255);
                    j += 1;
                }
            } else {
                let (mut row, mut column) = (self.row, self.column);
                let mut j = 0;
                while j < LANE_RUN {
                    if (j as u32) < count {
                        let sum = if KIND == MAPPED {
                            0
                        } else {
                            global::load_byte(self.rows + row as u64) + global::load_byte(self.columns + column as u64)
                        };
                        let exponent = if KIND == CLASSES { 0 } else { global::load_byte(self.exponents + j as u64) };
                        tables[j] = self.table::<KIND>(sum, exponent);
                    }
                    column += 1;
                    if column == self.width {
                        column = 0;
                        row += 1;
                    }
                    j += 1;
                }
            }
        }
        tables
    }
}

/// A warp's stream in the middle of decoding.
struct Lanes {
    x: u32,
    words: *const u16,
    below: u32,
    tables: u64,
}

impl Lanes {
    /// The symbol and the state after it, which may want a word.
    #[inline(always)]
    fn symbol(&self, table: u32) -> (u32, u32) {
        let slot = slot(self.x) as u32;
        let table = self.tables + table as u64;
        // SAFETY: every table has all slots, and a code for each symbol that a slot has.
        unsafe {
            let symbol = global::load_byte(table + slot as u64);
            let code = global::load1(table + SLOTS as u64 + (symbol * 4) as u64);
            let next = (code >> 16).wrapping_mul(self.x >> SCALE_BITS).wrapping_add(slot).wrapping_sub(code & 0xffff);
            (symbol, next)
        }
    }

    /// One step of all lanes.
    #[inline(always)]
    fn step(&mut self, table: u32) -> u32 {
        let (symbol, next) = self.symbol(table);
        let (x, n) = renormalise(next, self.words, self.below);
        self.x = x;
        // SAFETY: stays within the stream and `SLACK`, as `decode` looks after every chunk.
        self.words = unsafe { self.words.add(n as usize) };
        symbol
    }

    /// One step of the `active` lanes.
    #[inline(always)]
    fn step_some(&mut self, active: bool, table: u32) -> u32 {
        let (symbol, next) = if active { self.symbol(table) } else { (0, self.x) };
        let (x, n) = renormalise_some(next, active, self.words, self.below);
        self.x = x;
        // SAFETY: as above.
        self.words = unsafe { self.words.add(n as usize) };
        symbol
    }

    /// `n` chunks to `out`, which moves on; whether there were words enough.
    ///
    /// # Safety
    /// The tile has as many more full chunks.
    #[inline(always)]
    unsafe fn chunks<const KIND: u8, const REGULAR: bool>(
        &mut self,
        mut n: u32,
        end: *const u16,
        finder: &mut Finder,
        out: &mut u64,
    ) -> bool {
        while n > 0 {
            if self.words > end {
                return false;
            }
            // SAFETY: by contract.
            unsafe {
                let t = finder.tables::<KIND, REGULAR>(LANE_RUN as u32);
                let symbols = [self.step(t[0]), self.step(t[1]), self.step(t[2]), self.step(t[3])];
                global::store1(*out, pack(&symbols));
            }
            *out += CHUNK as u64;
            finder.advance();
            n -= 1;
        }
        true
    }
}

/// Decodes a job whose output is a plane without gaps, 4-byte aligned; returns its status, the same in all lanes. All 32 lanes call it.
///
/// # Safety
/// As for `stream::decode`; the leading plane or the map, where it is asked for, is there.
#[inline(always)]
pub(super) unsafe fn decode<const KIND: u8>(job: &TileJob, set: &ContextSet, tables: u64) -> u32 {
    let lane = lane_id();
    let symbols = job.elements;
    let chunks = symbols / CHUNK as u32;
    // SAFETY: the stream has 32 states, then its words.
    let (x, words) =
        unsafe { (*(job.stream as *const u32).add(lane as usize), (job.stream as *const u8).add(STATE_BYTES) as *const u16) };
    // SAFETY: as above.
    let end = unsafe { words.add(job.words as usize) };
    if ballot(x < FLOOR) != 0 {
        return status::START;
    }
    let mut s = Lanes { x, words, below: lanes_below(), tables };
    let mut finder = Finder::new::<KIND>(job, set, lane);
    let mut out = job.output + (lane * LANE_RUN as u32) as u64;
    let mut carried = [0; LANE_RUN];

    // All full chunks but the last, then two steps of the last.
    if chunks > 0 {
        let left = chunks - 1;
        // SAFETY: the job's tile has as many full chunks.
        let ran = unsafe {
            if KIND == MAPPED || finder.width % LANE_RUN as u32 == 0 && finder.columns % LANE_RUN as u64 == 0 {
                s.chunks::<KIND, true>(left, end, &mut finder, &mut out)
            } else {
                s.chunks::<KIND, false>(left, end, &mut finder, &mut out)
            }
        };
        if !ran || s.words > end {
            return status::EXHAUSTED;
        }
        // SAFETY: elements of the tile.
        let t = unsafe { finder.tables::<KIND, false>(2) };
        carried[0] = s.step(t[0]);
        carried[1] = s.step(t[1]);
        finder.advance();
    }

    // The partial chunk.
    if symbols % CHUNK as u32 != 0 {
        let mine = chunks * CHUNK as u32 + lane * LANE_RUN as u32;
        let count = symbols.saturating_sub(mine);
        // SAFETY: elements of the tile.
        let t = unsafe { finder.tables::<KIND, false>(count) };
        let mut j = 0;
        while j < LANE_RUN {
            let active = (j as u32) < count;
            let symbol = s.step_some(active, t[j]);
            if active {
                // SAFETY: as above.
                unsafe { global::store_byte(job.output + (mine + j as u32) as u64, symbol) };
            }
            j += 1;
        }
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
        // SAFETY: the lane's run of the last full chunk.
        unsafe { global::store1(out, pack(&carried)) };
    }
    if job.patches == 0 {
        return status::OK;
    }
    // SAFETY: patches follow the words, in the payload; the plane is the job's output.
    unsafe { patch::<Bytes>(job) }
}
