//! Counts events while a launch runs, by instruction.

use std::collections::HashSet;

use super::{Counters, Events, Pipe, Traffic};
use crate::ptx::Kernel;

/// Bytes of a sector of global memory.
const SECTOR: u64 = 32;
/// Banks of shared memory, each of which has one word of four bytes ready a cycle.
const BANKS: usize = 32;

/// Events by index of the instruction.
#[derive(Debug)]
pub(crate) struct Tally {
    events: Vec<Events>,
    /// Sectors that were read.
    read: HashSet<u64>,
}

impl Tally {
    /// No events yet, of a kernel of so many instructions.
    pub(crate) fn new(instructions: usize) -> Self {
        Self { events: vec![Events::default(); instructions], read: HashSet::new() }
    }

    #[inline(always)]
    pub(crate) fn instruction(&mut self, index: usize, pipe: Pipe, mask: u32) {
        let events = &mut self.events[index];
        events.warp_instructions[pipe as usize] += 1;
        events.lane_instructions += u64::from(mask.count_ones());
    }

    /// An access to global memory, `size` bytes a lane.
    pub(crate) fn global(&mut self, index: usize, addresses: &[u64; 32], mask: u32, size: u64, writes: bool) {
        if !writes {
            let mut last = u64::MAX;
            for lane in lanes(mask) {
                let sector = addresses[lane] / SECTOR;
                if sector != last {
                    self.read.insert(sector);
                    last = sector;
                }
            }
        }
        let events = &mut self.events[index];
        let traffic = if writes { &mut events.global_stores } else { &mut events.global_loads };
        traffic.add(&traffic_of(addresses, mask, size));
    }

    /// An access to shared memory, `size` bytes a lane.
    pub(crate) fn shared(&mut self, index: usize, addresses: &[u64; 32], mask: u32, size: u64) {
        let (wavefronts, ideal) = wavefronts_of(addresses, mask, size);
        let events = &mut self.events[index];
        events.shared_requests += 1;
        events.shared_wavefronts += wavefronts;
        events.shared_ideal_wavefronts += ideal;
    }

    /// Adds another tally of the same kernel.
    pub(crate) fn add(&mut self, other: &Self) {
        self.events.iter_mut().zip(&other.events).for_each(|(sum, more)| sum.add(more));
        self.read.extend(&other.read);
    }

    /// Sums up by line.
    pub(crate) fn counters(&self, kernel: &Kernel) -> Counters {
        let mut counters = Counters { read_sectors: self.read.len() as u64, ..Counters::default() };
        for (events, op) in self.events.iter().zip(&kernel.ops).filter(|(events, _)| events.instructions() != 0) {
            counters.total.add(events);
            counters.lines.entry(op.line).or_default().add(events);
        }
        counters
    }
}

fn lanes(mask: u32) -> impl Iterator<Item = usize> {
    (0..32).filter(move |lane| mask >> lane & 1 != 0)
}

/// Distinct sectors, and which of their bytes are accessed.
fn traffic_of(addresses: &[u64; 32], mask: u32, size: u64) -> Traffic {
    // A lane accesses at most one sector: accesses are aligned, and no larger.
    let mut sectors: [(u64, u32); 32] = [(u64::MAX, 0); 32];
    let mut count = 0;
    let ones = if size >= 32 { u32::MAX } else { (1 << size) - 1 };
    for lane in lanes(mask) {
        let (sector, bytes) = (addresses[lane] / SECTOR, ones << (addresses[lane] % SECTOR));
        // Neighbours mostly share sectors, so the last one is looked at first.
        match sectors[..count].iter_mut().rev().find(|(known, _)| *known == sector) {
            Some((_, known)) => *known |= bytes,
            None => {
                sectors[count] = (sector, bytes);
                count += 1;
            }
        }
    }
    let sectors = &sectors[..count];
    Traffic {
        requests: 1,
        sectors: count as u64,
        full_sectors: sectors.iter().filter(|(_, bytes)| *bytes == u32::MAX).count() as u64,
        bytes: sectors.iter().map(|(_, bytes)| u64::from(bytes.count_ones())).sum(),
    }
}

/// Cycles that shared memory needs, and would need without conflicts. Lanes are served together as long as they ask for no more than 128
/// bytes: all of them up to 4 bytes a lane, halves of the warp for 8, quarters for 16.
fn wavefronts_of(addresses: &[u64; 32], mask: u32, size: u64) -> (u64, u64) {
    let words = (size / 4).max(1);
    let together = 32 / words as usize;
    let (mut wavefronts, mut ideal) = (0, 0);
    for group in (0..32).step_by(together) {
        let lanes = lanes(mask).filter(|lane| (group..group + together).contains(lane));
        let mut distinct: Vec<u64> = lanes.flat_map(|lane| (0..words).map(move |word| addresses[lane] / 4 + word)).collect();
        distinct.sort_unstable();
        distinct.dedup();
        let mut load = [0u64; BANKS];
        distinct.iter().for_each(|word| load[(*word % BANKS as u64) as usize] += 1);
        wavefronts += load.iter().max().expect("there are banks");
        ideal += u64::from(!distinct.is_empty());
    }
    (wavefronts, ideal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strided(stride: u64) -> [u64; 32] {
        std::array::from_fn(|lane| 4096 + lane as u64 * stride)
    }

    #[test]
    fn sectors_of_common_patterns() {
        let traffic = |addresses, mask, size| traffic_of(&addresses, mask, size);
        let full = |sectors, bytes| Traffic { requests: 1, sectors, full_sectors: sectors, bytes };
        assert_eq!(traffic(strided(4), u32::MAX, 4), full(4, 128));
        assert_eq!(traffic(strided(16), u32::MAX, 16), full(16, 512));
        assert_eq!(traffic(strided(2), u32::MAX, 2), full(2, 64));
        assert_eq!(traffic(strided(0), u32::MAX, 4), Traffic { requests: 1, sectors: 1, full_sectors: 0, bytes: 4 });
        assert_eq!(traffic(strided(64), u32::MAX, 4), Traffic { requests: 1, sectors: 32, full_sectors: 0, bytes: 128 });
        assert_eq!(traffic(strided(4), 0xff, 4), full(1, 32));
    }

    #[test]
    fn bank_conflicts_of_common_patterns() {
        let wavefronts = |addresses, mask, size| wavefronts_of(&addresses, mask, size);
        assert_eq!(wavefronts(strided(4), u32::MAX, 4), (1, 1));
        assert_eq!(wavefronts(strided(0), u32::MAX, 4), (1, 1));
        assert_eq!(wavefronts(strided(8), u32::MAX, 4), (2, 1));
        assert_eq!(wavefronts(strided(128), u32::MAX, 4), (32, 1));
        assert_eq!(wavefronts(strided(8), u32::MAX, 8), (2, 2));
        assert_eq!(wavefronts(strided(16), u32::MAX, 16), (4, 4));
        assert_eq!(wavefronts(strided(16), 0xff, 16), (1, 1));
        assert_eq!(wavefronts(strided(1), u32::MAX, 1), (1, 1));
    }
}
