//! Streams, events, callbacks: what runs before what.

use std::ffi::c_void;
use std::sync::atomic::{AtomicU32, Ordering};

use cudarc::driver::sys::{self, CUevent_flags, CUresult};

use crate::support::{Gate, device_memory, download, emulator, error, ok, upload};

fn fill(address: u64, value: u8, stream: sys::CUstream) {
    // SAFETY: the tests fill what they allocated.
    ok(unsafe { sys::cuMemsetD8Async(address, value, 1, stream) });
}

fn query(stream: sys::CUstream) -> CUresult {
    // SAFETY: the tests pass streams that exist.
    unsafe { sys::cuStreamQuery(stream) }
}

#[test]
fn an_event_orders_two_streams() {
    let emulator = emulator(&[]);
    let context = emulator.context();
    let (first, second) = (context.new_stream().unwrap(), context.new_stream().unwrap());
    let address = device_memory(1);
    let gate = Gate::new(&first);
    fill(address, 1, first.cu_stream());
    let event = first.record_event(None).unwrap();
    second.wait(&event).unwrap();
    fill(address, 2, second.cu_stream());
    assert!(!event.is_complete());
    assert_eq!(query(second.cu_stream()), CUresult::CUDA_ERROR_NOT_READY);
    gate.open();
    second.synchronize().unwrap();
    assert!(event.is_complete());
    assert_eq!(download(address, 1), [2]);
}

#[test]
fn streams_without_an_event_do_not_wait_for_each_other() {
    let emulator = emulator(&[]);
    let context = emulator.context();
    let (first, second) = (context.new_stream().unwrap(), context.new_stream().unwrap());
    let address = device_memory(1);
    upload(address, &[0]);
    let gate = Gate::new(&first);
    fill(address, 1, first.cu_stream());
    fill(address, 2, second.cu_stream());
    second.synchronize().unwrap();
    gate.open();
    first.synchronize().unwrap();
    assert_eq!(download(address, 1), [1], "the missing wait shows as the first stream's value");
}

#[test]
fn the_default_stream_waits_for_blocking_streams_only() {
    let emulator = emulator(&[]);
    let context = emulator.context();
    let legacy = context.default_stream();
    let mut blocking = std::ptr::null_mut();
    // SAFETY: `blocking` is where the result goes.
    ok(unsafe { sys::cuStreamCreate(&mut blocking, 0) });
    let free = context.new_stream().unwrap();
    // SAFETY: the stream exists until it is destroyed below.
    let gate = Gate::new(&*unsafe { context.wrap_borrowed_stream(blocking) });
    let address = device_memory(3);
    fill(address, 1, blocking);
    fill(address + 1, 2, legacy.cu_stream());
    fill(address + 2, 3, free.cu_stream());
    free.synchronize().unwrap();
    assert_eq!(query(legacy.cu_stream()), CUresult::CUDA_ERROR_NOT_READY);
    gate.open();
    legacy.synchronize().unwrap();
    assert_eq!(download(address, 3), [1, 2, 3]);

    let gate = Gate::new(&legacy);
    fill(address, 4, blocking);
    assert_eq!(query(blocking), CUresult::CUDA_ERROR_NOT_READY);
    assert_eq!(query(free.cu_stream()), CUresult::CUDA_SUCCESS);
    gate.open();
    assert_eq!(download(address, 1), [4]);
    // SAFETY: the stream exists and is used no more.
    ok(unsafe { sys::cuStreamDestroy_v2(blocking) });
}

#[test]
fn each_thread_has_a_default_stream_of_its_own() {
    let emulator = emulator(&[]);
    let context = emulator.context();
    let address = device_memory(1);
    let gate = Gate::new(&context.per_thread_stream());
    let other = context.clone();
    std::thread::spawn(move || {
        other.bind_to_thread().unwrap();
        fill(address, 7, other.per_thread_stream().cu_stream());
        other.per_thread_stream().synchronize().unwrap();
    })
    .join()
    .unwrap();
    assert_eq!(query(context.per_thread_stream().cu_stream()), CUresult::CUDA_ERROR_NOT_READY);
    gate.open();
    context.synchronize().unwrap();
    assert_eq!(download(address, 1), [7]);
}

#[test]
fn lazy_work_is_done_only_when_somebody_waits() {
    let emulator = emulator(&[("lazy", "1")]);
    let context = emulator.context();
    let (first, second) = (context.new_stream().unwrap(), context.new_stream().unwrap());
    let address = device_memory(2);
    upload(address, &[0, 0]);
    fill(address, 1, first.cu_stream());
    let event = first.record_event(None).unwrap();
    fill(address, 9, first.cu_stream());
    second.wait(&event).unwrap();
    fill(address + 1, 2, second.cu_stream());
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(download(address, 2), [0, 0]);
    second.synchronize().unwrap();
    assert_eq!(download(address, 2), [1, 2], "up to the event, no further");
    while query(first.cu_stream()) == CUresult::CUDA_ERROR_NOT_READY {
        std::thread::yield_now();
    }
    assert_eq!(download(address, 2), [9, 2], "asking is enough");
}

#[test]
fn elapsed_time_needs_timed_and_reached_events() {
    let emulator = emulator(&[]);
    let context = emulator.context();
    let stream = context.new_stream().unwrap();
    let timed = Some(CUevent_flags::CU_EVENT_DEFAULT);
    let start = stream.record_event(timed).unwrap();
    start.synchronize().unwrap();
    let gate = Gate::new(&stream);
    let end = stream.record_event(timed).unwrap();
    let elapsed = |from: &cudarc::driver::CudaEvent, to: &cudarc::driver::CudaEvent| {
        let mut milliseconds = 0.0;
        // SAFETY: both events exist.
        let code = unsafe { sys::cuEventElapsedTime(&mut milliseconds, from.cu_event(), to.cu_event()) };
        (code, milliseconds)
    };
    assert_eq!(elapsed(&start, &end).0, CUresult::CUDA_ERROR_NOT_READY);
    std::thread::sleep(std::time::Duration::from_millis(5));
    gate.open();
    let measured = start.elapsed_ms(&end).unwrap();
    assert!((5.0..10_000.0).contains(&measured), "{measured}");
    let untimed = stream.record_event(None).unwrap();
    stream.synchronize().unwrap();
    assert_eq!(elapsed(&start, &untimed).0, CUresult::CUDA_ERROR_INVALID_HANDLE);
    let unrecorded = context.new_event(timed).unwrap();
    assert!(unrecorded.is_complete());
    assert_eq!(error(start.elapsed_ms(&unrecorded)), CUresult::CUDA_ERROR_INVALID_HANDLE);
}

#[test]
fn callbacks_run_in_turn_and_may_not_call_the_driver() {
    static ANSWER: AtomicU32 = AtomicU32::new(0);
    extern "C" fn ask(data: *mut c_void) {
        // SAFETY: the driver refuses before it looks at anything.
        ANSWER.store(unsafe { sys::cuCtxSynchronize() } as u32 + data as u32, Ordering::SeqCst);
    }
    let emulator = emulator(&[("lazy", "1")]);
    let context = emulator.context();
    let stream = context.new_stream().unwrap();
    // SAFETY: the callback takes a number.
    ok(unsafe { sys::cuLaunchHostFunc(stream.cu_stream(), Some(ask), 5 as *mut c_void) });
    while ANSWER.load(Ordering::SeqCst) == 0 {
        std::thread::yield_now();
    }
    assert_eq!(ANSWER.load(Ordering::SeqCst), CUresult::CUDA_ERROR_NOT_PERMITTED as u32 + 5);
    stream.synchronize().unwrap();
}

#[test]
fn a_destroyed_stream_finishes_its_work() {
    let emulator = emulator(&[("lazy", "1")]);
    let context = emulator.context();
    let address = device_memory(1);
    let stream = context.new_stream().unwrap();
    fill(address, 3, stream.cu_stream());
    drop(stream);
    context.synchronize().unwrap();
    assert_eq!(download(address, 1), [3]);
}
