//! What is promised of each kernel: launch bounds, what one turn of its steady loop makes, and the limits of its machine code.

use wcodec_device::job::{SHARED_BYTES, THREADS};

/// Threads of every kernel's block.
pub(super) const BLOCK_THREADS: u32 = THREADS;

/// A GPU that the PTX is assembled for, as `ptxas -arch` has it.
pub(super) type Arch = &'static str;

/// The A100's, the H100's and the RTX 5090's.
pub(super) const ARCHES: [Arch; 3] = ["sm_80", "sm_90", "sm_120"];

/// Bytes of shared memory of a block, 16.5 KiB: five, each with the 1 KiB that CUDA itself takes, fit the RTX 5090's 100 KiB.
pub(super) const MAX_SHARED_BYTES: u32 = 16896;

/// Registers of a thread that leave room for `blocks` blocks in a multiprocessor's 65536, in steps of 8 as the hardware gives them. Six
/// blocks are 1536 threads, all that an RTX 5090 holds.
const fn registers(blocks: u32) -> u32 {
    65536 / (blocks * BLOCK_THREADS) / 8 * 8
}

/// One kernel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kernel {
    pub(super) name: &'static str,
    /// Blocks that must fit onto a multiprocessor at once (`.minnctapersm`): what bounds the registers of a thread.
    pub(super) min_blocks: u32,
    /// Bytes of shared memory that the host asks for at launch.
    pub(super) dynamic_shared_bytes: u32,
    /// Output elements of a symbol; `None` where there is no stream.
    pub(super) elements: Option<u32>,
    /// Most registers of a thread.
    pub(super) max_registers: u32,
    /// Most instructions for 32 weights in the steady loop.
    pub(super) max_per_32: &'static [(Arch, f64)],
}

/// A decoder; a symbol of its stream is `elements` of its output.
const fn decoder(name: &'static str, elements: u32, min_blocks: u32, max_per_32: &'static [(Arch, f64)]) -> Kernel {
    let max_registers = registers(min_blocks);
    Kernel { name, min_blocks, dynamic_shared_bytes: SHARED_BYTES, elements: Some(elements), max_registers, max_per_32 }
}

/// A decoder of streams with contexts, whose tables lie in global memory.
const fn contexts(name: &'static str) -> Kernel {
    Kernel { dynamic_shared_bytes: 0, ..decoder(name, 1, 5, &[]) }
}

/// A kernel without a steady decode loop.
const fn other(name: &'static str, dynamic_shared_bytes: u32, min_blocks: u32) -> Kernel {
    Kernel { name, min_blocks, dynamic_shared_bytes, elements: None, max_registers: registers(min_blocks), max_per_32: &[] }
}

/// Every entry point of the PTX, by name.
///
/// Five blocks' tables are all that the RTX 5090's 100 KiB of shared memory hold: a kernel that would spill with the registers of six
/// blocks gets those of five, and loses nothing there.
pub(super) const KERNELS: [Kernel; 25] = [
    other("check_payloads", SHARED_BYTES, 6),
    other("count_bits", 0, 6),
    other("crop_tiles", 0, 6),
    decoder("decode_bf16_bytes", 1, 6, &[]),
    decoder("decode_bf16_pairs", 2, 6, &[("sm_90", 17.0), ("sm_120", 16.0)]),
    // Packed INT4 has two weights a byte: half of this.
    decoder("decode_bytes", 1, 6, &[("sm_80", 21.0), ("sm_90", 21.0), ("sm_120", 21.0)]),
    decoder("decode_columns2", 1, 6, &[]),
    contexts("decode_contexts"),
    contexts("decode_deep"),
    decoder("decode_f32_bytes", 1, 5, &[]),
    // Three other planes: addresses and bytes of all of them at once.
    decoder("decode_f32_pairs", 2, 4, &[]),
    decoder("decode_f8e4_bytes", 1, 5, &[]),
    decoder("decode_f8e4_pairs", 2, 5, &[("sm_80", 17.0), ("sm_90", 17.0), ("sm_120", 17.0)]),
    contexts("decode_mapped"),
    other("expand_tables", SHARED_BYTES, 6),
    other("join_bits", 0, 5),
    other("join_blocks", 0, 6),
    other("join_planes", 0, 5),
    other("map_exponents", 0, 6),
    other("map_scales", 0, 6),
    other("read_modes", 0, 6),
    other("undo_differences", 0, 4),
    other("undo_predictions", 0, 3),
    other("undo_transforms", 0, 5),
    other("undo_trellis", 0, 6),
];
