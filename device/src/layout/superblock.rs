use super::assert_offsets;
use bytemuck::{Pod, Zeroable};

/// First eight bytes of every archive.
pub const MAGIC: [u8; 8] = *b"WCODEC\0\0";
/// Major version written and read: a reader refuses any other.
pub const VERSION_MAJOR: u16 = 1;
/// Minor version written where a feature is required, 0 elsewhere: a reader accepts any, unknown *required* features are refused by bit.
pub const VERSION_MINOR: u16 = 1;
/// Bytes of the superblock; the first tensor's segment follows.
pub const SUPERBLOCK_BYTES: u64 = size_of::<Superblock>() as u64;

/// Bits of [`Superblock::required`].
pub mod feature {
    /// Tensors coded with contexts ([`crate::layout::tool::CONTEXTS`]).
    pub const CONTEXTS: u64 = 1;
    /// Tensors coded as differences from a base archive's.
    pub const BASE: u64 = 2;
    /// Tiles whose elements were predicted or transformed.
    pub const FILTERS: u64 = 4;
    /// Planes stored one after another, so that a coarse model comes first.
    pub const PROGRESSIVE: u64 = 8;
    /// Layouts of blocks ([`crate::planes::Blocks`]).
    pub const BLOCKS: u64 = 16;
    /// Blobs of planes that are [`crate::layout::PlaneMode::Deflated`].
    pub const DEFLATED: u64 = 32;
    /// Tensors of integers without their lowest bits, which a trellis tells.
    pub const TRELLIS: u64 = 64;
    /// Every required bit that this version understands.
    pub const KNOWN_REQUIRED: u64 = CONTEXTS | BASE | FILTERS | PROGRESSIVE | BLOCKS | DEFLATED | TRELLIS;

    /// The bits without which tensors of these tools ([`crate::layout::tool`]) cannot be read: they have the same numbers.
    pub fn of_tools(tools: u8) -> u64 {
        (tools & crate::layout::tool::KNOWN) as u64
    }

    /// What a bit stands for, where that is known.
    pub fn name(bit: u64) -> Option<&'static str> {
        Some(match bit {
            CONTEXTS => "contexts",
            BASE => "base",
            FILTERS => "filters",
            PROGRESSIVE => "progressive",
            BLOCKS => "blocks",
            DEFLATED => "deflated",
            TRELLIS => "trellis",
            _ => return None,
        })
    }
}

/// Values of [`Superblock::source_kind`].
pub mod source_kind {
    /// Tensors given in memory: there is no source file to restore.
    pub const TENSORS: u32 = 0;
    /// A safetensors file, restored byte for byte.
    pub const SAFETENSORS: u32 = 1;
    /// A GGUF file, restored byte for byte: blobs may lie between its tensors, too.
    pub const GGUF: u32 = 2;
}

/// The first 256 bytes of the file, repeated as its last 256 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Superblock {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`VERSION_MAJOR`].
    pub major: u16,
    /// [`VERSION_MINOR`].
    pub minor: u16,
    /// One of [`source_kind`].
    pub source_kind: u32,
    /// Features without which the archive cannot be read.
    pub required: u64,
    /// Features that a reader may ignore.
    pub optional: u64,
    /// Length of the source file in bytes (0 without one).
    pub source_len: u64,
    /// SHA-256 of the source file (zero without one).
    pub source_sha256: [u8; 32],
    /// Length of this archive in bytes.
    pub file_len: u64,
    /// Byte offset of the index.
    pub index_off: u64,
    /// Length of the index in bytes.
    pub index_len: u64,
    /// Byte offset of the tile directories, which end where the index begins.
    pub directory_off: u64,
    /// CRC-32C of the index.
    pub index_crc: u32,
    /// Number of entries in the index, blobs included.
    pub entries: u32,
    /// SHA-256 of the source file of the base (zero without [`feature::BASE`]).
    pub base_sha256: [u8; 32],
    /// Length of the source file of the base.
    pub base_len: u64,
    /// Zero.
    pub reserved: [u64; 12],
    /// Zero.
    pub reserved2: u32,
    /// CRC-32C of the 252 bytes before this field.
    pub crc: u32,
}

assert_offsets!(Superblock, 256, {
    magic: 0, major: 8, minor: 10, source_kind: 12, required: 16, optional: 24, source_len: 32, source_sha256: 40,
    file_len: 72, index_off: 80, index_len: 88, directory_off: 96, index_crc: 104, entries: 108, base_sha256: 112, base_len: 144,
    reserved: 152, reserved2: 248,
    crc: 252,
});
