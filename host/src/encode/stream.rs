//! Symbols to a rANS stream: the decoder's loop, run backwards.

use crate::cpu::{Backend, Replace};
use wcodec_device::rans::{CHUNK, FLOOR, LANE_RUN, LANES, SymbolCode, encode_step};

/// What the encoder knows of a frequency table.
pub(crate) struct Codes {
    symbols: [SymbolCode; 256],
    /// `start << 16 | freq` of each symbol.
    packed: [u32; 256],
    /// What takes the place of a symbol that has no probability.
    likeliest: u8,
}

/// The codes of a frequency table.
pub(crate) fn codes(freqs: &[u16; 256]) -> Box<Codes> {
    let mut codes = Box::new(Codes { symbols: [SymbolCode::default(); 256], packed: [0; 256], likeliest: 0 });
    let mut start = 0;
    for (symbol, &freq) in freqs.iter().enumerate() {
        if freq > 0 {
            codes.symbols[symbol] = SymbolCode::new(start, freq);
            codes.packed[symbol] = (start as u32) << 16 | freq as u32;
        }
        start += freq;
    }
    codes.likeliest = (0..=255u8).max_by_key(|&s| (freqs[s as usize], 255 - s)).unwrap_or(0);
    codes
}

impl Codes {
    /// The code of a symbol, or, if it has no probability, that of the likeliest, and whether it is that.
    #[inline(always)]
    pub(crate) fn of(&self, symbol: u8) -> (&SymbolCode, bool) {
        let code = &self.symbols[symbol as usize];
        if code.complement != 0 { (code, false) } else { (&self.symbols[self.likeliest as usize], true) }
    }

    /// Replaces those symbols of a chunk's first `steps` steps that have no probability; the first is symbol `first` of the plane.
    #[cold]
    fn replace(&self, first: usize, symbols: &mut [u8], steps: usize, rare: &mut Vec<(u16, u8)>) {
        for (i, symbol) in symbols.iter_mut().enumerate() {
            if i % LANE_RUN < steps && self.packed[*symbol as usize] == 0 {
                rare.push(((first + i) as u16, *symbol));
                *symbol = self.likeliest;
            }
        }
    }
}

/// Appends 32 initial states and the words to `out`; returns the number of words, or `None` if it does not fit 16 bits.
///
/// Symbols that have no probability in `codes` are replaced by the likeliest, and where they were and what is left in `rare`, in no
/// order: the caller patches them. `words` is scratch. All backends write the same bytes.
pub(crate) fn encode_symbols(
    backend: Backend,
    symbols: &mut [u8],
    codes: &Codes,
    rare: &mut Vec<(u16, u8)>,
    words: &mut Vec<u16>,
    out: &mut Vec<u8>,
) -> Option<u16> {
    rare.clear();
    let whole = symbols.len() / CHUNK * CHUNK;
    // A step emits at most a word a lane; one step more so that a step's window always exists.
    words.resize(words.len().max(symbols.len().next_multiple_of(CHUNK) + LANES), 0);
    let mut state = [FLOOR; LANES];
    let (chunks, partial) = symbols.as_chunks_mut::<CHUNK>();
    if let Some(last) = chunks.last() {
        for (s, run) in state.iter_mut().zip(last.as_chunks::<LANE_RUN>().0) {
            *s |= u32::from_le_bytes([run[2], run[3], 0, 0]);
        }
    }
    codes.replace(whole, partial, LANE_RUN, rare);
    let at = encode_partial(partial, codes, &mut state, words);
    let last_steps = LANE_RUN - 2;
    let mut replace = |chunk: usize, symbols: &mut [u8; CHUNK], steps| codes.replace(CHUNK * chunk, symbols, steps, rare);
    let written = backend
        .encode_chunks(&codes.packed, &mut state, chunks, last_steps, &mut words[..at], &mut replace)
        .unwrap_or_else(|| encode_chunks(codes, &mut state, chunks, last_steps, &mut words[..at], &mut replace));
    let words = &words[at - written..];
    let count = u16::try_from(words.len()).ok()?;
    out.extend_from_slice(bytemuck::cast_slice(&state));
    out.extend_from_slice(bytemuck::cast_slice(words));
    Some(count)
}

/// Encodes the partial chunk; returns where in `words` its words begin.
fn encode_partial(partial: &[u8], codes: &Codes, state: &mut [u32; LANES], words: &mut [u16]) -> usize {
    let mut at = words.len();
    for j in (0..LANE_RUN).rev() {
        for lane in (0..LANES).rev() {
            if let Some(&symbol) = partial.get(LANE_RUN * lane + j) {
                let (next, full) = encode_step(state[lane], &codes.symbols[symbol as usize]);
                if full {
                    at -= 1;
                    words[at] = state[lane] as u16;
                }
                state[lane] = next;
            }
        }
    }
    at
}

/// Encodes `chunks` backwards, of the last one only `last_steps` steps, the words downwards from the end of `words`; returns how many.
/// `replace` is shown each chunk that may hold a symbol without a probability.
fn encode_chunks(
    codes: &Codes,
    state: &mut [u32; LANES],
    chunks: &mut [[u8; CHUNK]],
    last_steps: usize,
    words: &mut [u16],
    replace: &mut Replace<'_>,
) -> usize {
    let mut at = words.len();
    let last = chunks.len().wrapping_sub(1);
    for (i, chunk) in chunks.iter_mut().enumerate().rev() {
        let steps = if i == last { last_steps } else { LANE_RUN };
        if chunk.iter().any(|&symbol| codes.packed[symbol as usize] == 0) {
            replace(i, chunk, steps);
        }
        for j in (0..steps).rev() {
            let Some(window) = words[..at].last_chunk_mut::<LANES>() else {
                unreachable!("the buffer has a word for each step and lane, and a step more")
            };
            let mut free = LANES;
            for lane in (0..LANES).rev() {
                let (next, full) = encode_step(state[lane], &codes.symbols[chunk[LANE_RUN * lane + j] as usize]);
                // Written whether it counts or not: a branch here would be a coin toss.
                window[(free - 1) & (LANES - 1)] = state[lane] as u16;
                free -= full as usize;
                state[lane] = next;
            }
            at -= LANES - free;
        }
    }
    words.len() - at
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{Stream, StreamFault};
    use crate::encode::frequency::normalise;
    use proptest::prelude::*;
    use wcodec_device::rans::{Entry, SLOTS, STATE_BYTES, expand_table};

    fn table(freqs: &[u16; 256]) -> Box<[Entry; SLOTS]> {
        let mut table = Box::new([Entry::default(); SLOTS]);
        expand_table(freqs, &mut table).unwrap();
        table
    }

    fn freqs_of(symbols: &[u8]) -> [u16; 256] {
        let mut counts = [0u64; 256];
        symbols.iter().for_each(|&s| counts[s as usize] += 1);
        counts[0] += 1;
        counts[255] += 1;
        normalise(&counts, f32::INFINITY)
    }

    fn decode(backend: Backend, stream: Stream<'_>, out: &mut [u8]) -> Result<(), StreamFault> {
        backend.decode_symbols(&mut [(stream, out)]).map_err(|(_, fault)| fault)
    }

    fn round_trip(symbols: &[u8]) {
        let freqs = freqs_of(symbols);
        let (mut rare, mut words, mut out) = (Vec::new(), Vec::new(), Vec::new());
        let count =
            encode_symbols(Backend::Portable, &mut symbols.to_vec(), &codes(&freqs), &mut rare, &mut words, &mut out).unwrap();
        for &backend in Backend::available() {
            let mut same = Vec::new();
            assert_eq!(
                encode_symbols(backend, &mut symbols.to_vec(), &codes(&freqs), &mut rare, &mut words, &mut same),
                Some(count)
            );
            assert_eq!(rare, []);
            assert_eq!(same, out, "{}", backend.name());
        }
        let (states, words) = out.split_first_chunk::<STATE_BYTES>().unwrap();
        assert_eq!(words.len(), 2 * count as usize);
        let table = table(&freqs);
        macro_rules! stream {
            ($bytes:expr) => {
                Stream { table: &table, states, bytes: $bytes, words: $bytes.len() }
            };
        }
        for &backend in Backend::available() {
            let mut back = vec![0; symbols.len()];
            decode(backend, stream!(words), &mut back).unwrap();
            assert_eq!(back, symbols, "{}", backend.name());
            // One word fewer or more, one state wrong: never taken for good.
            if count > 0 {
                let cut = Stream { words: words.len() - 2, ..stream!(words) };
                assert_eq!(decode(backend, cut, &mut back), Err(StreamFault::Exhausted));
            }
            let mut more = words.to_vec();
            more.extend([1, 2]);
            assert_eq!(decode(backend, stream!(&more[..]), &mut back), Err(StreamFault::Surplus));
        }
    }

    #[test]
    fn every_length_up_to_three_chunks() {
        let symbols: Vec<u8> = (0..400u32).map(|i| ((i * i % 251) >> (i % 5)) as u8).collect();
        for n in 0..400 {
            round_trip(&symbols[..n]);
        }
    }

    /// Some symbols have no probability: all backends replace the same ones, and tell which.
    #[test]
    fn replaces_what_has_no_probability() {
        for n in [1, 3, 127, 128, 129, 255, 256, 1000, 5 * 128 + 7] {
            for step in [1, 2, 3, 50, 130] {
                let symbols: Vec<u8> = (0..n).map(|i| if i % step == step / 2 { (i % 250) as u8 } else { 7 }).collect();
                let mut freqs = [0; 256];
                (freqs[7], freqs[9], freqs[11]) = (4000, 50, 46);
                let (mut words, mut expected) = (Vec::new(), None);
                for &backend in Backend::available() {
                    let (mut left, mut rare, mut out) = (symbols.clone(), Vec::new(), Vec::new());
                    let count = encode_symbols(backend, &mut left, &codes(&freqs), &mut rare, &mut words, &mut out).unwrap();
                    let (states, words) = out.split_first_chunk::<STATE_BYTES>().unwrap();
                    let stream = Stream { table: &table(&freqs), states, bytes: words, words: 2 * count as usize };
                    let mut back = vec![0; n];
                    decode(backend, stream, &mut back).unwrap();
                    rare.iter().for_each(|&(at, symbol)| back[at as usize] = symbol);
                    assert_eq!(back, symbols, "{} {n} {step}", backend.name());
                    assert_eq!(*expected.get_or_insert((out.clone(), rare.clone())), (out, rare));
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn any_symbols(n in 0usize..70_000, spread in 1u32..256, seed: u32) {
            let mut x = seed | 1;
            let symbols: Vec<u8> = (0..n.min(65536)).map(|_| {
                x ^= x << 13; x ^= x >> 17; x ^= x << 5;
                (((x >> 8) % spread) * ((x >> 20) % spread) / spread) as u8
            }).collect();
            round_trip(&symbols);
        }
    }
}
