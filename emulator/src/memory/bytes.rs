//! A range of host memory that several threads may access at once: device code may race, and a race there must be no undefined
//! behaviour here. So every access is a relaxed atomic one, which costs nothing over a plain access of the same width.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};

/// A range of bytes, valid as long as the region it was made for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bytes {
    start: *mut u8,
    len: u64,
}

// SAFETY: the range is only accessed atomically.
unsafe impl Send for Bytes {}
// SAFETY: as above.
unsafe impl Sync for Bytes {}

/// An integer that is loaded and stored in one piece.
pub(crate) trait Word: Copy {
    /// Loads from `at`.
    ///
    /// # Safety
    /// `at` is aligned for `Self` and valid for reads.
    unsafe fn load(at: *mut u8) -> Self;
    /// Stores to `at`.
    ///
    /// # Safety
    /// `at` is aligned for `Self` and valid for writes.
    unsafe fn store(at: *mut u8, value: Self);
}

macro_rules! word {
    ($($word:ty: $atomic:ty),*) => {$(impl Word for $word {
        #[inline(always)]
        unsafe fn load(at: *mut u8) -> Self {
            // SAFETY: the caller's promise.
            unsafe { <$atomic>::from_ptr(at.cast()).load(Relaxed) }
        }
        #[inline(always)]
        unsafe fn store(at: *mut u8, value: Self) {
            // SAFETY: the caller's promise.
            unsafe { <$atomic>::from_ptr(at.cast()).store(value, Relaxed) }
        }
    })*};
}

word!(u8: AtomicU8, u16: AtomicU16, u32: AtomicU32, u64: AtomicU64);

/// Bytes of its own, aligned to 8.
#[derive(Debug)]
pub(crate) struct Buffer {
    words: Box<[AtomicU64]>,
    len: u64,
}

impl Buffer {
    /// `len` zeros; none if the host has not that much. Pages come from the system untouched: what is never used costs nothing.
    pub(crate) fn zeroed(len: u64) -> Option<Self> {
        let words = bytemuck::try_zeroed_slice_box(usize::try_from(len.div_ceil(8)).ok()?).ok()?;
        Some(Self { words, len })
    }

    /// The range, to be used no longer than the buffer lives.
    pub(crate) fn bytes(&self) -> Bytes {
        // SAFETY: there are at least `len` bytes; atomics may be written through a shared pointer. Bytes do not outlive their buffer:
        // regions hold it beside them, launches hold regions, blocks hold theirs.
        unsafe { Bytes::new(self.words.as_ptr().cast_mut().cast(), self.len) }
    }

    /// Sets every word to `value`.
    pub(crate) fn fill(&self, value: u64) {
        self.words.iter().for_each(|word| word.store(value, Relaxed));
    }
}

impl Bytes {
    /// The range of `len` bytes from `start`.
    ///
    /// # Safety
    /// It is valid for reads and writes as long as the value or a copy of it is used.
    pub(super) unsafe fn new(start: *mut u8, len: u64) -> Self {
        Self { start, len }
    }

    pub(crate) fn len(self) -> u64 {
        self.len
    }

    /// Host address of `offset`, for the access that was checked to lie within the range.
    #[inline(always)]
    pub(crate) fn at(self, offset: u64) -> *mut u8 {
        self.start.wrapping_add(offset as usize)
    }

    /// Copies out from `offset`.
    pub(crate) fn read(self, offset: u64, target: &mut [u8]) {
        assert!(offset + target.len() as u64 <= self.len);
        let head = self.at(offset).align_offset(8).min(target.len());
        let (first, rest) = target.split_at_mut(head);
        let mut at = self.at(offset);
        let words = rest.len() / 8 * 8;
        let (middle, last) = rest.split_at_mut(words);
        // SAFETY: `at` runs over the range asserted above; it is aligned where words are loaded.
        unsafe {
            for byte in first {
                *byte = u8::load(at);
                at = at.add(1);
            }
            for word in middle.chunks_exact_mut(8) {
                word.copy_from_slice(&u64::load(at).to_ne_bytes());
                at = at.add(8);
            }
            for byte in last {
                *byte = u8::load(at);
                at = at.add(1);
            }
        }
    }

    /// Copies in at `offset`.
    pub(crate) fn write(self, offset: u64, source: &[u8]) {
        assert!(offset + source.len() as u64 <= self.len);
        let mut at = self.at(offset);
        let (first, rest) = source.split_at(at.align_offset(8).min(source.len()));
        let (middle, last) = rest.split_at(rest.len() / 8 * 8);
        // SAFETY: `at` runs over the range asserted above; it is aligned where words are stored.
        unsafe {
            for &byte in first {
                u8::store(at, byte);
                at = at.add(1);
            }
            for word in middle.chunks_exact(8) {
                u64::store(at, u64::from_ne_bytes(word.try_into().expect("8 bytes")));
                at = at.add(8);
            }
            for &byte in last {
                u8::store(at, byte);
                at = at.add(1);
            }
        }
    }
}
