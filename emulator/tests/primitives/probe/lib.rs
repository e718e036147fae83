//! A kernel for each primitive of the `device` crate; a thread computes one result.
//!
//! `../primitives.ptx` is made from this, with a compiler as CONTRIBUTING.md describes for the kernels, by
//!
//! ```text
//! RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Ctarget-cpu=sm_80 -Ccodegen-units=1 -Zlocation-detail=none" \
//!   cargo rustc --release -Zbuild-std=core --target nvptx64-nvidia-cuda -- --emit=asm=../primitives.ptx
//! ```
//!
//! When the primitives change their ways, the test that compares the two fails until it is made anew. What it calls must inline across
//! crates (`#[inline]`): there is no linker.
#![no_std]
#![feature(abi_ptx, stdarch_nvptx)]

use core::arch::nvptx::{_block_dim_x, _block_idx_x, _thread_idx_x};
use wcodec_device::job::TileJob;
use wcodec_device::layout::PlaneMode;
use wcodec_device::planes::{self, Layout};
use wcodec_device::rans::{self, Entry};

// Compiled here, because it is no function that crates inline into each other, and there is no linker.
#[path = "../../../../device/src/rans/table.rs"]
#[allow(dead_code)]
mod table;

include!("../cases.rs");

/// The number of the thread in the grid.
#[inline(always)]
fn index() -> usize {
    // SAFETY: reads special registers.
    unsafe { (_block_idx_x() * _block_dim_x() + _thread_idx_x()) as usize }
}

macro_rules! kernels {
    ($($name:ident = |$a:ident, $b:ident, $c:ident| $body:expr;)*) => {$(
        /// # Safety
        /// There are as many inputs and outputs as threads.
        #[unsafe(no_mangle)]
        pub unsafe extern "ptx-kernel" fn $name(inputs: *const [u64; 3], outputs: *mut u64) {
            let i = index();
            // SAFETY: by contract.
            unsafe {
                let [$a, $b, $c] = *inputs.add(i);
                *outputs.add(i) = $body;
            }
        }
    )*};
}
primitives!(kernels);

/// A thread expands one table, and says how that went.
///
/// # Safety
/// There are as many of everything as threads.
#[unsafe(no_mangle)]
pub unsafe extern "ptx-kernel" fn expand_table(
    freqs: *const [u16; 256],
    tables: *mut [table::Entry; table::SLOTS],
    outcomes: *mut u64,
) {
    let i = index();
    // SAFETY: by contract.
    unsafe {
        *outcomes.add(i) = match table::expand_table(&*freqs.add(i), &mut *tables.add(i)) {
            Ok(()) => 0,
            Err(table::TableError::Sum(sum)) => 1 << 32 | sum as u64,
            Err(table::TableError::Whole(symbol)) => 2 << 32 | symbol as u64,
        };
    }
}
