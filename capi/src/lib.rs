//! The loader for C and C++: `include/wcodec.h`, of which `examples/c/load.c` is an example.
//!
//! Every function returns a status; what went wrong is in [`wcodec_last_error`], for each thread its own. Nothing unwinds into C.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{null, null_mut};
use wcodec::{Data, Device, DeviceChoice, Error, ErrorKind, Load, Loaded, Loader, Shard};

/// What a function came to.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub enum wcodec_status {
    /// Done.
    WCODEC_OK = 0,
    /// There are no more tensors.
    WCODEC_END = 1,
    /// An argument is null, not UTF-8, or does not fit.
    WCODEC_INVALID_ARGUMENT = -1,
    /// A file could not be read.
    WCODEC_IO = -2,
    /// The archive is damaged, or none.
    WCODEC_CORRUPT = -3,
    /// The archive needs a newer version.
    WCODEC_UNSUPPORTED = -4,
    /// No tensor of that name.
    WCODEC_NOT_FOUND = -5,
    /// A GPU or its driver is missing or failed.
    WCODEC_DEVICE = -6,
    /// The load was cancelled.
    WCODEC_CANCELLED = -7,
    /// Anything else.
    WCODEC_FAILED = -8,
}

use wcodec_status as Status;

/// How to load. All zeros are the defaults.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(non_camel_case_types)]
pub struct wcodec_options {
    /// "cpu", "cuda", "cuda:1", "auto", "emulator"; null: "cpu".
    pub device: *const c_char,
    /// Bytes of buffers at most; 0: the default.
    pub budget: u64,
    /// Threads that decode, or streams; 0: one for each core.
    pub threads: u32,
    /// This process's rank of `world` in a tensor-parallel group; `world` 0 or 1: everything is loaded.
    pub rank: u32,
    /// See `rank`.
    pub world: u32,
}

/// A tensor that is ready. Valid until `wcodec_tensor_free`, also after the load was freed.
#[repr(C)]
#[derive(Debug)]
#[allow(non_camel_case_types)]
pub struct wcodec_tensor {
    /// Its name, UTF-8, ended by a zero byte.
    pub name: *const c_char,
    /// Its element type as safetensors calls it ("BF16"), or "" if that knows none.
    pub dtype: *const c_char,
    /// `ndim` lengths.
    pub shape: *const u64,
    /// Number of dimensions.
    pub ndim: u32,
    /// -1: `data` is host memory, on a cache line; else the number of the CUDA device whose address it is.
    pub device: i32,
    /// The bytes.
    pub data: *mut c_void,
    /// How many.
    pub byte_len: u64,
    /// The library's own.
    pub owner: *mut c_void,
}

/// How far a load is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(non_camel_case_types)]
pub struct wcodec_progress {
    /// Bytes of the archive that were read, and that will be.
    pub read: u64,
    /// See `read`.
    pub to_read: u64,
    /// Decoded bytes, and those to be decoded.
    pub decoded: u64,
    /// See `decoded`.
    pub to_decode: u64,
    /// Tensors that are ready, and all.
    pub ready: u64,
    /// See `ready`.
    pub tensors: u64,
}

/// A load in progress.
#[derive(Debug)]
#[allow(non_camel_case_types)]
pub struct wcodec_load(Load);

/// What a tensor's pointers point into.
struct Owner {
    _name: CString,
    _dtype: CString,
    _shape: Vec<u64>,
    loaded: Loaded,
}

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

fn fail(status: Status, why: &str) -> Status {
    let text: Vec<u8> = why.bytes().filter(|&b| b != 0).collect();
    LAST.with(|last| *last.borrow_mut() = CString::new(text).unwrap_or_default());
    status
}

fn status_of(e: &Error) -> Status {
    let status = match e.kind() {
        ErrorKind::InvalidArgument => Status::WCODEC_INVALID_ARGUMENT,
        ErrorKind::Io => Status::WCODEC_IO,
        ErrorKind::Corrupt | ErrorKind::BadSource => Status::WCODEC_CORRUPT,
        ErrorKind::Unsupported => Status::WCODEC_UNSUPPORTED,
        ErrorKind::NotFound => Status::WCODEC_NOT_FOUND,
        ErrorKind::Device => Status::WCODEC_DEVICE,
        ErrorKind::Cancelled => Status::WCODEC_CANCELLED,
        _ => Status::WCODEC_FAILED,
    };
    fail(status, &e.to_string())
}

/// Runs `f`; a panic, which would be a bug, is a status.
fn guarded(f: impl FnOnce() -> Status) -> Status {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|_| fail(Status::WCODEC_FAILED, "wcodec panicked: this is a bug"))
}

/// The text behind a pointer.
///
/// # Safety
/// Null, or a string that a zero byte ends.
unsafe fn text<'a>(s: *const c_char) -> Option<&'a str> {
    // SAFETY: by contract.
    (!s.is_null()).then(|| unsafe { CStr::from_ptr(s) }).and_then(|s| s.to_str().ok())
}

/// Why the last call of this thread that failed did: text that is valid until the next one fails.
#[unsafe(no_mangle)]
pub extern "C" fn wcodec_last_error() -> *const c_char {
    LAST.with(|last| last.borrow().as_ptr())
}

/// Starts loading the archive at `path`. `options` may be null.
///
/// # Safety
/// `path` and the options' strings are ended by zero bytes; `out` may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wcodec_load_open(
    path: *const c_char,
    options: *const wcodec_options,
    out: *mut *mut wcodec_load,
) -> wcodec_status {
    guarded(|| {
        if out.is_null() {
            return fail(Status::WCODEC_INVALID_ARGUMENT, "out is null");
        }
        // SAFETY: by contract.
        unsafe { *out = null_mut() };
        // SAFETY: by contract.
        let Some(path) = (unsafe { text(path) }) else {
            return fail(Status::WCODEC_INVALID_ARGUMENT, "path is null or not UTF-8");
        };
        // SAFETY: by contract.
        let options = unsafe { options.as_ref() };
        // SAFETY: by contract.
        let device = options.and_then(|o| unsafe { text(o.device) });
        if options.is_some_and(|o| !o.device.is_null()) && device.is_none() {
            return fail(Status::WCODEC_INVALID_ARGUMENT, "device is not UTF-8");
        }
        match open(path, options, device) {
            Ok(load) => {
                // SAFETY: by contract.
                unsafe { *out = Box::into_raw(Box::new(wcodec_load(load))) };
                Status::WCODEC_OK
            }
            Err(e) => status_of(&e),
        }
    })
}

fn open(path: &str, options: Option<&wcodec_options>, device: Option<&str>) -> wcodec::Result<Load> {
    let mut loader = Loader::open(path)?;
    if let Some(device) = device {
        loader = loader.device(Device::open(device.parse::<DeviceChoice>()?)?);
    }
    if let Some(o) = options {
        if o.budget > 0 {
            loader = loader.budget(o.budget);
        }
        if o.threads > 0 {
            loader = loader.threads(o.threads as usize);
        }
        if o.world > 1 {
            loader = loader.shard(Shard::llama(o.rank as u64, o.world as u64)?);
        }
    }
    loader.load()
}

/// Waits for the next tensor: `WCODEC_OK` and a tensor, `WCODEC_END`, or an error, after which there are no more. Whatever comes, `out` may be given to
/// `wcodec_tensor_free`.
///
/// # Safety
/// `load` is of `wcodec_load_open` and not freed; `out` may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wcodec_load_next(load: *const wcodec_load, out: *mut wcodec_tensor) -> wcodec_status {
    guarded(|| {
        // SAFETY: by contract.
        let (Some(load), false) = (unsafe { load.as_ref() }, out.is_null()) else {
            return fail(Status::WCODEC_INVALID_ARGUMENT, "load or out is null");
        };
        // SAFETY: by contract.
        unsafe { out.write(NOTHING) };
        match load.0.wait() {
            None => Status::WCODEC_END,
            Some(Err(e)) => status_of(&e),
            Some(Ok(loaded)) => {
                // SAFETY: by contract.
                unsafe { out.write(tensor(loaded)) };
                Status::WCODEC_OK
            }
        }
    })
}

/// Where there is no tensor.
const NOTHING: wcodec_tensor = wcodec_tensor {
    name: null(),
    dtype: null(),
    shape: null(),
    ndim: 0,
    device: -1,
    data: null_mut(),
    byte_len: 0,
    owner: null_mut(),
};

/// Threads share a load: one waits for tensors while others ask for progress or cancel.
const _: () = {
    const fn shared<T: Sync>() {}
    shared::<Load>();
};

fn tensor(loaded: Loaded) -> wcodec_tensor {
    let name = CString::new(loaded.info.name.replace('\0', "\u{fffd}")).unwrap_or_default();
    let dtype = CString::new(loaded.info.dtype.name().unwrap_or("")).unwrap_or_default();
    let shape = loaded.info.shape.clone();
    let (data, device) = match &loaded.data {
        Data::Host(memory) => (memory.address().cast::<c_void>(), -1),
        Data::Device(t) => (t.address() as *mut c_void, t.ordinal() as i32),
        _ => (null_mut(), -1),
    };
    wcodec_tensor {
        name: name.as_ptr(),
        dtype: dtype.as_ptr(),
        shape: shape.as_ptr(),
        ndim: shape.len() as u32,
        device,
        data,
        byte_len: loaded.info.byte_len,
        owner: Box::into_raw(Box::new(Owner { _name: name, _dtype: dtype, _shape: shape, loaded })).cast(),
    }
}

/// Takes the owner out of a tensor, whose pointers are null from then on.
///
/// # Safety
/// Null, or a tensor of `wcodec_load_next`.
unsafe fn take(tensor: *mut wcodec_tensor) -> Option<Box<Owner>> {
    // SAFETY: by contract.
    let tensor = unsafe { tensor.as_mut() }?;
    let owner = std::mem::replace(&mut tensor.owner, null_mut());
    *tensor = NOTHING;
    // SAFETY: made by `tensor`, and taken once.
    (!owner.is_null()).then(|| unsafe { Box::from_raw(owner.cast()) })
}

/// Frees a tensor; a second time does nothing. Work that was queued on a GPU must be done with it.
///
/// # Safety
/// `tensor` is null or of `wcodec_load_next`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wcodec_tensor_free(tensor: *mut wcodec_tensor) {
    // SAFETY: by contract.
    drop(unsafe { take(tensor) });
}

/// Hands a tensor over as a `DLManagedTensor *` (DLPack 0.8), whose deleter frees it; null, and the tensor freed, if DLPack has no word for its
/// type.
///
/// # Safety
/// `tensor` is null or of `wcodec_load_next`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wcodec_tensor_into_dlpack(tensor: *mut wcodec_tensor) -> *mut c_void {
    // SAFETY: by contract.
    let Some(owner) = (unsafe { take(tensor) }) else { return null_mut() };
    match owner.loaded.into_dlpack() {
        Ok(managed) => managed.cast(),
        Err(e) => {
            status_of(&e);
            null_mut()
        }
    }
}

/// How far a load is; may be asked from any thread while another waits for tensors.
///
/// # Safety
/// `load` is of `wcodec_load_open` and not freed; `out` may be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wcodec_load_progress(load: *const wcodec_load, out: *mut wcodec_progress) -> wcodec_status {
    // SAFETY: by contract.
    let (Some(load), false) = (unsafe { load.as_ref() }, out.is_null()) else {
        return fail(Status::WCODEC_INVALID_ARGUMENT, "load or out is null");
    };
    let p = load.0.progress();
    let progress = wcodec_progress {
        read: p.read,
        to_read: p.to_read,
        decoded: p.decoded,
        to_decode: p.to_decode,
        ready: p.ready,
        tensors: p.tensors,
    };
    // SAFETY: by contract.
    unsafe { out.write(progress) };
    Status::WCODEC_OK
}

/// Asks a load to stop; the next tensor is then an error, unless all were ready. May be called from any thread.
///
/// # Safety
/// `load` is null, or of `wcodec_load_open` and not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wcodec_load_cancel(load: *const wcodec_load) {
    // SAFETY: by contract.
    if let Some(load) = unsafe { load.as_ref() } {
        load.0.cancel();
    }
}

/// Ends a load: cancels it if it is not over, and frees it. Tensors that came of it stay.
///
/// # Safety
/// `load` is null, or of `wcodec_load_open` and not freed; no other thread uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn wcodec_load_free(load: *mut wcodec_load) {
    if !load.is_null() {
        // SAFETY: by contract.
        let load = unsafe { Box::from_raw(load) };
        let _ = catch_unwind(AssertUnwindSafe(|| drop(load)));
    }
}
