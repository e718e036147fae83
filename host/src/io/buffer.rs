//! Memory that reads fill.
//!
//! `unsafe`: a `Vec` is not aligned to pages, which O_DIRECT asks for, and the memory of a GPU's driver is no `Vec`.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::io;
use std::ops::{Deref, DerefMut};

/// What offsets, lengths and addresses of direct reads are multiples of: the sector size of today's disks, and a page.
pub(super) const BLOCK: usize = 4096;

/// A huge page. A direct read hands the disk a list of the buffer's pages, and disks, virtual ones most of all, take long over long
/// lists: where this was measured (a virtual disk, 4 MiB a read) huge pages made direct reads three times as fast.
#[cfg(target_os = "linux")]
const HUGE: usize = 2 << 20;

/// Memory at an address of its own.
///
/// # Safety
///
/// From its creation to its drop, `address()` returns the same address and `len()` the same length; the address is a multiple of 4096; and
/// the `len()` bytes there are initialised and may be read and written by whoever holds the object, from any thread, and by nobody else.
pub(crate) unsafe trait Memory: Send {
    fn address(&self) -> *mut u8;
    fn len(&self) -> usize;
}

/// Page-aligned memory, at a stable address until it is dropped: a plain allocation, or pinned memory of a GPU's driver.
pub(crate) struct Buffer(Box<dyn Memory>);

impl Buffer {
    /// `len` zeros, or an error where memory is short.
    pub(crate) fn new(len: usize) -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        if len >= HUGE {
            return Ok(Self(Box::new(Huge::new(len)?)));
        }
        let short = || io::Error::new(io::ErrorKind::OutOfMemory, format!("{len} bytes do not fit into memory"));
        // A size of zero cannot be allocated.
        let layout = Layout::from_size_align(len.max(1), BLOCK).map_err(|_| short())?;
        // SAFETY: the size of the layout is not zero.
        let address = unsafe { alloc_zeroed(layout) };
        if address.is_null() {
            return Err(short());
        }
        Ok(Self(Box::new(Heap { address, len, layout })))
    }

    /// A buffer in memory of another kind.
    pub(crate) fn from_memory(memory: Box<dyn Memory>) -> Self {
        Self(memory)
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: by the contract of `Memory`, the bytes are initialised and nobody else writes to them while `self` is borrowed.
        unsafe { std::slice::from_raw_parts(self.0.address(), self.0.len()) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: by the contract of `Memory`, the bytes are initialised and nobody else uses them while `self` is borrowed.
        unsafe { std::slice::from_raw_parts_mut(self.0.address(), self.0.len()) }
    }
}

/// A plain allocation: `address` is of `layout`, which is of at least `len` bytes.
struct Heap {
    address: *mut u8,
    len: usize,
    layout: Layout,
}

// SAFETY: the allocation belongs to this object alone, as a `Box` would.
unsafe impl Send for Heap {}

// SAFETY: the allocation is aligned to 4096, zeroed when it is made, and stays where it is until the drop.
unsafe impl Memory for Heap {
    fn address(&self) -> *mut u8 {
        self.address
    }

    fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Heap {
    fn drop(&mut self) {
        // SAFETY: `address` was allocated with `layout`, and is freed only here.
        unsafe { dealloc(self.address, self.layout) }
    }
}

/// Memory in huge pages, where the system gives them: `address` is that of the first whole one in `map`, which has `len` bytes from there.
#[cfg(target_os = "linux")]
struct Huge {
    address: *mut u8,
    len: usize,
    _map: memmap2::MmapMut,
}

#[cfg(target_os = "linux")]
impl Huge {
    fn new(len: usize) -> io::Result<Self> {
        let short = || io::Error::new(io::ErrorKind::OutOfMemory, format!("{len} bytes do not fit into memory"));
        // What is not used of the map is addresses, not memory.
        let mut map = memmap2::MmapMut::map_anon(len.checked_add(HUGE).ok_or_else(short)?).map_err(|_| short())?;
        // Only advice: small pages do as well, slower.
        let _ = map.advise(memmap2::Advice::HugePage);
        let start = map.as_mut_ptr();
        let skip = start.addr().next_multiple_of(HUGE) - start.addr();
        // Less than a huge page is skipped, which leaves `len`.
        Ok(Self { address: map[skip..].as_mut_ptr(), len, _map: map })
    }
}

// SAFETY: the map belongs to this object alone, as a `Box` would.
#[cfg(target_os = "linux")]
unsafe impl Send for Huge {}

// SAFETY: the map is zeros and stays where it is until the drop; nothing but `address`, a multiple of 2 MiB, is used to get at it.
#[cfg(target_os = "linux")]
unsafe impl Memory for Huge {
    fn address(&self) -> *mut u8 {
        self.address
    }

    fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{SIZE, boxed_done, file, next};
    use super::super::{IoChoice, Memory, Request, open};
    use super::*;
    use std::sync::Arc;

    #[test]
    fn aligned_zeroed_and_sized() {
        for len in [0, 1, 4095, 4096, 1 << 20, 2 << 20, (5 << 20) + 1] {
            let mut buffer = Buffer::new(len).unwrap();
            assert_eq!(buffer.len(), len);
            assert_eq!(buffer.as_ptr() as usize % BLOCK, 0);
            assert!(buffer.iter().all(|b| *b == 0));
            buffer.fill(7);
            let address = buffer.as_ptr();
            let moved = std::thread::spawn(move || buffer).join().unwrap();
            assert_eq!(moved.as_ptr(), address);
            assert!(moved.iter().all(|b| *b == 7));
        }
    }

    #[test]
    fn short_memory_is_an_error() {
        for len in [usize::MAX, isize::MAX as usize, isize::MAX as usize - BLOCK] {
            assert_eq!(Buffer::new(len).err().unwrap().kind(), io::ErrorKind::OutOfMemory, "{len}");
        }
    }

    /// Memory that somebody else made, as a GPU's driver does.
    #[test]
    fn reads_fill_memory_of_other_kinds() {
        #[repr(align(4096))]
        struct Page(#[allow(dead_code)] [u8; 4096]);
        struct Foreign(*mut Page, #[allow(dead_code)] Arc<()>);
        // SAFETY: the page belongs to this object alone.
        unsafe impl Send for Foreign {}
        // SAFETY: the page is initialised, aligned, stays where it is until the drop, and nobody else knows of it.
        unsafe impl Memory for Foreign {
            fn address(&self) -> *mut u8 {
                self.0.cast()
            }
            fn len(&self) -> usize {
                4096
            }
        }
        impl Drop for Foreign {
            fn drop(&mut self) {
                // SAFETY: made by `Box::into_raw`, freed only here.
                drop(unsafe { Box::from_raw(self.0) });
            }
        }
        let page = Box::into_raw(Box::new(Page([0; 4096])));
        let address: *const u8 = page.cast_const().cast();
        let alive = Arc::new(());
        let buffer = Buffer::from_memory(Box::new(Foreign(page, alive.clone())));
        let (file, bytes) = file(SIZE);
        let (done, receiver) = boxed_done();
        let reads = open(file.path(), IoChoice::Auto, 1, done).unwrap();
        reads.submit(Request { id: 0, offset: 4096, len: 4096, buffer });
        let completion = next(&receiver);
        completion.result.unwrap();
        assert!(completion.buffer[..] == bytes[4096..8192]);
        assert_eq!(completion.buffer.as_ptr(), address);
        drop(completion.buffer);
        assert_eq!(Arc::strong_count(&alive), 1);
    }
}
