//! A GPU for machines without one: executes PTX warp by warp on the CPU, behind the CUDA driver API.
//!
//! | module       | what it is                                                        | on a GPU                  |
//! |--------------|-------------------------------------------------------------------|---------------------------|
//! | [`memory`]   | device memory, and host memory mapped into it                     | DRAM, MMU                 |
//! | `isa`        | registers, and what each instruction does to 32 lanes of them     | the pipes                 |
//! | [`ptx`]      | PTX text to decoded kernels                                       | the JIT compiler          |
//! | [`exec`]     | runs a launch: blocks over threads, warps of a block in turns     | SMs, schedulers           |
//! | [`sanitize`] | what can go wrong, and the shadow state that finds it             | compute-sanitizer         |
//! | [`count`]    | warp instructions by pipe, sectors, bank conflicts, by PTX line   | the profiler              |

pub mod count;
mod driver;
pub mod exec;
mod isa;
pub mod memory;
pub mod ptx;
pub mod sanitize;
