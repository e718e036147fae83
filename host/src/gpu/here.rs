//! Tensors that no kernel decodes (differences from a base, filtered ones, bitplanes, blocks): by the CPU, then copied to the device.

use super::context::Gpu;
use super::staged::StagedPart;
use super::tensor::DeviceTensor;
use crate::archive::Tensor;
use crate::container::grid::Piece;
use crate::cpu::tile::Scratch;
use crate::cpu::view::Stores;
use crate::error::{Error, Result};
use crate::source::zeroed;

impl Gpu {
    /// Decodes a tensor into its device memory, and waits.
    pub(super) fn decode_here(&self, tensor: &Tensor<'_>, out: &DeviceTensor) -> Result<()> {
        let directory = tensor.directory()?;
        let mut scratch = Scratch::default();
        for piece in tensor.entry.grid.pieces(4 << 20) {
            let mut bytes = room(tensor, piece.len() as u64)?;
            tensor.decode_piece(&directory, &piece, &mut scratch, &mut bytes, Stores::Cached)?;
            self.copy_here(&bytes, out.address() + piece.bytes.start)?;
        }
        Ok(())
    }

    /// Decodes a part of a load whose payload is in a stage: it is read once more, from the archive.
    pub(super) fn decode_part_here(&self, part: &StagedPart<'_>) -> Result<()> {
        let StagedPart { tensor, directory, tiles, slice, output, .. } = part;
        let mut scratch = Scratch::default();
        let Some((rows, columns)) = slice else {
            let piece = Piece { tiles: tiles.clone(), bytes: tensor.entry.grid.span(tiles) };
            let mut bytes = room(tensor, piece.len() as u64)?;
            tensor.decode_piece(directory, &piece, &mut scratch, &mut bytes, Stores::Cached)?;
            return self.copy_here(&bytes, *output);
        };
        let mut bytes = room(tensor, (rows.end - rows.start) * (columns.end - columns.start))?;
        let mut whole = Vec::new();
        for tile in tiles.clone() {
            let payload = tensor.payload(directory, tile..tile + 1)?;
            let (rows, columns) = (rows.clone(), columns.clone());
            tensor.decode_tile_slice(directory, tile, &payload, rows, columns, &mut scratch, &mut whole, &mut bytes)?;
        }
        self.copy_here(&bytes, *output)
    }

    pub(super) fn copy_here(&self, bytes: &[u8], address: u64) -> Result<()> {
        self.copy_to_address(bytes, address)?;
        self.wait()
    }
}

/// Memory to decode into.
fn room(tensor: &Tensor<'_>, len: u64) -> Result<Vec<u8>> {
    let len = usize::try_from(len).map_err(|_| tensor.place(Error::argument(format!("{len} bytes do not fit into memory"))))?;
    zeroed(len).map_err(|e| tensor.place(Error::io("decoding", e)))
}
