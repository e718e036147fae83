//! Records of the planes that refine tensors of a progressive archive.

use super::index::{Entry, Parts, check_planes, take};
use crate::bitplanes::form_of;
use crate::error::{Error, Result};
use wcodec_device::layout::{TensorRecord, kind};
use wcodec_device::planes::Layout;

/// Records of planes that a progressive tensor has.
pub(super) fn planes_of(entry: &Entry) -> Option<usize> {
    form_of(entry.dtype).map(|form| 1 + form.planes())
}

/// Checks that planes come in order: plane by plane, in each tensor by tensor.
#[derive(Default)]
pub(super) struct Order {
    pub(super) last: Option<(u64, u64)>,
}

impl Order {
    /// The level of the record seen last: signs belong to the first.
    pub(super) fn level(&self) -> usize {
        self.last.map_or(0, |(plane, _)| plane as usize)
    }
}

/// Reads the record of a plane, and notes it in the tensor's.
pub(super) fn read_plane(
    record: TensorRecord,
    parts: &mut Parts<'_>,
    number: u32,
    entries: &mut [Entry],
    order: &mut Order,
) -> Result<Entry> {
    let dims = take(&mut parts.dims, record.ndim as usize, "numbers")?;
    let planes = take(&mut parts.planes, 1, "plane")?.to_vec();
    let &[tensor, plane] = dims else { return Err(Error::corrupt("a plane of no tensor")) };
    let owner = usize::try_from(tensor).ok().and_then(|t| entries.get_mut(t)).filter(|e| e.is_tensor() && e.is_progressive());
    let Some(owner) = owner else { return Err(Error::corrupt("a plane of a tensor that has none")) };
    let fail = |why: &str| Err(Error::corrupt(why).with_tensor(&owner.name));
    if order.last.is_some_and(|last| last >= (plane, tensor)) {
        return fail("planes out of order");
    }
    if plane != owner.refinements.len() as u64 || planes_of(owner).is_none_or(|n| plane >= n as u64) {
        return fail("a plane that it does not have, or not in this place");
    }
    let expected = TensorRecord {
        layout: Layout::Columns(1).number(),
        kind: kind::PLANE,
        name_len: 0,
        ndim: 2,
        hash: [0; 16],
        segment_len: record.segment_len,
        directory_crc: record.directory_crc,
        ..owner.record
    };
    if record != expected {
        return fail("the record of a plane differs from the tensor's");
    }
    check_planes(&planes)?;
    owner.refinements.push(number);
    order.last = Some((plane, tensor));
    let (name, dtype_name) = (owner.name.clone(), owner.dtype_name.clone());
    let layout = Layout::Columns(1);
    Ok(Entry::unplaced(record, name, owner.dtype, dtype_name, dims.to_vec(), layout, owner.grid, planes))
}
