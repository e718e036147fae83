//! Device addresses to host addresses, checked: bounds and alignment always, what the sanitizer knows if it is on.
#![allow(unsafe_code)]

use super::block::Runner;
use super::transfer::{Pointers, lanes};
use crate::isa::space::{LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW, WINDOW};
use crate::isa::{Access, Space};
use crate::sanitize::FaultKind;

/// Where one lane's access goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Region of the launch's view, and offset in it.
    Global(usize, u64),
    Shared(u64),
    /// Offset in the local memory of all lanes of the warp.
    Local(u64),
    Param(u64),
}

/// Why an address is refused.
pub(super) type Refusal = (FaultKind, u32, u64, String);

impl<const SANITIZE: bool, const COUNT: bool> Runner<'_, SANITIZE, COUNT> {
    /// Addresses of all lanes, those not active included.
    #[inline(always)]
    pub(super) fn addresses(&self, warp: usize, access: &Access) -> [u64; 32] {
        let (registers, offset) = (&self.warps[warp].registers, access.offset as u64);
        match access.wide_address {
            true => registers.get::<u64>(access.address).map(|address| address.wrapping_add(offset)),
            false => registers.get::<u32>(access.address).map(|address| u64::from(address).wrapping_add(offset)),
        }
    }

    /// Host addresses of the active lanes, if all of them may be accessed.
    #[inline(always)]
    pub(super) fn resolve(
        &mut self,
        warp: usize,
        index: usize,
        access: &Access,
        addresses: &[u64; 32],
        mask: u32,
    ) -> Result<Pointers, Refusal> {
        let size = access.size();
        let writes = access.writes();
        let (base, start, len) = match access.space {
            Space::Shared => (0, self.shared.bytes(), self.shared.bytes().len()),
            Space::Global | Space::Generic => {
                let region = &self.plan.view.regions().get(self.caches[index]);
                match region {
                    Some(region) => (region.base(), region.bytes(), region.len()),
                    None => (0, self.shared.bytes(), 0),
                }
            }
            // Every lane has its own range.
            Space::Local | Space::Param => (0, self.shared.bytes(), 0),
        };
        if len >= size && within(addresses, mask, base, len - size, size) {
            if writes && !SANITIZE && access.space != Space::Shared {
                self.plan.view.regions()[self.caches[index]].untrack();
            }
            let at = addresses.map(|address| start.at(address.wrapping_sub(base)));
            // SAFETY: `within` holds for every lane of the mask; the view keeps regions, the runner its shared memory.
            return Ok(unsafe { Pointers::new(at, mask) });
        }
        self.resolve_each(warp, index, access, addresses, mask)
    }

    /// As [`Self::resolve`], lane by lane.
    #[cold]
    #[inline(never)]
    pub(super) fn resolve_each(
        &mut self,
        warp: usize,
        index: usize,
        access: &Access,
        addresses: &[u64; 32],
        mask: u32,
    ) -> Result<Pointers, Refusal> {
        let mut at = [std::ptr::null_mut(); 32];
        for lane in lanes(mask) {
            let place = self.place(access, access.space, addresses[lane], lane)?;
            at[lane] = match place {
                Place::Global(region, offset) => {
                    self.caches[index] = region;
                    let region = &self.plan.view.regions()[region];
                    if access.writes() && !SANITIZE {
                        region.untrack();
                    }
                    region.bytes().at(offset)
                }
                Place::Shared(offset) => self.shared.bytes().at(offset),
                Place::Local(offset) => self.local[warp].bytes().at(offset),
                Place::Param(offset) => self.plan.params.bytes().at(offset),
            };
        }
        // SAFETY: `place` holds for every lane of the mask; the view keeps regions, the runner shared and local memory, the plan
        // parameters, which `place` lets nobody write.
        Ok(unsafe { Pointers::new(at, mask) })
    }

    /// Where a lane's access goes, if it may go there.
    pub(super) fn place(&self, access: &Access, space: Space, address: u64, lane: usize) -> Result<Place, Refusal> {
        let size = access.size();
        let refuse = |kind, detail| Err((kind, lane as u32, address, detail));
        if !address.is_multiple_of(size) {
            return refuse(FaultKind::Misaligned, format!("an access of {size} bytes"));
        }
        let bounded = |name: &str, offset: u64, len: u64, place: Place| match offset
            .checked_add(size)
            .is_some_and(|end| end <= len)
        {
            true => Ok(place),
            false => refuse(FaultKind::OutOfBounds, format!("{size} bytes at offset {offset} of {len} bytes of {name} memory")),
        };
        match space {
            Space::Shared => bounded("shared", address, self.shared.bytes().len(), Place::Shared(address)),
            Space::Local => {
                let len = u64::from(self.plan.kernel.local_bytes);
                bounded("local", address, len, Place::Local((lane as u64 * len).wrapping_add(address)))
            }
            Space::Param if access.writes() => refuse(FaultKind::ReadOnly, "parameters are not for writing".to_owned()),
            Space::Param => bounded("parameter", address, self.plan.params.bytes().len(), Place::Param(address)),
            Space::Generic => match address {
                SHARED_WINDOW.. if address - SHARED_WINDOW < WINDOW => {
                    self.place(access, Space::Shared, address - SHARED_WINDOW, lane)
                }
                LOCAL_WINDOW.. if address - LOCAL_WINDOW < WINDOW => {
                    self.place(access, Space::Local, address - LOCAL_WINDOW, lane)
                }
                PARAM_WINDOW.. if address - PARAM_WINDOW < WINDOW => {
                    self.place(access, Space::Param, address - PARAM_WINDOW, lane)
                }
                _ => self.place(access, Space::Global, address, lane),
            },
            Space::Global => match self.plan.view.find(address, size) {
                Some(region) => Ok(Place::Global(region, address - self.plan.view.regions()[region].base())),
                None if self.plan.memory.is_freed(address) => {
                    refuse(FaultKind::UseAfterFree, format!("{size} bytes of freed memory"))
                }
                None => refuse(FaultKind::OutOfBounds, self.stray(address, size)),
            },
        }
    }

    /// Says where an address lies that is in no allocation.
    fn stray(&self, address: u64, size: u64) -> String {
        let below = self.plan.view.regions().iter().rev().find(|region| region.base() <= address);
        match below {
            Some(region) if address - region.end().min(address) < 1 << 16 => format!(
                "{size} bytes, {} bytes past the start of an allocation of {} bytes at {:#x}",
                address - region.base(),
                region.len(),
                region.base()
            ),
            _ => format!("{size} bytes in no allocation"),
        }
    }
}

/// Whether all active addresses are multiples of `size` (a power of two) and at most `limit` after `base`.
#[inline(always)]
fn within(addresses: &[u64; 32], mask: u32, base: u64, limit: u64, size: u64) -> bool {
    let mut outside = 0u64;
    if mask == u32::MAX {
        for address in addresses {
            outside |= u64::from(address.wrapping_sub(base) > limit) | address & (size - 1);
        }
    } else {
        for (lane, address) in addresses.iter().enumerate() {
            let active = u64::from(mask >> lane & 1).wrapping_neg();
            outside |= (u64::from(address.wrapping_sub(base) > limit) | address & (size - 1)) & active;
        }
    }
    outside == 0
}
