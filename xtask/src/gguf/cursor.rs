//! Bounds-checked reads of little-endian values.

use anyhow::{Context, Result};

/// A position in a byte string.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at the beginning.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Where the next read begins.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// The next `count` bytes.
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let taken = self.at.checked_add(count).and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.with_context(|| format!("the file ends within {count} bytes at offset {}", self.at))?;
        self.at += count;
        Ok(taken)
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into()?)
    }

    /// The next `u32`.
    pub(super) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// The next `u64`.
    pub(super) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// The next `u64`, as a count of things in memory.
    pub(super) fn length(&mut self) -> Result<usize> {
        usize::try_from(self.u64()?).context("a length does not fit this machine")
    }

    /// The next string: its length, then that many bytes of UTF-8.
    pub(super) fn string(&mut self) -> Result<&'a str> {
        let length = self.length()?;
        std::str::from_utf8(self.take(length)?).context("a string is not UTF-8")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_stop_at_the_end() {
        let mut cursor = Cursor::new(&[1, 0, 0, 0, 9]);
        assert_eq!(cursor.u32().expect("four bytes"), 1);
        assert!(cursor.u32().is_err());
        assert!(cursor.take(usize::MAX).is_err());
        assert_eq!(cursor.position(), 4);
        assert_eq!(cursor.take(1).expect("one byte"), [9]);
    }

    #[test]
    fn strings_are_checked() {
        let with = |length: u64, text: &[u8]| [&length.to_le_bytes()[..], text].concat();
        assert_eq!(Cursor::new(&with(2, b"ab")).string().expect("reads"), "ab");
        assert!(Cursor::new(&with(3, b"ab")).string().is_err());
        assert!(Cursor::new(&with(u64::MAX, b"ab")).string().is_err());
        assert!(Cursor::new(&with(1, &[0xFF])).string().is_err());
    }
}
