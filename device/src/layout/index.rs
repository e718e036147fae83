use super::assert_offsets;
use bytemuck::{Pod, Zeroable};

/// First record of the index: how many of everything follows, in this order:
/// `TensorRecord[entries]`, `PlaneRecord[planes]`, `u64[dims]`, table bytes, name bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct IndexHeader {
    /// Number of [`TensorRecord`]s.
    pub entries: u32,
    /// Number of [`PlaneRecord`]s.
    pub planes: u32,
    /// Number of `u64` dimensions.
    pub dims: u32,
    /// Number of frequency tables.
    pub tables: u32,
    /// Bytes that the serialised tables take.
    pub table_bytes: u32,
    /// Bytes that the names take (UTF-8, not terminated).
    pub name_bytes: u32,
    /// Probabilities are multiples of `2^-(12 + scale)`; this version reads and writes 0.
    pub scale: u8,
    /// Zero.
    pub reserved: [u8; 7],
}

assert_offsets!(IndexHeader, 32, {
    entries: 0, planes: 4, dims: 8, tables: 12, table_bytes: 16, name_bytes: 20, scale: 24, reserved: 25,
});

/// Values of [`TensorRecord::kind`].
pub mod kind {
    /// A tensor with a name, a dtype and a shape.
    pub const TENSOR: u8 = 0;
    /// Bytes of the source file that belong to no tensor (its header); they have no name and no shape.
    pub const BLOB: u8 = 1;
    /// A plane of bits that refines a tensor of a progressive archive.
    pub const PLANE: u8 = 2;
}

/// One tensor (or blob) of the archive.
///
/// Positions are not stored: segments, directories, names, dimensions and planes of consecutive records follow each other without a
/// gap, so that nothing can overlap.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct TensorRecord {
    /// Rows of the tile grid; `rows * row_bytes` is the decoded length.
    pub rows: u64,
    /// Bytes of one row.
    pub row_bytes: u64,
    /// Bytes that all tile payloads take together.
    pub segment_len: u64,
    /// XXH3-128 of the decoded bytes (seed 0), little-endian.
    pub hash: [u8; 16],
    /// CRC-32C of the tile directory.
    pub directory_crc: u32,
    /// Length of the name in bytes.
    pub name_len: u32,
    /// Rows of a tile (the last tile row may have fewer).
    pub tile_rows: u32,
    /// Bytes of a tile's row (the last tile column may have fewer).
    pub tile_row_bytes: u32,
    /// Element type, by number (`docs/format.md`).
    pub dtype: u16,
    /// Record map, by number: see [`crate::planes::Layout`].
    pub layout: u8,
    /// One of [`kind`].
    pub kind: u8,
    /// Number of dimensions.
    pub ndim: u8,
    /// Length of the dtype's name, which follows the tensor's name, where the dtype has no number.
    pub dtype_len: u8,
    /// Bits of [`tool`]: what the tensor is coded with beyond planes, tables and pairs.
    pub tools: u8,
    /// Bytes of the tools' parameters, which head the tile directory, in units of 16.
    pub params16: u8,
}

/// Bits of [`TensorRecord::tools`].
pub mod tool {
    /// Planes may be coded with a table for each context of a symbol ([`PlaneMode::Contexts`](super::PlaneMode::Contexts)).
    pub const CONTEXTS: u8 = 1;
    /// What is decoded is the difference from a tensor of the base archive.
    pub const BASE: u8 = 2;
    /// Each tile says how its elements were predicted or transformed.
    pub const FILTERS: u8 = 4;
    /// What is decoded is the numbers' categories; records of kind [`PLANE`](super::kind::PLANE) refine them.
    pub const PROGRESSIVE: u8 = 8;
    /// What is decoded is numbers without their lowest bits, which those above them in their column tell ([`crate::trellis`]).
    pub const TRELLIS: u8 = 64;
    /// Every tool of this version.
    pub const KNOWN: u8 = CONTEXTS | BASE | FILTERS | PROGRESSIVE | TRELLIS;
}

assert_offsets!(TensorRecord, 64, {
    rows: 0, row_bytes: 8, segment_len: 16, hash: 24, directory_crc: 40, name_len: 44, tile_rows: 48, tile_row_bytes: 52,
    dtype: 56, layout: 58, kind: 59, ndim: 60, dtype_len: 61, tools: 62, params16: 63,
});

/// How a plane is coded, for all tiles of a tensor or (in a [`super::TilePlane`]) for one.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaneMode {
    /// The plane's bytes as they are.
    Raw = 0,
    /// One byte value repeated; nothing is stored.
    Constant = 1,
    /// One rANS symbol for each byte of the plane.
    Bytes = 2,
    /// One rANS symbol for two neighbouring exponents, as 4-bit ranks above a base.
    Pairs = 3,
    /// One rANS symbol for each byte of the plane, each with the table of its context.
    Contexts = 4,
    /// Only of blobs: a raw DEFLATE stream (RFC 1951) of the plane's bytes.
    Deflated = 5,
    /// Only in a [`PlaneRecord`]: every tile says for itself.
    PerTile = 255,
}

impl PlaneMode {
    /// The mode with this number.
    pub fn from_u8(v: u8) -> Option<Self> {
        Some(match v {
            0 => Self::Raw,
            1 => Self::Constant,
            2 => Self::Bytes,
            3 => Self::Pairs,
            4 => Self::Contexts,
            5 => Self::Deflated,
            255 => Self::PerTile,
            _ => return None,
        })
    }

    /// Whether the plane is a rANS stream.
    pub fn is_coded(self) -> bool {
        matches!(self, Self::Bytes | Self::Pairs | Self::Contexts)
    }
}

/// What one plane of a tensor is, in all its tiles.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct PlaneRecord {
    /// A [`PlaneMode`]: `Raw`, `Constant`, or `PerTile`.
    pub mode: u8,
    /// The byte, where the mode is `Constant`.
    pub value: u8,
    /// Zero.
    pub reserved: [u8; 2],
}

assert_offsets!(PlaneRecord, 4, { mode: 0, value: 1, reserved: 2 });
