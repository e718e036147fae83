//! What a launch would ask of the hardware: warp instructions by pipe, memory sectors, shared memory wavefronts.
//!
//! The instructions are PTX instructions: the machine code that `ptxas` makes of them merges some and splits others.

mod tally;

use std::collections::BTreeMap;

pub(crate) use tally::Tally;

/// The unit of a streaming multiprocessor that an instruction keeps busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Pipe {
    /// Moves, constants and address conversions, most of which machine code does without.
    Move,
    /// Integer adds, logic, shifts, compares, selects, permutes.
    Alu,
    /// Integer and 32-bit float multiply(-add), 16-bit float arithmetic.
    Fma,
    /// 64-bit float arithmetic.
    Fp64,
    /// Quarter-rate and slower: popc, clz, brev, conversions from and to float, division, square roots.
    Xu,
    /// Global, local, constant and generic loads, stores and atomics.
    Lsu,
    /// Shared memory loads, stores and atomics.
    Shared,
    /// Votes, shuffles, matches, reductions over a warp.
    Warp,
    /// Branches, returns, barriers, fences.
    Control,
}

impl Pipe {
    /// Every pipe, in the order of its number.
    pub const ALL: [Self; 9] =
        [Self::Move, Self::Alu, Self::Fma, Self::Fp64, Self::Xu, Self::Lsu, Self::Shared, Self::Warp, Self::Control];
}

/// Events of a kernel, or of one of its PTX lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Events {
    /// Warp instructions by pipe, indexed by `Pipe as usize`.
    pub warp_instructions: [u64; Pipe::ALL.len()],
    /// Lanes that were active in them, summed.
    pub lane_instructions: u64,
    /// Memory traffic of loads from global memory.
    pub global_loads: Traffic,
    /// Memory traffic of stores and atomics to global memory.
    pub global_stores: Traffic,
    /// Warp instructions that access shared memory.
    pub shared_requests: u64,
    /// Cycles that shared memory is busy with them: one each, more with bank conflicts and wide accesses.
    pub shared_wavefronts: u64,
    /// The wavefronts there would be without bank conflicts.
    pub shared_ideal_wavefronts: u64,
}

/// Accesses to global memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Warp instructions with at least one active lane.
    pub requests: u64,
    /// Distinct 32-byte sectors of each request, summed.
    pub sectors: u64,
    /// Of those, the sectors of which the request touches every byte.
    pub full_sectors: u64,
    /// Distinct bytes of each request, summed.
    pub bytes: u64,
}

/// What a launch would have asked of the hardware.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counters {
    /// Over all of the launch.
    pub total: Events,
    /// By line of the PTX text, from 1; only lines that were executed.
    pub lines: BTreeMap<u32, Events>,
    /// Distinct 32-byte sectors of global memory that each launch read, summed over launches: what memory has to give where a cache holds
    /// what is read again.
    pub read_sectors: u64,
}

impl Events {
    /// Warp instructions of every pipe.
    pub fn instructions(&self) -> u64 {
        self.warp_instructions.iter().sum()
    }

    /// Warp instructions of `pipe`.
    pub fn pipe(&self, pipe: Pipe) -> u64 {
        self.warp_instructions[pipe as usize]
    }

    /// Mean share of a warp's lanes that were active, 0 to 1; 0 if nothing ran.
    pub fn active_ratio(&self) -> f64 {
        self.lane_instructions as f64 / (32 * self.instructions()).max(1) as f64
    }

    /// Adds `other`'s events.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in self.warp_instructions.iter_mut().zip(other.warp_instructions) {
            *sum += more;
        }
        self.lane_instructions += other.lane_instructions;
        self.global_loads.add(&other.global_loads);
        self.global_stores.add(&other.global_stores);
        self.shared_requests += other.shared_requests;
        self.shared_wavefronts += other.shared_wavefronts;
        self.shared_ideal_wavefronts += other.shared_ideal_wavefronts;
    }
}

impl Traffic {
    /// Adds `other`'s accesses.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.sectors += other.sectors;
        self.full_sectors += other.full_sectors;
        self.bytes += other.bytes;
    }
}

impl Counters {
    /// Adds `other`'s events, which are of the same kernel.
    pub fn add(&mut self, other: &Self) {
        self.total.add(&other.total);
        self.read_sectors += other.read_sectors;
        for (&line, events) in &other.lines {
            self.lines.entry(line).or_default().add(events);
        }
    }
}
