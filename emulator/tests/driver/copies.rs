//! Copies: what is asynchronous really is, and a missing wait shows.

use cudarc::driver::sys::{self, CUresult};

use crate::support::{Gate, Pinned, device_memory, download, emulator, ok, upload};

#[test]
fn slices_round_trip() {
    let emulator = emulator(&[]);
    let context = emulator.context();
    let stream = context.new_stream().unwrap();
    let data: Vec<u32> = (0..100_000).map(|value| value * 7).collect();
    let device = stream.clone_htod(&data).unwrap();
    let copy = stream.clone_dtod(&device).unwrap();
    assert_eq!(stream.clone_dtoh(&copy).unwrap(), data);
}

#[test]
fn larger_than_staging_round_trips() {
    let emulator = emulator(&[]);
    let context = emulator.context();
    let data: Vec<u8> = (0..3_000_001).map(|value: u32| (value % 251) as u8).collect();
    let stream = context.default_stream();
    let device = stream.clone_htod(&data).unwrap();
    assert_eq!(stream.clone_dtoh(&device).unwrap(), data);
}

#[test]
fn fills_of_every_width() {
    let emulator = emulator(&[]);
    let _context = emulator.context();
    let address = device_memory(16);
    // SAFETY: the address is live.
    unsafe {
        ok(sys::cuMemsetD8_v2(address, 0xab, 16));
        ok(sys::cuMemsetD16_v2(address + 2, 0x1234, 2));
        ok(sys::cuMemsetD32_v2(address + 8, 0x0102_0304, 1));
        assert_eq!(sys::cuMemsetD32_v2(address + 2, 0, 1), CUresult::CUDA_ERROR_INVALID_VALUE);
        assert_eq!(sys::cuMemsetD8_v2(address, 0, 17), CUresult::CUDA_ERROR_INVALID_VALUE);
    }
    assert_eq!(download(address, 16), [171, 171, 52, 18, 52, 18, 171, 171, 4, 3, 2, 1, 171, 171, 171, 171]);
}

#[test]
fn pageable_source_may_be_reused_at_once() {
    let emulator = emulator(&[("lazy", "1")]);
    let context = emulator.context();
    let stream = context.new_stream().unwrap();
    let address = device_memory(64);
    let mut source = [1_u8; 64];
    // SAFETY: pageable memory is staged.
    ok(unsafe { sys::cuMemcpyHtoDAsync_v2(address, source.as_ptr().cast(), 64, stream.cu_stream()) });
    source.fill(2);
    stream.synchronize().unwrap();
    assert_eq!(download(address, 64), [1; 64]);
}

#[test]
fn pinned_source_reused_too_early_is_caught() {
    let emulator = emulator(&[]);
    let context = emulator.context();
    let stream = context.new_stream().unwrap();
    let (address, pinned) = (device_memory(64), Pinned::new(64));
    let copy = || {
        pinned.fill(1);
        // SAFETY: pinned memory that stays until it is freed below.
        ok(unsafe { sys::cuMemcpyHtoDAsync_v2(address, pinned.address.cast(), 64, stream.cu_stream()) });
    };
    for (knob, value) in [("delay_us", "20000"), ("lazy", "1")] {
        emulator.set(knob, value);
        copy();
        pinned.fill(2);
        stream.synchronize().unwrap();
        assert_eq!(download(address, 64), [2; 64], "overwritten before the copy was done ({knob})");
        copy();
        stream.synchronize().unwrap();
        pinned.fill(2);
        assert_eq!(download(address, 64), [1; 64], "overwritten after ({knob})");
    }
    ok(pinned.free());
}

#[test]
fn pinned_target_read_too_early_is_poison() {
    let emulator = emulator(&[("delay_us", "20000")]);
    let context = emulator.context();
    let stream = context.new_stream().unwrap();
    let (address, pinned) = (device_memory(64), Pinned::new(64));
    upload(address, &[9; 64]);
    pinned.fill(9);
    // SAFETY: pinned memory that stays until it is freed below.
    ok(unsafe { sys::cuMemcpyDtoHAsync_v2(pinned.address.cast(), address, 64, stream.cu_stream()) });
    assert_eq!(pinned.bytes(), [0xa5; 64], "stale data that happen to be right must not hide the missing wait");
    stream.synchronize().unwrap();
    assert_eq!(pinned.bytes(), [9; 64]);
    ok(pinned.free());
}

#[test]
fn a_buffer_still_to_be_copied_from_is_not_poisoned() {
    let emulator = emulator(&[]);
    let context = emulator.context();
    let stream = context.new_stream().unwrap();
    let (address, pinned) = (device_memory(64), Pinned::new(64));
    pinned.fill(5);
    let gate = Gate::new(&stream);
    // SAFETY: pinned memory that stays until it is freed below.
    unsafe {
        ok(sys::cuMemcpyHtoDAsync_v2(address, pinned.address.cast(), 64, stream.cu_stream()));
        ok(sys::cuMemcpyDtoHAsync_v2(pinned.address.cast(), address, 64, stream.cu_stream()));
    }
    gate.open();
    stream.synchronize().unwrap();
    assert_eq!(pinned.bytes(), [5; 64]);
    ok(pinned.free());
}

#[test]
fn copies_without_a_direction() {
    let emulator = emulator(&[]);
    let _context = emulator.context();
    let (a, b) = (device_memory(8), device_memory(8));
    let (source, mut target) = ([1_u8, 2, 3, 4, 5, 6, 7, 8], [0_u8; 8]);
    // SAFETY: all addresses are live and the last call waits.
    unsafe {
        ok(sys::cuMemcpy(a, source.as_ptr() as u64, 8));
        ok(sys::cuMemcpy(b, a, 8));
        ok(sys::cuMemcpy(target.as_mut_ptr() as u64, b, 8));
    }
    assert_eq!(target, source);
}

#[test]
fn ranges_that_are_not_there_are_refused_at_once() {
    let emulator = emulator(&[]);
    let context = emulator.context();
    let (address, pinned) = (device_memory(64), Pinned::new(8192));
    let mut host = [0_u8; 128];
    let at = |offset| pinned.address.wrapping_add(offset).cast();
    // SAFETY: every call is refused before it touches anything.
    unsafe {
        let refused = [
            sys::cuMemcpyHtoD_v2(address, host.as_ptr().cast(), 65),
            sys::cuMemcpyHtoD_v2(address + 60, host.as_ptr().cast(), 5),
            sys::cuMemcpyHtoD_v2(12345, host.as_ptr().cast(), 1),
            sys::cuMemcpyHtoD_v2(address, std::ptr::null(), 1),
            sys::cuMemcpyHtoD_v2(address, address as *const _, 1),
            sys::cuMemcpyDtoH_v2(host.as_mut_ptr().cast(), address, 65),
            sys::cuMemcpyDtoD_v2(address, address + 32, 64),
            sys::cuMemcpyHtoDAsync_v2(address, at(8190), 16, std::ptr::null_mut()),
        ];
        assert_eq!(refused, [CUresult::CUDA_ERROR_INVALID_VALUE; 8]);
        ok(sys::cuMemcpyHtoD_v2(0, std::ptr::null(), 0));
    }
    context.synchronize().unwrap();
    ok(pinned.free());
}
