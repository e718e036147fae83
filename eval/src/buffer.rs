//! Memory that something else fills with a tensor's bytes and that then becomes a tensor, without a copy.

use crate::Result;
use candle_core::{DType, Device, Shape, Tensor};
use half::vec::HalfBitsVecExt;
use half::{bf16, f16};

/// The elements of a tensor, zero until they are filled in.
#[derive(Debug)]
pub enum Buffer {
    /// `BF16`, as its bits.
    Bf16(Vec<u16>),
    /// `F16`, as its bits.
    F16(Vec<u16>),
    /// `F32`.
    F32(Vec<f32>),
}

impl Buffer {
    /// Memory for elements of a type, by its name in safetensors.
    pub fn new(dtype: &str, elements: usize) -> Result<Self> {
        match dtype {
            "BF16" => Ok(Self::Bf16(vec![0; elements])),
            "F16" => Ok(Self::F16(vec![0; elements])),
            "F32" => Ok(Self::F32(vec![0.0; elements])),
            _ => Err(format!("a Llama of {dtype} weights is not handled").into()),
        }
    }

    /// The bytes to fill, little-endian (as candle reads only the machine's own order, so does this example).
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Bf16(bits) | Self::F16(bits) => bytemuck::cast_slice_mut(bits),
            Self::F32(values) => bytemuck::cast_slice_mut(values),
        }
    }

    /// The tensor of a shape, on the CPU.
    pub fn into_tensor(self, shape: impl Into<Shape>) -> Result<Tensor> {
        let shape = shape.into();
        Ok(match self {
            Self::Bf16(bits) => Tensor::from_vec(bits.reinterpret_into::<bf16>(), shape, &Device::Cpu)?,
            Self::F16(bits) => Tensor::from_vec(bits.reinterpret_into::<f16>(), shape, &Device::Cpu)?,
            Self::F32(values) => Tensor::from_vec(values, shape, &Device::Cpu)?,
        })
    }

    /// Its type.
    pub fn dtype(&self) -> DType {
        match self {
            Self::Bf16(_) => DType::BF16,
            Self::F16(_) => DType::F16,
            Self::F32(_) => DType::F32,
        }
    }
}
