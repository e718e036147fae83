//! Reversible maps from records to byte planes.
//!
//! Floating-point words are rotated left by one bit *as a 32-bit word* before they are split: the exponents then fill whole bytes
//! (or nibbles), and each sign lands at the bottom of the element above it, so that one rotation puts all of them back.

pub mod affine;
mod blocks;

pub use blocks::Blocks;

/// How a tile's bytes become planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// Records of `n` bytes, plane `i` holds byte `i` of each record.
    Columns(u8),
    /// BF16. Plane 0: exponents. Plane 1: mantissa and a sign.
    Bf16,
    /// FP32. Plane 0: exponents. Planes 1 to 3: the other bytes, most significant first.
    F32,
    /// FP8 with four exponent bits. Plane 0: exponents, one a byte. Plane 1: mantissa and a sign, two nibbles a byte, low first.
    F8E4,
    /// Blocks of quantized numbers. Plane `i` holds field `i` of each block.
    Blocks(Blocks),
}

/// The number of a layout of blocks is this and that of the blocks.
const FIRST_BLOCKS: u8 = 144;

impl Layout {
    /// The number in [`crate::layout::TensorRecord::layout`].
    pub fn number(self) -> u8 {
        match self {
            Self::Columns(n) => n,
            Self::Bf16 => 128,
            Self::F32 => 129,
            Self::F8E4 => 130,
            Self::Blocks(blocks) => FIRST_BLOCKS + blocks.number(),
        }
    }

    /// The layout with this number.
    #[inline]
    pub fn from_number(v: u8) -> Option<Self> {
        Some(match v {
            1..=64 => Self::Columns(v),
            128 => Self::Bf16,
            129 => Self::F32,
            130 => Self::F8E4,
            FIRST_BLOCKS.. => Self::Blocks(Blocks::from_number(v - FIRST_BLOCKS)?),
            _ => return None,
        })
    }

    /// Planes of the layout.
    #[inline]
    pub fn planes(self) -> usize {
        match self {
            Self::Columns(n) => n as usize,
            Self::Bf16 | Self::F8E4 => 2,
            Self::F32 => 4,
            Self::Blocks(blocks) => blocks.fields().len(),
        }
    }

    /// Bytes of one record (element).
    #[inline]
    pub fn record_bytes(self) -> usize {
        match self {
            Self::Columns(n) => n as usize,
            Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F8E4 => 1,
            Self::Blocks(blocks) => blocks.bytes(),
        }
    }

    /// Bytes of the smallest run of records that can be joined alone: elements that share a rotated word or a pair symbol.
    #[inline]
    pub fn group_bytes(self) -> usize {
        match self {
            Self::Columns(n) => n as usize,
            Self::Bf16 | Self::F8E4 => 4,
            Self::F32 => 8,
            Self::Blocks(blocks) => blocks.bytes(),
        }
    }

    /// Whether plane 0 holds exponents that may be coded in pairs.
    pub fn has_exponents(self) -> bool {
        matches!(self, Self::Bf16 | Self::F32 | Self::F8E4)
    }

    /// Bytes of plane `plane` in a tile of `elements` records; of blocks, none in a plane that they do not have.
    #[inline]
    pub fn plane_bytes(self, plane: usize, elements: usize) -> usize {
        match self {
            Self::F8E4 if plane == 1 => elements.div_ceil(2),
            Self::Blocks(blocks) => blocks.fields().get(plane).map_or(0, |&field| field as usize * elements),
            _ => elements,
        }
    }
}

/// Rotates two BF16 left by one as one word: exponents in bytes 1 and 3. [`unrotate`] is the inverse.
#[inline(always)]
pub fn rotate(word: u32) -> u32 {
    word.rotate_left(1)
}

/// Inverse of [`rotate`].
#[inline(always)]
pub fn unrotate(word: u32) -> u32 {
    word.rotate_right(1)
}

/// Joins two BF16 from two exponents and two raw bytes (first element in the low half).
#[inline(always)]
pub fn join_bf16(exponents: [u8; 2], raw: [u8; 2]) -> u32 {
    unrotate(u32::from_le_bytes([raw[0], exponents[0], raw[1], exponents[1]]))
}

/// Joins four FP8 E4 from four exponents (0..16) and two raw bytes of two nibbles.
#[inline(always)]
pub fn join_f8e4(exponents: [u8; 4], raw: [u8; 2]) -> u32 {
    unrotate(u32::from_le_bytes([
        exponents[0] << 4 | raw[0] & 15,
        exponents[1] << 4 | raw[0] >> 4,
        exponents[2] << 4 | raw[1] & 15,
        exponents[3] << 4 | raw[1] >> 4,
    ]))
}

/// The two exponents of a pair symbol above `base` (modulo 256).
#[inline(always)]
pub fn unpair(symbol: u8, base: u8) -> [u8; 2] {
    [base.wrapping_add(symbol & 15), base.wrapping_add(symbol >> 4)]
}
