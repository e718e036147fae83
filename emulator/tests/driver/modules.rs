//! Modules from PTX.

use std::ffi::c_void;
use std::ptr::null_mut;

use cudarc::driver::sys::{self, CUjit_option, CUresult};
use cudarc::nvrtc::Ptx;

use crate::kernels::PTX;
use crate::support::{download, emulator, error, ok, upload};

/// Loads `text` with an error log of `capacity` bytes; the code, the log, and the size written back.
fn load_with_log(text: &str, capacity: usize) -> (CUresult, String, usize) {
    let text = std::ffi::CString::new(text).unwrap();
    let mut log = vec![0x7f_u8; capacity + 1];
    let mut ids = [CUjit_option::CU_JIT_ERROR_LOG_BUFFER, CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
    let mut values: [*mut c_void; 2] = [log.as_mut_ptr().cast(), capacity as *mut c_void];
    let mut module = null_mut();
    // SAFETY: the log has the size given.
    let code = unsafe { sys::cuModuleLoadDataEx(&mut module, text.as_ptr().cast(), 2, ids.as_mut_ptr(), values.as_mut_ptr()) };
    assert_eq!(log[capacity], 0x7f, "written past its end");
    let written = values[1] as usize;
    (code, String::from_utf8_lossy(&log[..written.saturating_sub(1).min(capacity)]).into_owned(), written)
}

#[test]
fn wrong_ptx_is_refused_with_its_line() {
    let emulator = emulator(&[]);
    let context = emulator.context();
    let wrong = PTX.replace("fma.rn.f32", "frobnicate.f32");
    let line = wrong.lines().position(|line| line.contains("frobnicate")).unwrap() + 1;
    let (code, log, written) = load_with_log(&wrong, 1000);
    assert_eq!(code, CUresult::CUDA_ERROR_INVALID_PTX);
    assert!(log.contains(&line.to_string()) && log.len() + 1 == written, "{log}");
    assert!(emulator.last_fault().contains(&log));
    let (_, cut, written) = load_with_log(&wrong, 10);
    assert_eq!((cut.as_str(), written), (&log[..9], 10));
    assert_eq!(error(context.load_module(Ptx::from_src("no ptx"))), CUresult::CUDA_ERROR_INVALID_PTX);
}

#[test]
fn ptx_for_a_newer_device_and_machine_code_are_refused() {
    let emulator = emulator(&[("capability", "7.5")]);
    let _context = emulator.context();
    let (code, log, _) = load_with_log(PTX, 1000);
    assert_eq!(code, CUresult::CUDA_ERROR_INVALID_PTX);
    assert!(log.contains("sm_80") && log.contains("sm_75"), "{log}");
    assert_eq!(load_with_log("\x7fELF…", 1000).0, CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU);
}

#[test]
fn functions_and_variables_are_found_by_name() {
    let emulator = emulator(&[]);
    let context = emulator.context();
    let module = context.load_module(Ptx::from_src(PTX)).unwrap();
    assert_eq!(error(module.load_function("no_such_kernel")), CUresult::CUDA_ERROR_NOT_FOUND);
    module.load_function("saxpy").unwrap();
    let (mut raw, mut address, mut len) = (null_mut(), 0, 0);
    let text = std::ffi::CString::new(PTX).unwrap();
    // SAFETY: results go to locals.
    unsafe {
        ok(sys::cuModuleLoadData(&mut raw, text.as_ptr().cast()));
        ok(sys::cuModuleGetGlobal_v2(&mut address, &mut len, raw, c"step".as_ptr()));
        assert_eq!(sys::cuModuleGetGlobal_v2(&mut address, &mut len, raw, c"steps".as_ptr()), CUresult::CUDA_ERROR_NOT_FOUND);
    }
    assert_eq!((len, download(address, 4)), (4, vec![3, 0, 0, 0]));
    upload(address, &[7, 0, 0, 0]);
    let before = context.mem_get_info().unwrap().0;
    // SAFETY: the module is used no more.
    ok(unsafe { sys::cuModuleUnload(raw) });
    assert_eq!(context.mem_get_info().unwrap().0, before + 4);
}
