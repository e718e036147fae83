//! The file's pool of frequency tables.
//!
//! A table is 256 frequencies in symbol order: `0 n` for a run of `n + 1` zeros, `f` for 1 to 127, `0x80 | f >> 8` and `f & 255` above.

use crate::error::{Error, Result};
use std::sync::OnceLock;
use wcodec_device::rans::{Entry, SLOTS, expand_table};

/// Frequencies of the 256 symbols: they add up to 4096, each is below.
pub(crate) type Freqs = [u16; 256];

/// Most tables of a file: expanded, they take 64 MiB.
const MAX_TABLES: usize = 4096;

/// Tables, expanded for decoding when first used.
#[derive(Debug, Default)]
pub(crate) struct TablePool {
    freqs: Vec<Freqs>,
    decode: Vec<OnceLock<Box<[Entry; SLOTS]>>>,
    /// All of them side by side, for streams that go from one to the other.
    all: OnceLock<Box<[[Entry; SLOTS]]>>,
}

impl TablePool {
    pub(crate) fn new(freqs: Vec<Freqs>) -> Self {
        Self { decode: freqs.iter().map(|_| OnceLock::new()).collect(), freqs, all: OnceLock::new() }
    }

    pub(crate) fn freqs(&self) -> &[Freqs] {
        &self.freqs
    }

    /// The decode table numbered `n`.
    pub(crate) fn get(&self, n: u16) -> Option<&[Entry; SLOTS]> {
        let freqs = self.freqs.get(n as usize)?;
        Some(self.decode[n as usize].get_or_init(|| {
            let mut table = Box::new([Entry::default(); SLOTS]);
            expand(freqs, &mut table);
            table
        }))
    }

    /// All decode tables.
    pub(crate) fn all(&self) -> &[[Entry; SLOTS]] {
        self.all.get_or_init(|| {
            let mut tables = vec![[Entry::default(); SLOTS]; self.freqs.len()];
            self.freqs.iter().zip(&mut tables).for_each(|(freqs, table)| expand(freqs, table));
            tables.into()
        })
    }

    /// Appends all tables to `out`.
    pub(crate) fn write_to(&self, out: &mut Vec<u8>) {
        for freqs in &self.freqs {
            let mut symbol = 0;
            while symbol < 256 {
                match freqs[symbol] {
                    0 => {
                        let run = freqs[symbol..].iter().take_while(|&&f| f == 0).count();
                        out.extend([0, (run - 1) as u8]);
                        symbol += run;
                        continue;
                    }
                    f @ 1..=127 => out.push(f as u8),
                    f => out.extend([0x80 | (f >> 8) as u8, f as u8]),
                }
                symbol += 1;
            }
        }
    }

    /// Reads `count` tables that fill `bytes`; `at` is their position in the file.
    pub(crate) fn read_from(bytes: &[u8], count: usize, at: u64) -> Result<Self> {
        let mut rest = bytes.iter().copied();
        if count > MAX_TABLES {
            return Err(Error::corrupt(format!("{count} frequency tables where there can be {MAX_TABLES}")).at(at));
        }
        let mut freqs = Vec::new();
        for n in 0..count {
            let fail = |why: &str| Error::corrupt(format!("frequency table {n}: {why}")).at(at);
            let mut table = [0u16; 256];
            let mut symbol = 0;
            while symbol < 256 {
                let byte = rest.next().ok_or_else(|| fail("cut short"))?;
                let mut next = || rest.next().ok_or_else(|| fail("cut short"));
                let (run, freq) = match byte {
                    0 => (next()? as usize + 1, 0),
                    1..=127 => (1, byte as u16),
                    128..=143 => (1, (byte as u16 & 15) << 8 | next()? as u16),
                    _ => return Err(fail("a frequency above 4095")),
                };
                let slots = table.get_mut(symbol..symbol + run).ok_or_else(|| fail("more than 256 symbols"))?;
                slots.fill(freq);
                symbol += run;
            }
            let sum: u32 = table.iter().map(|&f| f as u32).sum();
            if sum != SLOTS as u32 {
                return Err(fail(&format!("its frequencies add up to {sum}, not {SLOTS}")));
            }
            if table.contains(&(SLOTS as u16)) {
                return Err(fail("one symbol has all slots"));
            }
            freqs.push(table);
        }
        if rest.next().is_some() {
            return Err(Error::corrupt("bytes left over after the frequency tables").at(at));
        }
        Ok(Self::new(freqs))
    }
}

fn expand(freqs: &Freqs, table: &mut [Entry; SLOTS]) {
    let sound = expand_table(freqs, table);
    debug_assert_eq!(sound, Ok(()), "checked by read_from");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::frequency::normalise;

    #[test]
    fn round_trip_and_truncation() {
        let wide = normalise(&std::array::from_fn(|i| 1 + (i as u64 % 7) * (i as u64 % 11)), f32::INFINITY);
        let mut narrow = [0; 256];
        (narrow[3], narrow[200]) = (4000, 96);
        let pool = TablePool::new(vec![wide, narrow]);
        let mut bytes = Vec::new();
        pool.write_to(&mut bytes);
        assert_eq!(TablePool::read_from(&bytes, 2, 0).unwrap().freqs(), &[wide, narrow]);
        for n in 0..bytes.len() {
            assert!(TablePool::read_from(&bytes[..n], 2, 0).is_err());
        }
        assert!(TablePool::read_from(&bytes, 1, 0).is_err());
        assert!(TablePool::read_from(&bytes, usize::MAX, 0).is_err());
    }
}
