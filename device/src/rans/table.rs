//! Decode tables: one 32-bit entry for each of the 4096 slots.

/// Probabilities are multiples of `2^-SCALE_BITS`.
pub const SCALE_BITS: u32 = 12;
/// Slots of a decode table.
pub const SLOTS: usize = 1 << SCALE_BITS;

/// `offset:12 | freq:12 | symbol:8`, most significant first. `offset` is the slot's distance from the symbol's first slot.
///
/// The symbol lies lowest so that it is had with one mask, the offset highest so that it is had with one shift.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct Entry(pub u32);

impl Entry {
    /// Packs an entry; `freq` is in `1..4096` and `offset < freq`.
    #[inline]
    pub fn new(symbol: u8, freq: u32, offset: u32) -> Self {
        Self(offset << 20 | freq << 8 | symbol as u32)
    }

    /// The symbol.
    #[inline(always)]
    pub fn symbol(self) -> u8 {
        self.0 as u8
    }

    /// The symbol's frequency out of 4096.
    #[inline(always)]
    pub fn freq(self) -> u32 {
        (self.0 >> 8) & (SLOTS as u32 - 1)
    }

    /// The slot's distance from the symbol's first slot.
    #[inline(always)]
    pub fn offset(self) -> u32 {
        self.0 >> 20
    }
}

/// Why 256 frequencies are no table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableError {
    /// The frequencies add up to this and not to 4096.
    Sum(u32),
    /// This symbol has all 4096 slots, which twelve bits cannot say (such a plane is `Constant`).
    Whole(u8),
}

/// Fills a decode table from the frequencies of the 256 symbols.
pub fn expand_table(freqs: &[u16; 256], table: &mut [Entry; SLOTS]) -> Result<(), TableError> {
    let sum: u32 = freqs.iter().map(|&f| f as u32).sum();
    if sum != SLOTS as u32 {
        return Err(TableError::Sum(sum));
    }
    if let Some(s) = freqs.iter().position(|&f| f as usize == SLOTS) {
        return Err(TableError::Whole(s as u8));
    }
    let mut slots = table.iter_mut();
    for (symbol, &freq) in freqs.iter().enumerate() {
        for (offset, slot) in slots.by_ref().take(freq as usize).enumerate() {
            *slot = Entry::new(symbol as u8, freq as u32, offset as u32);
        }
    }
    Ok(())
}
