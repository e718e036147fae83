//! One allocation or mapping: where it lies, its bytes, and which of them were ever written.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::bytes::{Buffer, Bytes};
use super::written::Written;

/// An allocation, or a mapping of host memory.
#[derive(Debug)]
pub(crate) struct Region {
    base: u64,
    bytes: Bytes,
    /// What `bytes` points to; none for host memory.
    backing: Option<Buffer>,
    /// Empty for host memory.
    written: Written,
    /// The marks count for nothing any more: a launch that does not keep them has run.
    untracked: AtomicBool,
}

impl Region {
    /// `len` bytes of device memory at `base`; none if the host has not that much.
    pub(super) fn device(base: u64, len: u64) -> Option<Self> {
        let backing = Buffer::zeroed(len)?;
        let written = Written::none_of(len)?;
        Some(Self { base, bytes: backing.bytes(), backing: Some(backing), written, untracked: AtomicBool::new(false) })
    }

    /// Host memory, at its own address.
    ///
    /// # Safety
    /// The range is valid for reads and writes as long as the region lives.
    pub(super) unsafe fn host(start: *mut u8, len: u64) -> Self {
        // SAFETY: the caller's promise.
        let bytes = unsafe { Bytes::new(start, len) };
        Self {
            base: start as u64,
            bytes,
            backing: None,
            written: Written::none_of(0).expect("nothing is had"),
            untracked: AtomicBool::new(true),
        }
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
    #[inline(always)]
    pub(crate) fn untrack(&self) {
        // Read first: the line is shared by all threads that write to the region.
        if !self.untracked.load(Relaxed) {
            self.untracked.store(true, Relaxed);
        }
    }

    /// Marks `len` bytes from `offset` as written.
    pub(crate) fn mark(&self, offset: u64, len: u64) {
        if !self.untracked.load(Relaxed) {
            self.written.mark(offset, len);
        }
    }

    /// The first of `len` bytes from `offset` that was never written.
    pub(crate) fn first_unwritten(&self, offset: u64, len: u64) -> Option<u64> {
        if self.untracked.load(Relaxed) { None } else { self.written.first_missing(offset, len) }
    }

    /// Marks the bytes from `offset` as `source`'s bytes from `from` are marked.
    pub(super) fn copy_marks(&self, offset: u64, source: &Self, from: u64, len: u64) {
        if self.untracked.load(Relaxed) {
            return;
        }
        let marks: Vec<bool> = (from..from + len).map(|byte| source.first_unwritten(byte, 1).is_none()).collect();
        for (byte, marked) in (offset..).zip(marks) {
            match marked {
                true => self.written.mark(byte, 1),
                false => self.written.unmark(byte, 1),
            }
        }
    }
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
