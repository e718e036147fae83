//! A fault: what went wrong, and exactly where.

use std::fmt;

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// The launch itself is impossible: sizes, shared memory, parameters.
    BadLaunch,
    /// An access outside every allocation, or past the end of shared, local or parameter memory.
    OutOfBounds,
    /// An access at an address that is no multiple of its size (of the whole vector, for vector accesses).
    Misaligned,
    /// An access to freed or unmapped memory.
    UseAfterFree,
    /// A read of bytes that nothing ever wrote (found by the sanitizer only).
    Uninitialised,
    /// Two accesses to the same bytes that nothing orders, one of them a write (found by the sanitizer only).
    Race,
    /// A `.sync` instruction whose mask names living lanes that are elsewhere.
    DivergentSync,
    /// A `.sync` instruction executed by a lane that its mask does not name, or with lanes that disagree about the mask.
    WrongMask,
    /// A barrier that some of the block's threads cannot reach, or that only a part of a warp executes.
    BarrierDivergence,
    /// A write to memory that is read-only.
    ReadOnly,
    /// The kernel executed `trap`.
    Trap,
    /// A warp executed more instructions than the limit allows.
    Hang,
}

/// What went wrong in a launch, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What went wrong.
    pub kind: FaultKind,
    /// The kernel's name.
    pub kernel: String,
    /// Line of the PTX text, from 1; 0 if the launch never began.
    pub line: u32,
    /// Index of the block in the grid.
    pub block: [u32; 3],
    /// The warp's index in its block.
    pub warp: u32,
    /// The first lane at fault, if it is a lane's.
    pub lane: Option<u32>,
    /// The address at fault, if there is one: as the instruction had it.
    pub address: Option<u64>,
    /// What exactly, for a person.
    pub detail: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [x, y, z] = self.block;
        write!(
            f,
            "{:?} in kernel {}, PTX line {}, block ({x}, {y}, {z}), warp {}",
            self.kind, self.kernel, self.line, self.warp
        )?;
        if let Some(lane) = self.lane {
            write!(f, ", lane {lane}")?;
        }
        if let Some(address) = self.address {
            write!(f, ", address {address:#x}")?;
        }
        write!(f, ": {}", self.detail)
    }
}

impl std::error::Error for Fault {}
