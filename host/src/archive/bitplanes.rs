//! Tensors of bitplanes: decoded to as many planes as are wanted, and refined in place.

use super::decode::EMPTY_PLANE;
use super::tiles::group_or_each;
use super::{Archive, Directory, Tensor};
use crate::bitplanes::{Bits, Form, Numbers, form_of};
use crate::checksum;
use crate::container::grid::{Piece, TileRect};
use crate::cpu::fused::Place;
use crate::cpu::tile::{GROUP, Scratch, TileInput, decode_tiles};
use crate::cpu::view::Stores;
use crate::error::{Error, ErrorKind, Result};
use rayon::prelude::*;
use std::borrow::Cow;
use std::ops::Range;
use wcodec_device::layout::{MAX_TILE_BYTES, PlaneMode, TilePlane};
use wcodec_device::planes::Layout;

/// Decoded bytes that one thread refines at a time.
const PIECE: u64 = 1 << 20;

/// Payloads of one record for consecutive tiles.
pub(crate) struct Payloads<'a, 'd> {
    tensor: Tensor<'a>,
    directory: &'d Directory<'a>,
    bytes: Cow<'d, [u8]>,
    start: u64,
}

/// What a tile has of one record.
pub(crate) struct Part<'p> {
    pub(crate) plane: TilePlane,
    pub(crate) payload: &'p [u8],
}

impl<'a, 'd> Payloads<'a, 'd> {
    fn fetch(tensor: Tensor<'a>, directory: &'d Directory<'a>, tiles: &Range<u64>) -> Result<Self>
    where
        'a: 'd,
    {
        let bytes = tensor.payload(directory, tiles.clone())?;
        Ok(Self { tensor, directory, bytes, start: directory.offset(tiles.start) })
    }

    /// Those of one tile, checked.
    pub(crate) fn tile(&self, tile: u64) -> Result<Part<'_>> {
        let range = self.tensor.payload_range(self.directory, &(tile..tile + 1))?;
        let at = (range.start - self.tensor.entry.segment_off).checked_sub(self.start);
        let len = (range.end - range.start) as usize;
        let payload = at.and_then(|at| self.bytes.get(at as usize..)?.get(..len));
        let payload = payload.ok_or_else(|| self.fault(tile, "its payload is out of order"))?;
        let mut planes = [EMPTY_PLANE];
        if checksum(payload) != self.directory.read_tile(tile, self.tensor.entry, &mut planes).crc {
            return Err(self.fault(tile, "damaged: its checksum differs"));
        }
        let [plane] = planes;
        if plane.mode == PlaneMode::Deflated as u8
            && let Some(why) = self.tensor.no_deflated()
        {
            return Err(self.fault(tile, why));
        }
        Ok(Part { plane, payload })
    }

    fn fault(&self, tile: u64, why: &str) -> Error {
        self.tensor.fault(self.directory, tile, why.into())
    }

    /// The bits of a plane of `n` bytes.
    fn bits<'b>(&'b self, tile: u64, n: usize, scratch: &mut Scratch, buffer: &'b mut Vec<u8>) -> Result<Bits<'b>> {
        let Part { plane, payload } = self.tile(tile)?;
        if plane.mode == PlaneMode::Constant as u8 && payload.is_empty() {
            return Ok(Bits::Constant(plane.base));
        }
        if plane.mode == PlaneMode::Raw as u8 && payload.len() == n.next_multiple_of(16) {
            return Ok(Bits::Packed(&payload[..n]));
        }
        if n == 0 {
            return Err(self.fault(tile, "a plane of no bits that has bytes"));
        }
        buffer.resize(buffer.len().max(MAX_TILE_BYTES), 0);
        let input = input(&plane, payload, 0, n);
        decode_tiles(self.tensor.archive.backend, &self.tensor.archive.index.tables, &[input], scratch, buffer, Stores::Cached)
            .map_err(|(_, fault)| self.fault(tile, &fault.to_string()))?;
        Ok(Bits::Packed(&buffer[..n]))
    }
}

/// A plane by itself, to be decoded to `n` bytes from `first` on.
fn input<'p>(plane: &'p TilePlane, payload: &'p [u8], first: usize, n: usize) -> TileInput<'p> {
    let place = Place { first, rows: 1, width: n, stride: n };
    TileInput { layout: Layout::Columns(1), planes: std::slice::from_ref(plane), payload, place, contexts: None }
}

/// Buffers that a thread keeps from tile to tile.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    numbers: Numbers,
    categories: Vec<u8>,
    bits: Vec<u8>,
}

impl<'a> Tensor<'a> {
    /// The form of its numbers, if it is split.
    fn form(&self) -> Option<Form> {
        form_of(self.entry.dtype).filter(|_| self.entry.is_progressive())
    }

    /// Whether what it decodes to are the source's bytes.
    pub(super) fn is_exact(&self) -> bool {
        self.form().is_none_or(|form| form.planes() <= self.archive.detail)
    }

    /// Its plane of this number: 0 holds signs, the others refine.
    fn refinement(&self, plane: usize) -> Tensor<'a> {
        self.archive.entry_tensor(self.entry.refinements[plane])
    }

    /// All its planes, those that the file has.
    pub(super) fn refinements(&self) -> impl Iterator<Item = Tensor<'a>> + use<'a> {
        let archive = self.archive;
        self.entry.refinements.iter().map(move |&number| archive.entry_tensor(number))
    }

    /// The directories of its planes, as many as are decoded.
    pub(super) fn plane_directories(&self) -> Result<Vec<Directory<'a>>> {
        let Some(form) = self.form() else { return Ok(Vec::new()) };
        let planes = form.planes().min(self.archive.detail);
        (0..=planes).map(|plane| self.refinement(plane).directory()).collect()
    }

    /// Whether only the CPU decodes it, whatever device the archive has: what is no tensor.
    pub(crate) fn on_cpu_only(&self) -> bool {
        !self.entry.is_tensor()
    }

    /// Refuses what only the CPU decodes.
    pub(crate) fn need_gpu_decodes(&self) -> Result<()> {
        let refuse = || Err(self.place(Error::new(ErrorKind::Unsupported, "it is no tensor: only the CPU decodes it")));
        if self.on_cpu_only() { refuse() } else { Ok(()) }
    }

    /// For kernels: the form of its numbers and the payloads of each of its planes that is decoded for these tiles; `None` if it is not split.
    pub(crate) fn planes_for<'d>(
        &self,
        directory: &'d Directory<'a>,
        tiles: &Range<u64>,
    ) -> Result<Option<(Form, Vec<Payloads<'a, 'd>>)>>
    where
        'a: 'd,
    {
        let Some(form) = self.form() else { return Ok(None) };
        self.archive.need_level(directory.planes.len() - 1)?;
        Ok(Some((form, self.payloads(&directory.planes, 0, tiles)?)))
    }

    /// What its planes from number `first` on, whose directories these are, have for these tiles.
    fn payloads<'d>(&self, directories: &'d [Directory<'a>], first: usize, tiles: &Range<u64>) -> Result<Vec<Payloads<'a, 'd>>>
    where
        'a: 'd,
    {
        let planes = directories.iter().enumerate().skip(first);
        planes.map(|(p, d)| Payloads::fetch(self.refinement(p), d, tiles)).collect()
    }

    /// An error of a tile of plane `p`.
    pub(crate) fn plane_fault(&self, directory: &Directory<'_>, p: usize, tile: u64, why: String) -> Error {
        self.refinement(p).fault(&directory.planes[p], tile, why)
    }

    /// Decodes tiles whose categories `payload` holds, which begins with the first's; the planes are read from the archive. `place`
    /// says where in `out` a rectangle goes: its first byte, and from row to row.
    pub(super) fn decode_bitplanes(
        &self,
        directory: &Directory<'a>,
        tiles: Range<u64>,
        payload: &[u8],
        scratch: &mut Scratch,
        out: &mut [u8],
        place: impl Fn(TileRect) -> (usize, usize),
    ) -> Result<()> {
        let Some(form) = self.form() else { unreachable!("of progressive tensors only") };
        self.archive.need_level(directory.planes.len() - 1)?;
        let categories =
            Payloads { tensor: *self, directory, bytes: Cow::Borrowed(payload), start: directory.offset(tiles.start) };
        let planes = self.payloads(&directory.planes, 0, &tiles)?;
        let mut buffers = std::mem::take(&mut scratch.bitplanes);
        buffers.categories.resize(buffers.categories.len().max(GROUP * MAX_TILE_BYTES), 0);
        for first in tiles.clone().step_by(GROUP) {
            group_or_each(first..(first + GROUP as u64).min(tiles.end), |group| {
                self.decode_numbers(form, &categories, &planes, group, scratch, &mut buffers, out, &place)
            })?;
        }
        scratch.bitplanes = buffers;
        Ok(())
    }

    /// Decodes up to [`GROUP`] tiles of [`decode_bitplanes`](Self::decode_bitplanes).
    fn decode_numbers(
        &self,
        form: Form,
        categories: &Payloads<'a, '_>,
        planes: &[Payloads<'a, '_>],
        group: Range<u64>,
        scratch: &mut Scratch,
        buffers: &mut Buffers,
        out: &mut [u8],
        place: impl Fn(TileRect) -> (usize, usize),
    ) -> Result<()> {
        let first = group.start;
        let parts = group.clone().map(|tile| categories.tile(tile)).collect::<Result<Vec<_>>>()?;
        let count = |tile: u64| {
            let rect = self.entry.grid.rect(tile);
            rect.rows * rect.width / form.bytes()
        };
        let inputs = group
            .clone()
            .zip(&parts)
            .enumerate()
            .map(|(i, (tile, part))| input(&part.plane, part.payload, i * MAX_TILE_BYTES, count(tile)));
        let (backend, tables) = (self.archive.backend, &self.archive.index.tables);
        decode_tiles(backend, tables, &inputs.collect::<Vec<_>>(), scratch, &mut buffers.categories, Stores::Cached)
            .map_err(|(t, fault)| categories.fault(first + t as u64, &fault.to_string()))?;
        for (i, tile) in group.enumerate() {
            let Buffers { numbers, categories: of, bits } = &mut *buffers;
            let of = &of[i * MAX_TILE_BYTES..][..count(tile)];
            numbers.begin(form, of).map_err(|why| categories.fault(tile, why))?;
            add_planes(form, numbers, planes, 0, tile, scratch, bits)?;
            let rect = self.entry.grid.rect(tile);
            let (at, stride) = place(rect);
            let rows = out[at..].chunks_mut(stride.max(1)).take(rect.rows).map(|row| &mut row[..rect.width]);
            numbers.finish(form, planes.len() - 1, rows);
        }
        Ok(())
    }

    /// Makes `buffer`, which holds what the tensor decodes to at `from` planes, what it decodes to at as many planes as the archive does
    /// ([`Archive::planes`]): in place, on all threads, reading only the planes between. Of a tensor that is not split, or has no more planes,
    /// nothing changes.
    ///
    /// # Errors
    /// A buffer of another size, or `from` above the archive's planes; [`Corrupt`](ErrorKind::Corrupt) where the planes are damaged, or where
    /// `buffer` was not what it must be, as far as that shows: at the last level always. The buffer then holds nothing of use.
    pub fn refine(&self, from: usize, buffer: &mut [u8]) -> Result<()> {
        if buffer.len() as u64 != self.byte_len() {
            let why = format!("the buffer has {} bytes, the tensor {}", buffer.len(), self.byte_len());
            return Err(self.place(Error::argument(why)));
        }
        if from > self.archive.detail {
            let why = format!("the buffer has {from} planes, and the archive is decoded to {}", self.archive.detail);
            return Err(self.place(Error::argument(why)));
        }
        let Some(form) = self.form().filter(|form| form.planes() > from) else { return Ok(()) };
        let directories = self.plane_directories()?;
        self.archive.need_level(directories.len() - 1)?;
        let mut pieces = Vec::new();
        let mut rest = &mut buffer[..];
        for piece in self.entry.grid.pieces(PIECE) {
            let (part, after) = rest.split_at_mut(piece.len());
            pieces.push((piece, part));
            rest = after;
        }
        pieces.into_par_iter().try_for_each_init(Scratch::default, |scratch, (piece, out)| {
            self.refine_piece(form, from, &directories, &piece, scratch, out)
        })?;
        let exact = directories.len() == 1 + form.planes();
        if exact && xxhash_rust::xxh3::xxh3_128(buffer).to_le_bytes() != self.entry.record.hash {
            return Err(self.place(Error::corrupt("the refined bytes' hash differs from the recorded one")));
        }
        Ok(())
    }

    fn refine_piece(
        &self,
        form: Form,
        from: usize,
        directories: &[Directory<'a>],
        piece: &Piece,
        scratch: &mut Scratch,
        out: &mut [u8],
    ) -> Result<()> {
        let grid = &self.entry.grid;
        let planes = self.payloads(directories, from + 1, &piece.tiles)?;
        let mut buffers = std::mem::take(&mut scratch.bitplanes);
        for tile in piece.tiles.clone() {
            let rect = grid.rect(tile);
            let at = grid.place_in(piece, rect);
            let stride = grid.row_bytes as usize;
            let Buffers { numbers, bits, .. } = &mut buffers;
            numbers.resume(form, from, out[at..].chunks(stride).take(rect.rows).map(|row| &row[..rect.width]));
            add_planes(form, numbers, &planes, from + 1, tile, scratch, bits)?;
            let rows = out[at..].chunks_mut(stride).take(rect.rows).map(|row| &mut row[..rect.width]);
            numbers.finish(form, from + planes.len(), rows);
        }
        scratch.bitplanes = buffers;
        Ok(())
    }
}

/// Adds a tile's planes, the first of which is number `first`.
fn add_planes(
    form: Form,
    numbers: &mut Numbers,
    planes: &[Payloads<'_, '_>],
    first: usize,
    tile: u64,
    scratch: &mut Scratch,
    buffer: &mut Vec<u8>,
) -> Result<()> {
    for (plane, payloads) in (first..).zip(planes) {
        let n = numbers.plane_bytes(form, plane);
        let bits = payloads.bits(tile, n, scratch, buffer)?;
        numbers.add(form, plane, bits);
    }
    Ok(())
}

impl Archive {
    /// Refines tensors in place, one after the other: see [`Tensor::refine`].
    pub fn refine_many(&self, from: usize, jobs: &mut [(Tensor<'_>, &mut [u8])]) -> Result<()> {
        jobs.iter_mut().try_for_each(|(tensor, buffer)| tensor.refine(from, buffer))
    }
}
