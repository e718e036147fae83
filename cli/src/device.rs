//! `--device`.

use wcodec::{Archive, Device, DeviceChoice, Result};

/// Where to decode.
#[derive(Debug, clap::Args)]
pub(crate) struct DeviceArg {
    /// Where to decode: cpu, cuda, cuda:N, auto (a GPU if there is one), or emulator (runs the GPU's kernels on the CPU, to test
    /// them)
    #[arg(long, env = "WCODEC_DEVICE", value_name = "DEVICE", default_value = "cpu")]
    device: DeviceChoice,
}

impl DeviceArg {
    /// Opens the device.
    pub(crate) fn open(&self) -> Result<Device> {
        Device::open(self.device)
    }

    /// Opens the device and has `archive` decode on it.
    pub(crate) fn apply(&self, archive: &mut Archive) -> Result<()> {
        archive.set_device(self.open()?);
        Ok(())
    }
}
