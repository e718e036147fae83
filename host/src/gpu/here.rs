//! What no kernel decodes, the bytes of a source that belong to no tensor: by the CPU, then copied to the device.

use super::context::Gpu;
use super::staged::StagedPart;
use super::tensor::{DeviceTensor, PIECE};
use crate::archive::Tensor;
use crate::container::grid::Piece;
use crate::cpu::tile::Scratch;
use crate::cpu::view::Stores;
use crate::error::Result;

impl Gpu {
    /// Decodes a tensor into its device memory, and waits.
    pub(super) fn decode_here(&self, tensor: &Tensor<'_>, out: &DeviceTensor) -> Result<()> {
        let directory = tensor.directory()?;
        let mut scratch = Scratch::default();
        for piece in tensor.entry.grid.pieces(PIECE) {
            let mut bytes = tensor.buffer(piece.len() as u64)?;
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
            let mut bytes = tensor.buffer(piece.len() as u64)?;
            tensor.decode_piece(directory, &piece, &mut scratch, &mut bytes, Stores::Cached)?;
            return self.copy_here(&bytes, *output);
        };
        let mut bytes = tensor.buffer((rows.end - rows.start) * (columns.end - columns.start))?;
        tensor.decode_band_slice(directory, rows.clone(), columns.clone(), &mut scratch, &mut Vec::new(), &mut bytes)?;
        self.copy_here(&bytes, *output)
    }

    pub(super) fn copy_here(&self, bytes: &[u8], address: u64) -> Result<()> {
        self.copy_to_address(bytes, address)?;
        self.wait()
    }
}
