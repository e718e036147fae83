//! Moves values between registers and memory whose addresses are checked: the one place that follows them.
#![allow(unsafe_code)]

use crate::isa::{Access, Registers};
use crate::memory::Word;

/// Host addresses for the lanes of `mask`: each aligned, and valid for the access's size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pointers {
    at: [*mut u8; 32],
    mask: u32,
}

impl Pointers {
    /// Vouches for the addresses.
    ///
    /// # Safety
    /// For the lanes of `mask`, `at` is valid for reads and, unless the access only reads, for writes of the access's size, and
    /// aligned to it up to 8, as long as the value is used. The memory is accessed atomically only, or not by others.
    pub(super) unsafe fn new(at: [*mut u8; 32], mask: u32) -> Self {
        Self { at, mask }
    }

    pub(super) fn mask(&self) -> u32 {
        self.mask
    }

    /// Host address of a lane, which must be in the mask.
    pub(super) fn at(&self, lane: usize) -> *mut u8 {
        assert!(self.mask >> lane & 1 != 0);
        self.at[lane]
    }

    /// Loads an element of every lane; lanes not in the mask get zeros.
    #[inline(always)]
    fn gather<W: Word + Default>(&self, offset: usize) -> [W; 32] {
        let mut values = [W::default(); 32];
        // SAFETY: the lane is in the mask, the offset within the access.
        let load = |lane: usize| unsafe { W::load(self.at[lane].add(offset)) };
        if self.mask == u32::MAX {
            for (lane, value) in values.iter_mut().enumerate() {
                *value = load(lane);
            }
        } else {
            for lane in lanes(self.mask) {
                values[lane] = load(lane);
            }
        }
        values
    }

    #[inline(always)]
    fn scatter<W: Word>(&self, offset: usize, value: impl Fn(usize) -> W) {
        // SAFETY: the lane is in the mask, the offset within the access.
        let store = |lane: usize| unsafe { W::store(self.at[lane].add(offset), value(lane)) };
        if self.mask == u32::MAX {
            (0..32).for_each(store);
        } else {
            lanes(self.mask).for_each(store);
        }
    }

    /// Loads into the access's registers.
    #[inline(always)]
    pub(super) fn load(&self, registers: &mut Registers, access: &Access, signed: bool) {
        for index in 0..access.count as usize {
            let (slot, offset) = (access.registers[index], index * access.bytes as usize);
            match (access.bytes, signed) {
                (1, false) => registers.set(slot, self.mask, &self.gather::<u8>(offset).map(u32::from)),
                (1, true) => registers.set(slot, self.mask, &self.gather::<u8>(offset).map(|value| value as i8 as u32)),
                (2, false) => registers.set(slot, self.mask, &self.gather::<u16>(offset).map(u32::from)),
                (2, true) => registers.set(slot, self.mask, &self.gather::<u16>(offset).map(|value| value as i16 as u32)),
                (4, _) => registers.set(slot, self.mask, &self.gather::<u32>(offset)),
                _ => registers.set(slot, self.mask, &self.gather::<u64>(offset)),
            }
        }
    }

    /// Stores the access's registers, lanes in order.
    #[inline(always)]
    pub(super) fn store(&self, registers: &Registers, access: &Access) {
        for index in 0..access.count as usize {
            let (slot, offset) = (access.registers[index], index * access.bytes as usize);
            match access.bytes {
                1 => self.scatter(offset, |lane| registers.get::<u32>(slot)[lane] as u8),
                2 => self.scatter(offset, |lane| registers.get::<u32>(slot)[lane] as u16),
                4 => self.scatter(offset, |lane| registers.get::<u32>(slot)[lane]),
                _ => self.scatter(offset, |lane| registers.get::<u64>(slot)[lane]),
            }
        }
    }

    /// Copies `size` bytes of every lane, a multiple of 4, from `source`; zeros from `limit` on.
    pub(super) fn copy(&self, source: &Self, size: u64, limit: impl Fn(usize) -> u64) {
        for word in (0..size as usize).step_by(4) {
            let values = source.gather::<u32>(word);
            let keep = |lane: usize, byte: usize| (word + byte) < limit(lane) as usize;
            self.scatter(word, |lane| {
                let mut bytes = values[lane].to_le_bytes();
                (0..4).filter(|&byte| !keep(lane, byte)).for_each(|byte| bytes[byte] = 0);
                u32::from_le_bytes(bytes)
            });
        }
    }
}

/// The lanes of a mask, lowest first.
#[inline(always)]
pub(super) fn lanes(mask: u32) -> impl Iterator<Item = usize> {
    let mut left = mask;
    std::iter::from_fn(move || {
        let lane = left.trailing_zeros();
        left &= left.wrapping_sub(1);
        (lane < 32).then_some(lane as usize)
    })
}
