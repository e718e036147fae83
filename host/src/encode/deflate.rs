//! Blobs: headers, which are text and numbers of which parts repeat.

use miniz_oxide::deflate::compress_to_vec;
use wcodec_device::layout::{PlaneMode, TILE_ALIGN, TilePlane};

/// The most that is tried.
const LEVEL: u8 = 9;

/// A tile's payload and plane; `None` unless the payload is below `most` bytes.
pub(super) fn deflate(bytes: &[u8], most: usize) -> Option<(Vec<u8>, TilePlane)> {
    let mut payload = compress_to_vec(bytes, LEVEL);
    let words = u16::try_from(payload.len().div_ceil(2)).ok()?;
    payload.resize(payload.len().next_multiple_of(TILE_ALIGN), 0);
    let plane = TilePlane { mode: PlaneMode::Deflated as u8, base: 0, table: 0, words, patches: 0 };
    (payload.len() < most).then_some((payload, plane))
}
