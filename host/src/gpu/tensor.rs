//! Tensors in device memory.

use super::batch::{Integrity, TILE_SPACE, Target, Work, prepare, run_batches, too_large};
use super::context::{Gpu, failed};
use super::launch::{Failure, address, allocate, crop};
use crate::archive::{Directory, Tensor};
use crate::container::grid::{Grid, Piece};
use crate::error::Result;
use cudarc::driver::{CudaSlice, result};
use std::ops::Range;
use std::sync::Arc;
use wcodec_device::job::CropJob;

/// Decoded bytes of a batch, and of one piece of it.
const BATCH: u64 = 64 << 20;
pub(super) const PIECE: u64 = 4 << 20;

/// Bytes in device memory; freed when dropped.
pub struct DeviceTensor {
    gpu: Gpu,
    bytes: CudaSlice<u8>,
    len: usize,
}

impl std::fmt::Debug for DeviceTensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DeviceTensor({} bytes on {})", self.len, self.gpu.name())
    }
}

impl Drop for DeviceTensor {
    fn drop(&mut self) {
        // The memory is released by this thread, which may have had nothing to do with the device so far: a lane that no unit was for.
        let context = self.gpu.stream().context();
        if let Err(earlier) = context.bind_to_thread() {
            // Such an error is of an earlier call, and for the next one that can report it.
            let _ = context.bind_to_thread();
            context.record_err::<()>(Err(earlier));
        }
    }
}

impl DeviceTensor {
    /// Its device address (a `CUdeviceptr`), 256-byte aligned, valid as long as this lives.
    pub fn address(&self) -> u64 {
        address(&self.gpu, &self.bytes)
    }

    /// Waits for everything on the device, whoever queued it.
    pub(crate) fn wait_for_device(&self) {
        // A device that is lost does nothing with the memory any more.
        let _ = self.gpu.stream().context().synchronize();
    }

    pub(crate) fn is_emulated(&self) -> bool {
        self.gpu.is_emulator()
    }

    /// Number of the device that it is on.
    pub fn ordinal(&self) -> usize {
        self.gpu.ordinal()
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Queues zeroing it.
    pub(super) fn zero(&mut self) -> Result<()> {
        self.gpu.stream().memset_zeros(&mut self.bytes).map_err(|e| failed("clearing device memory", e))
    }

    /// Copies the bytes to the host.
    pub fn to_vec(&self) -> Result<Vec<u8>> {
        let mut out = vec![0; self.len];
        self.copy_to(0, &mut out)?;
        Ok(out)
    }

    /// Copies `out.len()` bytes from byte `from` on to the host.
    pub(crate) fn copy_to(&self, from: usize, out: &mut [u8]) -> Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        let stream = self.gpu.stream();
        let doing = |e| failed("copying from the device", e);
        stream.memcpy_dtoh(&self.bytes.slice(from..from + out.len()), out).map_err(doing)?;
        stream.synchronize().map_err(doing)
    }
}

impl Gpu {
    /// Device memory of `len` bytes that nothing has been written to.
    pub(crate) fn memory(&self, len: u64) -> Result<DeviceTensor> {
        self.try_memory(len).map_err(|f| f.into_error())
    }

    /// [`memory`](Self::memory), telling whether it was short.
    pub(super) fn try_memory(&self, len: u64) -> Result<DeviceTensor, Failure> {
        let len = usize::try_from(len).map_err(|_| too_large(len))?;
        let bytes = allocate(self, len)?;
        Ok(DeviceTensor { gpu: self.clone(), bytes, len })
    }

    /// Decodes tensors of one archive into device memory; when this returns they are there.
    ///
    /// # Errors
    /// [`Corrupt`](crate::ErrorKind::Corrupt) with tensor, tile and offset; [`Device`](crate::ErrorKind::Device) where the GPU fails. Batches become
    /// smaller while device memory is short, before that is an error.
    pub fn decode(&self, tensors: &[Tensor<'_>]) -> Result<Vec<DeviceTensor>> {
        self.decode_checked(tensors, Integrity::Host)
    }

    /// [`decode`](Self::decode) with the payloads' checksums verified by the GPU, for hosts whose CPU is busy.
    pub fn decode_checking_there(&self, tensors: &[Tensor<'_>]) -> Result<Vec<DeviceTensor>> {
        self.decode_checked(tensors, Integrity::Device)
    }

    /// Milliseconds that the kernels take to decode tensors that fit the device together, payloads and outputs in its memory; the
    /// fastest of `runs`, of which there is at least one. What the emulator says is no time of a GPU.
    ///
    /// # Errors
    /// As for [`decode`](Self::decode): what decodes wrongly has no time.
    pub fn time_kernels(&self, tensors: &[Tensor<'_>], runs: usize) -> Result<f32> {
        tensors.iter().try_for_each(Tensor::need_gpu_decodes)?;
        tensors.iter().try_for_each(|t| t.base().map(drop))?;
        let out = tensors.iter().map(|t| self.memory(t.byte_len())).collect::<Result<Vec<_>>>()?;
        let directories = tensors.iter().map(Tensor::directory).collect::<Result<Vec<_>>>()?;
        let work = work_of(tensors, &directories, &out);
        let time = || {
            let prepared = prepare(self, &work, Integrity::Host)?;
            let time = prepared.batch.as_ref().map(|batch| batch.time(self, runs.max(1))).transpose()?;
            prepared.verdict(self, &work)?;
            Ok(time.unwrap_or(0.0))
        };
        time().map_err(|f: Failure| f.into_error())
    }

    fn decode_checked(&self, tensors: &[Tensor<'_>], integrity: Integrity) -> Result<Vec<DeviceTensor>> {
        let place = |t: &Tensor<'_>, e| t.place(e);
        tensors.iter().try_for_each(|t| t.base().map(drop))?;
        let out = tensors.iter().map(|t| self.memory(t.byte_len()).map_err(|e| place(t, e))).collect::<Result<Vec<_>>>()?;
        for (tensor, out) in tensors.iter().zip(&out).filter(|(t, _)| t.on_cpu_only()) {
            self.decode_here(tensor, out)?;
        }
        let directories = tensors.iter().map(Tensor::directory).collect::<Result<Vec<_>>>()?;
        let mut work = work_of(tensors, &directories, &out);
        work.retain(|w| !w.tensor.on_cpu_only());
        run_batches(self, &work, integrity, &mut { BATCH })?;
        Ok(out)
    }

    /// Decodes rows and columns of a tensor into device memory without gaps, touching only the tiles that hold them.
    pub fn decode_slice(&self, tensor: &Tensor<'_>, rows: Range<u64>, columns: Range<u64>) -> Result<DeviceTensor> {
        let (n, width) = tensor.check_slice(&rows, &columns)?;
        // Before memory is reserved for what only the base says is there.
        tensor.base()?;
        let out = self.memory(n.checked_mul(width).ok_or_else(|| too_large(u64::MAX))?).map_err(|e| tensor.place(e))?;
        if out.is_empty() {
            return Ok(out);
        }
        if tensor.on_cpu_only() {
            self.copy_here(&tensor.decode_slice(rows, columns)?, out.address())?;
            return Ok(out);
        }
        let grid = &tensor.entry.grid;
        let bytes = columns.start * tensor.column_bytes()..columns.end * tensor.column_bytes();
        let directory = tensor.directory()?;
        let tile_columns = bytes.start / grid.tile_row_bytes..(bytes.end - 1) / grid.tile_row_bytes + 1;
        // A few bands of tiles at a time: whole tiles go to memory of their own, and what is wanted of them to the output.
        let side = tile_columns.end - tile_columns.start;
        let bands: Vec<u64> = (rows.start / grid.tile_rows..=(rows.end - 1) / grid.tile_rows).collect();
        let of_base = if tensor.has_base() { grid.tile_rows * grid.row_bytes } else { 0 };
        let mut at_once = (BATCH / (side * TILE_SPACE + of_base)).max(1) as usize;
        let mut rest = &bands[..];
        while !rest.is_empty() {
            let bands = &rest[..at_once.min(rest.len())];
            let space = match self.try_memory(bands.len() as u64 * side * TILE_SPACE) {
                Ok(space) => space,
                Err(f) if f.is_memory() && bands.len() > 1 => {
                    at_once = bands.len() / 2;
                    continue;
                }
                Err(f) => return Err(tensor.place(f.into_error())),
            };
            rest = &rest[bands.len()..];
            let (mut work, mut jobs) = (Vec::new(), Vec::new());
            for (i, &band) in bands.iter().enumerate() {
                let first = band * grid.columns() + tile_columns.start;
                let at = space.address() + i as u64 * side * TILE_SPACE;
                work.push(Work { tensor: *tensor, directory: &directory, tiles: first..first + side, target: Target::Apart(at) });
                let wanted = rows.start.max(band * grid.tile_rows)..rows.end.min((band + 1) * grid.tile_rows);
                let to = out.address() + (wanted.start - rows.start) * width;
                jobs.extend(crop_jobs(grid, first..first + side, at, &wanted, &bytes, to));
            }
            run_batches(self, &work, Integrity::Host, &mut { BATCH })?;
            crop(self, &jobs).map_err(|f| tensor.place(f.into_error()))?;
        }
        Ok(out)
    }

    /// Decodes pieces of entries into host buffers.
    pub(crate) fn decode_pieces<'a>(&self, pieces: &mut [(Tensor<'a>, Arc<Directory<'a>>, Piece, &mut [u8])]) -> Result<()> {
        let total: u64 = pieces.iter().map(|(_, _, p, _)| p.len() as u64).sum();
        // Each piece at a multiple of 256 bytes, as tensors are: rows then keep their alignment.
        let space = |len: usize| (len as u64).next_multiple_of(256);
        let memory = match self.try_memory(pieces.iter().map(|(_, _, p, _)| space(p.len())).sum()) {
            Ok(memory) => memory,
            // Half of them at a time, while device memory is short.
            Err(f) if f.is_memory() && pieces.len() > 1 => {
                let (first, second) = pieces.split_at_mut(pieces.len() / 2);
                self.decode_pieces(first)?;
                return self.decode_pieces(second);
            }
            Err(f) => return Err(f.into_error()),
        };
        let mut at = memory.address();
        let mut work = Vec::new();
        for (tensor, directory, piece, _) in pieces.iter() {
            let target = Target::InTensor(at.wrapping_sub(piece.bytes.start));
            work.push(Work { tensor: *tensor, directory, tiles: piece.tiles.clone(), target });
            at += space(piece.len());
        }
        run_batches(self, &work, Integrity::Host, &mut { total.clamp(1, BATCH) })?;
        let mut from = 0;
        for (_, _, piece, out) in pieces.iter_mut() {
            memory.copy_to(from, out)?;
            from += space(piece.len()) as usize;
        }
        Ok(())
    }

    /// Free and total bytes of device memory.
    pub fn memory_info(&self) -> Result<(usize, usize)> {
        let doing = |e| failed("asking for free memory", e);
        self.stream().context().bind_to_thread().map_err(doing)?;
        result::mem_get_info().map_err(doing)
    }
}

/// Jobs that copy what is wanted, byte columns `bytes` of `rows`, of tiles of one band that lie [`Apart`](Target::Apart) at `from` to `to`,
/// without gaps.
pub(super) fn crop_jobs(
    grid: &Grid,
    tiles: Range<u64>,
    from: u64,
    rows: &Range<u64>,
    bytes: &Range<u64>,
    to: u64,
) -> impl Iterator<Item = CropJob> {
    let width = bytes.end - bytes.start;
    tiles.clone().map(move |tile| {
        let rect = grid.rect(tile);
        let left = bytes.start.max(rect.column);
        let right = bytes.end.min(rect.column + rect.width as u64);
        let inside = (rows.start - rect.row) * rect.width as u64 + left - rect.column;
        CropJob {
            source: from + (tile - tiles.start) * TILE_SPACE + inside,
            source_stride: rect.width as u64,
            output: to + left - bytes.start,
            stride: width,
            width: (right - left) as u32,
            rows: (rows.end - rows.start) as u32,
            reserved: [0; 2],
        }
    })
}

/// All tiles of tensors, in pieces.
fn work_of<'a>(tensors: &[Tensor<'a>], directories: &'a [Directory<'a>], out: &[DeviceTensor]) -> Vec<Work<'a>> {
    let mut work = Vec::new();
    for ((tensor, directory), memory) in tensors.iter().zip(directories).zip(out) {
        for piece in tensor.entry.grid.pieces(PIECE) {
            work.push(Work { tensor: *tensor, directory, tiles: piece.tiles, target: Target::InTensor(memory.address()) });
        }
    }
    work
}
