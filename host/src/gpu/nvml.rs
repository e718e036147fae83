//! What NVIDIA's management library says of a GPU, for reports of measurements: a transfer at half the speed expected is explained by the
//! link's width, a kernel's by the clocks.
//!
//! The library comes with the driver and is looked for when it is asked. That it is not there is no error: nothing is decoded differently.

use serde::Serialize;

/// What NVIDIA's management library says of a GPU. Fields that this GPU or driver does not report are `None`.
///
/// An idle GPU lowers its clocks and its PCIe generation: what a measurement had is known only if the question is asked while it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GpuFacts {
    /// As NVIDIA calls it.
    pub name: String,
    /// The driver's version.
    pub driver: Option<String>,
    /// Generation of the PCIe link just now.
    pub pcie_generation: Option<u32>,
    /// The highest that GPU and system are capable of.
    pub pcie_generation_max: Option<u32>,
    /// Lanes of the PCIe link just now.
    pub pcie_width: Option<u32>,
    /// The most that GPU and system are capable of.
    pub pcie_width_max: Option<u32>,
    /// Clock of the multiprocessors just now, in MHz.
    pub sm_clock_mhz: Option<u32>,
    /// The highest, in MHz.
    pub sm_clock_max_mhz: Option<u32>,
    /// Clock of the memory just now, in MHz.
    pub memory_clock_mhz: Option<u32>,
    /// The highest, in MHz.
    pub memory_clock_max_mhz: Option<u32>,
    /// Bytes of device memory.
    pub memory_total: Option<u64>,
    /// Bytes of it that are free.
    pub memory_free: Option<u64>,
    /// Why clocks are lower than they could be, in NVML's words (`gpu idle`, `sw power cap`, `hw thermal slowdown`); empty if they are not.
    pub throttle_reasons: Option<Vec<String>>,
}

/// Facts about the CUDA device numbered `ordinal`; `None` if NVIDIA's management library is absent, does not know the device, or the
/// feature `nvml` is off.
///
/// `CUDA_VISIBLE_DEVICES` is followed. Where it is not set and GPUs differ, CUDA counts the fastest first and this library counts by slot,
/// unless `CUDA_DEVICE_ORDER=PCI_BUS_ID` says otherwise to CUDA.
#[must_use]
pub fn gpu_facts(ordinal: usize) -> Option<GpuFacts> {
    #[cfg(feature = "nvml")]
    return ask::facts(ordinal);
    #[cfg(not(feature = "nvml"))]
    {
        let _ = ordinal;
        None
    }
}

#[cfg(feature = "nvml")]
mod ask {
    use super::GpuFacts;
    use nvml_wrapper::enum_wrappers::device::Clock;
    use nvml_wrapper::{Device, Nvml};

    pub(super) fn facts(ordinal: usize) -> Option<GpuFacts> {
        let visible = std::env::var("CUDA_VISIBLE_DEVICES").ok();
        let nvml = Nvml::init().ok()?;
        let device = find(&nvml, which(visible.as_deref(), ordinal)?)?;
        let memory = device.memory_info().ok();
        Some(GpuFacts {
            name: device.name().ok()?,
            driver: nvml.sys_driver_version().ok(),
            pcie_generation: device.current_pcie_link_gen().ok(),
            pcie_generation_max: device.max_pcie_link_gen().ok(),
            pcie_width: device.current_pcie_link_width().ok(),
            pcie_width_max: device.max_pcie_link_width().ok(),
            sm_clock_mhz: device.clock_info(Clock::SM).ok(),
            sm_clock_max_mhz: device.max_clock_info(Clock::SM).ok(),
            memory_clock_mhz: device.clock_info(Clock::Memory).ok(),
            memory_clock_max_mhz: device.max_clock_info(Clock::Memory).ok(),
            memory_total: memory.as_ref().map(|memory| memory.total),
            memory_free: memory.as_ref().map(|memory| memory.free),
            throttle_reasons: device.current_throttle_reasons().ok().map(|reasons| {
                let named = reasons.iter_names().filter(|(name, _)| *name != "NONE");
                named.map(|(name, _)| name.to_lowercase().replace('_', " ")).collect()
            }),
        })
    }

    /// How a device is named to CUDA.
    #[derive(Debug, PartialEq, Eq)]
    enum Which<'a> {
        Index(u32),
        /// A UUID, or as much of it as says which.
        Uuid(&'a str),
    }

    /// Which device CUDA's device `ordinal` is, given `CUDA_VISIBLE_DEVICES`: devices after the first entry that says nothing do not exist.
    fn which(visible: Option<&str>, ordinal: usize) -> Option<Which<'_>> {
        let Some(visible) = visible else { return Some(Which::Index(u32::try_from(ordinal).ok()?)) };
        let mut devices = visible.split(',').map_while(|entry| match entry.trim() {
            uuid if uuid.starts_with("GPU-") || uuid.starts_with("MIG-") => Some(Which::Uuid(uuid)),
            index => index.parse().ok().map(Which::Index),
        });
        devices.nth(ordinal)
    }

    fn find<'a>(nvml: &'a Nvml, which: Which<'_>) -> Option<Device<'a>> {
        match which {
            Which::Index(index) => nvml.device_by_index(index).ok(),
            Which::Uuid(uuid) => nvml.device_by_uuid(uuid).ok().or_else(|| {
                let devices = (0..nvml.device_count().ok()?).filter_map(|index| nvml.device_by_index(index).ok());
                devices.into_iter().find(|device| device.uuid().is_ok_and(|whole| whole.starts_with(uuid)))
            }),
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn visible_devices() {
            assert_eq!(which(None, 3), Some(Which::Index(3)));
            assert_eq!(which(Some("2, 0"), 1), Some(Which::Index(0)));
            assert_eq!(which(Some("2,0"), 2), None);
            assert_eq!(which(Some("0,-1,1"), 1), None);
            assert_eq!(which(Some(""), 0), None);
            assert_eq!(which(Some("GPU-8932f9"), 0), Some(Which::Uuid("GPU-8932f9")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_that_are_not_there() {
        assert_eq!(gpu_facts(1 << 20), None);
        assert_eq!(gpu_facts(usize::MAX), None);
    }

    #[test]
    #[ignore = "needs a GPU"]
    fn gpu_facts_of_a_gpu() {
        let facts = gpu_facts(0).expect("NVIDIA's management library and a GPU");
        println!("{}", serde_json::to_string_pretty(&facts).unwrap());
        assert!(!facts.name.is_empty() && facts.driver.is_some());
        assert!(facts.memory_free <= facts.memory_total && facts.memory_total > Some(1 << 30));
        assert!(facts.pcie_generation <= facts.pcie_generation_max && facts.pcie_width <= facts.pcie_width_max);
        assert!(facts.sm_clock_mhz > Some(0));
    }
}
