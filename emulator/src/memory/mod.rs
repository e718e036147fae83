//! Device memory of one context: allocations with guard gaps, and host memory mapped into the device's address space.
//!
//! Device addresses are no host addresses: they lie above the 47 bits of user space, so a host that follows one faults, and an
//! address is never given out twice, so that use after free is told apart from a stray access.

mod bytes;
mod region;
mod view;
mod written;

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock, RwLockReadGuard};

pub(crate) use bytes::{Buffer, Word};
pub(crate) use region::Region;
pub(crate) use view::View;
pub(crate) use written::Written;

/// Where device allocations begin: above user space, so that no host pointer is a device address.
pub(crate) const DEVICE_BASE: u64 = 1 << 49;
/// Addresses of one device: no two devices have one in common, as with a real driver.
const DEVICE_SPACE: u64 = 1 << 42;
/// What `cuMemAlloc` promises. Bases are odd multiples of it, so that code which counts on more is found out.
const ALIGNMENT: u64 = 256;
/// Unmapped bytes between allocations, at least: an access past an end by less than this is never a hit in the next one.
const GUARD: u64 = 1 << 16;

/// Why memory could not be had, or an access from the host is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// The allocation does not fit the device's memory.
    #[error("out of device memory: {len} bytes asked for, {left} left")]
    OutOfMemory {
        /// Bytes asked for.
        len: u64,
        /// Bytes left on the device.
        left: u64,
    },
    /// No allocation holds the address, or the access runs past its allocation's end.
    #[error("{len} bytes at {address:#x} are not within one allocation")]
    OutOfBounds {
        /// First device address of the access.
        address: u64,
        /// Bytes accessed.
        len: u64,
    },
    /// The allocation that held the address is freed.
    #[error("{address:#x} is in freed memory")]
    UseAfterFree {
        /// First device address of the access.
        address: u64,
    },
    /// Not the start of a live allocation or mapping.
    #[error("{address:#x} is not the start of an allocation")]
    NotAllocated {
        /// The address that was to be freed or unmapped.
        address: u64,
    },
    /// Host memory that overlaps memory which is mapped already.
    #[error("host memory at {address:#x} is mapped already")]
    AlreadyMapped {
        /// Host address of the range.
        address: u64,
    },
}

/// Device memory of one context. Every method may be called while kernels run.
#[derive(Debug)]
pub struct Memory {
    capacity: u64,
    state: RwLock<State>,
    /// Held for reading while a launch runs: host memory stays mapped as long.
    running: RwLock<()>,
}

#[derive(Debug)]
struct State {
    next: u64,
    used: u64,
    live: BTreeMap<u64, Arc<Region>>,
    freed: BTreeMap<u64, u64>,
}

impl Memory {
    /// Memory of `capacity` bytes, none in use.
    pub fn new(capacity: u64) -> Self {
        Self::of_device(0, capacity)
    }

    /// [`new`](Self::new), at the addresses of one of several devices.
    pub(crate) fn of_device(device: u32, capacity: u64) -> Self {
        let next = DEVICE_BASE + u64::from(device) * DEVICE_SPACE + ALIGNMENT;
        let state = State { next, used: 0, live: BTreeMap::new(), freed: BTreeMap::new() };
        Self { capacity, state: RwLock::new(state), running: RwLock::new(()) }
    }

    /// Allocates `len` bytes, uninitialised, and returns their device address, a multiple of 256.
    pub fn alloc(&self, len: u64) -> Result<u64, MemoryError> {
        let mut state = self.state.write().expect("no holder panics");
        let refused = MemoryError::OutOfMemory { len, left: self.capacity - state.used };
        if len > self.capacity - state.used {
            return Err(refused);
        }
        let base = state.next;
        let region = Region::device(base, len).ok_or(refused)?;
        state.next = (base + len + GUARD).next_multiple_of(2 * ALIGNMENT) + ALIGNMENT;
        state.used += len;
        state.live.insert(base, Arc::new(region));
        Ok(base)
    }

    /// Frees the allocation that starts at `address`. Its range stays quarantined for good.
    pub fn free(&self, address: u64) -> Result<(), MemoryError> {
        let mut state = self.state.write().expect("no holder panics");
        match state.live.get(&address) {
            Some(region) if !region.is_host() => {}
            _ if state.freed.contains_key(&address) => return Err(MemoryError::UseAfterFree { address }),
            _ => return Err(MemoryError::NotAllocated { address }),
        }
        let region = state.live.remove(&address).expect("found above");
        state.used -= region.len();
        state.freed.insert(address, region.len());
        Ok(())
    }

    /// Maps `len` bytes of host memory, which the device then accesses at their host address. They count as initialised.
    ///
    /// # Safety
    /// The range is valid for reads and writes until [`Memory::unmap_host`] has returned.
    #[allow(unsafe_code)]
    pub unsafe fn map_host(&self, host: *mut u8, len: u64) -> Result<(), MemoryError> {
        let (address, mut state) = (host as u64, self.state.write().expect("no holder panics"));
        let below = state.live.range(..address + len).next_back();
        if below.is_some_and(|(_, region)| region.end() > address) {
            return Err(MemoryError::AlreadyMapped { address });
        }
        // SAFETY: the caller keeps the range valid until it is unmapped, and unmapping waits for launches.
        let region = unsafe { Region::host(host, len) };
        state.freed.remove(&address);
        state.live.insert(address, Arc::new(region));
        Ok(())
    }

    /// Unmaps the host memory that starts at `host`, after the launches that run now.
    pub fn unmap_host(&self, host: *mut u8) -> Result<(), MemoryError> {
        let address = host as u64;
        let _idle = self.running.write().expect("no holder panics");
        let mut state = self.state.write().expect("no holder panics");
        match state.live.get(&address) {
            Some(region) if region.is_host() => {}
            _ => return Err(MemoryError::NotAllocated { address }),
        }
        let region = state.live.remove(&address).expect("found above");
        state.freed.insert(address, region.len());
        Ok(())
    }

    /// Copies `source` to device address `address`.
    pub fn write(&self, address: u64, source: &[u8]) -> Result<(), MemoryError> {
        let (region, offset) = self.locate(address, source.len() as u64)?;
        region.bytes().write(offset, source);
        region.mark(offset, source.len() as u64);
        Ok(())
    }

    /// Copies from device address `address` into `target`. Uninitialised bytes read as what lies there.
    pub fn read(&self, address: u64, target: &mut [u8]) -> Result<(), MemoryError> {
        let (region, offset) = self.locate(address, target.len() as u64)?;
        region.bytes().read(offset, target);
        Ok(())
    }

    /// Fills `count` bytes from `address` with `value`.
    pub fn fill8(&self, address: u64, value: u8, count: u64) -> Result<(), MemoryError> {
        self.fill(address, &[value], count)
    }

    /// Fills `count` 16-bit words from `address` with `value`.
    pub fn fill16(&self, address: u64, value: u16, count: u64) -> Result<(), MemoryError> {
        self.fill(address, &value.to_le_bytes(), count)
    }

    /// Fills `count` 32-bit words from `address` with `value`.
    pub fn fill32(&self, address: u64, value: u32, count: u64) -> Result<(), MemoryError> {
        self.fill(address, &value.to_le_bytes(), count)
    }

    /// Copies `len` bytes between device addresses, and with them which are initialised. The ranges may overlap.
    pub fn copy(&self, target: u64, source: u64, len: u64) -> Result<(), MemoryError> {
        let (from, from_offset) = self.locate(source, len)?;
        let (to, to_offset) = self.locate(target, len)?;
        // Through a buffer, which makes overlap harmless.
        let mut buffer = vec![0; len as usize];
        from.bytes().read(from_offset, &mut buffer);
        to.bytes().write(to_offset, &buffer);
        to.copy_marks(to_offset, &from, from_offset, len);
        Ok(())
    }

    /// Bytes allocated now. Mapped host memory does not count.
    pub fn used(&self) -> u64 {
        self.state.read().expect("no holder panics").used
    }

    /// Bytes there are in all.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Start and length of the live allocation or mapping that holds `address`.
    pub fn find(&self, address: u64) -> Option<(u64, u64)> {
        let state = self.state.read().expect("no holder panics");
        let (_, region) = state.live.range(..=address).next_back()?;
        (address < region.end().max(region.base() + 1)).then(|| (region.base(), region.len()))
    }

    /// Whether `address` is in memory that is freed or unmapped.
    pub fn is_freed(&self, address: u64) -> bool {
        let state = self.state.read().expect("no holder panics");
        state.freed.range(..=address).next_back().is_some_and(|(&base, &len)| address - base < len)
    }

    /// What a launch that starts now may access. The guard is held as long as the launch runs.
    pub(crate) fn view(&self) -> (View, RwLockReadGuard<'_, ()>) {
        let guard = self.running.read().expect("no holder panics");
        (View::new(self.state.read().expect("no holder panics").live.values().cloned()), guard)
    }

    fn fill(&self, address: u64, pattern: &[u8], count: u64) -> Result<(), MemoryError> {
        let len = count.saturating_mul(pattern.len() as u64);
        let (region, offset) = self.locate(address, len)?;
        let chunk = pattern.repeat((count as usize).min((1 << 16) / pattern.len()));
        for start in (0..len).step_by(chunk.len().max(1)) {
            region.bytes().write(offset + start, &chunk[..chunk.len().min((len - start) as usize)]);
        }
        region.mark(offset, len);
        Ok(())
    }

    fn locate(&self, address: u64, len: u64) -> Result<(Arc<Region>, u64), MemoryError> {
        let state = self.state.read().expect("no holder panics");
        if let Some((&base, region)) = state.live.range(..=address).next_back()
            && address.checked_add(len).is_some_and(|end| end <= region.end())
        {
            return Ok((region.clone(), address - base));
        }
        drop(state);
        match self.is_freed(address) {
            true => Err(MemoryError::UseAfterFree { address }),
            false => Err(MemoryError::OutOfBounds { address, len }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_aligned_guarded_and_never_reused() {
        let memory = Memory::new(1 << 20);
        let (a, b) = (memory.alloc(100).unwrap(), memory.alloc(0).unwrap());
        assert_eq!((a % 512, b % 512), (256, 256));
        assert!(b - a >= 100 + GUARD);
        memory.free(a).unwrap();
        assert_ne!(memory.alloc(100).unwrap(), a);
        assert_eq!(memory.free(a), Err(MemoryError::UseAfterFree { address: a }));
        assert_eq!(memory.write(a + 3, &[1]), Err(MemoryError::UseAfterFree { address: a + 3 }));
    }

    #[test]
    fn capacity_is_kept() {
        let memory = Memory::new(1000);
        let a = memory.alloc(600).unwrap();
        assert_eq!(memory.alloc(401), Err(MemoryError::OutOfMemory { len: 401, left: 400 }));
        memory.free(a).unwrap();
        assert_eq!(memory.used(), 0);
        assert!(memory.alloc(1000).is_ok());
    }

    #[test]
    fn host_side_access_is_checked_to_the_byte() {
        let memory = Memory::new(1 << 20);
        let a = memory.alloc(37).unwrap();
        let source: Vec<u8> = (0..37).collect();
        memory.write(a, &source).unwrap();
        let mut target = vec![0; 30];
        memory.read(a + 7, &mut target).unwrap();
        assert_eq!(target, source[7..]);
        assert_eq!(memory.read(a + 8, &mut target), Err(MemoryError::OutOfBounds { address: a + 8, len: 30 }));
        assert_eq!(memory.find(a + 36), Some((a, 37)));
        assert_eq!(memory.find(a + 37), None);
    }

    #[test]
    fn fills_and_overlapping_copies() {
        let memory = Memory::new(1 << 20);
        let a = memory.alloc(300_000).unwrap();
        memory.fill32(a, 0x0403_0201, 75_000).unwrap();
        memory.copy(a + 1, a, 299_999).unwrap();
        let mut target = vec![0; 300_000];
        memory.read(a, &mut target).unwrap();
        assert!(target[1..].iter().enumerate().all(|(i, &byte)| usize::from(byte) == i % 4 + 1));
        memory.fill16(a + 2, 0xbeef, 1).unwrap();
        memory.read(a + 1, &mut target[..4]).unwrap();
        assert_eq!(target[..4], [1, 0xef, 0xbe, 4]);
    }

    #[test]
    #[allow(unsafe_code)]
    fn host_memory_is_reached_at_its_own_address() {
        let memory = Memory::new(16);
        let mut host = vec![7u8; 64];
        // SAFETY: `host` outlives the mapping.
        unsafe { memory.map_host(host.as_mut_ptr(), 64).unwrap() };
        memory.write(host.as_ptr() as u64 + 9, &[1, 2]).unwrap();
        assert_eq!(memory.used(), 0);
        memory.unmap_host(host.as_mut_ptr()).unwrap();
        assert_eq!(host[8..12], [7, 1, 2, 7]);
        assert!(memory.is_freed(host.as_ptr() as u64 + 63));
    }
}
