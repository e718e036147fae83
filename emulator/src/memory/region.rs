//! One allocation or mapping: where it lies, its bytes, and which of them were ever written.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use super::bytes::Bytes;

/// An allocation, or a mapping of host memory.
#[derive(Debug)]
pub(crate) struct Region {
    base: u64,
    bytes: Bytes,
    /// What `bytes` points to; none for host memory.
    backing: Option<Box<[AtomicU64]>>,
    /// A bit for each byte: written. Empty for host memory.
    written: Box<[AtomicU64]>,
    /// The bits count for nothing any more: a launch that does not keep them has run.
    untracked: AtomicBool,
}

impl Region {
    /// `len` bytes of device memory at `base`; none if the host has not that much.
    pub(super) fn device(base: u64, len: u64) -> Option<Self> {
        let words = usize::try_from(len.div_ceil(8)).ok()?;
        // Zeroed pages come from the system untouched: memory that is never used costs nothing.
        let backing: Box<[AtomicU64]> = bytemuck::try_zeroed_slice_box(words).ok()?;
        let written = bytemuck::try_zeroed_slice_box(words.div_ceil(8)).ok()?;
        // SAFETY: the region owns the backing, which has at least `len` bytes; atomics may be written through a shared pointer.
        let bytes = unsafe { Bytes::new(backing.as_ptr().cast_mut().cast(), len) };
        Some(Self { base, bytes, backing: Some(backing), written, untracked: AtomicBool::new(false) })
    }

    /// Host memory, at its own address.
    ///
    /// # Safety
    /// The range is valid for reads and writes as long as the region lives.
    pub(super) unsafe fn host(start: *mut u8, len: u64) -> Self {
        // SAFETY: the caller's promise.
        let bytes = unsafe { Bytes::new(start, len) };
        Self { base: start as u64, bytes, backing: None, written: Box::new([]), untracked: AtomicBool::new(true) }
    }

    #[inline(always)]
    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    #[inline(always)]
    pub(crate) fn len(&self) -> u64 {
        self.bytes.len()
    }

    #[inline(always)]
    pub(crate) fn end(&self) -> u64 {
        self.base + self.bytes.len()
    }

    #[inline(always)]
    pub(crate) fn bytes(&self) -> Bytes {
        self.bytes
    }

    pub(crate) fn is_host(&self) -> bool {
        self.backing.is_none()
    }

    /// Gives up on knowing which bytes are written: all count as initialised from now on.
    pub(crate) fn untrack(&self) {
        self.untracked.store(true, Relaxed);
    }

    /// Marks `len` bytes from `offset` as written.
    pub(crate) fn mark(&self, offset: u64, len: u64) {
        if self.untracked.load(Relaxed) {
            return;
        }
        for (word, bits) in words(offset, len) {
            self.written[word].fetch_or(bits, Relaxed);
        }
    }

    /// The first of `len` bytes from `offset` that was never written.
    pub(crate) fn first_unwritten(&self, offset: u64, len: u64) -> Option<u64> {
        if self.untracked.load(Relaxed) {
            return None;
        }
        words(offset, len).find_map(|(word, bits)| {
            let missing = bits & !self.written[word].load(Relaxed);
            (missing != 0).then(|| word as u64 * 64 + u64::from(missing.trailing_zeros()))
        })
    }

    /// Marks the bytes from `offset` as `source`'s bytes from `from` are marked.
    pub(super) fn copy_marks(&self, offset: u64, source: &Self, from: u64, len: u64) {
        if self.untracked.load(Relaxed) {
            return;
        }
        let marks: Vec<bool> = (from..from + len).map(|byte| source.first_unwritten(byte, 1).is_none()).collect();
        for (byte, marked) in (offset..).zip(marks) {
            let (word, bit) = (&self.written[(byte / 64) as usize], 1 << (byte % 64));
            match marked {
                true => word.fetch_or(bit, Relaxed),
                false => word.fetch_and(!bit, Relaxed),
            };
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_is_known_to_the_byte() {
        let region = Region::device(256, 1000).unwrap();
        region.mark(60, 10);
        assert_eq!(region.first_unwritten(60, 10), None);
        assert_eq!(region.first_unwritten(59, 2), Some(59));
        assert_eq!(region.first_unwritten(69, 2), Some(70));
        assert_eq!(region.first_unwritten(0, 0), None);
        region.copy_marks(400, &region, 65, 10);
        assert_eq!(region.first_unwritten(400, 10), Some(405));
        region.untrack();
        assert_eq!(region.first_unwritten(900, 100), None);
    }
}
