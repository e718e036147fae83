//! The `.wcodec` container: index, tables, tile grid. `docs/format.md` is its specification.

pub(crate) mod base_contexts;
pub(crate) mod block_contexts;
pub(crate) mod contexts;
pub(crate) mod difference;
pub(crate) mod grid;
pub(crate) mod index;
mod planes;
pub(crate) mod tables;
pub(crate) mod trellis;
