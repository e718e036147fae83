//! Occupancy: how many blocks a multiprocessor would hold.

use std::ffi::{c_int, c_uint};

use super::entries;
use super::pointer::Out;
use crate::driver::device::{self, SHARED_PER_MULTIPROCESSOR, SHARED_RESERVED, WARP};
use crate::driver::handle::Handle;
use crate::driver::settings::settings;
use crate::driver::state;
use crate::driver::status::{Checked, Status};

type SharedOfBlock = extern "C" fn(c_int) -> usize;

/// Blocks of `threads` threads that a multiprocessor holds at once.
fn resident(function: Handle, threads: c_int, dynamic_shared: usize) -> Checked<c_int> {
    state::current()?;
    let limits = state::state()?.functions.get(function)?.limits();
    let threads = u32::try_from(threads).ok().filter(|&threads| threads > 0).ok_or(Status::INVALID_VALUE)?;
    let shared = u32::try_from(dynamic_shared).map_err(|_| Status::INVALID_VALUE)?.saturating_add(limits.static_shared);
    Ok(if threads > limits.max_threads { 0 } else { device::resident_blocks(threads, shared) as c_int })
}

/// The block size that keeps most threads resident, the largest if several do; and the blocks that fill the device.
fn best(function: Handle, shared_of: Option<SharedOfBlock>, shared: usize, limit: c_int) -> Checked<(c_int, c_int)> {
    state::current()?;
    let most = state::state()?.functions.get(function)?.limits().max_threads as c_int;
    let most = if limit > 0 { most.min(limit) } else { most };
    let mut found = (0, 0, 0);
    for threads in (WARP as c_int..=most).step_by(WARP as usize).chain([most]) {
        let blocks = resident(function, threads, shared_of.map_or(shared, |of| of(threads)))?;
        found = found.max((blocks * threads, threads, blocks));
    }
    Ok((found.2 * settings().threads as c_int, found.1))
}

/// Dynamic shared memory left for each of `blocks` blocks of `threads` threads.
fn available(function: Handle, blocks: c_int, threads: c_int) -> Checked<usize> {
    if blocks < 1 || resident(function, threads, 0)? < blocks {
        return Err(Status::INVALID_VALUE);
    }
    let limits = state::state()?.functions.get(function)?.limits();
    let share = SHARED_PER_MULTIPROCESSOR / blocks as u32;
    let left = share.saturating_sub(SHARED_RESERVED + limits.static_shared);
    Ok(left.min(limits.max_dynamic_shared) as usize)
}

entries! {
    fn cuOccupancyMaxActiveBlocksPerMultiprocessor(blocks: Out<c_int>, function: Handle, threads: c_int, shared: usize) {
        blocks.put(resident(function, threads, shared)?)
    }

    fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
        blocks: Out<c_int>, function: Handle, threads: c_int, shared: usize, _flags: c_uint,
    ) {
        blocks.put(resident(function, threads, shared)?)
    }

    fn cuOccupancyMaxPotentialBlockSize(
        grid: Out<c_int>, block: Out<c_int>, function: Handle, shared_of: Option<SharedOfBlock>, shared: usize, limit: c_int,
    ) {
        let (blocks, threads) = best(function, shared_of, shared, limit)?;
        grid.put(blocks)?;
        block.put(threads)
    }

    fn cuOccupancyMaxPotentialBlockSizeWithFlags(
        grid: Out<c_int>, block: Out<c_int>, function: Handle, shared_of: Option<SharedOfBlock>, shared: usize, limit: c_int,
        _flags: c_uint,
    ) {
        let (blocks, threads) = best(function, shared_of, shared, limit)?;
        grid.put(blocks)?;
        block.put(threads)
    }

    fn cuOccupancyAvailableDynamicSMemPerBlock(bytes: Out<usize>, function: Handle, blocks: c_int, threads: c_int) {
        bytes.put(available(function, blocks, threads)?)
    }
}
