//! Decoding on a GPU: the only CUDA of the crate.
//!
//! ```text
//! library    opens the driver (or, when asked, the emulator in its stead)
//! context    one device: context, stream, the module of kernels
//! plan       pure: tiles of an archive → jobs for the kernels, every length checked
//! base       what a batch needs of a base, on the device
//! batch      which tiles go together; what statuses mean
//! numbers    planes of bits in a batch
//! launch     a batch on the device: buffers, launches, statuses
//! tensor     what a caller gets: tensors in device memory
//! pinned     host memory that the device copies from by itself
//! staged     decoding payloads that a loader has copied to the device
//! nvml       clocks, links and memory, for reports (feature `nvml`)
//! ```
//!
//! Everything a kernel is told has been checked here: it cannot leave the buffers it is given, whatever the archive says.

mod base;
mod batch;
mod context;
mod here;
mod launch;
mod library;
mod numbers;
mod nvml;
mod pinned;
mod plan;
mod staged;
mod tensor;
mod verdict;

pub use context::Gpu;
pub use library::{EMULATOR_NAME, emulator_path};
pub use nvml::{GpuFacts, gpu_facts};
pub(crate) use staged::StagedPart;
pub use tensor::DeviceTensor;

use crate::error::{Error, Result};
use std::str::FromStr;

/// Where an archive is decoded.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Device {
    /// The CPU, by the best of its instruction sets.
    #[default]
    Cpu,
    /// A GPU.
    Gpu(Gpu),
}

/// Which device a user asks for: `auto`, `cpu`, `cuda`, `cuda:1`, `emulator`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeviceChoice {
    /// A CUDA device if there is one, else the CPU.
    Auto,
    /// The CPU.
    #[default]
    Cpu,
    /// The CUDA device of this number.
    Cuda(usize),
    /// The emulator: runs the kernels on the CPU, to test them.
    Emulator,
}

impl FromStr for DeviceChoice {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        Ok(match s {
            "auto" => Self::Auto,
            "cpu" => Self::Cpu,
            "cuda" | "gpu" => Self::Cuda(0),
            "emulator" => Self::Emulator,
            _ => match s.strip_prefix("cuda:").and_then(|n| n.parse().ok()) {
                Some(n) => Self::Cuda(n),
                None => return Err(Error::argument(format!("unknown device '{s}': auto, cpu, cuda, cuda:N or emulator"))),
            },
        })
    }
}

impl Device {
    /// Opens the device that is asked for.
    ///
    /// # Errors
    /// [`Device`](crate::ErrorKind::Device) says what is missing and what to do; `Auto`, a real CUDA device if there is one, falls back to the
    /// CPU instead, with a warning to `tracing` where there is a driver that does not work. The environment changes nothing here.
    pub fn open(choice: DeviceChoice) -> Result<Self> {
        Ok(match choice {
            DeviceChoice::Cpu => Self::Cpu,
            DeviceChoice::Auto => Self::real(),
            DeviceChoice::Cuda(n) => Self::Gpu(Gpu::open(n)?),
            DeviceChoice::Emulator => Self::Gpu(Gpu::emulator()?),
        })
    }

    /// What `WCODEC_DEVICE` names; without it a real CUDA device if there is a driver with one, else the CPU.
    pub fn auto() -> Self {
        let wanted = std::env::var("WCODEC_DEVICE").ok().map(|s| DeviceChoice::from_str(&s));
        wanted.map_or_else(|| Ok(Self::real()), |choice| Self::open(choice?)).unwrap_or_else(Self::instead)
    }

    /// A real CUDA device if there is a driver with one, else the CPU.
    fn real() -> Self {
        if !library::driver_present() {
            return Self::Cpu;
        }
        Gpu::open(0).map_or_else(Self::instead, Self::Gpu)
    }

    /// The CPU instead of a device that does not work.
    fn instead(why: Error) -> Self {
        tracing::warn!("{why}; decoding on the CPU");
        Self::Cpu
    }

    /// What NVIDIA's management library says of the GPU just now, for reports of measurements; `None` for the CPU and the emulator, and where
    /// there is no such library.
    pub fn gpu_facts(&self) -> Option<GpuFacts> {
        match self {
            Self::Gpu(gpu) if !gpu.is_emulator() => gpu_facts(gpu.ordinal()),
            _ => None,
        }
    }

    /// `cpu`, or the GPU's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Cpu => "cpu",
            Self::Gpu(gpu) => gpu.name(),
        }
    }
}
