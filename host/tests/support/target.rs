//! Where archives can be decoded.

use wcodec::{Archive, Backend, Device, DeviceChoice, Gpu, emulator_path};

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
                println!("skipped: this CPU has no {}", backend.name());
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
    pub fn gpu(self) -> Option<Gpu> {
        static GPU: std::sync::OnceLock<Option<Gpu>> = std::sync::OnceLock::new();
        let open = || match self {
            Self::Cpu(_) => None,
            Self::Emulator => {
                assert!(emulator_path().is_some(), "the emulator's library is not beside this test");
                Some(Gpu::emulator().unwrap())
            }
            // A machine with a driver must pass, one without is skipped.
            Self::Cuda => match Device::open(DeviceChoice::Cuda(0)) {
                Ok(Device::Gpu(gpu)) => Some(gpu),
                other => {
                    println!("skipped: no GPU: {other:?}");
                    None
                }
            },
        };
        GPU.get_or_init(open).clone()
    }
}
