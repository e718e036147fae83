//! The base's bytes on the device, for tensors that are coded against it.

use super::batch::{Integrity, Target, Work, run};
use super::context::Gpu;
use super::launch::Failure;
use super::plan::FromBase;
use super::tensor::DeviceTensor;
use crate::archive::BaseBytes;
use crate::container::grid::TileRect;
use crate::cpu::tile::Scratch;
use crate::cpu::view::Stores;
use crate::error::Result;
use std::ops::Range;

/// What each item of a batch needs of the base.
#[derive(Default)]
pub(super) struct OfBase(Vec<Option<OnDevice>>);

/// Consecutive bytes of a tensor of the base.
struct OnDevice {
    memory: DeviceTensor,
    /// The first of them.
    start: u64,
}

impl OfBase {
    /// Brings what `work` needs of the base to the device: what is in an archive is decoded there. Waits until it is there.
    ///
    /// # Errors
    /// A base that is not given or another one; whatever decoding it may say.
    pub(super) fn fetch(gpu: &Gpu, work: &[Work<'_>]) -> Result<Self, Failure> {
        let mut all = Vec::with_capacity(work.len());
        let mut tiles = Vec::new();
        for item in work {
            let Some(difference) = item.directory.difference.as_ref().filter(|_| !item.tiles.is_empty()) else {
                all.push(None);
                continue;
            };
            let base = item.tensor.checked_base(difference)?;
            let (memory, start) = match base.source(span(item))? {
                BaseBytes::Read(bytes) => (filled(gpu, &bytes)?, span(item).start),
                BaseBytes::Tiles(tensor, directory, piece) if tensor.on_cpu_only() => {
                    let mut bytes = tensor.buffer(piece.len() as u64)?;
                    tensor.decode_piece(&directory, &piece, &mut Scratch::default(), &mut bytes, Stores::Cached)?;
                    (filled(gpu, &bytes)?, piece.bytes.start)
                }
                BaseBytes::Tiles(tensor, directory, piece) => {
                    let memory = gpu.try_memory(piece.len() as u64)?;
                    let target = Target::InTensor(memory.address().wrapping_sub(piece.bytes.start));
                    tiles.push((tensor, directory, piece.tiles, target));
                    (memory, piece.bytes.start)
                }
            };
            all.push(Some(OnDevice { memory, start }));
        }
        if tiles.is_empty() {
            return Ok(Self(all));
        }
        let work = tiles.iter().map(|(tensor, directory, tiles, target)| Work {
            tensor: *tensor,
            directory,
            tiles: tiles.clone(),
            target: *target,
        });
        run(gpu, &work.collect::<Vec<_>>(), Integrity::Host)?;
        Ok(Self(all))
    }

    /// How a tile of item `number` follows from the base, if it does.
    pub(super) fn of(&self, number: usize, item: &Work<'_>, rect: TileRect) -> Option<FromBase> {
        let (difference, there) = (item.directory.difference.as_ref()?, self.0.get(number)?.as_ref()?);
        let stride = item.tensor.entry.grid.row_bytes;
        let base = there.memory.address() + (rect.row * stride + rect.column - there.start);
        Some(FromBase { method: difference.method, unit: difference.unit, base, stride })
    }
}

/// How many items of `work` bring no more than `most` bytes of bases to the device, and at least one.
pub(super) fn items_within(work: &[Work<'_>], most: u64) -> usize {
    let mut bytes = 0u64;
    let fits = |item: &&Work<'_>| {
        if item.directory.difference.is_some() && !item.tiles.is_empty() {
            let span = span(item);
            bytes = bytes.saturating_add(span.end - span.start);
        }
        bytes <= most
    };
    work.iter().take_while(fits).count().max(1)
}

/// From the first byte that the tiles of `item` cover to the last.
fn span(item: &Work<'_>) -> Range<u64> {
    let grid = &item.tensor.entry.grid;
    let (first, last) = (grid.rect(item.tiles.start), grid.rect(item.tiles.end - 1));
    let end = (last.row + last.rows as u64 - 1) * grid.row_bytes + last.column + last.width as u64;
    first.row * grid.row_bytes + first.column..end
}

/// Device memory that holds `bytes`.
fn filled(gpu: &Gpu, bytes: &[u8]) -> Result<DeviceTensor, Failure> {
    let memory = gpu.try_memory(bytes.len() as u64)?;
    gpu.copy_to_address(bytes, memory.address())?;
    gpu.wait()?;
    Ok(memory)
}
