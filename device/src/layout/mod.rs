//! Records of the `.wcodec` container, exactly as they lie in the file (little-endian, no implicit padding).
//!
//! Every struct is plain old data: the bytes read from disk are the struct. Sizes and offsets are asserted at compile time.

#[cfg(target_endian = "big")]
compile_error!("the container is little-endian and its records are read in place");

mod index;
mod superblock;
mod tile;

pub use index::{IndexHeader, PlaneMode, PlaneRecord, TensorRecord, kind, tool};
pub use superblock::{MAGIC, SUPERBLOCK_BYTES, Superblock, VERSION_MAJOR, VERSION_MINOR, feature, source_kind};
pub use tile::{MAX_TILE_BYTES, TILE_ALIGN, TileHead, TilePlane};

/// Asserts a field's byte offset at compile time.
macro_rules! assert_offsets {
    ($t:ty, $size:expr, { $($f:ident: $o:expr),* $(,)? }) => {
        const _: () = {
            assert!(core::mem::size_of::<$t>() == $size);
            $(assert!(core::mem::offset_of!($t, $f) == $o);)*
        };
    };
}
pub(crate) use assert_offsets;
