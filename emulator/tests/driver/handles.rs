//! Handles that are none: always a code, never a crash.

use std::ffi::CStr;
use std::ptr::null_mut;

use cudarc::driver::sys::{self, CUfunction_attribute, CUresult};

use crate::support::{emulator, ok};

/// A number that is no handle: an address that nothing may be read from.
fn bogus<T>() -> *mut T {
    0x7777_7777_0000_usize as *mut T
}

#[test]
fn unknown_handles_have_their_codes() {
    let emulator = emulator(&[]);
    let context = emulator.context();
    let (invalid, value) = (CUresult::CUDA_ERROR_INVALID_HANDLE, CUresult::CUDA_ERROR_INVALID_VALUE);
    let mut number = 0;
    let mut function = null_mut();
    // SAFETY: the driver looks handles up and follows none.
    unsafe {
        assert_eq!(sys::cuStreamSynchronize(bogus()), invalid);
        assert_eq!(sys::cuStreamDestroy_v2(bogus()), invalid);
        assert_eq!(sys::cuStreamDestroy_v2(null_mut()), invalid);
        assert_eq!(sys::cuEventRecord(bogus(), null_mut()), invalid);
        assert_eq!(sys::cuEventSynchronize(null_mut()), invalid);
        assert_eq!(sys::cuStreamWaitEvent(null_mut(), bogus(), 0), invalid);
        assert_eq!(sys::cuModuleUnload(bogus()), invalid);
        assert_eq!(sys::cuModuleGetFunction(&mut function, bogus(), c"f".as_ptr()), invalid);
        assert_eq!(sys::cuFuncGetAttribute(&mut number, CUfunction_attribute::CU_FUNC_ATTRIBUTE_NUM_REGS, bogus()), invalid);
        assert_eq!(sys::cuLaunchKernel(bogus(), 1, 1, 1, 1, 1, 1, 0, null_mut(), null_mut(), null_mut()), invalid);
        assert_eq!(sys::cuMemFreeAsync(0, bogus()), invalid);
        assert_eq!(sys::cuCtxSetCurrent(bogus()), CUresult::CUDA_ERROR_INVALID_CONTEXT);
        assert_eq!(sys::cuCtxDestroy_v2(bogus()), CUresult::CUDA_ERROR_INVALID_CONTEXT);
        assert_eq!(sys::cuDeviceGetCount(null_mut()), value);
        assert_eq!(sys::cuStreamCreate(null_mut(), 0), value);
        assert_eq!(sys::cuStreamCreate(&mut null_mut(), 99), value);
        assert_eq!(sys::cuModuleLoadData(&mut null_mut(), std::ptr::null()), value);
        assert_eq!(sys::cuMemHostAlloc(null_mut(), 8, 0), value);
        assert_eq!(sys::cuMemHostRegister_v2(null_mut(), 8, 0), value);
        assert_eq!(sys::cuDeviceGetName(null_mut(), 8, 0), value);
        assert_eq!(sys::cuDeviceGet(&mut number, 5), CUresult::CUDA_ERROR_INVALID_DEVICE);
        assert_eq!(sys::cuMemAllocManaged(&mut 0, 8, 1), CUresult::CUDA_ERROR_NOT_SUPPORTED);
    }
    context.synchronize().unwrap();
}

#[test]
fn a_handle_is_no_handle_of_another_kind_or_after_its_end() {
    let emulator = emulator(&[]);
    let context = emulator.context();
    let event = context.new_event(None).unwrap();
    let (mut stream, mut other) = (null_mut(), null_mut());
    // SAFETY: as above.
    unsafe {
        assert_eq!(sys::cuStreamSynchronize(event.cu_event().cast()), CUresult::CUDA_ERROR_INVALID_HANDLE);
        ok(sys::cuStreamCreate(&mut stream, 0));
        ok(sys::cuCtxCreate_v2(&mut other, 0, 0));
        assert_eq!(sys::cuStreamQuery(stream), CUresult::CUDA_ERROR_INVALID_HANDLE, "another context's");
        ok(sys::cuCtxDestroy_v2(other));
        ok(sys::cuStreamDestroy_v2(stream));
        assert_eq!(sys::cuStreamDestroy_v2(stream), CUresult::CUDA_ERROR_INVALID_HANDLE);
    }
    context.synchronize().unwrap();
}

#[test]
fn contexts_stack_and_end() {
    let emulator = emulator(&[]);
    let primary = emulator.context();
    let (mut made, mut popped, mut current) = (null_mut(), null_mut(), null_mut());
    // SAFETY: results go to locals.
    unsafe {
        ok(sys::cuCtxCreate_v2(&mut made, 0, 0));
        ok(sys::cuCtxGetCurrent(&mut current));
        assert_eq!(current, made);
        ok(sys::cuCtxPopCurrent_v2(&mut popped));
        assert_eq!(popped, made);
        ok(sys::cuCtxGetCurrent(&mut current));
        assert_eq!(current, primary.cu_ctx());
        ok(sys::cuCtxPushCurrent_v2(made));
        ok(sys::cuCtxSynchronize());
        ok(sys::cuCtxDestroy_v2(made));
        assert_eq!(sys::cuCtxSetCurrent(made), CUresult::CUDA_ERROR_INVALID_CONTEXT);
        assert_eq!(sys::cuCtxDestroy_v2(primary.cu_ctx()), CUresult::CUDA_ERROR_INVALID_CONTEXT, "released, not destroyed");
    }
    let thread = std::thread::spawn(|| {
        // SAFETY: no context is current on a new thread.
        unsafe { sys::cuCtxSynchronize() }
    });
    assert_eq!(thread.join().unwrap(), CUresult::CUDA_ERROR_INVALID_CONTEXT);
}

#[test]
fn errors_have_names() {
    let _emulator = emulator(&[]);
    let mut text = std::ptr::null();
    // SAFETY: names live for ever.
    unsafe {
        ok(sys::cuGetErrorName(CUresult::CUDA_ERROR_INVALID_PTX, &mut text));
        assert_eq!(CStr::from_ptr(text), c"CUDA_ERROR_INVALID_PTX");
        ok(sys::cuGetErrorString(CUresult::CUDA_SUCCESS, &mut text));
        assert_eq!(CStr::from_ptr(text), c"no error");
    }
}

#[test]
fn entry_points_are_found_by_name() {
    let _emulator = emulator(&[]);
    let mut address = null_mut();
    let mut status = sys::CUdriverProcAddressQueryResult::CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT;
    // SAFETY: results go to locals, and the function found is called by its type.
    unsafe {
        ok(sys::cuGetProcAddress_v2(c"cuDriverGetVersion".as_ptr(), &mut address, 12080, 0, &mut status));
        let get_version: extern "C" fn(*mut i32) -> CUresult = std::mem::transmute(address);
        let mut version = 0;
        ok(get_version(&mut version));
        assert_eq!(version, 12080);
        let missing = sys::cuGetProcAddress_v2(c"cuNoSuchThing".as_ptr(), &mut address, 12080, 0, &mut status);
        assert_eq!(missing, CUresult::CUDA_ERROR_NOT_FOUND);
    }
    assert_eq!(status, sys::CUdriverProcAddressQueryResult::CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND);
}
