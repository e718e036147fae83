//! The emulator in this process, one test at a time: its knobs and failures are the process's.

use std::ffi::{CString, c_char, c_void};
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, mpsc};

use cudarc::driver::sys::{self, CUresult};
use cudarc::driver::{CudaContext, CudaStream, DriverError};
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

static LIBRARY: LazyLock<Library> = LazyLock::new(|| {
    let path = library_path();
    // SAFETY: loading the emulator runs no code that depends on anything.
    unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_GLOBAL) }.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
});

/// The newest build of the library: tests lie in `deps`, libraries there or one folder up.
fn library_path() -> PathBuf {
    let executable = std::env::current_exe().unwrap();
    let folders = executable.ancestors().skip(1).take(2);
    let built = folders.map(|folder| folder.join("libwcodec_emulator.so")).filter(|path| path.exists());
    built.max_by_key(|path| path.metadata().and_then(|data| data.modified()).ok()).expect("libwcodec_emulator.so is not built")
}

fn symbol<T: Copy>(name: &str) -> T {
    // SAFETY: every caller names a function of the type it asks for.
    unsafe { *LIBRARY.get::<T>(name.as_bytes()).unwrap() }
}

/// The emulator with all knobs at their defaults, held by one test until it drops this.
pub(crate) struct Emulator {
    _alone: MutexGuard<'static, ()>,
}

/// The emulator with the given knobs changed.
pub(crate) fn emulator(knobs: &[(&str, &str)]) -> Emulator {
    static ALONE: Mutex<()> = Mutex::new(());
    let emulator = Emulator { _alone: ALONE.lock().unwrap_or_else(PoisonError::into_inner) };
    let memory = (1_u64 << 30).to_string();
    let defaults = [
        ("fail", ""),
        ("sanitize", "1"),
        ("lazy", "0"),
        ("delay_us", "100"),
        ("devices", "1"),
        ("memory", &memory),
        ("count", "0"),
        ("counters", ""),
        ("capability", "12.0"),
        ("instruction_limit", "1000000"),
    ];
    for (name, value) in defaults.iter().chain(knobs) {
        emulator.set(name, value);
    }
    emulator
}

impl Emulator {
    /// Changes a knob.
    pub(crate) fn set(&self, name: &str, value: &str) {
        assert_eq!(self.try_set(name, value), 0, "{name}={value}: {}", self.last_fault());
    }

    pub(crate) fn try_set(&self, name: &str, value: &str) -> u32 {
        let (name, value) = (CString::new(name).unwrap(), CString::new(value).unwrap());
        type Set = extern "C" fn(*const c_char, *const c_char) -> u32;
        symbol::<Set>("wcodec_emulator_set")(name.as_ptr(), value.as_ptr())
    }

    pub(crate) fn last_fault(&self) -> String {
        text("wcodec_emulator_last_fault")
    }

    pub(crate) fn counters(&self) -> String {
        text("wcodec_emulator_counters")
    }

    pub(crate) fn reset_counters(&self) {
        assert_eq!(symbol::<extern "C" fn() -> u32>("wcodec_emulator_counters_reset")(), 0);
    }

    /// The primary context, made anew if the last test failed it.
    pub(crate) fn context(&self) -> Arc<CudaContext> {
        CudaContext::new(0).unwrap()
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // A test that failed half-way leaves a context behind; the next one gets a new one.
        self.try_set("fail", "");
        // SAFETY: device 0 exists.
        let _ = unsafe { sys::cuDevicePrimaryCtxReset_v2(0) };
    }
}

fn text(name: &str) -> String {
    let read = symbol::<extern "C" fn(*mut c_char, usize) -> usize>(name);
    let mut buffer = vec![0_u8; read(std::ptr::null_mut(), 0) + 1];
    let len = read(buffer.as_mut_ptr().cast(), buffer.len());
    String::from_utf8(buffer[..len].to_vec()).unwrap()
}

/// The code of a call that is to fail.
#[track_caller]
pub(crate) fn error<T>(result: Result<T, DriverError>) -> CUresult {
    match result {
        Ok(_) => panic!("the call did not fail"),
        Err(DriverError(code)) => code,
    }
}

/// Asserts that a raw call succeeds.
#[track_caller]
pub(crate) fn ok(code: CUresult) {
    assert_eq!(code, CUresult::CUDA_SUCCESS);
}

/// Holds a stream up until it is opened or dropped.
pub(crate) struct Gate {
    open: Option<mpsc::Sender<()>>,
}

impl Gate {
    /// Queues a callback that waits.
    pub(crate) fn new(stream: &CudaStream) -> Gate {
        extern "C" fn wait(data: *mut c_void) {
            // SAFETY: made by `Box::into_raw` below, and the callback runs once.
            let gate = unsafe { Box::from_raw(data.cast::<mpsc::Receiver<()>>()) };
            let _ = gate.recv();
        }
        let (open, gate) = mpsc::channel();
        let data = Box::into_raw(Box::new(gate)).cast();
        // SAFETY: the callback takes what it is given.
        ok(unsafe { sys::cuLaunchHostFunc(stream.cu_stream(), Some(wait), data) });
        Gate { open: Some(open) }
    }

    pub(crate) fn open(mut self) {
        self.open = None;
    }
}

/// Pinned memory from `cuMemHostAlloc`, accessed without the waits that cudarc adds.
pub(crate) struct Pinned {
    pub(crate) address: *mut u8,
    pub(crate) len: usize,
}

impl Pinned {
    pub(crate) fn new(len: usize) -> Pinned {
        let mut address = std::ptr::null_mut();
        // SAFETY: `address` is where the result goes.
        ok(unsafe { sys::cuMemHostAlloc(&mut address, len, 0) });
        let pinned = Pinned { address: address.cast(), len };
        pinned.fill(0);
        pinned
    }

    /// The bytes now, whoever else accesses them.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        // SAFETY: allocated with this length.
        (0..self.len).map(|index| unsafe { self.address.add(index).read_volatile() }).collect()
    }

    pub(crate) fn fill(&self, value: u8) {
        // SAFETY: allocated with this length.
        (0..self.len).for_each(|index| unsafe { self.address.add(index).write_volatile(value) });
    }

    pub(crate) fn free(&self) -> CUresult {
        // SAFETY: the tests that free twice want the error.
        unsafe { sys::cuMemFreeHost(self.address.cast()) }
    }
}

/// Device memory from `cuMemAlloc`, freed when the context is.
pub(crate) fn device_memory(len: usize) -> u64 {
    let mut address = 0;
    // SAFETY: `address` is where the result goes.
    ok(unsafe { sys::cuMemAlloc_v2(&mut address, len) });
    address
}

/// Copies host bytes to the device and waits.
pub(crate) fn upload(target: u64, bytes: &[u8]) {
    // SAFETY: the bytes exist, and the call waits.
    ok(unsafe { sys::cuMemcpyHtoD_v2(target, bytes.as_ptr().cast(), bytes.len()) });
}

/// Copies device bytes to the host and waits.
pub(crate) fn download(source: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    // SAFETY: the bytes exist, and the call waits.
    ok(unsafe { sys::cuMemcpyDtoH_v2(bytes.as_mut_ptr().cast(), source, len) });
    bytes
}
