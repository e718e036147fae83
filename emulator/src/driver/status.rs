//! CUDA result codes: value, name and one-line description.

use std::ffi::CStr;

/// A `CUresult`. Zero is success; everything else is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status(pub u32);

/// What a driver operation returns: a value or the code the caller gets.
pub(crate) type Checked<T = ()> = Result<T, Status>;

macro_rules! statuses {
    ($($code:literal $name:ident $text:literal;)*) => {
        impl Status {
            pub(crate) const SUCCESS: Status = Status(0);
            $(#[allow(dead_code)] pub(crate) const $name: Status = Status($code);)*

            /// `CUDA_ERROR_…` and its description, where the code is a known one.
            pub(crate) fn describe(self) -> Option<(&'static CStr, &'static CStr)> {
                let (name, text) = match self.0 {
                    0 => ("CUDA_SUCCESS\0", "no error\0"),
                    $($code => (concat!("CUDA_ERROR_", stringify!($name), "\0"), concat!($text, "\0")),)*
                    _ => return None,
                };
                Some((CStr::from_bytes_with_nul(name.as_bytes()).ok()?, CStr::from_bytes_with_nul(text.as_bytes()).ok()?))
            }
        }
    };
}

statuses! {
    1 INVALID_VALUE "invalid argument";
    2 OUT_OF_MEMORY "out of memory";
    3 NOT_INITIALIZED "initialization error";
    4 DEINITIALIZED "driver shutting down";
    46 DEVICE_UNAVAILABLE "the device is busy or unavailable";
    100 NO_DEVICE "no CUDA-capable device is detected";
    101 INVALID_DEVICE "invalid device ordinal";
    200 INVALID_IMAGE "device kernel image is invalid";
    201 INVALID_CONTEXT "invalid device context";
    209 NO_BINARY_FOR_GPU "no kernel image is available for execution on the device";
    214 ECC_UNCORRECTABLE "uncorrectable memory error encountered";
    215 UNSUPPORTED_LIMIT "limit is not supported on this device";
    218 INVALID_PTX "a PTX JIT compilation failed";
    222 UNSUPPORTED_PTX_VERSION "the provided PTX was compiled with an unsupported toolchain";
    301 FILE_NOT_FOUND "file not found";
    304 OPERATING_SYSTEM "an operating system call failed";
    400 INVALID_HANDLE "invalid resource handle";
    401 ILLEGAL_STATE "the operation cannot be performed in the present state";
    500 NOT_FOUND "named symbol not found";
    600 NOT_READY "device not ready";
    700 ILLEGAL_ADDRESS "an illegal memory access was encountered";
    701 LAUNCH_OUT_OF_RESOURCES "too many resources requested for launch";
    702 LAUNCH_TIMEOUT "the launch timed out and was terminated";
    708 PRIMARY_CONTEXT_ACTIVE "cannot set while device is active in this process";
    709 CONTEXT_IS_DESTROYED "context is destroyed";
    710 ASSERT "device-side assert triggered";
    712 HOST_MEMORY_ALREADY_REGISTERED "part or all of the requested memory range is already mapped";
    713 HOST_MEMORY_NOT_REGISTERED "pointer does not correspond to a registered memory region";
    715 ILLEGAL_INSTRUCTION "an illegal instruction was encountered";
    716 MISALIGNED_ADDRESS "misaligned address";
    719 LAUNCH_FAILED "unspecified launch failure";
    800 NOT_PERMITTED "operation not permitted";
    801 NOT_SUPPORTED "operation not supported";
    999 UNKNOWN "unknown error";
}
