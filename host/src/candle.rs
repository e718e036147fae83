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
use std::sync::{Arc, Condvar, Mutex};

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

    fn is_fresh(&self) -> bool {
        self.memory().is_fresh()
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

/// What has come.
struct Arrived {
    tensors: HashMap<String, Tensor>,
    /// Why no more will.
    over: Option<String>,
    /// Whether somebody waits for the next.
    receiving: bool,
}

struct Shared {
    names: HashSet<String>,
    load: Load,
    arrived: Mutex<Arrived>,
    change: Condvar,
}

/// Tensors of a load that may still be going on; clones share them.
#[derive(Clone)]
pub struct Weights(Arc<Shared>);

impl Weights {
    /// Starts the load.
    pub fn start(loader: Loader) -> Result<Self> {
        let names = loader.names()?;
        let load = loader.memory(Elements::new).load()?;
        let arrived = Mutex::new(Arrived { tensors: HashMap::new(), over: None, receiving: false });
        Ok(Self(Arc::new(Shared { names, load, arrived, change: Condvar::new() })))
    }

    /// How far the load is.
    pub fn progress(&self) -> LoadProgress {
        self.0.load.progress()
    }

    /// Asks the load to stop.
    pub fn cancel(&self) {
        self.0.load.cancel();
    }

    /// A tensor, when it is there. Any number of threads may wait.
    pub fn wait(&self, name: &str) -> candle_core::Result<Tensor> {
        let Shared { names, load, arrived, change } = &*self.0;
        if !names.contains(name) {
            return Err(candle_core::Error::CannotFindTensor { path: name.into() });
        }
        // Nothing is left half-done by a panic of candle's.
        let lock = || arrived.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut here = lock();
        loop {
            if let Some(tensor) = here.tensors.get(name) {
                return Ok(tensor.clone());
            }
            if let Some(why) = &here.over {
                return Err(candle_core::Error::Msg(why.clone()));
            }
            if here.receiving {
                here = change.wait(here).unwrap_or_else(|poisoned| poisoned.into_inner());
                continue;
            }
            // One waits for the load, without the lock; the others wait for that one.
            here.receiving = true;
            drop(here);
            let next =
                load.wait().map(|loaded| loaded.map_err(|e| e.to_string()).and_then(|l| tensor(l).map_err(|e| e.to_string())));
            here = lock();
            here.receiving = false;
            match next {
                Some(Ok((name, tensor))) => _ = here.tensors.insert(name, tensor),
                Some(Err(why)) => here.over = Some(why),
                None => here.over = Some("the load is over".into()),
            }
            change.notify_all();
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
        self.0.names.contains(name)
    }
}

/// Starts the load; the builder's tensors are there as they become ready, of type `dtype` on `device` (without a copy where that is theirs already
/// and the device is the CPU).
pub fn var_builder(loader: Loader, dtype: DType, device: &Device) -> Result<VarBuilder<'static>> {
    Ok(VarBuilder::from_backend(Box::new(Weights::start(loader)?), dtype, device.clone()))
}
