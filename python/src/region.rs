//! Memory that tensors are decoded into. Those of a file share arenas in huge pages, where a fault is for 2 MiB instead of 4 KiB: faults, not
//! decoding, are what loading takes its time for.
//!
//! Of the arenas that are given back one small one is kept, as `malloc` keeps blocks: a process that loads again (a test, an adapter after the
//! other) has its pages already. The system may take them where it is short of memory.
//!
//! `unsafe`: several owners of parts of one map, which the borrow checker has no word for.
#![allow(unsafe_code)]

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};
use wcodec::HostMemory;

/// Where tensors begin: JAX takes only such without a copy.
const LINE: usize = 64;
/// Bytes of an arena, unless a tensor is larger. It goes when its last tensor does.
const ARENA: usize = 256 << 20;
/// Bytes of an arena that may be kept.
const KEEP: usize = 64 << 20;
/// Tensors from here on have an arena to themselves when they are asked for one by one.
const LARGE: usize = 1 << 20;

/// An anonymous map.
struct Map {
    first: *mut u8,
    len: usize,
    map: memmap2::MmapMut,
}

// SAFETY: an address and what keeps it; what is done there is for `Region` to answer.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

static KEPT: Mutex<Option<Map>> = Mutex::new(None);

impl Map {
    /// At least `len` bytes, with anything in them.
    fn new(len: usize) -> Result<Self, wcodec::Error> {
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(map) = kept.take_if(|map| map.len >= len && map.len / 2 <= len) {
            return Ok(map);
        }
        drop(kept);
        let fail = |e| wcodec::Error::new(wcodec::ErrorKind::Io, format!("reserving {len} bytes of memory: {e}"));
        let mut map = memmap2::MmapMut::map_anon(len.max(1)).map_err(fail)?;
        // Advice: without it pages are small.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Self { first: map.as_mut_ptr(), len, map })
    }
}

struct Arena(Option<Map>);

impl Drop for Arena {
    fn drop(&mut self) {
        let Some(map) = self.0.take().filter(|map| map.len <= KEEP) else { return };
        // From now on the system may take the pages instead of writing them to swap; those that are written to again, it may not.
        // SAFETY: nobody has a part of the map any more, and who gets one does not rely on what is in it.
        #[cfg(target_os = "linux")]
        let _ = unsafe { map.map.unchecked_advise(memmap2::UncheckedAdvice::Free) };
        let old = KEPT.lock().unwrap_or_else(PoisonError::into_inner).replace(map);
        drop(old);
    }
}

/// Bytes that nobody else has: a part of an arena, or lines of their own.
pub(crate) struct Region {
    address: *mut u8,
    len: usize,
    _owner: Owner,
}

enum Owner {
    Arena(#[allow(dead_code)] Arc<Arena>),
    Lines(#[allow(dead_code)] Vec<Line>),
}

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[allow(dead_code)] [u8; LINE]);

// SAFETY: bytes that nobody else has, and what keeps them alive.
unsafe impl Send for Region {}
// SAFETY: as above; they are written through `&mut` only, and by whom the region is handed to.
unsafe impl Sync for Region {}

impl Region {
    /// Memory for one tensor.
    pub(crate) fn one(len: usize) -> Result<Self, wcodec::Error> {
        if len >= LARGE {
            return Ok(Self::all(&[len])?.remove(0));
        }
        let mut lines = vec![Line([0; LINE]); len.div_ceil(LINE)];
        Ok(Self { address: lines.as_mut_ptr().cast(), len, _owner: Owner::Lines(lines) })
    }

    /// Memory for the tensors of a file.
    pub(crate) fn all(lens: &[usize]) -> Result<Vec<Self>, wcodec::Error> {
        let mut regions = Vec::with_capacity(lens.len());
        let mut rest = lens;
        while !rest.is_empty() {
            let mut count = 0;
            let mut size = 0usize;
            for &len in rest {
                let end = len.checked_next_multiple_of(LINE).and_then(|len| size.checked_add(len));
                match end {
                    Some(end) if count == 0 || end <= ARENA => (count, size) = (count + 1, end),
                    _ => break,
                }
            }
            if count == 0 {
                let why = format!("{} bytes are more than this system addresses", rest[0]);
                return Err(wcodec::Error::new(wcodec::ErrorKind::InvalidArgument, why));
            }
            let map = Map::new(size)?;
            let first = map.first;
            let arena = Arc::new(Arena(Some(map)));
            let (here, after) = rest.split_at(count);
            let mut start = 0;
            for &len in here {
                // SAFETY: the arena has the sum of these lengths, each rounded up as `start` is.
                let address = unsafe { first.add(start) };
                regions.push(Self { address, len, _owner: Owner::Arena(arena.clone()) });
                start += len.next_multiple_of(LINE);
            }
            rest = after;
        }
        Ok(regions)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn address(&self) -> *mut u8 {
        self.address
    }

    /// To decode into. What is there before is anything.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the owner has these bytes, initialised (by the system, by `one`, or by whom a map was kept of), and no other region has them.
        unsafe { std::slice::from_raw_parts_mut(self.address, self.len) }
    }
}

// SAFETY: the bytes do not move with the region, and no other region has them.
unsafe impl HostMemory for Region {
    fn address(&self) -> *mut u8 {
        self.address
    }

    fn len(&self) -> usize {
        self.len
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send + Sync> {
        self
    }
}

/// A region as those have it that share it.
pub(crate) struct Shared(pub(crate) Arc<Region>);

// SAFETY: as a region's. Nothing in here decodes into a shared one.
unsafe impl HostMemory for Shared {
    fn address(&self) -> *mut u8 {
        self.0.address
    }

    fn len(&self) -> usize {
        self.0.len
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send + Sync> {
        self
    }
}
