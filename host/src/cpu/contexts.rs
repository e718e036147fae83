//! Streams whose symbols each have a table of their own: the loop of `portable.rs` with a table for each lane and step.

use super::tile::Table;
use super::{Backend, Body, StreamFault};
use wcodec_device::rans::{CHUNK, FLOOR, LANE_RUN, LANES, SLOTS, advance, needs_word, refill, slot};

/// A stream as it lies in a payload, and the context of each symbol.
pub(super) struct ContextStream<'a> {
    /// The file's tables.
    pool: &'a [Table],
    /// The first slot of each context's table, counted through the pool.
    pub(super) first_slots: [u32; 64],
    /// One for each symbol, below 64.
    pub(super) contexts: &'a [u8],
    states: &'a [u8; 4 * LANES],
    words: &'a [u8],
}

/// A stream in the middle of decoding.
pub(super) struct Progress<'a> {
    pub(super) state: [u32; LANES],
    pub(super) words: &'a [u8],
    /// Chunks that are decoded.
    pub(super) chunks: usize,
}

impl<'a> ContextStream<'a> {
    /// A stream of which context c has table `numbers[c]` of `pool`, or the last one's; `None` if a table is not there.
    pub(super) fn new(
        pool: &'a [Table],
        numbers: &[u16],
        contexts: &'a [u8],
        states: &'a [u8; 4 * LANES],
        words: &'a [u8],
    ) -> Option<Self> {
        let last = *numbers.last()?;
        let mut first_slots = [0; 64];
        for (c, first) in first_slots.iter_mut().enumerate() {
            let number = *numbers.get(c).unwrap_or(&last) as usize;
            pool.get(number)?;
            *first = (number * SLOTS) as u32;
        }
        Some(Self { pool, first_slots, contexts, states, words })
    }

    /// Decodes to as many symbols as `out` has bytes; contexts are as many.
    pub(super) fn decode(&self, backend: Backend, out: &mut [u8]) -> Result<(), StreamFault> {
        let mut progress = Progress { state: [0; LANES], words: self.words, chunks: 0 };
        for (s, bytes) in progress.state.iter_mut().zip(self.states.as_chunks::<4>().0) {
            *s = u32::from_le_bytes(*bytes);
        }
        if progress.state.iter().any(|&s| s < FLOOR) {
            return Err(StreamFault::Start);
        }
        backend.context_chunks(self, &mut progress, out);
        let mut result = Ok(());
        backend.run(Rest { stream: self, progress, out, result: &mut result });
        result
    }

    /// The pool, slot by slot.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    pub(super) fn slots(&self) -> &'a [wcodec_device::rans::Entry] {
        self.pool.as_flattened()
    }
}

/// [`rest`], compiled for the CPU.
struct Rest<'a, 's, 'o> {
    stream: &'a ContextStream<'s>,
    progress: Progress<'s>,
    out: &'o mut [u8],
    result: &'o mut Result<(), StreamFault>,
}

impl Body for Rest<'_, '_, '_> {
    #[inline(always)]
    fn run(self) {
        *self.result = rest(self.stream, self.progress, self.out);
    }
}

/// Decodes what is left of a stream.
#[inline(always)]
fn rest(stream: &ContextStream<'_>, progress: Progress<'_>, out: &mut [u8]) -> Result<(), StreamFault> {
    let Progress { mut state, mut words, chunks: done } = progress;
    let tables: [&Table; 64] = stream.first_slots.map(|first| &stream.pool[first as usize / SLOTS]);
    let table = |context: u8| tables[context as usize & 63];
    let full = out.len() / CHUNK;
    let (chunks, partial) = out.as_chunks_mut::<CHUNK>();
    let (chunk_contexts, partial_contexts) = stream.contexts.as_chunks::<CHUNK>();
    for (c, (chunk, contexts)) in chunks.iter_mut().zip(chunk_contexts).enumerate().skip(done) {
        let steps = if c + 1 == full { LANE_RUN - 2 } else { LANE_RUN };
        for j in 0..steps {
            match words.first_chunk::<{ 2 * LANES }>() {
                Some(window) => {
                    let mut taken = 0;
                    for (lane, state) in state.iter_mut().enumerate() {
                        let i = LANE_RUN * lane + j;
                        let entry = table(contexts[i])[slot(*state)];
                        let x = advance(*state, entry);
                        let at = 2 * (taken & (LANES - 1));
                        let filled = refill(x, u16::from_le_bytes([window[at], window[at + 1]]));
                        let need = needs_word(x);
                        *state = if need { filled } else { x };
                        taken += need as usize;
                        chunk[i] = entry.symbol();
                    }
                    words = &words[2 * taken..];
                }
                None => step(&mut state, &mut words, j, contexts, chunk, &table)?,
            }
        }
    }
    for j in 0..LANE_RUN {
        step(&mut state, &mut words, j, partial_contexts, partial, &table)?;
    }
    if !words.is_empty() {
        return Err(StreamFault::Surplus);
    }
    let end = |&x: &u32| if full > 0 { x >> 16 == 1 } else { x == FLOOR };
    if !state.iter().all(end) {
        return Err(StreamFault::State);
    }
    if let Some(last) = chunks.last_mut() {
        for (run, x) in last.as_chunks_mut::<LANE_RUN>().0.iter_mut().zip(state) {
            [run[2], run[3], ..] = x.to_le_bytes();
        }
    }
    Ok(())
}

/// Step `j` of the lanes that have a symbol, every word looked at.
fn step<'a>(
    state: &mut [u32; LANES],
    words: &mut &[u8],
    j: usize,
    contexts: &[u8],
    out: &mut [u8],
    table: &impl Fn(u8) -> &'a Table,
) -> Result<(), StreamFault> {
    for (lane, state) in state.iter_mut().enumerate() {
        let i = LANE_RUN * lane + j;
        let (Some(&context), Some(symbol)) = (contexts.get(i), out.get_mut(i)) else { break };
        let entry = table(context)[slot(*state)];
        let mut x = advance(*state, entry);
        if needs_word(x) {
            let (word, rest) = words.split_first_chunk::<2>().ok_or(StreamFault::Exhausted)?;
            (x, *words) = (refill(x, u16::from_le_bytes(*word)), rest);
        }
        *state = x;
        *symbol = entry.symbol();
    }
    Ok(())
}
