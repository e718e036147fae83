//! Initialisation, versions, errors, and the device.

use std::ffi::{c_char, c_int, c_uint};

use super::entries;
use super::pointer::{Out, Text, put_text};
use crate::driver::inject::{self, Point};
use crate::driver::settings::settings;
use crate::driver::status::{Checked, Status};
use crate::driver::{device, state};

/// Writes a string into a caller's buffer of `len` bytes.
fn name_into(buffer: usize, len: c_int, text: &str) -> Checked {
    let capacity = usize::try_from(len).map_err(|_| Status::INVALID_VALUE)?;
    if put_text(buffer, capacity, text) > 0 { Ok(()) } else { Err(Status::INVALID_VALUE) }
}

entries! {
    fn cuInit(flags: c_uint) {
        if flags != 0 {
            return Err(Status::INVALID_VALUE);
        }
        state::initialize()
    }

    fn cuDriverGetVersion(version: Out<c_int>) {
        let old = inject::pass(Point::DriverOld, 0);
        version.put(if old { device::OLD_DRIVER_VERSION } else { device::DRIVER_VERSION })
    }

    fn cuGetErrorName(error: u32, text: Out<*const c_char>) {
        let described = Status(error).describe();
        text.put(described.map_or(std::ptr::null(), |(name, _)| name.as_ptr()))?;
        described.map(|_| ()).ok_or(Status::INVALID_VALUE)
    }

    fn cuGetErrorString(error: u32, text: Out<*const c_char>) {
        let described = Status(error).describe();
        text.put(described.map_or(std::ptr::null(), |(_, meaning)| meaning.as_ptr()))?;
        described.map(|_| ()).ok_or(Status::INVALID_VALUE)
    }

    fn cuDeviceGetCount(count: Out<c_int>) {
        state::state()?;
        count.put(settings().devices)
    }

    fn cuDeviceGet(device: Out<c_int>, ordinal: c_int) {
        state::device(ordinal)?;
        device.put(ordinal)
    }

    fn cuDeviceGetName(name: usize, len: c_int, device: c_int) {
        state::device(device)?;
        name_into(name, len, device::NAME)
    }

    fn cuDeviceGetUuid(uuid: Out<[u8; 16]>, device: c_int) {
        state::device(device)?;
        uuid.put(device::uuid(device))
    }

    fn cuDeviceGetUuid_v2(uuid: Out<[u8; 16]>, device: c_int) {
        state::device(device)?;
        uuid.put(device::uuid(device))
    }

    fn cuDeviceTotalMem_v2(bytes: Out<usize>, device: c_int) {
        state::device(device)?;
        bytes.put(settings().memory as usize)
    }

    fn cuDeviceGetAttribute(value: Out<c_int>, attribute: c_uint, device: c_int) {
        state::device(device)?;
        value.put(device::attribute(attribute, &settings())?)
    }

    fn cuDeviceComputeCapability(major: Out<c_int>, minor: Out<c_int>, device: c_int) {
        state::device(device)?;
        let capability = settings().capability;
        major.put(capability.0)?;
        minor.put(capability.1)
    }

    fn cuDeviceGetPCIBusId(id: usize, len: c_int, device: c_int) {
        state::device(device)?;
        name_into(id, len, &device::pci_bus_id(device))
    }

    fn cuDeviceGetByPCIBusId(device: Out<c_int>, id: Text) {
        state::state()?;
        let id = id.get()?;
        let found = (0..settings().devices).find(|&device| device::pci_bus_id(device) == id);
        device.put(found.ok_or(Status::INVALID_DEVICE)?)
    }

    fn cuDeviceCanAccessPeer(can: Out<c_int>, device: c_int, peer: c_int) {
        state::device(device)?;
        state::device(peer)?;
        can.put(0)
    }

    fn cuProfilerStart() {
        state::current().map(|_| ())
    }

    fn cuProfilerStop() {
        state::current().map(|_| ())
    }
}
