//! One batch: payloads and jobs go up, kernels are launched, statuses come back.
#![allow(unsafe_code)]

use super::context::{Gpu, Kernel, failed};
use super::plan::{Bases, Plan, Ready, Tile};
use crate::archive::{Directory, EMPTY_PLANE, Tensor};
use crate::checksum;
use crate::cpu::tile::TileFault;
use crate::error::{Error, ErrorKind, Result};
use bytemuck::Pod;
use cudarc::driver::sys::CUresult;
use cudarc::driver::{CudaSlice, DevicePtr, DriverError, result};
use std::ffi::c_void;
use std::ops::Range;
use wcodec_device::job::{CropJob, SHARED_BYTES, SLACK, WARPS, status};

/// Tiles of a tensor, and where their tensor's (or piece's) bytes go.
pub(super) struct Work<'a> {
    pub tensor: Tensor<'a>,
    pub directory: &'a Directory<'a>,
    pub tiles: Range<u64>,
    pub target: Target,
}

/// Where tiles are put.
#[derive(Clone, Copy)]
pub(super) enum Target {
    /// Each where it belongs in the tensor, of which byte 0 would lie at this (wrapping) address.
    InTensor(u64),
    /// One after the other without gaps, 64 KiB apart, from this address.
    Apart(u64),
}

/// Bytes between tiles that are put [`Apart`](Target::Apart).
pub(super) const TILE_SPACE: u64 = wcodec_device::layout::MAX_TILE_BYTES as u64;

/// How payloads' checksums are verified.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Integrity {
    /// By the CPU, which has the bytes at hand as it stages them.
    Host,
    /// By the GPU.
    Device,
}

/// Why a batch did not run.
pub(super) enum Failure {
    /// Device memory is short: a smaller batch may fit.
    OutOfMemory(Error),
    Other(Error),
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        Self::Other(e)
    }
}

/// Sorts a driver's error.
pub(super) fn driver(doing: &'static str) -> impl Fn(DriverError) -> Failure {
    move |e| match e.0 {
        CUresult::CUDA_ERROR_OUT_OF_MEMORY => Failure::OutOfMemory(failed(doing, e)),
        _ => Failure::Other(failed(doing, e)),
    }
}

/// Device memory of `bytes`; at least one, as the driver refuses none.
pub(super) fn allocate(gpu: &Gpu, bytes: usize, zeroed: bool) -> Result<CudaSlice<u8>, Failure> {
    let doing = driver("allocating device memory");
    // SAFETY: `u8` may be anything; kernels read only what was written before.
    let mut slice = unsafe { gpu.stream().alloc::<u8>(bytes.max(1)) }.map_err(&doing)?;
    if zeroed {
        gpu.stream().memset_zeros(&mut slice).map_err(&doing)?;
    }
    Ok(slice)
}

/// The device address of a buffer.
pub(super) fn address(gpu: &Gpu, slice: &CudaSlice<u8>) -> u64 {
    slice.device_ptr(gpu.stream()).0
}

/// Decodes the tiles of `work` and waits until that is done.
pub(super) fn run(gpu: &Gpu, work: &[Work<'_>], integrity: Integrity) -> Result<(), Failure> {
    let mut payload = Vec::new();
    let mut plan = Plan::default();
    let mut places = Vec::new();
    for (w, item) in work.iter().enumerate() {
        add(item, w, integrity, &mut payload, &mut plan, &mut places)?;
    }
    if places.is_empty() {
        return Ok(());
    }
    payload.resize(payload.len() + SLACK, 0);
    let Some(first) = work.first() else { return Ok(()) };
    let freqs = first.tensor.archive.index.tables.freqs();
    let tables: &[u8] = bytemuck::cast_slice(freqs);

    let doing = driver("copying to the device");
    let buffer = upload(gpu, &payload)?;
    let scratch = allocate(gpu, plan.scratch, false)?;
    let lists = allocate(gpu, plan.list_bytes(), false)?;
    let tables = upload(gpu, tables)?;
    let bases = Bases { payload: address(gpu, &buffer), scratch: address(gpu, &scratch), lists: address(gpu, &lists) };
    let ready = plan.finish(bases);
    for &(value, at, len) in &ready.fills {
        // SAFETY: the run lies in `scratch`.
        unsafe { result::memset_d8_async(at, value, len, gpu.stream().cu_stream()) }.map_err(&doing)?;
    }
    let statuses = launch_all(gpu, &ready, bases.lists, address(gpu, &tables))?;
    let (streams, checks) = statuses.split_at(ready.owners.len());
    let blame = |place: &Place, fault: TileFault| {
        let item = &work[place.work];
        item.tensor.fault(item.directory, place.tile, fault.to_string())
    };
    if let Some(i) = checks.iter().position(|&s| s != status::OK) {
        let place = &places[i];
        let item = &work[place.work];
        return Err(item.tensor.fault(item.directory, place.tile, "damaged: its checksum differs".into()).into());
    }
    for (&(tile, plane), &s) in ready.owners.iter().zip(streams) {
        if s != status::OK {
            return Err(blame(&places[tile as usize], TileFault::Device(plane as usize, s)).into());
        }
    }
    Ok(())
}

/// Whose a tile is.
struct Place {
    work: usize,
    tile: u64,
}

/// Plans the tiles of `item` and appends their payload.
fn add(
    item: &Work<'_>,
    number: usize,
    integrity: Integrity,
    payload: &mut Vec<u8>,
    plan: &mut Plan,
    places: &mut Vec<Place>,
) -> Result<()> {
    let entry = item.tensor.entry;
    let range = item.tensor.payload_range(item.directory, &item.tiles)?;
    let bytes = item.tensor.payload(item.directory, item.tiles.clone())?;
    let base = payload.len() as u64;
    payload.extend_from_slice(&bytes);
    // The last segment of an archive may end anywhere, a payload always on 16 bytes.
    payload.resize(payload.len().next_multiple_of(16), 0);
    let mut next = 0;
    for tile in item.tiles.clone() {
        let own = item.tensor.payload_range(item.directory, &(tile..tile + 1))?;
        let fail = |why: String| item.tensor.fault(item.directory, tile, why);
        let at = own.start - range.start;
        if own.start < range.start || own.end > range.end || at < next {
            return Err(fail("its payload is out of order".into()));
        }
        next = own.end - range.start;
        let mut planes = [EMPTY_PLANE; 64];
        let head = item.directory.read_tile(tile, entry, &mut planes);
        let len = (own.end - own.start) as usize;
        if integrity == Integrity::Host && checksum(&bytes[at as usize..][..len]) != head.crc {
            return Err(fail("damaged: its checksum differs".into()));
        }
        let rect = entry.grid.rect(tile);
        let (output, stride) = match item.target {
            Target::InTensor(start) => (start.wrapping_add(rect.row * entry.grid.row_bytes + rect.column), entry.grid.row_bytes),
            Target::Apart(start) => (start + (tile - item.tiles.start) * TILE_SPACE, rect.width as u64),
        };
        let tile_job = Tile {
            layout: entry.layout,
            rows: rect.rows,
            width: rect.width,
            planes: &planes[..entry.planes.len()],
            payload: base + at,
            payload_len: len,
            crc: head.crc,
            output,
            stride,
        };
        let tables = item.tensor.archive.index.tables.freqs().len();
        plan.add(&tile_job, tables, integrity == Integrity::Device).map_err(|fault| fail(fault.to_string()))?;
        places.push(Place { work: number, tile });
    }
    Ok(())
}

/// Copies `data` to the device.
fn upload<T: Pod>(gpu: &Gpu, data: &[T]) -> Result<CudaSlice<u8>, Failure> {
    let bytes: &[u8] = bytemuck::cast_slice(data);
    let mut slice = allocate(gpu, bytes.len(), false)?;
    if !bytes.is_empty() {
        gpu.stream().memcpy_htod(bytes, &mut slice).map_err(driver("copying to the device"))?;
    }
    Ok(slice)
}

/// Launches everything and waits; returns the statuses of the streams, then of the payloads.
fn launch_all(gpu: &Gpu, ready: &Ready, lists: u64, tables: u64) -> Result<Vec<u32>, Failure> {
    let doing = driver("decoding on the device");
    let stream = gpu.stream();
    let blocks = upload(gpu, &ready.blocks)?;
    let jobs = upload(gpu, &ready.jobs)?;
    let joins = upload(gpu, &ready.joins)?;
    let checks = upload(gpu, &ready.checks)?;
    let all = ready.owners.len() + ready.checks.len();
    let statuses = upload(gpu, &vec![status::UNTOUCHED; all])?;
    let (mut jobs, mut joins, mut checks) = (address(gpu, &jobs), address(gpu, &joins), address(gpu, &checks));
    let mut stream_statuses = address(gpu, &statuses);
    let mut check_statuses = stream_statuses + 4 * ready.owners.len() as u64;
    let mut tables = tables;
    // SAFETY: the buffers are those that the jobs name, as long as the counts say, and live until the stream is waited for.
    unsafe {
        if !ready.lists.is_empty() {
            result::memcpy_htod_async(lists, &ready.lists, stream.cu_stream()).map_err(&doing)?;
        }
        if !ready.checks.is_empty() {
            let mut count = ready.checks.len() as u32;
            let mut args = [arg(&mut checks), arg(&mut count), arg(&mut check_statuses)];
            gpu.launch(Kernel::CheckPayloads, count.div_ceil(WARPS), SHARED_BYTES, &mut args).map_err(&doing)?;
        }
        for launch in &ready.launches {
            let mut first = address(gpu, &blocks) + (launch.blocks.start * size_of_val(&ready.blocks[0])) as u64;
            let mut args = [arg(&mut tables), arg(&mut first), arg(&mut jobs), arg(&mut stream_statuses)];
            gpu.launch(launch.kernel, launch.blocks.len() as u32, SHARED_BYTES, &mut args).map_err(&doing)?;
        }
        if !ready.joins.is_empty() {
            let mut count = ready.joins.len() as u32;
            let mut args = [arg(&mut joins), arg(&mut count)];
            gpu.launch(Kernel::JoinPlanes, count.div_ceil(WARPS), 0, &mut args).map_err(&doing)?;
        }
    }
    let mut out = vec![0u8; 4 * all];
    if all > 0 {
        stream.memcpy_dtoh(&statuses.slice(..4 * all), &mut out).map_err(&doing)?;
    }
    stream.synchronize().map_err(&doing)?;
    Ok(out.chunks_exact(4).map(bytemuck::pod_read_unaligned).collect())
}

/// Copies rectangles and waits.
pub(super) fn crop(gpu: &Gpu, jobs: &[CropJob]) -> Result<(), Failure> {
    let doing = driver("copying on the device");
    let list = upload(gpu, jobs)?;
    let (mut at, mut count) = (address(gpu, &list), jobs.len() as u32);
    // SAFETY: as for the decoders.
    unsafe { gpu.launch(Kernel::CropTiles, count.div_ceil(WARPS), 0, &mut [arg(&mut at), arg(&mut count)]) }.map_err(&doing)?;
    gpu.stream().synchronize().map_err(&doing)
}

/// A kernel's argument.
fn arg<T>(value: &mut T) -> *mut c_void {
    (value as *mut T).cast()
}

impl Failure {
    /// The error, whatever it is.
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::OutOfMemory(e) | Self::Other(e) => e,
        }
    }

    /// Whether nothing can be done on this device any more.
    pub(super) fn is_memory(&self) -> bool {
        matches!(self, Self::OutOfMemory(_))
    }
}

/// Runs `work` in batches of at most `batch` decoded bytes, halving that while device memory is short.
pub(super) fn run_batches(gpu: &Gpu, work: &[Work<'_>], integrity: Integrity, batch: &mut u64) -> Result<()> {
    let size = |w: &Work<'_>| {
        let grid = &w.tensor.entry.grid;
        w.tiles.clone().map(|t| grid.rect(t)).map(|r| (r.rows * r.width) as u64).sum::<u64>()
    };
    let mut rest = work;
    while !rest.is_empty() {
        let mut bytes = 0;
        let n = rest.iter().take_while(|w| {
            bytes += size(w);
            bytes <= *batch
        });
        let n = n.count().max(1);
        match run(gpu, &rest[..n], integrity) {
            Ok(()) => rest = &rest[n..],
            Err(f) if f.is_memory() && n > 1 => *batch = (rest[..n].iter().map(size).sum::<u64>() / 2).max(1),
            Err(f) => return Err(f.into_error()),
        }
    }
    Ok(())
}

/// An error of the device that concerns a tensor.
pub(super) fn too_large(bytes: u64) -> Error {
    Error::new(ErrorKind::Device, format!("{bytes} bytes do not fit the address space"))
}
