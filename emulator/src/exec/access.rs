//! Memory accesses of a warp.

use super::address::{Place, Refusal};
use super::atomic;
use super::block::Runner;
use super::transfer::{Pointers, lanes};
use crate::isa::space::{LOCAL_WINDOW, SHARED_WINDOW, WINDOW};
use crate::isa::{Access, Kind, Space};
use crate::sanitize::{Fault, FaultKind, Who};

impl<const SANITIZE: bool, const COUNT: bool> Runner<'_, SANITIZE, COUNT> {
    /// Executes the kernel's access of this index.
    #[inline(never)]
    pub(super) fn access(&mut self, warp: usize, index: usize, mask: u32) -> Result<(), Fault> {
        let plan = self.plan;
        let access = &plan.kernel.accesses[index];
        let addresses = self.addresses(warp, access);
        if COUNT {
            self.count(warp, access, &addresses, mask);
        }
        let refused =
            |runner: &Self, (kind, lane, address, detail): Refusal| runner.fault(warp, kind, Some(lane), Some(address), detail);
        let pointers = match self.resolve(warp, index, access, &addresses, mask) {
            Ok(pointers) => pointers,
            Err(refusal) => return Err(refused(self, refusal)),
        };
        if SANITIZE {
            self.examine(warp, access, &addresses, mask).map_err(|refusal| refused(self, refusal))?;
        }
        let registers = &mut self.warps[warp].registers;
        match access.kind {
            Kind::Load { signed } => pointers.load(registers, access, signed),
            Kind::Store => pointers.store(registers, access),
            Kind::Atomic { operation, target } => atomic::execute(&pointers, registers, access, operation, target),
            Kind::Copy { .. } => self.copy(warp, index, &pointers, mask).map_err(|refusal| refused(self, refusal))?,
        }
        Ok(())
    }

    /// Copies from global memory to where `pointers` say.
    fn copy(&mut self, warp: usize, index: usize, pointers: &Pointers, mask: u32) -> Result<(), Refusal> {
        let plan = self.plan;
        let access = &plan.kernel.accesses[index];
        let Kind::Copy { from, from_offset, limit } = access.kind else { return Ok(()) };
        let registers = &self.warps[warp].registers;
        let addresses = registers.get::<u64>(from).map(|address| address.wrapping_add_signed(from_offset));
        let limits = limit.map(|slot| *registers.get::<u32>(slot));
        let source = Access { kind: Kind::Load { signed: false }, space: Space::Global, ..access.clone() };
        let from = self.resolve_each(warp, index, &source, &addresses, mask)?;
        if SANITIZE {
            self.examine(warp, &source, &addresses, mask)?;
        }
        pointers.copy(&from, access.size(), |lane| limits.map_or(u64::MAX, |limits| limits[lane].into()));
        Ok(())
    }

    /// What the sanitizer has to say about an access whose addresses are valid.
    fn examine(&mut self, warp: usize, access: &Access, addresses: &[u64; 32], mask: u32) -> Result<(), Refusal> {
        let size = access.size();
        let (reads, writes) = (!matches!(access.kind, Kind::Store | Kind::Copy { .. }), access.writes());
        if matches!(access.kind, Kind::Store) {
            self.examine_collisions(warp, access, addresses, mask)?;
        }
        let mut stored: Vec<u64> = Vec::new();
        for lane in lanes(mask) {
            let address = addresses[lane];
            // Lanes that store the same value to the same place count as one.
            if matches!(access.kind, Kind::Store) {
                if stored.contains(&address) && !is_private(access.space, address) {
                    continue;
                }
                stored.push(address);
            }
            let place = self.place(access, access.space, address, lane)?;
            let missing = match place {
                Place::Global(region, offset) => self.plan.view.regions()[region].first_unwritten(offset, size),
                Place::Shared(offset) => self.shadow.shared.first_missing(offset, size),
                Place::Local(offset) => self.shadow.local[warp].first_missing(offset, size),
                Place::Param(_) => None,
            };
            if let Some(byte) = missing.filter(|_| reads) {
                let start = match place {
                    Place::Global(_, offset) | Place::Shared(offset) | Place::Local(offset) | Place::Param(offset) => offset,
                };
                let detail = format!("byte {} of the {size} read was never written", byte - start);
                return Err((FaultKind::Uninitialised, lane as u32, address, detail));
            }
            let who = Who {
                block: self.block,
                warp: warp as u32,
                lane: lane as u32,
                epoch: self.epoch,
                warp_epoch: self.warps[warp].epoch,
            };
            let earlier = match place {
                Place::Global(region, offset) => {
                    let len = self.plan.view.regions()[region].len();
                    let races = self.plan.races.as_ref().and_then(|races| races.of(region, len));
                    races.and_then(|races| races.access(offset, size, who, writes, access.strong))
                }
                Place::Shared(offset) => self.shadow.races.access(offset, size, who, writes, access.strong),
                Place::Local(_) | Place::Param(_) => None,
            };
            if let Some(earlier) = earlier {
                let detail = format!(
                    "nothing orders this {} after a {} by warp {} lane {} of {} block",
                    if writes { "write" } else { "read" },
                    if earlier.wrote { "write" } else { "read" },
                    earlier.warp,
                    earlier.lane,
                    if earlier.same_block { "the same" } else { "another" },
                );
                return Err((FaultKind::Race, lane as u32, address, detail));
            }
            if writes {
                match place {
                    Place::Global(region, offset) => self.plan.view.regions()[region].mark(offset, size),
                    Place::Shared(offset) => self.shadow.shared.mark(offset, size),
                    Place::Local(offset) => self.shadow.local[warp].mark(offset, size),
                    Place::Param(_) => {}
                }
            }
        }
        Ok(())
    }

    /// Lanes of one store that write different values to one address race.
    fn examine_collisions(&self, warp: usize, access: &Access, addresses: &[u64; 32], mask: u32) -> Result<(), Refusal> {
        let registers = &self.warps[warp].registers;
        let value = |lane: usize, index: usize| match access.bytes {
            8 => registers.get::<u64>(access.registers[index])[lane],
            bytes => u64::from(registers.get::<u32>(access.registers[index])[lane]) & (u64::MAX >> (64 - 8 * bytes)),
        };
        for lane in lanes(mask) {
            let same = |other: &usize| addresses[*other] == addresses[lane] && !is_private(access.space, addresses[lane]);
            let Some(other) = lanes(mask & ((1 << lane) - 1)).find(same) else { continue };
            if (0..access.count as usize).any(|index| value(lane, index) != value(other, index)) {
                let detail = format!("lanes {other} and {lane} store different values here at once");
                return Err((FaultKind::Race, lane as u32, addresses[lane], detail));
            }
        }
        Ok(())
    }

    /// Counts an access.
    fn count(&mut self, warp: usize, access: &Access, addresses: &[u64; 32], mask: u32) {
        let pc = self.warps[warp].current.pc as usize;
        let first = addresses[mask.trailing_zeros() as usize];
        match access.space {
            Space::Shared => self.tally.shared(pc, addresses, mask, access.size()),
            Space::Generic if first.wrapping_sub(SHARED_WINDOW) < WINDOW => {
                self.tally.shared(pc, addresses, mask, access.size());
            }
            Space::Global => self.tally.global(pc, addresses, mask, access.size(), access.writes()),
            Space::Generic if first < SHARED_WINDOW => self.tally.global(pc, addresses, mask, access.size(), access.writes()),
            _ => {}
        }
        if let Kind::Copy { from, from_offset, .. } = access.kind {
            let from = self.warps[warp].registers.get::<u64>(from).map(|address| address.wrapping_add_signed(from_offset));
            self.tally.global(pc, &from, mask, access.size(), false);
        }
    }
}

/// Whether an address means another place in every lane, so that equal ones do not collide.
fn is_private(space: Space, address: u64) -> bool {
    space == Space::Local || space == Space::Generic && address.wrapping_sub(LOCAL_WINDOW) < WINDOW
}
