//! DLPack: loaded tensors handed to other libraries (PyTorch, JAX, CuPy, TVM) without a copy.
//!
//! The structs are those of DLPack's unversioned ABI (`dlpack.h`, `DLManagedTensor`), which every consumer reads; the codes of FP8 came with
//! version 1.1. Consumers call the deleter once.
#![allow(unsafe_code)]

use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::load::{Data, Loaded};
use std::ffi::c_void;

/// `kDLCPU` and `kDLCUDA`.
const CPU: i32 = 1;
const CUDA: i32 = 2;

/// Where a tensor is.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DlDevice {
    /// 1 for the CPU, 2 for CUDA.
    pub device_type: i32,
    /// The device's number.
    pub device_id: i32,
}

/// What an element is.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DlDataType {
    /// 0 signed, 1 unsigned, 2 floating-point, 4 bfloat16, 5 complex, 6 boolean; 10 and 12: FP8 E4M3 and E5M2.
    pub code: u8,
    /// Bits of an element.
    pub bits: u8,
    /// Elements of a vector: 1.
    pub lanes: u16,
}

/// A tensor without its owner.
#[repr(C)]
#[derive(Debug)]
pub struct DlTensor {
    /// The first byte, or its device address.
    pub data: *mut c_void,
    /// Where it is.
    pub device: DlDevice,
    /// Number of dimensions.
    pub ndim: i32,
    /// What an element is.
    pub dtype: DlDataType,
    /// `ndim` lengths.
    pub shape: *mut i64,
    /// Null: rows follow each other without gaps.
    pub strides: *mut i64,
    /// Bytes from `data` to the first element: 0.
    pub byte_offset: u64,
}

/// A tensor and what frees it.
#[repr(C)]
#[derive(Debug)]
pub struct DlManagedTensor {
    /// The tensor.
    pub dl_tensor: DlTensor,
    /// The owner's own.
    pub manager_ctx: *mut c_void,
    /// Frees the tensor: called once, by whoever has it then.
    pub deleter: Option<unsafe extern "C" fn(*mut DlManagedTensor)>,
}

/// Keeps a tensor's memory and its shape alive.
struct Owner {
    tensor: DlManagedTensor,
    shape: Vec<i64>,
    data: Data,
}

unsafe extern "C" fn delete(tensor: *mut DlManagedTensor) {
    if !tensor.is_null() {
        // SAFETY: made by `into_dlpack` from a box, and DLPack's contract is one call.
        let owner = unsafe { Box::from_raw((*tensor).manager_ctx.cast::<Owner>()) };
        if let Data::Device(memory) = &owner.data {
            // The consumer's kernels may still be at work on it, on streams that ours knows nothing of.
            memory.wait_for_device();
        }
    }
}

/// DLPack's code for an element type.
fn data_type(dtype: Dtype) -> Option<DlDataType> {
    let bits = u8::try_from(dtype.bits()?).ok()?;
    let code = match dtype {
        Dtype::I8 | Dtype::I16 | Dtype::I32 | Dtype::I64 => 0,
        Dtype::U8 | Dtype::U16 | Dtype::U32 | Dtype::U64 => 1,
        Dtype::F16 | Dtype::F32 | Dtype::F64 => 2,
        Dtype::BF16 => 4,
        Dtype::BOOL => 6,
        Dtype::F8_E4M3 => 10,
        Dtype::F8_E5M2 => 12,
        _ => return None,
    };
    Some(DlDataType { code, bits, lanes: 1 })
}

impl Loaded {
    /// The tensor as DLPack has it. Whoever takes it calls its deleter once, or the memory is leaked.
    ///
    /// # Errors
    /// An element type that DLPack has no word for, or a shape beyond `i64`.
    pub fn into_dlpack(self) -> Result<*mut DlManagedTensor> {
        let fail = |why: String| Error::argument(why).with_tensor(&self.info.name);
        let dtype = data_type(self.info.dtype).ok_or_else(|| fail(format!("DLPack has no type for {:?}", self.info.dtype)))?;
        let shape: Option<Vec<i64>> = self.info.shape.iter().map(|&d| i64::try_from(d).ok()).collect();
        let shape = shape.ok_or_else(|| fail("a dimension beyond 2^63".into()))?;
        if matches!(&self.data, Data::Device(tensor) if tensor.is_emulated()) {
            return Err(fail("the emulator's memory is no device's: nobody else can reach it".into()));
        }
        let (data, device) = match &self.data {
            Data::Host(memory) => (memory.address().cast::<c_void>(), DlDevice { device_type: CPU, device_id: 0 }),
            Data::Device(tensor) => {
                (tensor.address() as *mut c_void, DlDevice { device_type: CUDA, device_id: tensor.ordinal() as i32 })
            }
        };
        let tensor = DlManagedTensor {
            dl_tensor: DlTensor {
                data,
                device,
                ndim: shape.len() as i32,
                dtype,
                shape: std::ptr::null_mut(),
                strides: std::ptr::null_mut(),
                byte_offset: 0,
            },
            manager_ctx: std::ptr::null_mut(),
            deleter: Some(delete),
        };
        let owner = Box::into_raw(Box::new(Owner { tensor, shape, data: self.data }));
        // SAFETY: just made; nothing else refers to it.
        let owner_ref = unsafe { &mut *owner };
        owner_ref.tensor.dl_tensor.shape = owner_ref.shape.as_mut_ptr();
        owner_ref.tensor.manager_ctx = owner.cast();
        Ok(&raw mut owner_ref.tensor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{HostTensor, TensorInfo};

    fn loaded(dtype: Dtype, shape: &[u64]) -> Loaded {
        let byte_len = dtype.byte_len(shape).unwrap();
        let memory = HostTensor::all(&[byte_len as usize]).unwrap().remove(0);
        Loaded { info: TensorInfo { name: "w".into(), dtype, shape: shape.into(), byte_len }, data: Data::Host(Box::new(memory)) }
    }

    #[test]
    fn goes_out_and_is_freed() {
        let tensor = loaded(Dtype::BF16, &[3, 5]);
        let address = match &tensor.data {
            Data::Host(memory) => memory.address(),
            Data::Device(_) => unreachable!(),
        };
        let raw = tensor.into_dlpack().unwrap();
        // SAFETY: just made, and deleted once.
        unsafe {
            let t = &(*raw).dl_tensor;
            assert_eq!((t.data.cast::<u8>(), t.ndim, t.dtype), (address, 2, DlDataType { code: 4, bits: 16, lanes: 1 }));
            assert_eq!(std::slice::from_raw_parts(t.shape, 2), [3, 5]);
            assert_eq!(t.device, DlDevice { device_type: 1, device_id: 0 });
            (*raw).deleter.unwrap()(raw);
        }
    }

    #[test]
    fn sizes_of_the_abi() {
        assert_eq!((size_of::<DlTensor>(), size_of::<DlManagedTensor>()), (48, 64));
    }

    #[test]
    fn what_has_no_word_is_refused() {
        assert!(loaded(Dtype::F8_E8M0, &[4]).into_dlpack().is_err());
    }
}
