//! One GPU: its context, a stream, and the kernels.
#![allow(unsafe_code)]

use super::library;
use crate::error::{Error, ErrorKind, Result};
use cudarc::driver::sys::{self, CUresult};
use cudarc::driver::{CudaContext, CudaStream, DriverError, result};
use std::ffi::{CString, c_void};
use std::sync::Arc;
use wcodec_device::job::THREADS;

/// The kernels, as `device/` was compiled; the driver translates them for its GPU.
const PTX: &str = include_str!("../../../shaders-ptx/wcodec.ptx");

/// Oldest driver that reads the PTX, as `cuDriverGetVersion` counts.
const OLDEST_DRIVER: i32 = 12000;

/// Kernels, in the order in which a batch launches those of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kernel {
    CheckPayloads,
    ExpandTables,
    Contexts,
    Deep,
    Mapped,
    Bytes,
    Columns2,
    Bf16Pairs,
    Bf16Bytes,
    F32Pairs,
    F32Bytes,
    F8e4Pairs,
    F8e4Bytes,
    MapExponents,
    MapScales,
    CountBits,
    JoinBits,
    JoinPlanes,
    JoinBlocks,
    ReadModes,
    UndoTransforms,
    UndoPredictions,
    UndoDifferences,
    UndoTrellis,
    CropTiles,
}

impl Kernel {
    const ALL: [(Self, &str); 25] = [
        (Self::CheckPayloads, "check_payloads"),
        (Self::ExpandTables, "expand_tables"),
        (Self::Contexts, "decode_contexts"),
        (Self::Deep, "decode_deep"),
        (Self::Mapped, "decode_mapped"),
        (Self::Bytes, "decode_bytes"),
        (Self::Columns2, "decode_columns2"),
        (Self::Bf16Pairs, "decode_bf16_pairs"),
        (Self::Bf16Bytes, "decode_bf16_bytes"),
        (Self::F32Pairs, "decode_f32_pairs"),
        (Self::F32Bytes, "decode_f32_bytes"),
        (Self::F8e4Pairs, "decode_f8e4_pairs"),
        (Self::F8e4Bytes, "decode_f8e4_bytes"),
        (Self::MapExponents, "map_exponents"),
        (Self::MapScales, "map_scales"),
        (Self::CountBits, "count_bits"),
        (Self::JoinBits, "join_bits"),
        (Self::JoinPlanes, "join_planes"),
        (Self::JoinBlocks, "join_blocks"),
        (Self::ReadModes, "read_modes"),
        (Self::UndoTransforms, "undo_transforms"),
        (Self::UndoPredictions, "undo_predictions"),
        (Self::UndoDifferences, "undo_differences"),
        (Self::UndoTrellis, "undo_trellis"),
        (Self::CropTiles, "crop_tiles"),
    ];
}

/// A GPU that decodes. Clones share it.
#[derive(Clone)]
pub struct Gpu(Arc<Inner>);

struct Inner {
    stream: Arc<CudaStream>,
    kernels: Arc<Kernels>,
    name: String,
}

/// The kernels, translated for a device.
struct Kernels {
    context: Arc<CudaContext>,
    module: sys::CUmodule,
    functions: [sys::CUfunction; Kernel::ALL.len()],
}

// SAFETY: handles of the driver, which may be used from any thread.
unsafe impl Send for Kernels {}
// SAFETY: as above.
unsafe impl Sync for Kernels {}

impl Drop for Kernels {
    fn drop(&mut self) {
        if self.context.bind_to_thread().is_ok() {
            // SAFETY: the module is this one's, and nothing that was launched is still running: every batch waits.
            let _ = unsafe { result::module::unload(self.module) };
        }
    }
}

impl std::fmt::Debug for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Gpu({})", self.0.name)
    }
}

impl Gpu {
    /// Opens the CUDA device numbered `ordinal`.
    ///
    /// # Errors
    /// [`Device`](ErrorKind::Device): no driver, one too old, no such device, kernels that it cannot translate.
    pub fn open(ordinal: usize) -> Result<Self> {
        library::open_driver()?;
        Self::with_library(ordinal)
    }

    /// Opens the emulator, which executes the kernels' PTX on the CPU.
    pub fn emulator() -> Result<Self> {
        Self::emulated(0)
    }

    /// Opens one of several emulated devices: there are as many as the environment variable `WCODEC_EMULATOR_DEVICES` says, or one.
    pub fn emulated(ordinal: usize) -> Result<Self> {
        library::open_emulator()?;
        Self::with_library(ordinal)
    }

    fn with_library(ordinal: usize) -> Result<Self> {
        let mut version = 0;
        // SAFETY: writes the version.
        let read = unsafe { sys::cuDriverGetVersion(&mut version) };
        read.result().map_err(|e| failed("asking the CUDA driver for its version", e))?;
        if version < OLDEST_DRIVER {
            let (major, minor) = (version / 1000, version % 1000 / 10);
            let why = format!("the CUDA driver supports CUDA {major}.{minor}, 12.0 is needed: update NVIDIA's driver");
            return Err(Error::new(ErrorKind::Device, why));
        }
        let context = CudaContext::new(ordinal).map_err(|e| failed(&format!("opening CUDA device {ordinal}"), e))?;
        // A stream does everything of its own in order: nothing to track.
        // SAFETY: a buffer is used on one stream only, or handed to another after waiting for the first (see `staged.rs`).
        unsafe { context.disable_event_tracking() };
        let name = context.name().map_err(|e| failed("asking for the device's name", e))?;
        let stream = context.new_stream().map_err(|e| failed("creating a stream", e))?;
        let module = load_module()?;
        let mut functions = [std::ptr::null_mut(); Kernel::ALL.len()];
        for ((kernel, name), function) in Kernel::ALL.iter().zip(&mut functions) {
            debug_assert_eq!(Kernel::ALL[*kernel as usize].0, *kernel);
            let symbol = CString::new(*name).expect("a kernel's name");
            // SAFETY: the module is loaded.
            *function = unsafe { result::module::get_function(module, symbol) }
                .map_err(|e| failed(&format!("looking for kernel {name}"), e))?;
        }
        let kernels = Arc::new(Kernels { context, module, functions });
        Ok(Self(Arc::new(Inner { stream, kernels, name })))
    }

    /// The same GPU with a stream of its own: what is done on either does not wait for the other.
    pub(crate) fn lane(&self) -> Result<Self> {
        let stream = self.stream().context().new_stream().map_err(|e| failed("creating a stream", e))?;
        Ok(Self(Arc::new(Inner { stream, kernels: self.0.kernels.clone(), name: self.0.name.clone() })))
    }

    /// Waits until everything that was queued on this stream is done.
    pub(crate) fn wait(&self) -> Result<()> {
        self.stream().synchronize().map_err(|e| failed("waiting for the device", e))
    }

    /// The device's name, as its driver gives it.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Number of the device.
    pub fn ordinal(&self) -> usize {
        self.stream().context().ordinal()
    }

    /// Whether this is the emulator and no GPU.
    pub fn is_emulator(&self) -> bool {
        self.name() == library::EMULATOR_NAME
    }

    /// Compute capability, major and minor.
    pub fn compute_capability(&self) -> Result<(i32, i32)> {
        self.0.stream.context().compute_capability().map_err(|e| failed("asking for the compute capability", e))
    }

    /// The stream on which everything is done.
    pub(super) fn stream(&self) -> &Arc<CudaStream> {
        &self.0.stream
    }

    /// Queues a kernel on the stream.
    ///
    /// # Safety
    /// The arguments are the kernel's, and what they point to outlives its execution.
    pub(super) unsafe fn launch(
        &self,
        kernel: Kernel,
        blocks: u32,
        shared: u32,
        args: &mut [*mut c_void],
    ) -> Result<(), DriverError> {
        self.0.stream.context().bind_to_thread()?;
        let function = self.0.kernels.functions[kernel as usize];
        // SAFETY: by contract.
        unsafe { result::launch_kernel(function, (blocks, 1, 1), (THREADS, 1, 1), shared, self.0.stream.cu_stream(), args) }
    }
}

/// Has the driver translate the PTX.
fn load_module() -> Result<sys::CUmodule> {
    let source = CString::new(PTX).expect("PTX has no zero byte");
    let mut log = vec![0u8; 16384];
    let mut options =
        [sys::CUjit_option_enum::CU_JIT_ERROR_LOG_BUFFER, sys::CUjit_option_enum::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
    let mut values = [log.as_mut_ptr().cast::<c_void>(), log.len() as *mut c_void];
    let mut module = std::ptr::null_mut();
    // SAFETY: the source is terminated, the log as long as is said.
    let loaded =
        unsafe { sys::cuModuleLoadDataEx(&mut module, source.as_ptr().cast(), 2, options.as_mut_ptr(), values.as_mut_ptr()) };
    loaded.result().map_err(|e| {
        let log = String::from_utf8_lossy(&log);
        let log = log.trim_matches(['\0', ' ', '\n']);
        let what = if log.is_empty() { String::new() } else { format!(": {log}") };
        failed(&format!("translating the kernels for this GPU{what}"), e)
    })?;
    Ok(module)
}

/// An error of the driver, with what to do about it where there is something.
pub(super) fn failed(doing: &str, e: DriverError) -> Error {
    let advice = match e.0 {
        CUresult::CUDA_ERROR_OUT_OF_MEMORY => "; free device memory, or use --device cpu",
        CUresult::CUDA_ERROR_NO_DEVICE | CUresult::CUDA_ERROR_INVALID_DEVICE => "; there is no such GPU (CUDA_VISIBLE_DEVICES?)",
        CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION
        | CUresult::CUDA_ERROR_INVALID_PTX
        | CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU
        | CUresult::CUDA_ERROR_JIT_COMPILER_NOT_FOUND
        | CUresult::CUDA_ERROR_JIT_COMPILATION_DISABLED => {
            "; update NVIDIA's driver, or use --device cpu (sm_80 and newer are supported)"
        }
        CUresult::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH | CUresult::CUDA_ERROR_SYSTEM_NOT_READY => {
            "; the driver was updated while it was loaded, or is not up yet: restart the machine, or use --device cpu"
        }
        CUresult::CUDA_ERROR_STUB_LIBRARY => "; libcuda.so is the toolkit's stub: install NVIDIA's driver, or use --device cpu",
        CUresult::CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES => "; other programs on this GPU leave too little: use --device cpu",
        CUresult::CUDA_ERROR_DEVICE_UNAVAILABLE
        | CUresult::CUDA_ERROR_ECC_UNCORRECTABLE
        | CUresult::CUDA_ERROR_NVLINK_UNCORRECTABLE
        | CUresult::CUDA_ERROR_HARDWARE_STACK_ERROR
        | CUresult::CUDA_ERROR_ILLEGAL_ADDRESS
        | CUresult::CUDA_ERROR_ILLEGAL_INSTRUCTION
        | CUresult::CUDA_ERROR_MISALIGNED_ADDRESS
        | CUresult::CUDA_ERROR_INVALID_ADDRESS_SPACE
        | CUresult::CUDA_ERROR_INVALID_PC
        | CUresult::CUDA_ERROR_CONTEXT_IS_DESTROYED
        | CUresult::CUDA_ERROR_UNKNOWN
        | CUresult::CUDA_ERROR_LAUNCH_FAILED
        | CUresult::CUDA_ERROR_LAUNCH_TIMEOUT => "; the device is lost to this process: restart it, or use --device cpu",
        _ => "",
    };
    let text = e.error_string().ok().and_then(|s| s.to_str().ok().map(str::to_owned));
    let name = e.error_name().ok().and_then(|s| s.to_str().ok().map(str::to_owned)).unwrap_or_else(|| format!("{:?}", e.0));
    Error::new(ErrorKind::Device, format!("{doing}: {name}: {}{advice}", text.as_deref().unwrap_or("unknown error")))
}
