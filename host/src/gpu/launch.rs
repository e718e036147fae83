//! A batch on the device: its buffers, its launches, its statuses.
#![allow(unsafe_code)]

use super::base::OfBase;
use super::context::{Gpu, Kernel, failed};
use super::plan::{Bases, Owner, Plan, Ready, Sets, Stage};
use crate::error::{Error, Result};
use bytemuck::Pod;
use cudarc::driver::sys::{CUevent_flags, CUresult};
use cudarc::driver::{CudaSlice, DevicePtr, DriverError, result};
use std::ffi::c_void;
use wcodec_device::job::{CropJob, SHARED_BYTES, WARPS, status};

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
pub(super) fn allocate(gpu: &Gpu, bytes: usize) -> Result<CudaSlice<u8>, Failure> {
    // SAFETY: `u8` may be anything; kernels read only what was written before.
    unsafe { gpu.stream().alloc::<u8>(bytes.max(1)) }.map_err(driver("allocating device memory"))
}

/// The device address of a buffer.
pub(super) fn address(gpu: &Gpu, slice: &CudaSlice<u8>) -> u64 {
    slice.device_ptr(gpu.stream()).0
}

impl Failure {
    /// The error, whatever it is.
    pub(super) fn into_error(self) -> Error {
        match self {
            Self::OutOfMemory(e) | Self::Other(e) => e,
        }
    }

    /// Whether it was for want of device memory, so that half as much may do.
    pub(super) fn is_memory(&self) -> bool {
        matches!(self, Self::OutOfMemory(_))
    }
}

/// A batch whose buffers are uploaded (or will be, before anything that is queued later).
pub(super) struct Batch {
    ready: Ready,
    payload: Option<CudaSlice<u8>>,
    scratch: CudaSlice<u8>,
    _lists: CudaSlice<u8>,
    tables: CudaSlice<u8>,
    blocks: CudaSlice<u8>,
    jobs: CudaSlice<u8>,
    steps: Steps,
    checks: CudaSlice<u8>,
    statuses: CudaSlice<u8>,
    contexts: Option<ContextBuffers>,
    _of_base: OfBase,
}

/// Jobs of the kernels that decode no stream.
struct Steps {
    filters: List,
    numbers: List,
    _parts: CudaSlice<u8>,
    differences: List,
    trellises: List,
    scales: List,
    joins: List,
    blocks: List,
}

/// Jobs of one kernel, each for one warp.
struct List {
    jobs: CudaSlice<u8>,
    count: u32,
}

impl List {
    fn upload<T: Pod>(gpu: &Gpu, jobs: &[T]) -> Result<Self, Failure> {
        Ok(Self { jobs: upload(gpu, jobs)?, count: jobs.len() as u32 })
    }

    /// Queues the kernel, if there are any; `more` are its arguments after the jobs and their number.
    ///
    /// # Safety
    /// The jobs and arguments are the kernel's, and name memory that outlives its execution.
    unsafe fn launch(&self, gpu: &Gpu, kernel: Kernel, more: &mut [u64]) -> Result<(), DriverError> {
        if self.count == 0 {
            return Ok(());
        }
        let (mut jobs, mut count) = (address(gpu, &self.jobs), self.count);
        let mut args = vec![arg(&mut jobs), arg(&mut count)];
        args.extend(more.iter_mut().map(arg));
        // SAFETY: by contract.
        unsafe { gpu.launch(kernel, count.div_ceil(WARPS), 0, &mut args) }
    }
}

/// What streams with contexts need.
struct ContextBuffers {
    sets: CudaSlice<u8>,
    classes: CudaSlice<u8>,
    /// Numbers of the tables to expand, and what that gives.
    list: CudaSlice<u8>,
    expanded: CudaSlice<u8>,
}

impl ContextBuffers {
    fn upload(gpu: &Gpu, sets: &Sets) -> Result<Option<Self>, Failure> {
        if sets.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self {
            sets: upload(gpu, &sets.sets)?,
            classes: upload(gpu, &sets.classes)?,
            list: upload(gpu, &sets.tables)?,
            expanded: allocate(gpu, sets.expanded_bytes())?,
        }))
    }
}

/// What the kernels say of a batch.
pub(super) struct Statuses {
    pub streams: Vec<u32>,
    pub payloads: Vec<u32>,
}

impl Batch {
    /// Uploads payload (with its slack), tables and jobs, and reserves scratch memory. Without a payload the plan's positions in it are
    /// device addresses.
    pub(super) fn upload(gpu: &Gpu, payload: Option<&[u8]>, plan: Plan, tables: &[u8], of_base: OfBase) -> Result<Self, Failure> {
        let doing = driver("copying to the device");
        let payload = payload.map(|bytes| upload(gpu, bytes)).transpose()?;
        let mut scratch = allocate(gpu, plan.scratch)?;
        let mut lists = allocate(gpu, plan.list_bytes())?;
        let mut parts = allocate(gpu, plan.part_bytes())?;
        let tables = upload(gpu, tables)?;
        let contexts = ContextBuffers::upload(gpu, &plan.sets)?;
        let bases = Bases {
            payload: payload.as_ref().map_or(0, |p| address(gpu, p)),
            scratch: address(gpu, &scratch),
            lists: address(gpu, &lists),
            classes: contexts.as_ref().map_or(0, |c| address(gpu, &c.classes)),
            parts: address(gpu, &parts),
        };
        let ready = plan.finish(bases);
        // A stream that is damaged leaves its plane unfinished; what is joined with it is no secret then, but it is defined.
        if scratch.len() > 1 {
            gpu.stream().memset_zeros(&mut scratch).map_err(&doing)?;
        }
        for &(value, at, len) in &ready.fills {
            // SAFETY: the run lies in `scratch`.
            unsafe { result::memset_d8_async(at, value, len, gpu.stream().cu_stream()) }.map_err(&doing)?;
        }
        if !ready.lists.is_empty() {
            let bytes: &[u8] = bytemuck::cast_slice(&ready.lists);
            gpu.stream().memcpy_htod(bytes, &mut lists).map_err(&doing)?;
        }
        if !ready.parts.is_empty() {
            let bytes: &[u8] = bytemuck::cast_slice(&ready.parts);
            gpu.stream().memcpy_htod(bytes, &mut parts).map_err(&doing)?;
        }
        let blocks = upload(gpu, &ready.blocks)?;
        let jobs = upload(gpu, &ready.jobs)?;
        let steps = Steps {
            filters: List::upload(gpu, &ready.steps.filters)?,
            numbers: List::upload(gpu, &ready.steps.numbers)?,
            _parts: parts,
            differences: List::upload(gpu, &ready.steps.differences)?,
            trellises: List::upload(gpu, &ready.steps.trellises)?,
            scales: List::upload(gpu, &ready.steps.scales)?,
            joins: List::upload(gpu, &ready.steps.joins)?,
            blocks: List::upload(gpu, &ready.steps.blocks)?,
        };
        let checks = upload(gpu, &ready.checks)?;
        let statuses = upload(gpu, &vec![status::UNTOUCHED; ready.owners.len() + ready.checks.len()])?;
        Ok(Self {
            ready,
            payload,
            scratch,
            _lists: lists,
            tables,
            blocks,
            jobs,
            steps,
            checks,
            statuses,
            contexts,
            _of_base: of_base,
        })
    }

    /// Whose each stream is.
    pub(super) fn owners(&self) -> &[Owner] {
        &self.ready.owners
    }

    /// Queues the kernels.
    pub(super) fn launch(&self, gpu: &Gpu) -> Result<(), Failure> {
        let doing = driver("decoding on the device");
        let ready = &self.ready;
        let mut tables = address(gpu, &self.tables);
        let mut checks = address(gpu, &self.checks);
        let mut statuses = [address(gpu, &self.statuses)];
        let mut payload_statuses = statuses[0] + 4 * ready.owners.len() as u64;
        // SAFETY: the buffers are those that the jobs name, as long as the counts say; dropping them queues their release behind
        // the kernels.
        unsafe {
            if !ready.checks.is_empty() {
                let mut count = ready.checks.len() as u32;
                let mut args = [arg(&mut checks), arg(&mut count), arg(&mut payload_statuses)];
                gpu.launch(Kernel::CheckPayloads, count.div_ceil(WARPS), SHARED_BYTES, &mut args).map_err(&doing)?;
            }
            if let Some(contexts) = &self.contexts {
                let (mut list, mut expanded) = (address(gpu, &contexts.list), address(gpu, &contexts.expanded));
                let mut args = [arg(&mut tables), arg(&mut list), arg(&mut expanded)];
                let count = ready.sets.tables.len() as u32;
                gpu.launch(Kernel::ExpandTables, count, SHARED_BYTES, &mut args).map_err(&doing)?;
            }
            self.steps.filters.launch(gpu, Kernel::ReadModes, &mut statuses).map_err(&doing)?;
            if self.contexts.is_some() {
                self.steps.differences.launch(gpu, Kernel::MapExponents, &mut []).map_err(&doing)?;
            }
            self.streams(gpu, Stage::First).map_err(&doing)?;
            let mut more = [statuses[0], address(gpu, &self.jobs)];
            self.steps.numbers.launch(gpu, Kernel::CountBits, &mut more).map_err(&doing)?;
            self.streams(gpu, Stage::Second).map_err(&doing)?;
            self.steps.scales.launch(gpu, Kernel::MapScales, &mut []).map_err(&doing)?;
            self.streams(gpu, Stage::Numbers).map_err(&doing)?;
            self.streams(gpu, Stage::Fused).map_err(&doing)?;
            self.steps.joins.launch(gpu, Kernel::JoinPlanes, &mut []).map_err(&doing)?;
            self.steps.numbers.launch(gpu, Kernel::JoinBits, &mut statuses).map_err(&doing)?;
            self.steps.blocks.launch(gpu, Kernel::JoinBlocks, &mut []).map_err(&doing)?;
            self.steps.filters.launch(gpu, Kernel::UndoTransforms, &mut statuses).map_err(&doing)?;
            self.steps.filters.launch(gpu, Kernel::UndoPredictions, &mut statuses).map_err(&doing)?;
            self.steps.differences.launch(gpu, Kernel::UndoDifferences, &mut []).map_err(&doing)?;
            self.steps.trellises.launch(gpu, Kernel::UndoTrellis, &mut []).map_err(&doing)?;
        }
        Ok(())
    }

    /// Queues the kernels that decode the streams of a stage.
    ///
    /// # Safety
    /// Everything that the jobs name is there, or queued.
    unsafe fn streams(&self, gpu: &Gpu, stage: Stage) -> Result<(), DriverError> {
        let ready = &self.ready;
        let (mut tables, mut jobs) = (address(gpu, &self.tables), address(gpu, &self.jobs));
        let mut statuses = address(gpu, &self.statuses);
        let (mut sets, mut expanded) =
            self.contexts.as_ref().map_or((0, 0), |c| (address(gpu, &c.sets), address(gpu, &c.expanded)));
        for launch in ready.launches.iter().filter(|launch| launch.stage == stage) {
            let mut first = address(gpu, &self.blocks) + (launch.blocks.start * size_of_val(&ready.blocks[0])) as u64;
            let [first, jobs, statuses] = [arg(&mut first), arg(&mut jobs), arg(&mut statuses)];
            let blocks = launch.blocks.len() as u32;
            // SAFETY: by contract.
            unsafe {
                match launch.kernel {
                    kernel @ (Kernel::Contexts | Kernel::Deep | Kernel::Mapped) => {
                        let mut args = [arg(&mut sets), arg(&mut expanded), first, jobs, statuses];
                        gpu.launch(kernel, blocks, 0, &mut args)?;
                    }
                    kernel => gpu.launch(kernel, blocks, SHARED_BYTES, &mut [arg(&mut tables), first, jobs, statuses])?,
                }
            }
        }
        Ok(())
    }

    /// Waits, and reads what the kernels say.
    pub(super) fn statuses(&self, gpu: &Gpu) -> Result<Statuses, Failure> {
        let doing = driver("decoding on the device");
        let all = self.ready.owners.len() + self.ready.checks.len();
        let mut out = vec![0u8; 4 * all];
        if all > 0 {
            gpu.stream().memcpy_dtoh(&self.statuses.slice(..4 * all), &mut out).map_err(&doing)?;
        }
        gpu.stream().synchronize().map_err(&doing)?;
        let mut streams: Vec<u32> = out.chunks_exact(4).map(bytemuck::pod_read_unaligned).collect();
        let payloads = streams.split_off(self.ready.owners.len());
        Ok(Statuses { streams, payloads })
    }

    /// Which plane of bits of a tile, once its categories are decoded, is not as long as they say, counted from the signs; `None` where a category is
    /// one that there is not.
    pub(super) fn miscounted(&self, gpu: &Gpu, tile: u32) -> Result<Option<usize>, Failure> {
        let Some(job) = self.ready.numbers_of(tile) else { return Ok(None) };
        let mut categories = vec![0; job.elements as usize];
        for buffer in self.payload.iter().chain([&self.scratch]) {
            let at = job.categories.wrapping_sub(address(gpu, buffer)) as usize;
            if at < buffer.len() && categories.len() <= buffer.len() - at {
                let from = buffer.slice(at..at + categories.len());
                gpu.stream().memcpy_dtoh(&from, &mut categories).map_err(driver("copying from the device"))?;
            }
        }
        gpu.stream().synchronize().map_err(driver("copying from the device"))?;
        Ok(self.ready.miscounted(job, &categories))
    }

    /// Milliseconds that the kernels take, by the device's clock; the fastest of `runs`.
    pub(super) fn time(&self, gpu: &Gpu, runs: usize) -> Result<f32, Failure> {
        let doing = driver("timing the kernels");
        let event = || gpu.stream().record_event(Some(CUevent_flags::CU_EVENT_DEFAULT));
        let mut best = f32::INFINITY;
        for _ in 0..runs {
            let start = event().map_err(&doing)?;
            self.launch(gpu)?;
            let end = event().map_err(&doing)?;
            end.synchronize().map_err(&doing)?;
            best = best.min(start.elapsed_ms(&end).map_err(&doing)?);
        }
        Ok(best)
    }
}

/// Copies `data` to the device.
fn upload<T: Pod>(gpu: &Gpu, data: &[T]) -> Result<CudaSlice<u8>, Failure> {
    let bytes: &[u8] = bytemuck::cast_slice(data);
    let mut slice = allocate(gpu, bytes.len())?;
    if !bytes.is_empty() {
        gpu.stream().memcpy_htod(bytes, &mut slice).map_err(driver("copying to the device"))?;
    }
    Ok(slice)
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
