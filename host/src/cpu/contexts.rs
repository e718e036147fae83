//! Streams whose symbols each have a table of their own: the loop of `portable.rs` with a table for each lane and step.

use super::StreamFault;
use super::tile::Table;
use crate::cpu::Body;
use wcodec_device::rans::{CHUNK, FLOOR, LANE_RUN, LANES, advance, needs_word, refill, slot};

/// Tables by context; contexts are below 64.
pub(super) type Tables<'a> = [&'a Table; 64];

/// A stream as it lies in a payload, and the context of each symbol.
pub(super) struct ContextStream<'a> {
    pub tables: &'a Tables<'a>,
    pub contexts: &'a [u8],
    pub states: &'a [u8; 4 * LANES],
    pub words: &'a [u8],
}

/// Decodes the stream to as many symbols as `out` has bytes; contexts are as many. Compiled for an instruction set by [`super::Backend::run`].
pub(super) struct Decode<'a, 'o> {
    pub stream: ContextStream<'a>,
    pub out: &'o mut [u8],
    pub result: &'o mut Result<(), StreamFault>,
}

impl Body for Decode<'_, '_> {
    #[inline(always)]
    fn run(self) {
        *self.result = decode(&self.stream, self.out);
    }
}

#[inline(always)]
fn decode(stream: &ContextStream<'_>, out: &mut [u8]) -> Result<(), StreamFault> {
    let ContextStream { tables, contexts, states, mut words } = *stream;
    let mut state = [0; LANES];
    for (s, bytes) in state.iter_mut().zip(states.as_chunks::<4>().0) {
        *s = u32::from_le_bytes(*bytes);
    }
    if state.iter().any(|&s| s < FLOOR) {
        return Err(StreamFault::Start);
    }
    let table = |context: u8| tables[context as usize & 63];
    let full = out.len() / CHUNK;
    let (chunks, partial) = out.as_chunks_mut::<CHUNK>();
    let (chunk_contexts, partial_contexts) = contexts.as_chunks::<CHUNK>();
    for (c, (chunk, contexts)) in chunks.iter_mut().zip(chunk_contexts).enumerate() {
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
