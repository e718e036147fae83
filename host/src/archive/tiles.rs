//! Tiles, a group at a time.

use super::decode::{Directory, EMPTY_PLANE, Tensor};
use crate::checksum;
use crate::container::grid::TileRect;
use crate::cpu::fused::Place;
use crate::cpu::tile::{GROUP, Scratch, TileInput, decode_tiles};
use crate::cpu::view::Stores;
use crate::error::Result;
use std::ops::Range;
use wcodec_device::layout::{PlaneMode, TilePlane};

/// Decodes `group` by `decode`; of an error it is the first damaged tile's, whatever tiles are decoded beside it.
pub(super) fn group_or_each(group: Range<u64>, mut decode: impl FnMut(Range<u64>) -> Result<()>) -> Result<()> {
    let Err(e) = decode(group.clone()) else { return Ok(()) };
    if group.end - group.start > 1 {
        group.into_iter().try_for_each(|tile| decode(tile..tile + 1))?;
    }
    Err(e)
}

impl Tensor<'_> {
    /// Checks and decodes tiles, a group at a time. `payload` holds theirs and begins with the first's; `place` says where in `out` a
    /// rectangle goes: its first byte, and from row to row. The base's bytes, where there is one, lie as those of `out`.
    pub(super) fn decode_tiles(
        &self,
        directory: &Directory<'_>,
        tiles: Range<u64>,
        payload: &[u8],
        base: Option<&[u8]>,
        scratch: &mut Scratch,
        out: &mut [u8],
        stores: Stores,
        place: impl Fn(TileRect) -> (usize, usize),
    ) -> Result<()> {
        let entry = self.entry;
        if entry.is_progressive() {
            return self.decode_bitplanes(directory, tiles, payload, scratch, out, place);
        }
        if let (true, Some(base)) = (entry.is_same(), base) {
            out.copy_from_slice(base);
            return Ok(());
        }
        let start = directory.offset(tiles.start);
        // What is undone is read again at once.
        let stores = if directory.trellis.is_some() { Stores::Cached } else { stores };
        // Groups of equal size rather than full ones and a rest: a stream by itself takes almost as long as three.
        let count = tiles.end - tiles.start;
        let groups = count.div_ceil(GROUP as u64);
        for g in 0..groups {
            let group = tiles.start + g * count / groups..tiles.start + (g + 1) * count / groups;
            group_or_each(group, |group| {
                self.decode_group(directory, group, (start, payload), base, scratch, out, stores, &place)
            })?;
        }
        if let (Some(difference), Some(base)) = (&directory.difference, base) {
            difference.undo(out, base);
        }
        Ok(())
    }

    /// Checks and decodes up to [`GROUP`] tiles; `payload` begins `start` bytes into the segment.
    fn decode_group(
        &self,
        directory: &Directory<'_>,
        group: Range<u64>,
        (start, payload): (u64, &[u8]),
        base: Option<&[u8]>,
        scratch: &mut Scratch,
        out: &mut [u8],
        stores: Stores,
        place: impl Fn(TileRect) -> (usize, usize),
    ) -> Result<()> {
        let entry = self.entry;
        let fail = |tile: u64, why: String| self.fault(directory, tile, why);
        let first = group.start;
        let mut records: [Vec<TilePlane>; GROUP] = std::array::from_fn(|_| vec![EMPTY_PLANE; entry.planes.len()]);
        let mut inputs = Vec::with_capacity(GROUP);
        let mut filtered = Vec::new();
        for (tile, planes) in group.zip(&mut records) {
            let range = self.payload_range(directory, &(tile..tile + 1))?;
            let at = (range.start - entry.segment_off).checked_sub(start);
            let len = (range.end - range.start) as usize;
            let part = at.and_then(|s| payload.get(s as usize..s as usize + len));
            let part = part.ok_or_else(|| fail(tile, "its payload is out of order".into()))?;
            if checksum(part) != directory.read_tile(tile, entry, planes).crc {
                return Err(fail(tile, "damaged: its checksum differs".into()));
            }
            if planes.iter().any(|p| p.mode == PlaneMode::Deflated as u8)
                && let Some(why) = self.no_deflated()
            {
                return Err(fail(tile, why.into()));
            }
            let rect = entry.grid.rect(tile);
            let (at, stride) = place(rect);
            let place = Place { first: at, rows: rect.rows, width: rect.width, stride };
            let mut contexts = directory.tile_contexts(rect, base, place);
            let mut payload = part;
            if let Some(filter) = directory.filter.as_deref() {
                let modes;
                (payload, modes) = directory.modes(filter, tile, rect, part).map_err(|why| fail(tile, why.into()))?;
                if let Some(modes) = modes {
                    contexts = modes.tile_contexts(filter);
                    filtered.push((filter, modes, place));
                }
            }
            inputs.push(TileInput { layout: entry.layout, planes, payload, place, contexts });
        }
        decode_tiles(self.archive.backend, &self.archive.index.tables, &inputs, scratch, out, stores)
            .map_err(|(t, fault)| fail(first + t as u64, fault.to_string()))?;
        if let Some(trellis) = directory.trellis {
            for TileInput { place, .. } in &inputs {
                trellis.undo(self.archive.backend, &mut out[place.first..place.end()], place.width, place.stride);
            }
        }
        for (filter, modes, place) in filtered {
            scratch.undo(filter, &modes, &mut out[place.first..place.end()], place.width, place.stride);
        }
        Ok(())
    }
}
