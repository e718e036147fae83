//! What programs do wrong: found, named, and stuck to the context.

use std::ptr::null_mut;

use cudarc::driver::CudaContext;
use cudarc::driver::sys::{self, CUresult};

use crate::kernels::{launch_one, raw_kernel};
use crate::support::{Emulator, Gate, Pinned, device_memory, emulator, error, ok, upload};

/// Launches `add_step` from `source` to `target` and returns the code it sticks with.
fn stuck_after(target: u64, source: u64) -> CUresult {
    ok(launch_one(raw_kernel(c"add_step"), null_mut(), target, source));
    // SAFETY: a context is current.
    unsafe { sys::cuCtxSynchronize() }
}

/// Asserts that the context is stuck, that its text names each of `words`, and that a new context works.
fn assert_stuck(emulator: &Emulator, context: std::sync::Arc<CudaContext>, code: CUresult, words: &[&str]) {
    assert_eq!(error(context.synchronize()), code);
    assert_eq!(error(context.mem_get_info()), code);
    let fault = emulator.last_fault();
    assert!(words.iter().all(|word| fault.contains(word)), "{fault}");
    // Whatever is still owned: the context takes it along.
    drop(context);
    // SAFETY: device 0 exists.
    ok(unsafe { sys::cuDevicePrimaryCtxReset_v2(0) });
    let context = emulator.context();
    let stream = context.default_stream();
    let device = stream.clone_htod(&[1_u8, 2, 3]).unwrap();
    assert_eq!(stream.clone_dtoh(&device).unwrap(), [1, 2, 3]);
}

#[test]
fn out_of_bounds_and_freed_memory() {
    let emulator = emulator(&[]);
    let context = emulator.context();
    let address = device_memory(4);
    upload(address, &[0; 4]);
    assert_eq!(stuck_after(address + 4, address), CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_stuck(&emulator, context, CUresult::CUDA_ERROR_ILLEGAL_ADDRESS, &["OutOfBounds", "add_step", "PTX line"]);

    let context = emulator.context();
    let (address, freed) = (device_memory(4), device_memory(4));
    upload(freed, &[0; 4]);
    // SAFETY: use after free is what is tested.
    ok(unsafe { sys::cuMemFree_v2(freed) });
    assert_eq!(stuck_after(address, freed), CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
    assert_stuck(&emulator, context, CUresult::CUDA_ERROR_ILLEGAL_ADDRESS, &["UseAfterFree", &format!("{freed:#x}")]);
}

#[test]
fn misaligned_and_unwritten_memory() {
    let emulator = emulator(&[]);
    let context = emulator.context();
    let address = device_memory(8);
    upload(address, &[0; 8]);
    assert_eq!(stuck_after(address, address + 2), CUresult::CUDA_ERROR_MISALIGNED_ADDRESS);
    assert_stuck(&emulator, context, CUresult::CUDA_ERROR_MISALIGNED_ADDRESS, &["Misaligned"]);

    let context = emulator.context();
    let address = device_memory(8);
    assert_eq!(stuck_after(address, address + 4), CUresult::CUDA_ERROR_LAUNCH_FAILED);
    assert_stuck(&emulator, context, CUresult::CUDA_ERROR_LAUNCH_FAILED, &["Uninitialised"]);

    emulator.set("sanitize", "0");
    let _context = emulator.context();
    let address = device_memory(8);
    assert_eq!(stuck_after(address, address + 4), CUresult::CUDA_SUCCESS);
}

#[test]
fn traps_and_hangs() {
    let emulator = emulator(&[("instruction_limit", "10000")]);
    for (name, code, word) in
        [(c"traps", CUresult::CUDA_ERROR_ILLEGAL_INSTRUCTION, "Trap"), (c"forever", CUresult::CUDA_ERROR_LAUNCH_TIMEOUT, "Hang")]
    {
        let context = emulator.context();
        let function = raw_kernel(name);
        // SAFETY: the kernels take no parameters.
        ok(unsafe { sys::cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, null_mut(), null_mut(), null_mut()) });
        assert_eq!(error(context.synchronize()), code);
        assert_stuck(&emulator, context, code, &[word]);
    }
}

#[test]
fn a_kernel_that_does_not_wait_for_its_data() {
    let emulator = emulator(&[]);
    let context = emulator.context();
    let (copies, kernels) = (context.new_stream().unwrap(), context.new_stream().unwrap());
    let (address, pinned) = (device_memory(4), Pinned::new(4));
    let gate = Gate::new(&copies);
    // SAFETY: pinned memory that the context frees.
    ok(unsafe { sys::cuMemcpyHtoDAsync_v2(address, pinned.address.cast(), 4, copies.cu_stream()) });
    ok(launch_one(raw_kernel(c"add_step"), kernels.cu_stream(), address, address));
    assert_eq!(error(kernels.synchronize()), CUresult::CUDA_ERROR_LAUNCH_FAILED);
    gate.open();
    assert!(emulator.last_fault().contains("Uninitialised"), "{}", emulator.last_fault());
}

#[test]
fn memory_freed_while_queued_work_refers_to_it() {
    let emulator = emulator(&[]);
    let illegal = CUresult::CUDA_ERROR_ILLEGAL_ADDRESS;
    type Deed = fn(u64, &Pinned) -> CUresult;
    // SAFETY: freeing too early is what is tested.
    let free: Deed = |address, _| unsafe { sys::cuMemFree_v2(address) };
    let deeds: [(&str, bool, Deed); 3] = [
        ("free of device memory", false, free),
        ("free of device memory", true, free),
        ("free of pinned host memory", false, |_, pinned| pinned.free()),
    ];
    for (text, by_kernel, deed) in deeds {
        let context = emulator.context();
        let stream = context.new_stream().unwrap();
        let (address, pinned) = (device_memory(4), Pinned::new(4));
        let function = raw_kernel(c"add_step");
        let gate = Gate::new(&stream);
        match by_kernel {
            true => ok(launch_one(function, stream.cu_stream(), address, address)),
            // SAFETY: the copy is dropped when the context fails.
            false => ok(unsafe { sys::cuMemcpyHtoDAsync_v2(address, pinned.address.cast(), 4, stream.cu_stream()) }),
        }
        assert_eq!(deed(address, &pinned), illegal);
        gate.open();
        drop(stream);
        assert_stuck(&emulator, context, illegal, &[text, "synchronise"]);
    }
}

#[test]
fn registered_memory_that_goes_away_too_early() {
    let emulator = emulator(&[]);
    let context = emulator.context();
    let stream = context.new_stream().unwrap();
    let mut buffer = vec![1_u8; 4096];
    let address = device_memory(4096);
    let gate = Gate::new(&stream);
    // SAFETY: the buffer outlives its registration.
    unsafe {
        ok(sys::cuMemHostRegister_v2(buffer.as_mut_ptr().cast(), 4096, 0));
        ok(sys::cuMemcpyDtoHAsync_v2(buffer.as_mut_ptr().cast(), address, 4096, stream.cu_stream()));
        assert_eq!(sys::cuMemHostUnregister(buffer.as_mut_ptr().cast()), CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
    }
    let before = buffer.clone();
    gate.open();
    drop(stream);
    assert_stuck(&emulator, context, CUresult::CUDA_ERROR_ILLEGAL_ADDRESS, &["unregistering"]);
    assert_eq!(buffer, before, "the copy must not touch memory that is its owner's again");
}

#[test]
fn a_stream_ordered_free_before_its_last_use() {
    let emulator = emulator(&[]);
    let context = emulator.context();
    let (first, second) = (context.new_stream().unwrap(), context.new_stream().unwrap());
    let address = device_memory(4);
    upload(address, &[0; 4]);
    let gate = Gate::new(&second);
    ok(launch_one(raw_kernel(c"add_step"), second.cu_stream(), address, address));
    // SAFETY: freeing too early is what is tested.
    ok(unsafe { sys::cuMemFreeAsync(address, first.cu_stream()) });
    assert_eq!(error(first.synchronize()), CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
    gate.open();
    assert!(emulator.last_fault().contains("stream-ordered free"), "{}", emulator.last_fault());
}
