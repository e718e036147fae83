//! The decoded form of a memory access.

use super::op::Slot;

/// Where an access goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Space {
    Global,
    Shared,
    Local,
    Param,
    /// Wherever the address points.
    Generic,
}

/// What an access does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Loads, extending by the sign or by zeros.
    Load {
        signed: bool,
    },
    Store,
    /// Reads, combines and writes in one; the old value goes to the destination if there is one.
    Atomic {
        operation: Atomic,
        target: Option<Slot>,
    },
    /// Copies from global memory at the address in `from` to shared memory, and zeros after `limit` bytes.
    Copy {
        from: Slot,
        from_offset: i64,
        limit: Option<Slot>,
    },
}

/// What an atomic access makes of the old value and the operands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Atomic {
    Add,
    AddFloat,
    Min { signed: bool },
    Max { signed: bool },
    And,
    Or,
    Xor,
    Exchange,
    CompareExchange,
    Increment,
    Decrement,
}

/// A memory access: `count` elements of `bytes` bytes at the address in slot `address` plus `offset`.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub(crate) kind: Kind,
    pub(crate) space: Space,
    /// Bytes of an element: 1, 2, 4 or 8.
    pub(crate) bytes: u32,
    pub(crate) count: u32,
    pub(crate) address: Slot,
    /// Whether the address is a 64-bit register.
    pub(crate) wide_address: bool,
    pub(crate) offset: i64,
    /// The elements' registers; for atomics the operands.
    pub(crate) registers: [Slot; 8],
    /// Volatile, or ordered: such accesses may race.
    pub(crate) strong: bool,
}

impl Access {
    /// Bytes that each lane accesses, and the alignment it must have.
    pub(crate) fn size(&self) -> u64 {
        u64::from(self.bytes * self.count)
    }

    /// Whether memory at the address is written.
    pub(crate) fn writes(&self) -> bool {
        !matches!(self.kind, Kind::Load { .. })
    }
}
