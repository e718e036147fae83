//! Tensors of bitplanes: their planes beside the categories in a batch.

use super::batch::Work;
use super::plan::{Bits, Plan, Tile};
use crate::archive::{Part, Payloads};
use crate::bitplanes::Form;
use crate::error::{Error, Result};
use std::ops::Range;
use wcodec_device::layout::TILE_ALIGN;

/// The planes of consecutive tiles.
pub(super) struct Numbers {
    form: Form,
    /// Of each tile, all planes that are decoded; up to the first that has a plane that cannot be.
    tiles: Vec<Planes>,
}

/// The planes of a tile: where one cannot be decoded those before it, and something in its place.
#[derive(Default)]
struct Planes {
    bits: Vec<Bits>,
    fault: Option<Error>,
}

impl Numbers {
    /// Appends the payloads of `planes` for these tiles to `payload`, their checksums verified.
    pub(super) fn gather(form: Form, planes: &[Payloads<'_, '_>], tiles: &Range<u64>, payload: &mut Vec<u8>) -> Self {
        let mut gathered = Vec::new();
        for tile in tiles.clone() {
            let mut of = Planes::default();
            for plane in planes {
                let start = payload.len() as u64;
                match plane.tile(tile) {
                    Ok(Part { plane, payload: bytes }) => {
                        of.bits.push(Bits { plane, payload: start, payload_len: bytes.len() });
                        payload.extend_from_slice(bytes);
                        payload.resize(payload.len().next_multiple_of(TILE_ALIGN), 0);
                    }
                    Err(e) => {
                        of.bits.push(Bits::NOTHING);
                        of.fault = Some(e);
                        break;
                    }
                }
            }
            let damaged = of.fault.is_some();
            gathered.push(of);
            if damaged {
                break;
            }
        }
        Self { form, tiles: gathered }
    }

    /// Plans a tile of `item`; what is wrong with a plane is told of that.
    pub(super) fn add(
        &mut self,
        item: &Work<'_>,
        tile: u64,
        job: &Tile<'_>,
        tables: usize,
        check: bool,
        plan: &mut Plan,
    ) -> Result<()> {
        let Planes { bits, fault } = &mut self.tiles[(tile - item.tiles.start) as usize];
        plan.add_numbers(job, self.form, bits, tables, check).map_err(|(plane, fault)| match plane {
            Some(p) => item.tensor.plane_fault(item.directory, p, tile, fault.to_string()),
            None => item.tensor.fault(item.directory, tile, fault.to_string()),
        })?;
        fault.take().map_or(Ok(()), Err)
    }
}
