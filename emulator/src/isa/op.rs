//! The decoded form of an instruction.

use super::lanes::Exec;
use super::warp::WarpOp;
use crate::count::Pipe;

/// Index of a register in the register file, or of a predicate among the predicates.
pub(crate) type Slot = u32;

/// The predicate that is always true: the guard of instructions that have none.
pub(crate) const TRUE: Slot = 0;
/// The predicate that holds the condition code's carry bit.
pub(crate) const CARRY: Slot = 1;
/// Predicates that are taken before the kernel's own.
pub(crate) const RESERVED_PREDICATES: u32 = 2;
/// No instruction: where lanes that never meet again would.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// One decoded instruction.
#[derive(Debug, Clone)]
pub(crate) struct Op {
    pub(crate) action: Action,
    /// Executes in lanes where this predicate, xor `unless`, is set.
    pub(crate) guard: Slot,
    pub(crate) unless: u32,
    pub(crate) operands: Operands,
    /// Line of the PTX text.
    pub(crate) line: u32,
    pub(crate) pipe: Pipe,
}

/// Slots that an instruction reads and writes; which of them are predicates, the instruction knows.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Operands {
    pub(crate) d: Slot,
    /// Second destination.
    pub(crate) e: Slot,
    pub(crate) a: Slot,
    pub(crate) b: Slot,
    pub(crate) c: Slot,
    /// A constant that is part of the instruction.
    pub(crate) imm: u32,
}

/// What the executor does for an instruction.
#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// Computes on registers.
    Alu(Exec),
    /// Computes across the lanes that the mask in slot `members` names.
    Warp {
        run: WarpOp,
        members: Slot,
    },
    /// Index of the access.
    Memory(u32),
    /// Jumps to `target`; lanes that do and lanes that do not meet again at `meet`.
    Branch {
        target: u32,
        meet: u32,
    },
    /// Jumps to the target that operand `a` picks from a table.
    BranchTable {
        table: u32,
        meet: u32,
    },
    /// Lanes end.
    Exit,
    Trap,
    /// Waits for the warps of the block.
    Barrier(Barrier),
    /// Waits for the lanes that the mask in slot `members` names.
    WarpBarrier {
        members: Slot,
    },
    /// Reads the cycle counter.
    Clock {
        wide: bool,
    },
    /// Reads the mask of active lanes.
    ActiveMask,
    /// Fences, prefetches, sleeps: nothing to do, for memory here is in order.
    Nothing,
}

/// A block-wide barrier.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Barrier {
    /// Slot of the barrier's number.
    pub(crate) id: Slot,
    /// Slot of the number of threads that take part, if not all.
    pub(crate) threads: Option<Slot>,
    /// Whether to wait, or only to announce arrival.
    pub(crate) waits: bool,
    pub(crate) reduction: Option<Reduction>,
}

/// What a barrier makes of the threads' predicates (operand `a`, inverted by `imm`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reduction {
    Popc,
    And,
    Or,
}

/// What a slot that is never written holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Input {
    Bits32(u32),
    Bits64(u64),
    /// `bytes` bytes of the parameter block, extended by the sign or by zeros; of 8 bytes, or as `wide` says, a 64-bit register.
    Param {
        offset: u32,
        bytes: u32,
        signed: bool,
        wide: bool,
    },
    /// Device address of a variable, plus a displacement.
    Variable {
        name: String,
        offset: i64,
        wide: bool,
    },
    /// Offset in shared memory of what the launch adds to it, plus a displacement.
    DynamicShared {
        offset: i64,
        wide: bool,
    },
    Special(Special),
}

/// Special registers that do not change while a warp runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Special {
    Thread(usize),
    Threads(usize),
    Block(usize),
    Blocks(usize),
    Lane,
    Warp,
    Warps,
    MaskEq,
    MaskLe,
    MaskLt,
    MaskGe,
    MaskGt,
    DynamicShared,
    TotalShared,
    /// Number of the multiprocessor that runs the block, and how many there are.
    Processor,
    Processors,
    /// Always zero, of 64 bits.
    Zero64,
}

impl Special {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let axis = |name: &str| ["x", "y", "z"].iter().position(|axis| *axis == name);
        if let Some((name, component)) = name.split_once('.') {
            let axis = axis(component)?;
            return Some(match name {
                "%tid" => Self::Thread(axis),
                "%ntid" => Self::Threads(axis),
                "%ctaid" => Self::Block(axis),
                "%nctaid" => Self::Blocks(axis),
                _ => return None,
            });
        }
        Some(match name {
            "%laneid" => Self::Lane,
            "%warpid" => Self::Warp,
            "%nwarpid" => Self::Warps,
            "%lanemask_eq" => Self::MaskEq,
            "%lanemask_le" => Self::MaskLe,
            "%lanemask_lt" => Self::MaskLt,
            "%lanemask_ge" => Self::MaskGe,
            "%lanemask_gt" => Self::MaskGt,
            "%dynamic_smem_size" => Self::DynamicShared,
            "%total_smem_size" => Self::TotalShared,
            "%smid" => Self::Processor,
            "%nsmid" => Self::Processors,
            "%gridid" => Self::Zero64,
            _ => return None,
        })
    }

    /// Whether it takes a 64-bit register.
    pub(crate) fn is_wide(self) -> bool {
        self == Self::Zero64
    }
}
