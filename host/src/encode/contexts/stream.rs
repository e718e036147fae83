//! Symbols to a rANS stream whose tables change from symbol to symbol: the decoder's loop, run backwards.

use crate::encode::stream::Codes;
use wcodec_device::rans::{CHUNK, FLOOR, LANE_RUN, LANES, encode_step};

/// Appends 32 initial states and the words to `out`; returns the number of words, or `None` if it does not fit 16 bits. Symbol i is coded with
/// `codes[contexts[i]]`; those without a probability there are replaced by its likeliest, and told in `rare`, in ascending order.
pub(in crate::encode) fn encode_symbols(
    symbols: &[u8],
    contexts: &[u8],
    codes: &[&Codes],
    rare: &mut Vec<(u16, u8)>,
    words: &mut Vec<u16>,
    out: &mut Vec<u8>,
) -> Option<u16> {
    rare.clear();
    // Words come out last to first.
    words.clear();
    let full = symbols.len() / CHUNK;
    let mut state = [FLOOR; LANES];
    if full > 0 {
        let last = &symbols[(full - 1) * CHUNK..full * CHUNK];
        for (s, run) in state.iter_mut().zip(last.as_chunks::<LANE_RUN>().0) {
            *s |= u32::from_le_bytes([run[2], run[3], 0, 0]);
        }
    }
    for chunk in (0..symbols.len().div_ceil(CHUNK)).rev() {
        let first = chunk * CHUNK;
        let n = CHUNK.min(symbols.len() - first);
        let (symbols, contexts) = (&symbols[first..first + n], &contexts[first..first + n]);
        let steps = if chunk + 1 == full { LANE_RUN - 2 } else { LANE_RUN };
        for j in (0..steps).rev() {
            for lane in (0..LANES).rev().filter(|lane| LANE_RUN * lane + j < n) {
                let i = LANE_RUN * lane + j;
                let (code, replaced) = codes[contexts[i] as usize].of(symbols[i]);
                if replaced {
                    rare.push(((first + i) as u16, symbols[i]));
                }
                let (next, word) = encode_step(state[lane], code);
                if word {
                    words.push(state[lane] as u16);
                }
                state[lane] = next;
            }
        }
    }
    rare.sort_unstable();
    let count = u16::try_from(words.len()).ok()?;
    out.extend_from_slice(bytemuck::cast_slice(&state));
    out.extend(words.iter().rev().flat_map(|w| w.to_le_bytes()));
    Some(count)
}
