//! Where archives can be decoded.

use std::io::Write;
use std::sync::OnceLock;
use wcodec::{Archive, Backend, Device, Gpu, emulator_path};

/// A decoder to test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Cpu(Backend),
    Emulator,
    Cuda,
}

impl Target {
    /// Has `archive` decoded there; `false`, and a word about it, where this machine cannot.
    pub fn set(self, archive: &mut Archive) -> bool {
        match self {
            Self::Cpu(backend) if Backend::available().contains(&backend) => archive.set_backend(backend),
            Self::Cpu(backend) => {
                skipped(&format!("this CPU has no {}", backend.name()));
                return false;
            }
            Self::Emulator | Self::Cuda => match self.gpu() {
                Some(gpu) => archive.set_device(Device::Gpu(gpu)),
                None => return false,
            },
        }
        true
    }

    /// The GPU, real or emulated; `None`, and a word about it, where there is none.
    ///
    /// A machine without a driver or a GPU is skipped; one that has them must pass.
    pub fn gpu(self) -> Option<Gpu> {
        // One for each: what ran on the emulator must never be taken for a GPU's.
        static EMULATOR: OnceLock<Option<Gpu>> = OnceLock::new();
        static CUDA: OnceLock<Option<Gpu>> = OnceLock::new();
        match self {
            Self::Cpu(_) => None,
            Self::Emulator => EMULATOR.get_or_init(|| self.another()).clone(),
            Self::Cuda => CUDA.get_or_init(|| self.another()).clone(),
        }
    }

    /// [`gpu`](Self::gpu) with a context, a stream and kernels of its own.
    pub fn another(self) -> Option<Gpu> {
        let opened = match self {
            Self::Cpu(_) => return None,
            Self::Emulator => {
                assert!(emulator_path().is_some(), "the emulator's library is not beside this test");
                Gpu::emulator()
            }
            Self::Cuda => Gpu::open(0),
        };
        match opened {
            Ok(gpu) => {
                assert_eq!(gpu.is_emulator(), self == Self::Emulator, "{}", gpu.name());
                Some(gpu)
            }
            Err(e) if NO_GPU.iter().any(|why| e.to_string().contains(why)) => {
                skipped(&e.to_string());
                None
            }
            Err(e) => panic!("{self:?}: {e}"),
        }
    }
}

/// What says that a test cannot run here, of all that can go wrong with a device.
const NO_GPU: [&str; 4] = ["no CUDA driver", "CUDA_ERROR_NO_DEVICE", "CUDA_ERROR_STUB_LIBRARY", "needs another process"];

/// Says why a test did not run.
pub fn skipped(why: &str) {
    report(&format!("skipped: {why}"));
}

/// Says something, past the capture that hides what tests print when they pass.
pub fn report(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
