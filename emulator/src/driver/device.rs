//! The devices (one, unless the knob `devices` says otherwise), all alike, and what they say of themselves.
//!
//! They stand for no product: the limits are those every sm_80 or newer device has, sizes not bound by an architecture are
//! small round numbers, and features that the emulator lacks (cooperative launch, managed memory, …) are reported absent.

use super::settings::Settings;
use super::status::{Checked, Status};

/// Devices that there can be; their handles are their ordinals.
pub(crate) const MAX_DEVICES: usize = 16;
pub(crate) const NAME: &str = "wcodec emulator";
/// CUDA 12.8, as `cuDriverGetVersion` writes it.
pub(crate) const DRIVER_VERSION: i32 = 12080;
/// CUDA 11.0, what `driver-old` reports.
pub(crate) const OLD_DRIVER_VERSION: i32 = 11000;

pub(crate) const WARP: u32 = 32;
pub(crate) const MAX_THREADS_PER_BLOCK: u32 = 1024;
pub(crate) const MAX_BLOCK: [u32; 3] = [1024, 1024, 64];
pub(crate) const MAX_GRID: [u32; 3] = [i32::MAX as u32, 65535, 65535];
/// Bytes of shared memory a block may use without and with asking for more, as on sm_86, sm_89 and sm_120.
pub(crate) const SHARED_PER_BLOCK: u32 = 48 << 10;
pub(crate) const SHARED_PER_BLOCK_OPTIN: u32 = 99 << 10;
pub(crate) const SHARED_PER_MULTIPROCESSOR: u32 = 100 << 10;
/// Bytes of shared memory that the system takes of every block.
pub(crate) const SHARED_RESERVED: u32 = 1 << 10;
pub(crate) const MAX_THREADS_PER_MULTIPROCESSOR: u32 = 1536;
pub(crate) const MAX_BLOCKS_PER_MULTIPROCESSOR: u32 = 24;
const REGISTERS: i32 = 65536;
const KILOHERTZ: i32 = 1_000_000;

/// `CU_DEVICE_ATTRIBUTE_MAX` of CUDA 12.8: ids from here on are unknown.
const ATTRIBUTES: u32 = 145;

/// What identifies a device.
pub(crate) fn uuid(device: i32) -> [u8; 16] {
    let mut uuid = *b"wcodec-emulator\0";
    uuid[15] = device as u8;
    uuid
}

/// The place of a device: each has a bus of its own.
pub(crate) fn pci_bus_id(device: i32) -> String {
    format!("0000:{device:02x}:00.0")
}

/// The value of a device attribute; features the emulator does not have are 0, ids that do not exist an error.
pub(crate) fn attribute(id: u32, settings: &Settings) -> Checked<i32> {
    let value = match id {
        1 => MAX_THREADS_PER_BLOCK as i32,
        2..=4 => MAX_BLOCK[id as usize - 2] as i32,
        5..=7 => MAX_GRID[id as usize - 5] as i32,
        8 => SHARED_PER_BLOCK as i32,
        9 => 64 << 10, // total constant memory
        10 => WARP as i32,
        11 => i32::MAX,  // pitch
        12 => REGISTERS, // per block
        13 => KILOHERTZ, // core clock
        14 => 512,       // texture alignment
        15 => 1,         // copies overlap kernels
        16 => settings.threads as i32,
        19 => 1,         // host memory can be mapped
        30 | 51 => 512,  // surface and texture pitch alignment
        31 => 1,         // concurrent kernels
        36 => KILOHERTZ, // memory clock
        37 => 256,       // memory bus, bits
        38 => 4 << 20,   // L2 cache
        39 => MAX_THREADS_PER_MULTIPROCESSOR as i32,
        40 => 2, // copy engines
        41 => 1, // unified addressing
        75 => settings.capability.0,
        76 => settings.capability.1,
        79 | 80 => 1, // L1 caches global and local memory
        81 => SHARED_PER_MULTIPROCESSOR as i32,
        82 => REGISTERS, // per multiprocessor
        87 => 32,        // single to double precision throughput
        91 => 1,         // registered host memory is addressed by its host pointer
        97 => SHARED_PER_BLOCK_OPTIN as i32,
        99 => 1, // host memory can be registered
        106 => MAX_BLOCKS_PER_MULTIPROCESSOR as i32,
        111 => SHARED_RESERVED as i32,
        115 => 1,        // memory pools
        130 => -1,       // NUMA: not configured
        131 | 134 => -1, // NUMA ids: none
        absent if (1..ATTRIBUTES).contains(&absent) => 0,
        _ => return Err(Status::INVALID_VALUE),
    };
    Ok(value)
}

/// Resident blocks of one multiprocessor, bound by threads, blocks and shared memory; registers, which PTX does not fix, are
/// taken not to bind.
pub(crate) fn resident_blocks(threads: u32, shared: u32) -> u32 {
    let threads = threads.max(1).next_multiple_of(WARP);
    if threads > MAX_THREADS_PER_BLOCK || shared > SHARED_PER_BLOCK_OPTIN {
        return 0;
    }
    let by_shared = SHARED_PER_MULTIPROCESSOR / (shared + SHARED_RESERVED);
    (MAX_THREADS_PER_MULTIPROCESSOR / threads).min(MAX_BLOCKS_PER_MULTIPROCESSOR).min(by_shared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_report_settings_and_refuse_unknown_ids() {
        let settings = Settings { threads: 3, capability: (8, 9), ..Settings::default() };
        let value = |id| attribute(id, &settings);
        assert_eq!([16, 75, 76, 10, 97].map(|id| value(id).unwrap()), [3, 8, 9, 32, 101_376]);
        assert_eq!(value(95), Ok(0), "no cooperative launch");
        assert_eq!((value(0), value(ATTRIBUTES)), (Err(Status::INVALID_VALUE), Err(Status::INVALID_VALUE)));
    }

    #[test]
    fn occupancy_is_bound_by_the_scarcest() {
        assert_eq!(resident_blocks(256, 0), 6);
        assert_eq!(resident_blocks(1, 0), 24);
        assert_eq!(resident_blocks(32, 49 << 10), 2);
        assert_eq!(resident_blocks(33, 0), 24);
        assert_eq!(resident_blocks(1024, 0), 1);
        assert_eq!((resident_blocks(1025, 0), resident_blocks(32, 100 << 10)), (0, 0));
    }
}
