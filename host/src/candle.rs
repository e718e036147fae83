//! candle: a [`VarBuilder`] whose tensors come out of an archive, decoded into the memory that candle then owns.
//!
//! A model can be built while its weights are still on their way: asking for a tensor waits until that tensor is ready, and they become ready in
//! the order in which models ask for them.
//!
//! ```no_run
//! let loader = wcodec::Loader::open("model.wcodec")?;
//! let vb = wcodec::candle::var_builder(loader, candle_core::DType::F32, &candle_core::Device::Cpu)?;
//! let embedding = vb.get((49152, 576), "model.embed_tokens.weight")?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::load::{HostMemory, Load, LoadProgress, Loaded, Loader, TensorInfo, VecMemory};
use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;
use half::{bf16, f16};
use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

macro_rules! elements {
    ($($dtype:ident: $element:ty),*) => {
        /// A vector of the elements that candle has for a dtype.
        enum Elements {
            $($dtype(VecMemory<$element>),)*
        }

        impl Elements {
            fn new(info: &TensorInfo) -> Result<Self> {
                let len = info.byte_len as usize;
                match info.dtype {
                    $(Dtype::$dtype => Ok(Self::$dtype(VecMemory::zeroed(len / size_of::<$element>()))),)*
                    Dtype::BOOL => Ok(Self::U8(VecMemory::zeroed(len))),
                    other => Err(Error::argument(format!("candle has no tensors of {}", other.name().unwrap_or("this type")))),
                }
            }

            fn into_tensor(self, shape: &[usize]) -> candle_core::Result<Tensor> {
                match self {
                    $(Self::$dtype(memory) => Tensor::from_vec(memory.into_vec(), shape, &Device::Cpu),)*
                }
            }

            fn memory(&self) -> &dyn HostMemory {
                match self {
                    $(Self::$dtype(memory) => memory,)*
                }
            }
        }
    };
}

elements!(BF16: bf16, F16: f16, F32: f32, F64: f64, U8: u8, U32: u32, I16: i16, I32: i32, I64: i64);

// SAFETY: a vector's, whose address does not change when it is moved.
#[allow(unsafe_code)]
unsafe impl HostMemory for Elements {
    fn address(&self) -> *mut u8 {
        self.memory().address()
    }

    fn len(&self) -> usize {
        self.memory().len()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send + Sync> {
        self
    }
}

fn tensor(loaded: Loaded) -> candle_core::Result<(String, Tensor)> {
    let name = loaded.info.name.clone();
    let shape: Vec<usize> = loaded.info.shape.iter().map(|&d| d as usize).collect();
    let elements = loaded.into_host::<Elements>();
    let elements = elements.ok_or_else(|| candle_core::Error::Msg(format!("{name} is not in host memory")))?;
    Ok((name, elements.into_tensor(&shape)?))
}

/// All tensors of a load, in candle's own memory.
///
/// # Errors
/// What goes wrong with the load, and types that candle does not have.
pub fn load(loader: Loader) -> candle_core::Result<HashMap<String, Tensor>> {
    loader
        .memory(Elements::new)
        .load()
        .map_err(candle_core::Error::wrap)?
        .map(|t| tensor(t.map_err(candle_core::Error::wrap)?))
        .collect()
}

/// What has come, and what brings the rest.
struct Arriving {
    load: Load,
    tensors: HashMap<String, Tensor>,
    failed: Option<String>,
}

/// Tensors of a load that may still be going on; clones share them.
#[derive(Clone)]
pub struct Weights {
    names: Arc<HashSet<String>>,
    arriving: Arc<Mutex<Arriving>>,
}

impl Weights {
    /// Starts the load.
    pub fn start(loader: Loader) -> Result<Self> {
        let names = loader.archive().tensors().map(|t| t.name().to_owned()).collect();
        let load = loader.memory(Elements::new).load()?;
        let arriving = Arriving { load, tensors: HashMap::new(), failed: None };
        Ok(Self { names: Arc::new(names), arriving: Arc::new(Mutex::new(arriving)) })
    }

    fn lock(&self) -> MutexGuard<'_, Arriving> {
        // Nothing is left half-done by a panic of candle's.
        self.arriving.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// How far the load is.
    pub fn progress(&self) -> LoadProgress {
        self.lock().load.progress()
    }

    /// A tensor, when it is there.
    pub fn wait(&self, name: &str) -> candle_core::Result<Tensor> {
        if !self.names.contains(name) {
            return Err(candle_core::Error::CannotFindTensor { path: name.into() });
        }
        let mut arriving = self.lock();
        loop {
            if let Some(tensor) = arriving.tensors.get(name) {
                return Ok(tensor.clone());
            }
            if let Some(why) = &arriving.failed {
                return Err(candle_core::Error::Msg(why.clone()));
            }
            match arriving.load.next() {
                Some(Ok(loaded)) => {
                    let (name, tensor) = tensor(loaded)?;
                    arriving.tensors.insert(name, tensor);
                }
                Some(Err(e)) => arriving.failed = Some(e.to_string()),
                None => arriving.failed = Some(format!("the load ended without {name}")),
            }
        }
    }
}

impl SimpleBackend for Weights {
    fn get(&self, s: Shape, name: &str, _: candle_nn::Init, dtype: DType, dev: &Device) -> candle_core::Result<Tensor> {
        let tensor = self.wait(name)?;
        if tensor.shape() != &s {
            let msg = format!("shape mismatch for {name}");
            return Err(candle_core::Error::UnexpectedShape { msg, expected: s, got: tensor.shape().clone() });
        }
        tensor.to_device(dev)?.to_dtype(dtype)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, dev: &Device) -> candle_core::Result<Tensor> {
        self.wait(name)?.to_device(dev)?.to_dtype(dtype)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.names.contains(name)
    }
}

/// Starts the load; the builder's tensors are there as they become ready, of type `dtype` on `device` (without a copy where that is theirs already
/// and the device is the CPU).
pub fn var_builder(loader: Loader, dtype: DType, device: &Device) -> Result<VarBuilder<'static>> {
    Ok(VarBuilder::from_backend(Box::new(Weights::start(loader)?), dtype, device.clone()))
}
