//! Section 4: streams.

use super::{Result, Table, ensure, u16_at, u32_at};

/// `table` gives each symbol's.
pub(super) fn decode_stream<'a>(stream: &[u8], s: usize, table: impl Fn(usize) -> &'a Table) -> Result<Vec<u8>> {
    let mut x: Vec<u32> = (0..32).map(|lane| u32_at(stream, 4 * lane)).collect();
    ensure(x.iter().all(|&x| x >= 1 << 16), "a state below 2^16")?;
    let mut words = stream[128..].chunks(2).map(|w| u32::from(u16_at(w, 0)));
    let mut out = vec![0u8; s];
    let full = s / 128;
    for c in 0..s.div_ceil(128) {
        for step in 0..4 {
            if c + 1 == full && step >= 2 {
                continue;
            }
            for lane in 0..32 {
                let at = 128 * c + 4 * lane + step;
                if at >= s {
                    continue;
                }
                let (slot, table) = (x[lane] & 4095, table(at));
                let symbol = table.symbol[slot as usize];
                let (start, freq) = (table.start[usize::from(symbol)], table.freq[usize::from(symbol)]);
                out[at] = symbol;
                x[lane] = freq * (x[lane] >> 12) + slot - start;
                if x[lane] < 1 << 16 {
                    x[lane] = x[lane] << 16 | words.next().ok_or("too few words")?;
                }
            }
        }
    }
    ensure(words.next().is_none(), "words left")?;
    for lane in 0..32 {
        if full > 0 {
            ensure(x[lane] >> 16 == 1, "a final state")?;
            out[128 * (full - 1) + 4 * lane + 2] = x[lane] as u8;
            out[128 * (full - 1) + 4 * lane + 3] = (x[lane] >> 8) as u8;
        } else {
            ensure(x[lane] == 1 << 16, "a final state")?;
        }
    }
    Ok(out)
}
