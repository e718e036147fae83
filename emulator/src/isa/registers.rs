//! The register file of one warp: a slot holds 32 lanes of 32 bits; 64-bit registers take two slots.

use bytemuck::{Pod, Zeroable};

use super::op::Slot;
use super::types::Raw;

/// Lanes of a warp.
pub(crate) const LANES: usize = 32;

/// One slot.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Lanes([u32; LANES]);

/// Registers and predicates of a warp. Operands are slots of it, constants too: those are filled in once and never written.
#[derive(Debug, Clone)]
pub(crate) struct Registers {
    lanes: Vec<Lanes>,
    predicates: Vec<u32>,
}

/// A register content that the file can hand out: 32 lanes of 32 or of 64 bits.
pub(crate) trait Lane: Raw + Pod {
    fn get(registers: &Registers, slot: Slot) -> &[Self; LANES];
    fn get_mut(registers: &mut Registers, slot: Slot) -> &mut [Self; LANES];
}

impl Lane for u32 {
    #[inline(always)]
    fn get(registers: &Registers, slot: Slot) -> &[Self; LANES] {
        &registers.lanes[slot as usize].0
    }
    #[inline(always)]
    fn get_mut(registers: &mut Registers, slot: Slot) -> &mut [Self; LANES] {
        &mut registers.lanes[slot as usize].0
    }
}

impl Lane for u64 {
    #[inline(always)]
    fn get(registers: &Registers, slot: Slot) -> &[Self; LANES] {
        let pair: &[Lanes; 2] = registers.lanes[slot as usize..].first_chunk().expect("a slot of the kernel");
        bytemuck::cast_ref(pair)
    }
    #[inline(always)]
    fn get_mut(registers: &mut Registers, slot: Slot) -> &mut [Self; LANES] {
        let pair: &mut [Lanes; 2] = registers.lanes[slot as usize..].first_chunk_mut().expect("a slot of the kernel");
        bytemuck::cast_mut(pair)
    }
}

impl Registers {
    pub(crate) fn new(slots: u32, predicates: u32) -> Self {
        let mut predicates = vec![0; predicates as usize];
        predicates[super::op::TRUE as usize] = u32::MAX;
        Self { lanes: vec![Lanes::zeroed(); slots as usize], predicates }
    }

    /// The lanes of a register.
    #[inline(always)]
    pub(crate) fn get<T: Lane>(&self, slot: Slot) -> &[T; LANES] {
        T::get(self, slot)
    }

    /// Writes the lanes in `mask` of a register.
    #[inline(always)]
    pub(crate) fn set<T: Lane>(&mut self, slot: Slot, mask: u32, values: &[T; LANES]) {
        let target = T::get_mut(self, slot);
        if mask == u32::MAX {
            *target = *values;
        } else {
            for lane in 0..LANES {
                target[lane] = values[lane].blend(target[lane], mask >> lane & 1 != 0);
            }
        }
    }

    /// A predicate, bit by lane.
    #[inline(always)]
    pub(crate) fn predicate(&self, slot: Slot) -> u32 {
        self.predicates[slot as usize]
    }

    /// Writes the lanes in `mask` of a predicate.
    #[inline(always)]
    pub(crate) fn set_predicate(&mut self, slot: Slot, mask: u32, bits: u32) {
        let target = &mut self.predicates[slot as usize];
        *target = *target & !mask | bits & mask;
    }
}
