//! Pinned host memory: allocated here or registered by its owner.

use std::alloc::Layout;
use std::collections::BTreeMap;
use std::ops::Range;

use super::status::{Checked, Status};

/// Alignment of pinned allocations, a page's.
const PAGE: usize = 4096;

/// One pinned range.
pub(crate) struct Pinned {
    pub len: usize,
    pub flags: u32,
    /// Present if the range was allocated here and is given back to the allocator when freed.
    layout: Option<Layout>,
}

/// The pinned ranges of a context, by first address. They never overlap.
#[derive(Default)]
pub(crate) struct PinnedTable {
    ranges: BTreeMap<usize, Pinned>,
}

/// How a host range relates to pinned memory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Residence {
    Pinned,
    Pageable,
    /// It begins in pinned memory and ends outside, or the reverse.
    Straddling,
}

impl PinnedTable {
    /// Records `len` bytes at `address`, owned by the caller.
    pub(crate) fn register(&mut self, address: usize, len: usize, flags: u32) -> Checked {
        if address == 0 || len == 0 || address.checked_add(len).is_none() {
            return Err(Status::INVALID_VALUE);
        }
        if self.residence(address..address + len) != Residence::Pageable {
            return Err(Status::HOST_MEMORY_ALREADY_REGISTERED);
        }
        self.ranges.insert(address, Pinned { len, flags, layout: None });
        Ok(())
    }

    /// Records memory got from [`allocate`].
    pub(crate) fn adopt(&mut self, address: usize, layout: Layout, len: usize, flags: u32) {
        self.ranges.insert(address, Pinned { len, flags, layout: Some(layout) });
    }

    /// The range that begins at `address` and was allocated (`owned`) or registered (otherwise).
    pub(crate) fn at(&self, address: usize, owned: bool) -> Option<Range<usize>> {
        self.ranges.get(&address).filter(|pinned| pinned.layout.is_some() == owned).map(|pinned| address..address + pinned.len)
    }

    /// The range that holds `address`, and its first address.
    pub(crate) fn holding(&self, address: usize) -> Option<(usize, &Pinned)> {
        let (&first, pinned) = self.ranges.range(..=address).next_back()?;
        (address < first + pinned.len).then_some((first, pinned))
    }

    pub(crate) fn residence(&self, range: Range<usize>) -> Residence {
        match self.holding(range.start) {
            Some((first, pinned)) if range.end <= first + pinned.len => Residence::Pinned,
            Some(_) => Residence::Straddling,
            None if self.ranges.range(range).next().is_some() => Residence::Straddling,
            None => Residence::Pageable,
        }
    }

    /// Forgets the range at `address`; the layout to hand to [`release`] if it was allocated here.
    pub(crate) fn remove(&mut self, address: usize) -> Option<Layout> {
        self.ranges.remove(&address)?.layout
    }

    pub(crate) fn addresses(&self) -> Vec<usize> {
        self.ranges.keys().copied().collect()
    }
}

/// Page-aligned memory of `len` bytes; like the driver's it holds whatever it held.
pub(crate) fn allocate(len: usize) -> Checked<(usize, Layout)> {
    let layout = Layout::from_size_align(len, PAGE).map_err(|_| Status::OUT_OF_MEMORY)?;
    if len == 0 {
        return Err(Status::INVALID_VALUE);
    }
    // SAFETY: the layout's size is not zero.
    let address = unsafe { std::alloc::alloc(layout) } as usize;
    if address == 0 { Err(Status::OUT_OF_MEMORY) } else { Ok((address, layout)) }
}

/// Gives back memory from [`allocate`].
pub(crate) fn release(address: usize, layout: Layout) {
    // SAFETY: the only callers pass an address and the layout it was allocated with, taken out of the table once.
    unsafe { std::alloc::dealloc(address as *mut u8, layout) }
}

/// The host bytes of a copy. Made where a C caller promised that they exist, used until the copy is done.
pub(crate) struct HostBytes {
    address: usize,
    len: usize,
}

impl HostBytes {
    /// # Safety
    /// `len` bytes at `address` stay allocated until this is dropped, and for [`HostBytes::as_mut`] writable.
    pub(crate) unsafe fn new(address: usize, len: usize) -> HostBytes {
        HostBytes { address, len }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        // SAFETY: allocated, as promised to `new`; a caller that writes them meanwhile breaks the copy's contract.
        unsafe { std::slice::from_raw_parts(self.address as *const u8, self.len) }
    }

    pub(crate) fn as_mut(&mut self) -> &mut [u8] {
        // SAFETY: allocated and writable, as promised to `new`; a caller that uses them meanwhile breaks the copy's contract.
        unsafe { std::slice::from_raw_parts_mut(self.address as *mut u8, self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_do_not_overlap_and_residence_is_exact() {
        let mut table = PinnedTable::default();
        table.register(0x2000, 0x1000, 0).unwrap();
        table.register(0x3000, 0x10, 0).unwrap();
        for (address, len) in [(0x1fff, 2), (0x2fff, 1), (0x1000, 0x9000), (0x300f, 9)] {
            assert_eq!(table.register(address, len, 0), Err(Status::HOST_MEMORY_ALREADY_REGISTERED), "{address:x}");
        }
        assert_eq!(table.register(0, 1, 0), Err(Status::INVALID_VALUE));
        assert_eq!(table.register(0x9000, 0, 0), Err(Status::INVALID_VALUE));
        assert_eq!(table.residence(0x2000..0x3000), Residence::Pinned);
        assert_eq!(table.residence(0x2800..0x3001), Residence::Straddling);
        assert_eq!(table.residence(0x1000..0x2001), Residence::Straddling);
        assert_eq!(table.residence(0x1000..0x2000), Residence::Pageable);
        assert_eq!(table.residence(0x3010..0x4000), Residence::Pageable);
        assert_eq!(table.at(0x2000, false), Some(0x2000..0x3000));
        assert_eq!((table.at(0x2000, true), table.at(0x2001, false)), (None, None));
        assert_eq!(table.remove(0x2000), None);
        assert_eq!(table.residence(0x2000..0x3000), Residence::Pageable);
    }

    #[test]
    fn allocations_are_page_aligned() {
        let (address, layout) = allocate(5).unwrap();
        assert_eq!(address % PAGE, 0);
        release(address, layout);
        assert_eq!(allocate(0).unwrap_err(), Status::INVALID_VALUE);
        assert_eq!(allocate(usize::MAX - 5000).unwrap_err(), Status::OUT_OF_MEMORY);
    }
}
