//! What the CPU and the GPU decoder share: on-disk records, and the codec's arithmetic one lane at a time.
//!
//! `no_std`, no allocation, no I/O, no panics in the decode steps: the same functions run inside the SIMD-less CPU backend
//! and inside a GPU kernel. `docs/format.md` specifies what they mean.
#![no_std]
#![cfg_attr(target_arch = "nvptx64", feature(abi_ptx, asm_experimental_arch))]

pub mod bitplanes;
pub mod difference;
pub mod filter;
pub mod job;
#[cfg(target_arch = "nvptx64")]
#[allow(unsafe_code)]
pub mod kernels;
pub mod layout;
pub mod planes;
pub mod rans;
pub mod trellis;
