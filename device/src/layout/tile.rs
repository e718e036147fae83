use super::assert_offsets;
use bytemuck::{Pod, Zeroable};

/// Most bytes that one tile decodes to: a plane's symbol count and an element's position then fit 16 bits (+1).
pub const MAX_TILE_BYTES: usize = 65536;
/// Alignment of a tile's payload and of each plane in it, in bytes: one 16-byte vector load.
pub const TILE_ALIGN: usize = 16;

/// Start of a tile's directory entry; one [`TilePlane`] for each `PerTile` plane follows.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct TileHead {
    /// Start of the payload, in units of 16 bytes from the tensor's segment.
    pub offset16: u32,
    /// CRC-32C of the payload, padding included.
    pub crc: u32,
}

assert_offsets!(TileHead, 8, { offset16: 0, crc: 4 });

/// How one plane of one tile is coded.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct TilePlane {
    /// A [`super::PlaneMode`] other than `PerTile`.
    pub mode: u8,
    /// `Pairs`: the exponent of rank 0. `Constant`: the byte. Otherwise zero.
    pub base: u8,
    /// Frequency table, by position in the file's pool (rANS modes; otherwise zero).
    pub table: u16,
    /// Renormalisation words in the stream (rANS modes; otherwise zero).
    pub words: u16,
    /// Patches after the stream (rANS modes; otherwise zero).
    pub patches: u16,
}

assert_offsets!(TilePlane, 8, { mode: 0, base: 1, table: 2, words: 4, patches: 6 });
