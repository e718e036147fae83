//! Where decoded tensors go on the host.
//!
//! A tensor's memory is written by several threads at once, each its own part; [`Target`] is the only place where that is not plain Rust.
#![allow(unsafe_code)]

use crate::error::{Error, Result};
use memmap2::MmapMut;
use std::any::Any;
use std::ops::Range;
use std::sync::Arc;

/// Memory that a tensor is decoded into: a plain allocation of the loader's ([`HostTensor`]), or whatever the caller brings, so that
/// bytes need not be copied once more.
///
/// # Safety
/// `address()` must be valid for reads and writes of `len()` initialised bytes, the same for as long as the object lives, wherever it is moved, and
/// nobody else may touch these bytes while the loader has the object.
pub unsafe trait HostMemory: Any + Send + Sync {
    /// The first byte.
    fn address(&self) -> *mut u8;
    /// Bytes.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Whether it is the allocator's and not touched yet: then the loader may ask the system for huge pages there.
    fn is_fresh(&self) -> bool {
        false
    }
    /// Itself, to be cast back to the type that it was made as.
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send + Sync>;
}

/// Bytes of an arena that several tensors share. Large, because the system gives large pages only inside of large mappings, and a page of 4 KiB
/// costs a fault each; not larger, because an arena is given back when its last tensor is dropped.
const ARENA: usize = 256 << 20;

/// Bytes of a cache line: where tensors begin, and no two share one.
const LINE: usize = 64;

/// Zeroed memory of the system's, in huge pages where it has some.
struct Arena {
    first: *mut u8,
    _map: MmapMut,
}

// SAFETY: the map's bytes are reached by address only, and by whom the types below allow to.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    fn new(len: usize) -> Result<Arc<Self>> {
        let map = MmapMut::map_anon(len.max(1));
        let mut map = map.map_err(|e| Error::io(&format!("reserving {len} bytes of memory"), e))?;
        // Advice: without it pages are small.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Arc::new(Self { first: map.as_mut_ptr(), _map: map }))
    }
}

/// Bytes of a tensor in host memory, on a cache line; the loader's default.
pub struct HostTensor {
    arena: Arc<Arena>,
    start: usize,
    len: usize,
}

impl HostTensor {
    /// Zeroed memory for tensors of these lengths, next to each other.
    pub(crate) fn all(lens: &[usize]) -> Result<Vec<Self>> {
        let mut tensors = Vec::with_capacity(lens.len());
        let mut rest = lens;
        while !rest.is_empty() {
            let mut end = 0usize;
            let starts: Vec<usize> = rest
                .iter()
                .enumerate()
                .map_while(|(i, &len)| {
                    let start = end;
                    end = end.checked_add(len)?.checked_next_multiple_of(LINE)?;
                    (i == 0 || end <= ARENA).then_some(start)
                })
                .collect();
            let Some(&last) = starts.last() else {
                return Err(Error::argument(format!("{} bytes are more than this system addresses", rest[0])));
            };
            let arena = Arena::new(last + rest[starts.len() - 1])?;
            let (here, after) = rest.split_at(starts.len());
            tensors.extend(starts.into_iter().zip(here).map(|(start, &len)| Self { arena: arena.clone(), start, len }));
            rest = after;
        }
        Ok(tensors)
    }
}

impl std::ops::Deref for HostTensor {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: inside of the arena, and written only before the loader handed the tensor out.
        unsafe { std::slice::from_raw_parts(self.address(), self.len) }
    }
}

impl std::fmt::Debug for HostTensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HostTensor({} bytes)", self.len)
    }
}

// SAFETY: the arena's bytes do not move, and no two tensors have the same ones.
unsafe impl HostMemory for HostTensor {
    fn address(&self) -> *mut u8 {
        // SAFETY: a tensor lies inside of its arena.
        unsafe { self.arena.first.add(self.start) }
    }

    fn len(&self) -> usize {
        self.len
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send + Sync> {
        self
    }
}

/// A `Vec` of numbers to decode into: what other libraries take over without a copy.
pub struct VecMemory<T>(Vec<T>);

impl<T: bytemuck::Pod + Send + Sync> VecMemory<T> {
    /// `len` zeros.
    pub fn zeroed(len: usize) -> Self {
        Self(bytemuck::allocation::zeroed_vec(len))
    }

    /// The numbers.
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

// SAFETY: a vector owns its elements, `Pod` ones are bytes, and it is not touched until it is taken back.
unsafe impl<T: bytemuck::Pod + Send + Sync> HostMemory for VecMemory<T> {
    fn address(&self) -> *mut u8 {
        self.0.as_ptr().cast_mut().cast()
    }

    fn len(&self) -> usize {
        size_of_val(&self.0[..])
    }

    fn is_fresh(&self) -> bool {
        true
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send + Sync> {
        self
    }
}

/// A tensor's memory as threads see it that decode into it.
///
/// Invariants: the memory's owner outlives every use (the driver hands a tensor out only when all of its units are decoded, and joins its
/// workers before it drops anything); parts that are written at a time do not overlap (`plan.rs` gives each a range of its own).
#[derive(Clone, Copy)]
pub(super) struct Target {
    address: *mut u8,
    len: u64,
}

// SAFETY: an address; what is done there is for `with`'s callers to answer.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

impl Target {
    pub(super) fn new(memory: &dyn HostMemory) -> Self {
        Self { address: memory.address(), len: memory.len() as u64 }
    }

    /// Addresses of bytes `range` of the memory.
    pub(super) fn addresses(&self, range: Range<u64>) -> Range<usize> {
        let start = self.address as usize;
        start + range.start as usize..start + range.end as usize
    }

    /// Calls `f` with bytes `range` of the memory.
    ///
    /// # Safety
    /// The invariants of the type.
    ///
    /// # Panics
    /// If the range is not inside.
    pub(super) unsafe fn with<T>(&self, range: Range<u64>, f: impl FnOnce(&mut [u8]) -> T) -> T {
        assert!(range.start <= range.end && range.end <= self.len, "a part outside its tensor");
        // SAFETY: inside of the memory, which lives, and which nobody else has these bytes of.
        f(unsafe { std::slice::from_raw_parts_mut(self.address.add(range.start as usize), (range.end - range.start) as usize) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_share_arenas_and_no_line() {
        let lens = [0, 1, 64, 65, 5000, ARENA + 1, 7, ARENA / 2, ARENA / 2, 3];
        let tensors = HostTensor::all(&lens).unwrap();
        let mut ranges: Vec<_> = tensors.iter().map(|t| (t.address() as usize, t.len())).collect();
        assert!(ranges.iter().zip(lens).all(|(r, len)| r.0 % LINE == 0 && r.1 == len));
        ranges.sort_unstable();
        assert!(ranges.windows(2).all(|w| w[0].0.next_multiple_of(LINE) + w[0].1 <= w[1].0));
        assert!(tensors.iter().all(|t| t.last().is_none_or(|&b| b == 0)));
        let arenas: std::collections::HashSet<_> = tensors.iter().map(|t| Arc::as_ptr(&t.arena)).collect();
        assert_eq!(arenas.len(), 4);
    }
}
