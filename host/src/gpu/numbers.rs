//! Tensors of bitplanes: their planes beside the categories in a batch.

use super::batch::Work;
use super::plan::{Bits, Plan, Tile};
use crate::archive::Payloads;
use crate::bitplanes::Form;
use crate::error::Result;
use std::ops::Range;
use wcodec_device::layout::TILE_ALIGN;

/// The planes of consecutive tiles.
pub(super) struct Numbers {
    form: Form,
    /// Of each tile, all planes that are decoded.
    tiles: Vec<Vec<Bits>>,
}

impl Numbers {
    /// Appends the payloads of `planes` for these tiles to `payload`, their checksums verified.
    pub(super) fn gather(form: Form, planes: &[Payloads<'_, '_>], tiles: &Range<u64>, payload: &mut Vec<u8>) -> Result<Self> {
        let mut gather = |tile: u64| {
            let bits = |plane: &Payloads<'_, '_>| {
                let part = plane.tile(tile)?;
                let bits = Bits { plane: part.plane, payload: payload.len() as u64, payload_len: part.payload.len() };
                payload.extend_from_slice(part.payload);
                payload.resize(payload.len().next_multiple_of(TILE_ALIGN), 0);
                Ok(bits)
            };
            planes.iter().map(bits).collect::<Result<Vec<_>>>()
        };
        Ok(Self { form, tiles: tiles.clone().map(&mut gather).collect::<Result<_>>()? })
    }

    /// Plans a tile of `item`; what is wrong with a plane is told of that.
    pub(super) fn add(
        &self,
        item: &Work<'_>,
        tile: u64,
        job: &Tile<'_>,
        tables: usize,
        check: bool,
        plan: &mut Plan,
    ) -> Result<()> {
        let planes = &self.tiles[(tile - item.tiles.start) as usize];
        plan.add_numbers(job, self.form, planes, tables, check).map_err(|(plane, fault)| match plane {
            Some(p) => item.tensor.plane_fault(item.directory, p, tile, fault.to_string()),
            None => item.tensor.fault(item.directory, tile, fault.to_string()),
        })
    }
}
