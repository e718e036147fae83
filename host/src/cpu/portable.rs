//! The reference symbol decoder, and the end game that every backend shares.
//!
//! ```text
//! for each full chunk but the last:  four steps; each lane writes its four symbols
//! last full chunk:                   two steps; symbols 2 and 3 of each lane come out of its final state
//! partial chunk:                     four steps in which only the lanes that have a symbol take part
//! end:                               state >> 16 == 1 (or == 2^16 without a full chunk), no word left
//! ```

use super::{Stream, StreamFault};
use wcodec_device::rans::{self, CHUNK, Entry, FLOOR, LANE_RUN, LANES, SLOTS, advance, needs_word, refill, slot};

/// States and words of a stream in the middle of decoding.
pub(super) struct Lanes<'a> {
    pub state: [u32; LANES],
    pub words: &'a [u8],
}

impl<'a> Lanes<'a> {
    pub(super) fn new(stream: &Stream<'a>) -> Result<Self, StreamFault> {
        let mut state = [0; LANES];
        for (s, bytes) in state.iter_mut().zip(stream.states.chunks_exact(4)) {
            *s = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        // Below the floor a state could swallow words for ever without the checks at the end noticing.
        if state.iter().any(|&s| s < FLOOR) {
            return Err(StreamFault::Start);
        }
        Ok(Self { state, words: &stream.bytes[..stream.words] })
    }

    /// One step of every lane. Words must suffice: `words.len() >= 2 * LANES`.
    #[inline(always)]
    fn step_unchecked_words(&mut self, table: &[Entry; SLOTS], words: &[u8; 2 * LANES], mut emit: impl FnMut(usize, u8)) {
        let mut taken = 0;
        for lane in 0..LANES {
            let entry = table[slot(self.state[lane])];
            let x = advance(self.state[lane], entry);
            // `taken < LANES` always; the mask tells the compiler so. Both values are made and one chosen: the choice is a
            // coin toss that a branch would mispredict.
            let at = 2 * (taken & (LANES - 1));
            let filled = refill(x, u16::from_le_bytes([words[at], words[at + 1]]));
            let need = needs_word(x);
            self.state[lane] = if need { filled } else { x };
            taken += need as usize;
            emit(lane, entry.symbol());
        }
        self.words = &self.words[2 * taken..];
    }

    /// One step of the lanes for which `active` holds, every word checked.
    fn step_checked(
        &mut self,
        table: &[Entry; SLOTS],
        active: impl Fn(usize) -> bool,
        mut emit: impl FnMut(usize, u8),
    ) -> Result<(), StreamFault> {
        for lane in (0..LANES).filter(|&l| active(l)) {
            let entry = table[slot(self.state[lane])];
            let mut x = advance(self.state[lane], entry);
            if needs_word(x) {
                let (word, rest) = self.words.split_first_chunk::<2>().ok_or(StreamFault::Exhausted)?;
                x = refill(x, u16::from_le_bytes(*word));
                self.words = rest;
            }
            self.state[lane] = x;
            emit(lane, entry.symbol());
        }
        Ok(())
    }

    /// One step of all lanes.
    #[inline(always)]
    fn step(&mut self, table: &[Entry; SLOTS], emit: impl FnMut(usize, u8)) -> Result<(), StreamFault> {
        match self.words.first_chunk() {
            Some(words) => {
                self.step_unchecked_words(table, words, emit);
                Ok(())
            }
            None => self.step_checked(table, |_| true, emit),
        }
    }

    /// Decodes `out.len() / CHUNK` whole chunks.
    pub(super) fn chunks(&mut self, table: &[Entry; SLOTS], out: &mut [u8]) -> Result<(), StreamFault> {
        for chunk in out.as_chunks_mut::<CHUNK>().0 {
            for j in 0..LANE_RUN {
                self.step(table, |lane, symbol| chunk[LANE_RUN * lane + j] = symbol)?;
            }
        }
        Ok(())
    }

    /// The last full chunk (where there is one), the partial chunk and the checks at the end. `out` begins at the last full chunk,
    /// whose two steps may be `begun` already.
    pub(super) fn finish(mut self, table: &[Entry; SLOTS], out: &mut [u8], begun: bool) -> Result<(), StreamFault> {
        let (mut last, partial) = match out.split_first_chunk_mut::<CHUNK>() {
            Some((last, partial)) => (Some(last), partial),
            None => (None, out),
        };
        if let Some(last) = last.as_mut().filter(|_| !begun) {
            for j in 0..LANE_RUN - 2 {
                self.step(table, |lane, symbol| last[LANE_RUN * lane + j] = symbol)?;
            }
        }
        let n = partial.len();
        for j in 0..LANE_RUN.min(n) {
            self.step_checked(table, |lane| LANE_RUN * lane + j < n, |lane, symbol| partial[LANE_RUN * lane + j] = symbol)?;
        }
        if !self.words.is_empty() {
            return Err(StreamFault::Surplus);
        }
        let end = if last.is_some() { 1 } else { FLOOR };
        let at_end = |&x: &u32| if end == 1 { x >> 16 == end } else { x == end };
        if !self.state.iter().fold(true, |all, x| all & at_end(x)) {
            return Err(StreamFault::State);
        }
        if let Some(last) = last {
            for (run, x) in last.as_chunks_mut::<LANE_RUN>().0.iter_mut().zip(self.state) {
                [run[2], run[3], ..] = x.to_le_bytes();
            }
        }
        Ok(())
    }
}

/// Bytes of `out` that come before the last full chunk.
pub(super) fn body_len(out: usize) -> usize {
    (out / CHUNK).saturating_sub(1) * CHUNK
}

pub(super) fn decode_symbols(stream: Stream<'_>, out: &mut [u8]) -> Result<(), StreamFault> {
    let mut lanes = Lanes::new(&stream)?;
    let (body, end) = out.split_at_mut(body_len(out.len()));
    lanes.chunks(stream.table, body)?;
    lanes.finish(stream.table, end, false)
}

const _: () = assert!(rans::LANE_RUN == 4, "two symbols of the last run ride in a state's low 16 bits");
