//! Which bytes of a range were ever written.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A bit for each byte of a range.
#[derive(Debug)]
pub(crate) struct Written(Box<[AtomicU64]>);

impl Written {
    /// No byte of `len` is written; none if the host has not the memory for it.
    pub(crate) fn none_of(len: u64) -> Option<Self> {
        Some(Self(bytemuck::try_zeroed_slice_box(usize::try_from(len.div_ceil(64)).ok()?).ok()?))
    }

    /// Marks `len` bytes from `offset`.
    pub(crate) fn mark(&self, offset: u64, len: u64) {
        for (word, bits) in words(offset, len) {
            self.0[word].fetch_or(bits, Relaxed);
        }
    }

    /// Takes the marks of `len` bytes from `offset` away.
    pub(crate) fn unmark(&self, offset: u64, len: u64) {
        for (word, bits) in words(offset, len) {
            self.0[word].fetch_and(!bits, Relaxed);
        }
    }

    /// The first of `len` bytes from `offset` that is not marked.
    pub(crate) fn first_missing(&self, offset: u64, len: u64) -> Option<u64> {
        words(offset, len).find_map(|(word, bits)| {
            let missing = bits & !self.0[word].load(Relaxed);
            (missing != 0).then(|| word as u64 * 64 + u64::from(missing.trailing_zeros()))
        })
    }

    /// Takes all marks away.
    pub(crate) fn clear(&self) {
        self.0.iter().for_each(|word| word.store(0, Relaxed));
    }
}

/// The 64-bit words of a bit set, and which of their bits, that hold bits `start..start + len`.
fn words(start: u64, len: u64) -> impl Iterator<Item = (usize, u64)> {
    let end = start + len;
    (start / 64..end.div_ceil(64)).map(move |word| {
        let low = start.saturating_sub(word * 64);
        let high = (end - word * 64).min(64);
        let upto = if high == 64 { u64::MAX } else { (1 << high) - 1 };
        (word as usize, upto & (u64::MAX << low))
    })
}
