//! Launches.

use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::Arc;

use cudarc::driver::sys::{self, CUfunction_attribute, CUresult};
use cudarc::driver::{CudaContext, CudaFunction, LaunchConfig, PushKernelArg};
use cudarc::nvrtc::Ptx;

use crate::support::{Emulator, Gate, Pinned, device_memory, download, emulator, error, ok, upload};

pub(crate) const PTX: &str = include_str!("kernels.ptx");

/// A kernel of the test module.
pub(crate) fn kernel(context: &Arc<CudaContext>, name: &str) -> CudaFunction {
    context.load_module(Ptx::from_src(PTX)).unwrap().load_function(name).unwrap()
}

/// A kernel's raw handle, from a module that lives as long as the context.
pub(crate) fn raw_kernel(name: &std::ffi::CStr) -> sys::CUfunction {
    let (mut module, mut function) = (null_mut(), null_mut());
    let text = std::ffi::CString::new(PTX).unwrap();
    // SAFETY: results go to locals.
    unsafe {
        ok(sys::cuModuleLoadData(&mut module, text.as_ptr().cast()));
        ok(sys::cuModuleGetFunction(&mut function, module, name.as_ptr()));
    }
    function
}

/// Launches one block of one thread with two addresses as parameters.
pub(crate) fn launch_one(function: sys::CUfunction, stream: sys::CUstream, mut a: u64, mut b: u64) -> CUresult {
    let mut params: [*mut c_void; 2] = [(&raw mut a).cast(), (&raw mut b).cast()];
    // SAFETY: the parameters exist while the call copies them.
    unsafe { sys::cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, stream, params.as_mut_ptr(), null_mut()) }
}

fn one(block: u32) -> LaunchConfig {
    LaunchConfig { grid_dim: (1, 1, 1), block_dim: (block, 1, 1), shared_mem_bytes: 0 }
}

#[test]
fn saxpy() {
    let emulator = emulator(&[]);
    let context = emulator.context();
    let stream = context.new_stream().unwrap();
    let saxpy = kernel(&context, "saxpy");
    let n = 1000_u32;
    let x: Vec<f32> = (0..n).map(|value| value as f32).collect();
    let x = stream.clone_htod(&x).unwrap();
    let mut y = stream.clone_htod(&vec![0.5_f32; n as usize]).unwrap();
    // SAFETY: the arguments are the kernel's.
    unsafe { stream.launch_builder(&saxpy).arg(&mut y).arg(&x).arg(&2_f32).arg(&n).launch(LaunchConfig::for_num_elems(n)) }
        .unwrap();
    let y = stream.clone_dtoh(&y).unwrap();
    assert!(y.iter().enumerate().all(|(index, &value)| value == 2.0 * index as f32 + 0.5));
}

#[test]
fn shared_memory_sum() {
    let emulator = emulator(&[]);
    let context = emulator.context();
    let stream = context.default_stream();
    let sum = kernel(&context, "sum256");
    let data: Vec<u32> = (0..256 * 37).map(|value: u32| value.wrapping_mul(2_654_435_761)).collect();
    let input = stream.clone_htod(&data).unwrap();
    let mut out = stream.alloc_zeros::<u32>(37).unwrap();
    let config = LaunchConfig { grid_dim: (37, 1, 1), block_dim: (256, 1, 1), shared_mem_bytes: 0 };
    // SAFETY: the arguments are the kernel's.
    unsafe { stream.launch_builder(&sum).arg(&mut out).arg(&input).launch(config) }.unwrap();
    let expected: Vec<u32> =
        data.chunks(256).map(|block| block.iter().fold(0, |sum: u32, &word| sum.wrapping_add(word))).collect();
    assert_eq!(stream.clone_dtoh(&out).unwrap(), expected);
}

#[test]
fn launches_wait_their_turn() {
    let emulator = emulator(&[]);
    let context = emulator.context();
    let stream = context.new_stream().unwrap();
    let (function, address) = (raw_kernel(c"add_step"), device_memory(8));
    upload(address, &[1, 0, 0, 0]);
    let gate = Gate::new(&stream);
    for _ in 0..10 {
        ok(launch_one(function, stream.cu_stream(), address, address));
    }
    assert_eq!(download(address, 4), [1, 0, 0, 0]);
    gate.open();
    stream.synchronize().unwrap();
    assert_eq!(download(address, 4), [31, 0, 0, 0]);
}

#[test]
fn kernels_reach_pinned_memory() {
    let emulator = emulator(&[]);
    let _context = emulator.context();
    let (function, pinned) = (raw_kernel(c"add_step"), Pinned::new(8));
    ok(launch_one(function, null_mut(), pinned.address as u64 + 4, pinned.address as u64));
    // SAFETY: a context is current.
    ok(unsafe { sys::cuCtxSynchronize() });
    assert_eq!(pinned.bytes(), [0, 0, 0, 0, 3, 0, 0, 0]);
    ok(pinned.free());
}

#[test]
fn parameters_in_one_buffer() {
    let emulator = emulator(&[]);
    let _context = emulator.context();
    let (function, address) = (raw_kernel(c"add_step"), device_memory(4));
    upload(address, &[5, 0, 0, 0]);
    let mut params = [address, address];
    let mut size = 16_usize;
    let launch = |size: &mut usize, params: *mut u64| {
        let mut extra: [*mut c_void; 5] = [1 as _, params.cast(), 2 as _, (&raw mut *size).cast(), null_mut()];
        // SAFETY: the buffer exists while the call copies it.
        unsafe { sys::cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, null_mut(), null_mut(), extra.as_mut_ptr()) }
    };
    ok(launch(&mut size, params.as_mut_ptr()));
    assert_eq!(download(address, 4), [8, 0, 0, 0]);
    size = 15;
    assert_eq!(launch(&mut size, params.as_mut_ptr()), CUresult::CUDA_ERROR_INVALID_VALUE);
    size = 16;
    assert_eq!(launch(&mut size, null_mut()), CUresult::CUDA_ERROR_INVALID_VALUE);
}

#[test]
fn impossible_launches_are_refused_and_harm_nothing() {
    let emulator = emulator(&[]);
    let context = emulator.context();
    let stream = context.default_stream();
    let (nothing, narrow) = (kernel(&context, "nothing"), kernel(&context, "narrow"));
    // SAFETY: the kernels take no arguments.
    let launch = |kernel, config| unsafe { stream.launch_builder(kernel).launch(config) };
    assert_eq!(error(launch(&nothing, one(1025))), CUresult::CUDA_ERROR_INVALID_VALUE);
    assert_eq!(error(launch(&nothing, one(0))), CUresult::CUDA_ERROR_INVALID_VALUE);
    assert_eq!(error(launch(&nothing, LaunchConfig { grid_dim: (1, 65536, 1), ..one(1) })), CUresult::CUDA_ERROR_INVALID_VALUE);
    assert_eq!(error(launch(&nothing, LaunchConfig { shared_mem_bytes: 49153, ..one(1) })), CUresult::CUDA_ERROR_INVALID_VALUE);
    assert_eq!(error(launch(&narrow, one(65))), CUresult::CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES);
    let function = raw_kernel(c"add_step");
    // SAFETY: missing parameters are what is tested.
    let missing = unsafe { sys::cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, null_mut(), null_mut(), null_mut()) };
    assert_eq!(missing, CUresult::CUDA_ERROR_INVALID_VALUE);
    launch(&narrow, one(64)).unwrap();
    context.synchronize().unwrap();
}

#[test]
fn dynamic_shared_memory_can_be_raised() {
    let emulator = emulator(&[]);
    let context = emulator.context();
    let stream = context.default_stream();
    let dynamic = kernel(&context, "dynamic");
    let mut out = stream.alloc_zeros::<u32>(1).unwrap();
    let bytes = 99 << 10;
    let config = LaunchConfig { shared_mem_bytes: bytes, ..one(1) };
    let mut launch = || {
        let offset = bytes - 4;
        // SAFETY: the arguments are the kernel's.
        unsafe { stream.launch_builder(&dynamic).arg(&mut out).arg(&offset).launch(config) }.map(|_| ())
    };
    assert_eq!(error(launch()), CUresult::CUDA_ERROR_INVALID_VALUE);
    let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    assert_eq!(error(dynamic.set_attribute(attribute, bytes as i32 + 1)), CUresult::CUDA_ERROR_INVALID_VALUE);
    dynamic.set_attribute(attribute, bytes as i32).unwrap();
    launch().unwrap();
    assert_eq!(stream.clone_dtoh(&out).unwrap(), [42]);
}

#[test]
fn occupancy_follows_the_kernel() {
    let emulator = emulator(&[]);
    let context = emulator.context();
    let (sum, narrow) = (kernel(&context, "sum256"), kernel(&context, "narrow"));
    assert_eq!(sum.occupancy_max_active_blocks_per_multiprocessor(256, 0, None).unwrap(), 6);
    assert_eq!(sum.occupancy_max_active_blocks_per_multiprocessor(256, 46 << 10, None).unwrap(), 2);
    assert_eq!(narrow.occupancy_max_active_blocks_per_multiprocessor(128, 0, None).unwrap(), 0);
}

#[test]
fn events_are_counted_and_written_as_json() {
    let emulator: Emulator = emulator(&[("count", "1")]);
    emulator.reset_counters();
    let context = emulator.context();
    let (function, address) = (raw_kernel(c"add_step"), device_memory(4));
    upload(address, &[1, 0, 0, 0]);
    let path = std::env::temp_dir().join(format!("wcodec-counters-{}.json", std::process::id()));
    emulator.set("counters", path.to_str().unwrap());
    for _ in 0..3 {
        ok(launch_one(function, null_mut(), address, address));
    }
    context.synchronize().unwrap();
    let counters: serde_json::Value = serde_json::from_str(&emulator.counters()).unwrap();
    let kernel = &counters["kernels"]["add_step"];
    assert_eq!(kernel["launches"], 3);
    // Four instructions touch global memory or the parameters' place: two loads and one store are global.
    assert_eq!(kernel["total"]["global_loads"]["requests"], 6);
    assert_eq!(kernel["total"]["global_stores"]["bytes"], 12);
    assert_eq!(kernel["total"]["lane_instructions"], kernel["thread_instructions"]);
    by_line(kernel);
    let written: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(written, counters);
    std::fs::remove_file(&path).unwrap();
    emulator.reset_counters();
    assert_eq!(emulator.counters().trim(), r#"{"kernels":{}}"#);
}

/// Events by line of three launches of `add_step`: each access stands at its own line of the text, and the lines add up to the total.
fn by_line(kernel: &serde_json::Value) {
    let lines = kernel["lines"].as_object().unwrap();
    // The line of the kernel that begins like this.
    let at = |beginning: &str| {
        let mut text = PTX.lines().zip(1..).skip_while(|(line, _)| !line.contains(".entry add_step("));
        let (_, number): (_, u32) = text.find(|(line, _)| line.trim_start().starts_with(beginning)).unwrap();
        &lines[&number.to_string()]
    };
    for load in ["ld.global.u32 %r0", "ld.global.u32 %r1"] {
        let (loads, stores) = (&at(load)["global_loads"], &at(load)["global_stores"]);
        assert_eq!((&loads["requests"], &loads["bytes"], &loads["sectors"]), (&3.into(), &12.into(), &3.into()), "{load}");
        assert_eq!(stores["requests"], 0, "{load}");
    }
    let store = at("st.global.u32");
    assert_eq!((&store["global_stores"]["requests"], &store["global_stores"]["bytes"]), (&3.into(), &12.into()));
    assert_eq!((&store["global_loads"]["requests"], &store["warp_instructions"]["lsu"]), (&0.into(), &3.into()));
    assert_eq!((&at("add.u32")["warp_instructions"]["alu"], &at("add.u32")["lane_instructions"]), (&3.into(), &3.into()));
    fn add_up(total: &serde_json::Value, parts: &[&serde_json::Value], path: &str) {
        match total.as_object() {
            Some(fields) => fields.iter().for_each(|(name, value)| {
                let parts: Vec<_> = parts.iter().map(|part| &part[name]).collect();
                add_up(value, &parts, &format!("{path}.{name}"));
            }),
            None => assert_eq!(total.as_u64(), parts.iter().map(|part| part.as_u64()).sum::<Option<u64>>(), "{path}"),
        }
    }
    add_up(&kernel["total"], &lines.values().collect::<Vec<_>>(), "total");
}
