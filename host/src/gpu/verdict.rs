//! What the statuses of a batch mean: of all that is damaged in it the first, as if it had been decoded tile by tile, plane by plane.

use super::batch::Work;
use super::context::Gpu;
use super::launch::{Batch, Failure};
use super::plan::{Owner, Part};
use crate::cpu::tile::TileFault;
use crate::error::Error;
use wcodec_device::job::status;

/// Whose a tile is.
pub(super) struct Place {
    pub work: usize,
    pub tile: u64,
}

impl Place {
    /// An error of this tile: of its plane of bits of number `plane`, counted from the signs, if there is one.
    fn fault(&self, work: &[Work<'_>], plane: Option<usize>, fault: &TileFault) -> Error {
        let Work { tensor, directory, .. } = &work[self.work];
        match plane {
            Some(plane) => tensor.plane_fault(directory, plane, self.tile, fault.to_string()),
            None => tensor.fault(directory, self.tile, fault.to_string()),
        }
    }
}

/// Waits for a batch that was launched, and says what went wrong first.
pub(super) fn verdict(gpu: &Gpu, work: &[Work<'_>], batch: &Batch, places: &[Place]) -> Result<(), Failure> {
    let statuses = batch.statuses(gpu)?;
    let bad = |s: u32| s != status::OK;
    let checksum = statuses.payloads.iter().position(|s| bad(*s));
    let streams = batch.owners().iter().zip(&statuses.streams).filter(|(_, s)| bad(**s));
    let Some((Owner { tile, part }, s)) = streams.clone().min_by_key(|(owner, _)| **owner) else {
        return match checksum {
            Some(tile) => Err(places[tile].fault(work, None, &TileFault::Checksum).into()),
            None => Ok(()),
        };
    };
    let place = &places[*tile as usize];
    if let Some(first) = checksum.filter(|first| *first <= *tile as usize) {
        return Err(places[first].fault(work, None, &TileFault::Checksum).into());
    }
    let fault = |s: &u32| TileFault::Device(part.plane(), *s);
    let Part::Counts = part else { return Err(place.fault(work, part.bits(), &fault(s)).into()) };
    // Categories are decoded, so they tell which plane is too long or too short, unless one of them is what there is not.
    let miscounted = batch.miscounted(gpu, *tile)?;
    // A plane before that one may be damaged itself.
    let others = streams.filter(|(owner, _)| owner.tile == *tile).filter_map(|(owner, s)| Some((owner.part.bits()?, s)));
    let before = others.min_by_key(|(plane, _)| *plane).filter(|(plane, _)| miscounted.is_some_and(|p| *plane < p));
    match before {
        Some((plane, s)) => Err(place.fault(work, Some(plane), &fault(s)).into()),
        None => Err(place.fault(work, miscounted, &fault(s)).into()),
    }
}
