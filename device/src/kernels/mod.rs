//! GPU entry points. One warp takes one job (see [`crate::job`]); a block's warps share a decode table.
//!
//! One kernel for each layout and mode, so that each has the registers it needs and no more; a batch of tiles takes a launch for
//! each kind that it has, whatever tensors they are from.

mod bands;
mod bits;
mod blocks;
mod check;
mod contexts;
mod crop;
mod difference;
mod floats;
mod integers;
mod intrinsics;
mod join;
mod layouts;
mod modes;
mod numbers;
mod predictions;
mod scales;
mod stream;
mod table;
mod transforms;
mod trellis;

use crate::job::{
    BlockJob, CheckJob, ContextSet, CropJob, DifferenceJob, EXPANDED_BYTES, FilterJob, NumbersJob, TileJob, TrellisJob, status,
};
use intrinsics::{block, lane_id, thread};

/// The block's table in place, each warp decodes its job.
#[inline(always)]
unsafe fn decode<J: layouts::Join>(tables: *const u16, blocks: *const BlockJob, jobs: *const TileJob, statuses: *mut u32) {
    // SAFETY: the host launches as many blocks as there are `BlockJob`s, and checks what they name.
    unsafe {
        let this = *blocks.add(block() as usize);
        table::expand(tables.add(this.table as usize * 256));
        let warp = thread() / 32;
        if warp < this.jobs {
            let job = &*jobs.add((this.first + warp) as usize);
            let status = stream::decode::<J>(job);
            if lane_id() == 0 {
                *statuses.add(job.status as usize) = status;
            }
        }
    }
}

macro_rules! decoders {
    ($($(#[$doc:meta])* $name:ident: $layout:ident),* $(,)?) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// The addresses are the device's, the lists as long as the launch says.
        #[unsafe(no_mangle)]
        pub unsafe extern "ptx-kernel" fn $name(
            tables: *const u16,
            blocks: *const BlockJob,
            jobs: *const TileJob,
            statuses: *mut u32,
        ) {
            // SAFETY: by contract.
            unsafe { decode::<layouts::$layout>(tables, blocks, jobs, statuses) }
        }
    )*};
}

decoders! {
    /// One plane of bytes.
    decode_bytes: Bytes,
    /// Records of two bytes, the upper one from the stream.
    decode_columns2: Columns2,
    /// BF16 from pairs of exponents.
    decode_bf16_pairs: Bf16Pairs,
    /// BF16 from exponents.
    decode_bf16_bytes: Bf16Bytes,
    /// FP32 from pairs of exponents.
    decode_f32_pairs: F32Pairs,
    /// FP32 from exponents.
    decode_f32_bytes: F32Bytes,
    /// FP8 E4 from pairs of exponents.
    decode_f8e4_pairs: F8e4Pairs,
    /// FP8 E4 from exponents.
    decode_f8e4_bytes: F8e4Bytes,
}

/// Expands frequency tables for streams with contexts; a block takes one of the `list`, the table's position in the pool.
///
/// # Safety
/// As for the decoders.
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn expand_tables(tables: *const u16, list: *const u32, expanded: u64) {
    let i = block();
    // SAFETY: the list has as many tables as there are blocks.
    unsafe {
        table::expand(tables.add(*list.add(i as usize) as usize * 256));
        table::publish(expanded + i as u64 * EXPANDED_BYTES as u64);
    }
}

/// Each warp decodes its job, a stream with contexts.
#[inline(always)]
unsafe fn decode_with<const KIND: u8>(
    sets: *const ContextSet,
    tables: u64,
    blocks: *const BlockJob,
    jobs: *const TileJob,
    statuses: *mut u32,
) {
    // SAFETY: as for `decode`.
    unsafe {
        let this = *blocks.add(block() as usize);
        let warp = thread() / 32;
        if warp < this.jobs {
            let job = &*jobs.add((this.first + warp) as usize);
            let status = contexts::decode::<KIND>(job, &*sets.add(job.set as usize), tables);
            if lane_id() == 0 {
                *statuses.add(job.status as usize) = status;
            }
        }
    }
}

/// Leading planes, each symbol with the table of its row and column.
///
/// # Safety
/// As for the other decoders.
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn decode_contexts(
    sets: *const ContextSet,
    tables: u64,
    blocks: *const BlockJob,
    jobs: *const TileJob,
    statuses: *mut u32,
) {
    // SAFETY: by contract.
    unsafe { decode_with::<{ contexts::CLASSES }>(sets, tables, blocks, jobs, statuses) }
}

/// Planes under leading ones, each symbol with the table of its exponent, row and column.
///
/// # Safety
/// As for the other decoders.
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn decode_deep(
    sets: *const ContextSet,
    tables: u64,
    blocks: *const BlockJob,
    jobs: *const TileJob,
    statuses: *mut u32,
) {
    // SAFETY: by contract.
    unsafe { decode_with::<{ contexts::DEEP }>(sets, tables, blocks, jobs, statuses) }
}

/// Planes whose contexts are in a map.
///
/// # Safety
/// As for the other decoders.
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn decode_mapped(
    sets: *const ContextSet,
    tables: u64,
    blocks: *const BlockJob,
    jobs: *const TileJob,
    statuses: *mut u32,
) {
    // SAFETY: by contract.
    unsafe { decode_with::<{ contexts::MAPPED }>(sets, tables, blocks, jobs, statuses) }
}

/// Maps the contexts of numbers in blocks with a step and a minimum; a warp takes a job, as many as `count`.
///
/// # Safety
/// As for the decoders.
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn map_scales(jobs: *const TileJob, count: u32) {
    let i = block() * crate::job::WARPS + thread() / 32;
    if i < count {
        // SAFETY: by contract.
        unsafe { scales::map(&*jobs.add(i as usize)) }
    }
}

/// Joins tiles of blocks whose planes are all decoded; a warp takes a job, as many as `count`.
///
/// # Safety
/// As for the decoders.
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn join_blocks(jobs: *const TileJob, count: u32) {
    let i = block() * crate::job::WARPS + thread() / 32;
    if i < count {
        // SAFETY: by contract.
        unsafe { blocks::join(&*jobs.add(i as usize)) }
    }
}

/// Joins tiles whose planes are all decoded; a warp takes a job, as many as `count`.
///
/// # Safety
/// As for the decoders.
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn join_planes(jobs: *const TileJob, count: u32) {
    let i = block() * crate::job::WARPS + thread() / 32;
    if i < count {
        // SAFETY: by contract.
        unsafe { join::join(&*jobs.add(i as usize)) }
    }
}

/// Reads the modes of filtered tiles; a warp takes a job, as many as `count`. Writes each one's status.
///
/// # Safety
/// As for the decoders.
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn read_modes(jobs: *const FilterJob, count: u32, statuses: *mut u32) {
    let i = block() * crate::job::WARPS + thread() / 32;
    if i < count {
        // SAFETY: by contract.
        unsafe {
            let job = &*jobs.add(i as usize);
            let status = modes::read(job);
            if lane_id() == 0 {
                *statuses.add(job.status as usize) = status;
            }
        }
    }
}

macro_rules! undo {
    ($($(#[$doc:meta])* $name:ident: $stage:ident),* $(,)?) => {$(
        $(#[$doc])*
        ///
        /// A warp takes a job, as many as `count`; those whose modes are refused are left.
        ///
        /// # Safety
        /// As for the decoders.
        #[unsafe(no_mangle)]
        pub unsafe extern "ptx-kernel" fn $name(jobs: *const FilterJob, count: u32, statuses: *mut u32) {
            let i = block() * crate::job::WARPS + thread() / 32;
            if i < count {
                // SAFETY: by contract.
                unsafe {
                    let job = &*jobs.add(i as usize);
                    if *statuses.add(job.status as usize) == status::OK {
                        match job.bits {
                            4 => $stage::undo::<4>(job),
                            8 => $stage::undo::<8>(job),
                            16 => $stage::undo::<16>(job),
                            _ => $stage::undo::<32>(job),
                        }
                    }
                }
            }
        }
    )*};
}

undo! {
    /// Undoes the transforms of filtered tiles, in their residuals.
    undo_transforms: transforms,
    /// Turns residuals of filtered tiles back into elements.
    undo_predictions: predictions,
}

/// Maps the contexts of differences; a warp takes a job, as many as `count`.
///
/// # Safety
/// As for the decoders.
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn map_exponents(jobs: *const DifferenceJob, count: u32) {
    let i = block() * crate::job::WARPS + thread() / 32;
    if i < count {
        // SAFETY: by contract.
        unsafe { difference::map(&*jobs.add(i as usize)) }
    }
}

/// Makes numbers of differences; a warp takes a job, as many as `count`.
///
/// # Safety
/// As for the decoders.
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn undo_differences(jobs: *const DifferenceJob, count: u32) {
    let i = block() * crate::job::WARPS + thread() / 32;
    if i < count {
        // SAFETY: by contract.
        unsafe { difference::undo(&*jobs.add(i as usize)) }
    }
}

/// Makes numbers of what a trellis stores; a warp takes a job, as many as `count`.
///
/// # Safety
/// As for the decoders.
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn undo_trellis(jobs: *const TrellisJob, count: u32) {
    let i = block() * crate::job::WARPS + thread() / 32;
    if i < count {
        // SAFETY: by contract.
        unsafe { trellis::undo(&*jobs.add(i as usize)) }
    }
}

/// Looks at the categories of tiles of bitplanes, and counts their bits; a warp takes a job, as many as `count`. Writes each one's status.
///
/// # Safety
/// As for the decoders; `streams` are the jobs of the launches that follow.
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn count_bits(jobs: *const NumbersJob, count: u32, statuses: *mut u32, streams: u64) {
    let i = block() * crate::job::WARPS + thread() / 32;
    if i < count {
        // SAFETY: by contract.
        unsafe {
            let job = &*jobs.add(i as usize);
            let status = bits::count(job, streams);
            if lane_id() == 0 {
                *statuses.add(job.status as usize) = status;
            }
        }
    }
}

/// Joins planes of bits; a warp takes a job, as many as `count`; those whose planes are refused are left.
///
/// # Safety
/// As for the decoders.
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn join_bits(jobs: *const NumbersJob, count: u32, statuses: *mut u32) {
    let i = block() * crate::job::WARPS + thread() / 32;
    if i < count {
        // SAFETY: by contract.
        unsafe {
            let job = &*jobs.add(i as usize);
            if *statuses.add(job.status as usize) == status::OK {
                if job.mantissa == NumbersJob::INTEGER { integers::join(job) } else { floats::join(job) }
            }
        }
    }
}

/// Verifies payloads' checksums; a warp takes a job, as many as `count`. Writes each one's status.
///
/// # Safety
/// As for the decoders.
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn check_payloads(jobs: *const CheckJob, count: u32, statuses: *mut u32) {
    check::prepare();
    let i = block() * crate::job::WARPS + thread() / 32;
    if i < count {
        // SAFETY: by contract.
        unsafe {
            let status = check::check(&*jobs.add(i as usize));
            if lane_id() == 0 {
                *statuses.add(i as usize) = status;
            }
        }
    }
}

/// Copies rectangles out of decoded tiles; a warp takes a job, as many as `count`.
///
/// # Safety
/// As for the decoders.
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn crop_tiles(jobs: *const CropJob, count: u32) {
    let i = block() * crate::job::WARPS + thread() / 32;
    if i < count {
        // SAFETY: by contract.
        unsafe { crop::crop(&*jobs.add(i as usize)) }
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
