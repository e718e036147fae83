//! Where decoded tensors go on the host.
//!
//! A tensor's memory is written by several threads at once, each its own part; [`Target`] is the only place where that is not plain Rust.
#![allow(unsafe_code)]

use crate::error::{Error, Result};
use memmap2::MmapMut;
use std::any::Any;
use std::ops::Range;

/// Memory that a tensor is decoded into: a plain allocation of the loader's ([`HostTensor`]), or whatever the caller brings, so that
/// bytes need not be copied once more.
///
/// # Safety
/// `address()` must be valid for reads and writes of `len()` bytes, the same for as long as the object lives, wherever it is moved, and nobody
/// else may touch these bytes while the loader has the object.
pub unsafe trait HostMemory: Any + Send + Sync {
    /// The first byte.
    fn address(&self) -> *mut u8;
    /// Bytes.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Itself, to be cast back to the type that it was made as.
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send + Sync>;
}

/// Allocations from this size on come from the system as huge pages where it has some: a page of 4 KiB costs a fault each.
const HUGE: usize = 2 << 20;

/// Bytes of a tensor in host memory, on a cache line (large ones on a page); the loader's default.
pub struct HostTensor(Kind);

enum Kind {
    Map(MmapMut),
    Small(Box<[Line]>, usize),
}

#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Line([u8; 64]);

impl HostTensor {
    /// Zeroed memory of `len` bytes.
    pub(crate) fn new(len: usize) -> Result<Self> {
        if len < HUGE {
            return Ok(Self(Kind::Small(vec![Line([0; 64]); len.div_ceil(64)].into_boxed_slice(), len)));
        }
        let map = MmapMut::map_anon(len).map_err(|e| Error::io(&format!("reserving {len} bytes of memory"), e))?;
        // Advice: without it pages are small.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Self(Kind::Map(map)))
    }
}

impl std::ops::Deref for HostTensor {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Kind::Map(map) => map,
            // SAFETY: lines are bytes, at least `len` of them.
            Kind::Small(lines, len) => unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), *len) },
        }
    }
}

impl std::fmt::Debug for HostTensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HostTensor({} bytes)", self.len())
    }
}

// SAFETY: the map and the box own their bytes and do not move them.
unsafe impl HostMemory for HostTensor {
    fn address(&self) -> *mut u8 {
        self.as_ptr().cast_mut()
    }

    fn len(&self) -> usize {
        (**self).len()
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
        f(unsafe {
            std::slice::from_raw_parts_mut(self.address.add(range.start as usize), (range.end - range.start) as usize)
        })
    }
}
