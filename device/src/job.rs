//! What a launch is told: records that the host writes and a kernel reads.
//!
//! A *job* is one stream of one tile, for one warp. A *block* is up to [`WARPS`] jobs whose streams share a frequency table. A launch has
//! blocks of one kernel, of as many tensors as there are.

use crate::bitplanes::Form;
use bytemuck::{Pod, Zeroable};

/// Warps of a block.
pub const WARPS: u32 = 8;
/// Threads of a block: as many as there are symbols, which is what expanding a frequency table wants.
pub const THREADS: u32 = 32 * WARPS;
/// Bytes of shared memory that a block of a decoding kernel needs: a decode table, and a word for each warp.
pub const SHARED_BYTES: u32 = 4096 * 4 + WARPS * 4;
/// Readable bytes that must follow every payload: words are fetched before it is known that the stream has run out.
pub const SLACK: usize = 512;
/// Planes besides the stream that a job can name itself.
pub const SIDE_PLANES: usize = 3;

/// One stream to decode, and where it goes. Addresses are the device's.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct TileJob {
    /// States, words, patches: a coded plane as it lies in the payload (16-byte aligned). `join_planes`, `join_blocks`, `map_scales`: the
    /// list of plane addresses.
    pub stream: u64,
    /// First byte of the tile in the output.
    pub output: u64,
    /// Decoded planes that are joined with the stream's (16-byte aligned), in the order of the layout. Contexts: the leading plane, for deep
    /// ones, or the map of contexts; classes of the tile's rows; classes of its columns. `join_blocks`: the bytes of a block's fields, one byte
    /// each from the lowest on, then zeros.
    pub planes: [u64; SIDE_PLANES],
    /// Bytes from one of the tile's rows to the next in the output.
    pub stride: u64,
    /// Bytes of one row of the tile.
    pub width: u32,
    /// Elements of the tile, at most 65536.
    pub elements: u32,
    /// Renormalisation words in the stream. `join_planes`: the layout's number. `map_scales`: symbols of a block.
    pub words: u32,
    /// Patches after the words.
    pub patches: u32,
    /// Exponent of rank 0.
    pub base: u32,
    /// Position of this job's status in the launch's list.
    pub status: u32,
    /// Contexts: elements of one row of the tile.
    pub columns: u32,
    /// Contexts: position in the launch's list of [`ContextSet`]s.
    pub set: u32,
}

impl TileJob {
    /// The address of a byte of the tile, its rows put one after the other.
    #[inline(always)]
    pub fn locate(&self, byte: u32) -> u64 {
        let width = self.width.max(1);
        self.output + (byte / width) as u64 * self.stride + (byte % width) as u64
    }
}

/// The jobs of one block.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct BlockJob {
    /// Frequency table, by position in the pool.
    pub table: u32,
    /// Position of the first job in the launch's list.
    pub first: u32,
    /// Jobs, 1 to [`WARPS`].
    pub jobs: u32,
    /// Zero.
    pub reserved: u32,
}

/// Contexts of a plane.
pub const CONTEXTS: usize = 64;
/// Bytes of a table as `expand_tables` leaves it in global memory: the symbol of each slot, then for each symbol its first slot and, in
/// the upper half, its frequency.
pub const EXPANDED_BYTES: u32 = 4096 + 256 * 4;

/// How the symbols of a tensor's tiles find their tables.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct ContextSet {
    /// Where each context's expanded table begins, in bytes; those that are not used have the last one's.
    pub tables: [u32; CONTEXTS],
    /// The same of deep contexts.
    pub deep: [u32; CONTEXTS],
    /// Greatest context.
    pub last: u32,
    /// Greatest deep context.
    pub deep_last: u32,
    /// Classes in an octave.
    pub units: u32,
    /// What is taken off a deep context.
    pub bias: i32,
}

/// Bytes of what `read_modes` leaves of each block: predictor, transforms, class, 0; then where its plane or its weights lie in the modes.
pub const MODE_BYTES: usize = 8;

/// A filtered tile, for three kernels: `read_modes`, then, once its residuals are decoded, `undo_transforms` and `undo_predictions`.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct FilterJob {
    /// The modes, at the head of the payload (16-byte aligned).
    pub modes: u64,
    /// [`MODE_BYTES`] for each block (16-byte aligned).
    pub blocks: u64,
    /// Where the map of contexts goes, a byte for each of the layout's elements (16-byte aligned); 0 where none is wanted.
    pub contexts: u64,
    /// The residuals, row by row without gaps (16-byte aligned).
    pub residuals: u64,
    /// First byte of the tile in the output, which lies elsewhere.
    pub output: u64,
    /// Bytes from one of the tile's rows to the next in the output.
    pub stride: u64,
    /// Bytes of the modes, a multiple of 16.
    pub modes_len: u32,
    /// Rows of the tile.
    pub rows: u32,
    /// Numbers in a row of the tile.
    pub columns: u32,
    /// Position of this job's status in the launch's list.
    pub status: u32,
    /// Bits of a number: 4, 8, 16 or 32.
    pub bits: u8,
    /// How elements are numbers: see [`Map`](crate::filter::Map).
    pub map: u8,
    /// Whether there is one mode for all blocks (1), or one for each (2).
    pub how: u8,
    /// Of blocks: see [`Shape`](crate::filter::modes::Shape).
    pub shape: u8,
    /// Whether blocks have classes.
    pub with_classes: u8,
    /// Classes that there are.
    pub classes: u8,
    /// Bits of a float's fraction, or 0: see [`Values`](crate::filter::Values).
    pub fraction: u8,
    /// Zero.
    pub reserved: [u8; 9],
}

impl FilterJob {
    /// Rows and columns of a block, and blocks side by side.
    #[inline(always)]
    pub fn grid(&self) -> (u32, u32, u32) {
        let (height, width) = match self.shape {
            0 => (16, 16),
            1 => (8, 32),
            _ => (32, 8),
        };
        (height, width, self.columns.div_ceil(width))
    }
}

/// A tile that follows from the base's: `map_exponents` before it is decoded, `undo_differences` after.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct DifferenceJob {
    /// The differences, row by row without gaps (16-byte aligned); nothing where the tile is the base's.
    pub differences: u64,
    /// First byte of the tile in the output.
    pub output: u64,
    /// Bytes from one of the tile's rows to the next there.
    pub stride: u64,
    /// The base's byte for the tile's first.
    pub base: u64,
    /// Bytes from one row to the next there.
    pub base_stride: u64,
    /// Where the map of contexts goes, a byte for each of the layout's elements (16-byte aligned); 0 where none is wanted.
    pub map: u64,
    /// Bytes of a row of the tile, whole elements and numbers.
    pub width: u32,
    /// Rows of the tile.
    pub rows: u32,
    /// Bytes of one of the layout's elements.
    pub record: u32,
    /// Bytes of a number: 1, 2, 4 or 8.
    pub unit: u32,
    /// How numbers follow from the base's: see [`Method`](crate::difference::Method).
    pub method: u32,
    /// Zero.
    pub reserved: [u32; 3],
}

/// Columns of a tile whose numbers follow from those above them: `undo_trellis`, after the tile is decoded.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct TrellisJob {
    /// What is stored of the first column's first number.
    pub stored: u64,
    /// Where that number goes.
    pub output: u64,
    /// Bytes from one row to the next there.
    pub stride: u64,
    /// Bytes from one row of what is stored to the next.
    pub pitch: u32,
    /// Columns, a byte each.
    pub width: u32,
    /// Rows of the tile.
    pub rows: u32,
    /// The two bytes of its [`Taps`](crate::trellis::Taps), the first lowest.
    pub taps: u32,
    /// Zero.
    pub reserved: [u32; 2],
}

/// A plane of bits of a tile.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct BitsPart {
    /// Its bytes.
    pub bytes: u64,
    /// Bytes that it must have if it is raw, up to the next multiple of 16; [`ANY`](Self::ANY) if that need not be asked.
    pub len: u32,
    /// The job of the stream that it is decoded from, which `count_bits` tells how many symbols it has; [`ANY`](Self::ANY) without one.
    pub job: u32,
}

impl BitsPart {
    /// No number.
    pub const ANY: u32 = u32::MAX;
}

/// A tile whose numbers lie in planes of bits: `count_bits` once its categories are decoded, then one of the joins.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct NumbersJob {
    /// Categories, a byte each (16-byte aligned).
    pub categories: u64,
    /// [`BitsPart`]s: signs, then planes of refinement.
    pub parts: u64,
    /// First byte of the tile in the output.
    pub output: u64,
    /// Bytes from one of the tile's rows to the next in the output.
    pub stride: u64,
    /// Bytes of a row of the tile.
    pub width: u32,
    /// Numbers of the tile.
    pub elements: u32,
    /// Planes of refinement that there are.
    pub planes: u32,
    /// Bits of a number.
    pub bits: u32,
    /// Bits of the mantissa of floats; [`INTEGER`](Self::INTEGER) for integers.
    pub mantissa: u32,
    /// Position of this job's status in the launch's list.
    pub status: u32,
    /// Zero.
    pub reserved: [u32; 2],
}

impl NumbersJob {
    /// In the place of a mantissa's bits.
    pub const INTEGER: u32 = u32::MAX;

    /// The form of its numbers.
    #[inline(always)]
    pub fn form(&self) -> Form {
        match self.mantissa {
            Self::INTEGER => Form::Integer { bits: self.bits },
            mantissa => Form::Float { bits: self.bits, mantissa },
        }
    }

    /// The address of a byte of the tile, its rows put one after the other.
    #[inline(always)]
    pub fn locate(&self, byte: u32) -> u64 {
        let width = self.width.max(1);
        self.output + (byte / width) as u64 * self.stride + (byte % width) as u64
    }
}

/// A payload whose checksum is to be verified.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct CheckJob {
    /// Its first byte (16-byte aligned).
    pub payload: u64,
    /// Its length in bytes, a multiple of 16.
    pub len: u32,
    /// CRC-32C that it must have.
    pub crc: u32,
}

/// A rectangle of a decoded tile to copy. `width` and `rows` are above 0, their product at most a tile.
#[repr(C, align(16))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct CropJob {
    /// First byte of the rectangle in the tile.
    pub source: u64,
    /// Bytes from one row to the next there.
    pub source_stride: u64,
    /// First byte in the output.
    pub output: u64,
    /// Bytes from one row to the next in the output.
    pub stride: u64,
    /// Bytes of a row.
    pub width: u32,
    /// Rows.
    pub rows: u32,
    /// Zero.
    pub reserved: [u32; 2],
}

/// What a kernel says of a job.
pub mod status {
    /// Never written: the kernel did not get there.
    pub const UNTOUCHED: u32 = u32::MAX;
    /// Decoded, every check passed.
    pub const OK: u32 = 0;
    /// More words wanted than there are.
    pub const EXHAUSTED: u32 = 1;
    /// Words left over.
    pub const SURPLUS: u32 = 2;
    /// A lane did not end where the encoder began.
    pub const STATE: u32 = 3;
    /// A lane's first state is below the floor.
    pub const START: u32 = 4;
    /// A patch lies outside the plane, or patches are not in ascending order.
    pub const PATCH: u32 = 5;
    /// The payload's checksum differs.
    pub const CHECKSUM: u32 = 6;
    /// Modes that there are not, or that do not have the length that they take.
    pub const MODES: u32 = 7;
    /// A category that there is not, or planes of bits of other lengths than categories ask for.
    pub const BITS: u32 = 8;
}
