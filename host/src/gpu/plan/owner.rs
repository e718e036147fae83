//! Whose a status is.

/// Whose a status is: of the tile (as it was added) this part. In the order in which damage is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::gpu) struct Owner {
    pub tile: u32,
    pub part: Part,
}

/// A part of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::gpu) enum Part {
    /// What it says of its filter.
    Modes,
    /// A plane; of a tile of numbers, its categories.
    Plane(u8),
    /// Its categories, and how long its planes of bits are.
    Counts,
    /// A plane of bits, counted from the signs.
    Bits(u8),
}

impl Part {
    /// The plane's number in its record.
    pub(in crate::gpu) fn plane(self) -> usize {
        if let Self::Plane(p) = self { p as usize } else { 0 }
    }

    /// The number of the plane of bits, if it is one.
    pub(in crate::gpu) fn bits(self) -> Option<usize> {
        if let Self::Bits(p) = self { Some(p as usize) } else { None }
    }
}
