//! Planted failures.

use std::ptr::null_mut;

use cudarc::driver::sys::{self, CUresult};
use cudarc::driver::{CudaContext, result};
use cudarc::nvrtc::Ptx;

use crate::kernels::{PTX, launch_one, raw_kernel};
use crate::support::{Pinned, device_memory, download, emulator, error, ok, upload};

#[test]
fn no_device_and_an_old_driver() {
    let emulator = emulator(&[("fail", "init,driver-old")]);
    assert_eq!(error(CudaContext::new(0)), CUresult::CUDA_ERROR_NO_DEVICE);
    let mut version = 0;
    // SAFETY: `version` is where the result goes.
    ok(unsafe { sys::cuDriverGetVersion(&mut version) });
    assert_eq!(version, 11000);
    emulator.set("fail", "");
    CudaContext::new(0).unwrap();
}

#[test]
fn allocations_fail_by_number_and_by_size() {
    let emulator = emulator(&[("fail", "alloc:2,alloc>1000")]);
    let context = emulator.context();
    let stream = context.default_stream();
    let fails = |len: usize| stream.alloc_zeros::<u8>(len).is_err();
    assert_eq!([10, 10, 1000, 1001, 10].map(fails), [false, true, false, true, false]);
    emulator.set("fail", "host-alloc:1+");
    // SAFETY: never read.
    assert_eq!(error(unsafe { context.alloc_pinned::<u8>(10) }), CUresult::CUDA_ERROR_OUT_OF_MEMORY);
    emulator.set("fail", "");
    ok(Pinned::new(10).free());
    context.synchronize().unwrap();
}

#[test]
fn a_module_that_does_not_compile() {
    let emulator = emulator(&[("fail", "module:1")]);
    let context = emulator.context();
    assert_eq!(error(context.load_module(Ptx::from_src(PTX))), CUresult::CUDA_ERROR_INVALID_PTX);
    context.load_module(Ptx::from_src(PTX)).unwrap();
}

#[test]
fn a_launch_that_is_refused_leaves_the_context_usable() {
    let emulator = emulator(&[("fail", "submit:2")]);
    let _context = emulator.context();
    let (function, address) = (raw_kernel(c"add_step"), device_memory(4));
    upload(address, &[0; 4]);
    let codes = [(); 3].map(|()| launch_one(function, null_mut(), address, address));
    assert_eq!(codes.map(|code| code as u32), [0, 701, 0]);
    assert_eq!(download(address, 4), [6, 0, 0, 0]);
}

#[test]
fn a_launch_that_fails_sticks() {
    let emulator = emulator(&[("fail", "launch:2")]);
    let context = emulator.context();
    let (function, address) = (raw_kernel(c"add_step"), device_memory(4));
    upload(address, &[0; 4]);
    ok(launch_one(function, null_mut(), address, address));
    context.synchronize().unwrap();
    ok(launch_one(function, null_mut(), address, address));
    assert_eq!(error(context.synchronize()), CUresult::CUDA_ERROR_LAUNCH_FAILED);
    assert_eq!(launch_one(function, null_mut(), address, address), CUresult::CUDA_ERROR_LAUNCH_FAILED);
    assert!(emulator.last_fault().contains("injected"));
}

#[test]
fn a_copy_that_fails_sticks() {
    let emulator = emulator(&[("fail", "copy:2")]);
    let context = emulator.context();
    let address = device_memory(4);
    upload(address, &[0; 4]);
    let mut host = [7_u8; 4];
    // SAFETY: the call waits.
    let code = unsafe { result::memcpy_dtoh_sync(&mut host, address) };
    assert_eq!(error(code), CUresult::CUDA_ERROR_ECC_UNCORRECTABLE);
    assert_eq!(host, [7; 4]);
    assert_eq!(error(context.synchronize()), CUresult::CUDA_ERROR_ECC_UNCORRECTABLE);
}

#[test]
fn a_lost_device_answers_nothing_until_it_is_back() {
    let emulator = emulator(&[("fail", "device-lost:3")]);
    let context = emulator.context();
    let (function, address) = (raw_kernel(c"add_step"), device_memory(4));
    upload(address, &[0; 4]);
    let codes = [(); 4].map(|()| launch_one(function, null_mut(), address, address) as u32);
    assert_eq!(codes, [0, 0, 46, 46]);
    assert_eq!(error(context.synchronize()), CUresult::CUDA_ERROR_DEVICE_UNAVAILABLE);
    assert_eq!(error(CudaContext::device_count()), CUresult::CUDA_ERROR_DEVICE_UNAVAILABLE);
    drop(context);
    emulator.set("fail", "");
    assert_eq!(CudaContext::device_count().unwrap(), 1);
    let stream = emulator.context().default_stream();
    assert_eq!(stream.clone_dtoh(&stream.clone_htod(&[1, 2, 3]).unwrap()).unwrap(), [1, 2, 3]);
}

#[test]
fn wrong_knobs_are_refused() {
    let emulator = emulator(&[]);
    for (name, value) in [("fail", "alloc:x"), ("fail", "nothing"), ("lazy", "maybe"), ("no_such_knob", "1")] {
        assert_eq!(emulator.try_set(name, value), 1, "{name}={value}");
        assert!(emulator.last_fault().contains(if name == "fail" { value } else { name }), "{}", emulator.last_fault());
    }
}
