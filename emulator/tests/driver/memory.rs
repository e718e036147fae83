//! Device and pinned memory.

use cudarc::driver::sys::{self, CUdevice_attribute as Attribute, CUpointer_attribute as PointerAttribute, CUresult};
use cudarc::driver::{CudaContext, DevicePtr};

use crate::support::{Pinned, device_memory, emulator, error, ok};

#[test]
fn the_device_says_what_it_is() {
    let emulator = emulator(&[("memory", "123456789"), ("capability", "8.9"), ("threads", "3")]);
    let context = emulator.context();
    assert_eq!(CudaContext::device_count().unwrap(), 1);
    assert_eq!(context.name().unwrap(), "wcodec emulator");
    assert_eq!(context.compute_capability().unwrap(), (8, 9));
    assert_eq!(context.total_mem().unwrap(), 123_456_789);
    assert_eq!(context.mem_get_info().unwrap(), (123_456_789, 123_456_789));
    assert_eq!(context.uuid().unwrap().bytes.map(|byte| byte as u8), *b"wcodec-emulator\0");
    assert!(context.has_async_alloc());
    assert_eq!(context.attribute(Attribute::CU_DEVICE_ATTRIBUTE_WARP_SIZE).unwrap(), 32);
    assert_eq!(context.attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT).unwrap(), 3);
    assert_eq!(error(CudaContext::new(1)), CUresult::CUDA_ERROR_INVALID_DEVICE);
    let mut version = 0;
    // SAFETY: `version` is where the result goes.
    ok(unsafe { sys::cuDriverGetVersion(&mut version) });
    assert_eq!(version, 12080);
    emulator.set("threads", "2");
}

#[test]
fn devices_have_memory_and_contexts_of_their_own() {
    let emulator = emulator(&[("devices", "2"), ("memory", "1000000")]);
    assert_eq!(CudaContext::device_count().unwrap(), 2);
    let contexts = [emulator.context(), CudaContext::new(1).unwrap()];
    assert_eq!(error(CudaContext::new(2)), CUresult::CUDA_ERROR_INVALID_DEVICE);
    assert_ne!(contexts[0].uuid().unwrap().bytes, contexts[1].uuid().unwrap().bytes);
    let slices = contexts.each_ref().map(|context| context.default_stream().clone_htod(&[7u8; 600_000]).unwrap());
    contexts.iter().for_each(|context| context.synchronize().unwrap());
    for context in &contexts {
        context.bind_to_thread().unwrap();
        assert_eq!(context.mem_get_info().unwrap().0, 400_000);
        let mut device = -1;
        // SAFETY: `device` is where the result goes.
        ok(unsafe { sys::cuCtxGetDevice(&mut device) });
        assert_eq!(device, context.ordinal() as i32);
    }
    // The first device's memory is none of the second's, whose context is current.
    let (address, _sync) = slices[0].device_ptr(slices[0].stream());
    let mut byte = 0u8;
    // SAFETY: at most one byte is written, to `byte`.
    assert!(error(unsafe { sys::cuMemcpyDtoH_v2((&raw mut byte).cast(), address, 1) }.result()) != CUresult::CUDA_SUCCESS);
}

#[test]
fn capacity_is_a_limit_and_frees_give_back() {
    let emulator = emulator(&[("memory", "1000000")]);
    let context = emulator.context();
    let stream = context.default_stream();
    // SAFETY: nobody reads what is not written.
    let first = unsafe { stream.alloc::<u8>(600_000) }.unwrap();
    // SAFETY: as above.
    assert_eq!(error(unsafe { stream.alloc::<u8>(400_001) }), CUresult::CUDA_ERROR_OUT_OF_MEMORY);
    assert_eq!(context.mem_get_info().unwrap(), (400_000, 1_000_000));
    drop(first);
    // SAFETY: as above. The free is queued; the allocation must wait for it.
    let second = unsafe { stream.alloc::<u8>(1_000_000) }.unwrap();
    drop(second);
    context.synchronize().unwrap();
    assert_eq!(context.mem_get_info().unwrap(), (1_000_000, 1_000_000));
}

#[test]
fn wrong_frees_are_refused() {
    let emulator = emulator(&[]);
    let context = emulator.context();
    let address = device_memory(100);
    assert_eq!(address % 256, 0);
    let invalid = CUresult::CUDA_ERROR_INVALID_VALUE;
    let mut empty = 0;
    // SAFETY: wrong frees are what is tested.
    unsafe {
        assert_eq!(sys::cuMemAlloc_v2(&mut empty, 0), invalid);
        assert_eq!(sys::cuMemAlloc_v2(std::ptr::null_mut(), 8), invalid);
        assert_eq!(sys::cuMemFree_v2(address + 4), invalid);
        ok(sys::cuMemFree_v2(address));
        assert_eq!(sys::cuMemFree_v2(address), invalid);
        assert_eq!(sys::cuMemFreeAsync(address, std::ptr::null_mut()), invalid);
        ok(sys::cuMemFree_v2(0));
        let again = device_memory(8);
        emulator.set("lazy", "1");
        ok(sys::cuMemFreeAsync(again, std::ptr::null_mut()));
        assert_eq!(sys::cuMemFreeAsync(again, std::ptr::null_mut()), invalid, "queued already");
        assert_eq!(sys::cuMemFree_v2(again), invalid, "queued already");
    }
    context.synchronize().unwrap();
}

#[test]
fn pinned_memory_is_registered_once_and_forgotten_once() {
    let emulator = emulator(&[]);
    let context = emulator.context();
    let mut buffer = vec![0_u8; 10_000];
    let at = buffer.as_mut_ptr().cast();
    // SAFETY: the buffer outlives its registration.
    unsafe {
        ok(sys::cuMemHostRegister_v2(at, 10_000, 0));
        assert_eq!(sys::cuMemHostRegister_v2(at, 10, 0), CUresult::CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
        assert_eq!(sys::cuMemFreeHost(at), CUresult::CUDA_ERROR_INVALID_VALUE);
        ok(sys::cuMemHostUnregister(at));
        assert_eq!(sys::cuMemHostUnregister(at), CUresult::CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
    }
    let pinned = Pinned::new(100);
    let mut flags = 7;
    // SAFETY: `flags` is where the result goes.
    ok(unsafe { sys::cuMemHostGetFlags(&mut flags, pinned.address.cast()) });
    assert_eq!(flags, 0);
    ok(pinned.free());
    assert_eq!(pinned.free(), CUresult::CUDA_ERROR_INVALID_VALUE);
    assert_eq!(context.mem_get_info().unwrap().0, 1 << 30, "host memory is none of the device's");
}

#[test]
fn cudarc_pinned_slices_work() {
    let emulator = emulator(&[]);
    let context = emulator.context();
    let stream = context.new_stream().unwrap();
    // SAFETY: written before it is read.
    let mut pinned = unsafe { context.alloc_pinned::<u16>(1000) }.unwrap();
    pinned.as_mut_slice().unwrap().iter_mut().zip(0..).for_each(|(slot, value)| *slot = value);
    let device = stream.clone_htod(&pinned).unwrap();
    pinned.as_mut_slice().unwrap().fill(0);
    stream.memcpy_dtoh(&device, &mut pinned).unwrap();
    assert!(pinned.as_slice().unwrap().iter().zip(0..).all(|(&value, index)| value == index));
}

#[test]
fn pointers_tell_what_they_point_to() {
    let emulator = emulator(&[]);
    let _context = emulator.context();
    let (device, pinned) = (device_memory(1000), Pinned::new(64));
    let attribute = |which, address| {
        let mut value = 0_u64;
        // SAFETY: `value` has room for any of the attributes asked for.
        let code = unsafe { sys::cuPointerGetAttribute((&raw mut value).cast(), which, address) };
        (code == CUresult::CUDA_SUCCESS).then_some(value)
    };
    assert_eq!(attribute(PointerAttribute::CU_POINTER_ATTRIBUTE_MEMORY_TYPE, device + 9), Some(2));
    assert_eq!(attribute(PointerAttribute::CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, device + 9), Some(device));
    assert_eq!(attribute(PointerAttribute::CU_POINTER_ATTRIBUTE_RANGE_SIZE, device + 9), Some(1000));
    assert_eq!(attribute(PointerAttribute::CU_POINTER_ATTRIBUTE_MEMORY_TYPE, pinned.address as u64), Some(1));
    assert_eq!(attribute(PointerAttribute::CU_POINTER_ATTRIBUTE_MEMORY_TYPE, 4096), None);
    ok(pinned.free());
}
