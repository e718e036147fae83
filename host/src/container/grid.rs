//! How a tensor is cut into tiles.

use crate::error::{Error, Result};
use std::ops::Range;
use wcodec_device::layout::MAX_TILE_BYTES;

/// A tensor's bytes as `rows` × `row_bytes`, cut into tiles of `tile_rows` × `tile_row_bytes`; tiles at the edges are smaller.
/// Tiles are numbered in raster order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grid {
    pub rows: u64,
    pub row_bytes: u64,
    pub tile_rows: u64,
    pub tile_row_bytes: u64,
}

/// One tile's rectangle: byte columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TileRect {
    pub row: u64,
    pub rows: usize,
    pub column: u64,
    pub width: usize,
}

/// Consecutive tiles that cover consecutive bytes of the tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub tiles: Range<u64>,
    pub bytes: Range<u64>,
}

impl Piece {
    pub(crate) fn len(&self) -> usize {
        (self.bytes.end - self.bytes.start) as usize
    }
}

/// Width of a tile that has several rows, in bytes: a warp stores 16 bytes a lane. Wider where rows are long: see [`BAND`].
const WIDTH: u64 = 512;
/// Unit of a tile's width: tiles then begin on whole sectors and cache lines of their row.
const UNIT: u64 = 128;
/// Most bytes that the encoder puts into a band (a row of tiles): a piece is at least that, and memory holds several.
const BAND: u64 = 4 << 20;
/// Most bytes that a band of several rows may have at all.
const MAX_BAND: u64 = 16 << 20;

impl Grid {
    /// The encoder's choice for records of `record` bytes.
    pub(crate) fn choose(rows: u64, row_bytes: u64, record: u64) -> Self {
        let max = MAX_TILE_BYTES as u64;
        if rows == 0 || row_bytes == 0 {
            return Self { rows, row_bytes, tile_rows: 1, tile_row_bytes: record };
        }
        let unit = if UNIT.is_multiple_of(record) { UNIT } else { record };
        // Equal parts rather than full ones and a rest.
        let part = |total: u64, most: u64, unit: u64| {
            let n = total.div_ceil(most);
            total.div_ceil(n).next_multiple_of(unit).min(most / unit * unit).min(total)
        };
        let most_rows = rows.min((BAND / row_bytes).max(1));
        let tile_row_bytes = part(row_bytes, (max / most_rows).max(WIDTH).max(unit), unit);
        Self { rows, row_bytes, tile_rows: part(rows, most_rows.min(max / tile_row_bytes), 1), tile_row_bytes }
    }

    /// Checks a grid that comes from a file.
    pub(crate) fn check(&self, record: u64) -> Result<()> {
        let fail = |why: &str| Err(Error::corrupt(format!("impossible tile grid {self:?}: {why}")));
        if self.tile_rows == 0 || self.tile_row_bytes == 0 {
            return fail("empty tiles");
        }
        if self.tile_rows.saturating_mul(self.tile_row_bytes) > MAX_TILE_BYTES as u64 {
            return fail("tiles too large");
        }
        if !self.row_bytes.is_multiple_of(record) || !self.tile_row_bytes.is_multiple_of(record) {
            return fail("records cut in two");
        }
        if self.rows.checked_mul(self.row_bytes).is_none_or(|n| n > i64::MAX as u64) {
            return fail("too many bytes");
        }
        // A band is decoded in one piece. (`bytes` did not overflow, so neither does this.)
        if self.tile_rows > 1 && self.tile_rows.min(self.rows) * self.row_bytes > MAX_BAND {
            return fail("rows of tiles too large");
        }
        Ok(())
    }

    /// Bytes of the tensor.
    pub(crate) fn bytes(&self) -> u64 {
        self.rows * self.row_bytes
    }

    /// Tiles side by side.
    pub(crate) fn columns(&self) -> u64 {
        self.row_bytes.div_ceil(self.tile_row_bytes)
    }

    /// Tiles on top of each other.
    pub(crate) fn bands(&self) -> u64 {
        self.rows.div_ceil(self.tile_rows)
    }

    /// All tiles; `None` on overflow.
    pub(crate) fn tiles(&self) -> Option<u64> {
        self.columns().checked_mul(self.bands())
    }

    /// The tensor's bytes that consecutive tiles cover, where those are consecutive too: whole bands, or tiles of one row.
    pub(crate) fn span(&self, tiles: &Range<u64>) -> Range<u64> {
        let total = self.columns() * self.bands();
        let start = |tile: u64| {
            if tile == total {
                return self.bytes();
            }
            let rect = self.rect(tile);
            rect.row * self.row_bytes + rect.column
        };
        start(tiles.start)..start(tiles.end)
    }

    /// Where a tile's first byte lies in the bytes of a piece that it belongs to.
    pub(crate) fn place_in(&self, piece: &Piece, rect: TileRect) -> usize {
        (rect.row * self.row_bytes + rect.column - piece.bytes.start) as usize
    }

    /// The rectangle of tile `tile`.
    pub(crate) fn rect(&self, tile: u64) -> TileRect {
        let columns = self.columns();
        let row = tile / columns * self.tile_rows;
        let column = tile % columns * self.tile_row_bytes;
        TileRect {
            row,
            rows: self.tile_rows.min(self.rows - row) as usize,
            column,
            width: self.tile_row_bytes.min(self.row_bytes - column) as usize,
        }
    }

    /// Pieces of about `target` bytes, in order: whole bands, or, where a band is one row, runs of tiles.
    pub(crate) fn pieces(&self, target: u64) -> impl Iterator<Item = Piece> + use<> {
        let grid = *self;
        let columns = grid.columns();
        let (step, total) = if grid.bytes() == 0 {
            (1, 0)
        } else if grid.tile_rows == 1 {
            ((target / grid.tile_row_bytes).max(1), columns * grid.bands())
        } else {
            let bands = (target / (grid.tile_rows.min(grid.rows) * grid.row_bytes)).max(1);
            (bands * columns, columns * grid.bands())
        };
        (0..total.div_ceil(step)).map(move |i| {
            let tiles = i * step..((i + 1) * step).min(total);
            Piece { bytes: grid.span(&tiles), tiles }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_cover_everything_once(rows in 0u64..3000, cols in 0u64..5000, record in prop::sample::select(vec![1u64, 2, 4, 8, 18]), target in 1u64..2_000_000) {
            let grid = Grid::choose(rows, cols * record, record);
            grid.check(record).unwrap();
            let (mut tile, mut byte) = (0, 0);
            for piece in grid.pieces(target) {
                prop_assert_eq!((piece.tiles.start, piece.bytes.start), (tile, byte));
                let mut bytes = 0;
                for t in piece.tiles.clone() {
                    let r = grid.rect(t);
                    prop_assert!(r.rows > 0 && r.width > 0);
                    prop_assert!(r.row + r.rows as u64 <= rows && r.column + r.width as u64 <= cols * record);
                    bytes += r.rows as u64 * r.width as u64;
                }
                prop_assert_eq!(bytes, piece.len() as u64);
                (tile, byte) = (piece.tiles.end, piece.bytes.end);
            }
            prop_assert_eq!(byte, grid.bytes());
            prop_assert_eq!(tile, if grid.bytes() == 0 { 0 } else { grid.tiles().unwrap() });
        }
    }

    #[test]
    fn choices() {
        let g = |r, c, rec| {
            let g = Grid::choose(r, c, rec);
            (g.tile_rows, g.tile_row_bytes)
        };
        assert_eq!(g(4096, 8192, 2), (128, 512));
        assert_eq!(g(30522, 768, 2), (170, 384));
        assert_eq!(g(1, 1 << 33, 2), (1, 65536));
        assert_eq!(g(3, 1, 1), (3, 1));
        assert_eq!(g(2, 6 << 30, 4), (1, 65536));
        assert_eq!(g(8192, 57344, 2), (73, 896));
        assert_eq!(g(128, 1 << 20, 1), (4, 16384));
    }
}
