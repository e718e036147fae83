//! An open archive.

use crate::errors::raise;
use crate::memory::{Memory, capsule};
use crate::region::Region;
use crate::run::{Watch, run};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;
use wcodec::{Base, Device, DeviceChoice, Dtype, Error, Loader, Tensor};

/// A tensor's dtype as its source spelt it, and its shape.
type Info = (String, Vec<u64>);
/// A tensor's name, dtype and shape, and where it is.
type Named<T> = (String, String, Vec<u64>, T);

/// Bytes that are decoded before signals are asked for again.
const GROUP: usize = 256 << 20;

#[pyclass(frozen)]
pub(crate) struct Archive {
    archive: wcodec::Archive,
    path: PathBuf,
    base: Option<PathBuf>,
}

#[pymethods]
impl Archive {
    #[new]
    #[pyo3(signature = (path, base=None))]
    fn new(py: Python<'_>, path: PathBuf, base: Option<PathBuf>) -> PyResult<Self> {
        let open = || {
            let archive = wcodec::Archive::open(&path)?;
            match &base {
                Some(base) => archive.with_base(base),
                None => Ok(archive),
            }
        };
        let archive = py.detach(open).map_err(raise)?;
        Ok(Self { archive, path, base })
    }

    /// Names of the tensors, in the order of the source file.
    fn keys(&self) -> Vec<&str> {
        self.archive.tensors().map(|t| t.name()).collect()
    }

    fn info(&self, name: &str) -> PyResult<Info> {
        let tensor = self.archive.tensor(name).map_err(raise)?;
        Ok((tensor.dtype_name().to_owned(), tensor.shape().to_vec()))
    }

    /// The source file's header, where there was a file.
    fn header<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let header = py.detach(|| self.archive.source_header()).map_err(raise)?;
        Ok(header.map(|h| PyBytes::new(py, &h)))
    }

    /// A tensor's bytes.
    #[pyo3(signature = (name, threads=0))]
    fn tensor(&self, py: Python<'_>, name: &str, threads: usize) -> PyResult<Memory> {
        run(py, threads, || {
            let tensor = self.archive.tensor(name)?;
            let mut region = Region::one(length(&tensor)?)?;
            tensor.decode_into(region.bytes_mut())?;
            Ok(Memory::new(region, tensor.dtype(), tensor.shape().to_vec()))
        })
    }

    /// Bytes of rows `first..end` (of the product of all dimensions but the last) of a tensor, from columns `left..right`, which have this shape: of
    /// its tiles only those are read that these touch.
    fn rows(&self, py: Python<'_>, name: &str, first: u64, end: u64, left: u64, right: u64, shape: Vec<u64>) -> PyResult<Memory> {
        run(py, 0, || {
            let tensor = self.archive.tensor(name)?;
            let len = shape.iter().try_fold(tensor.column_bytes(), |n, &d| n.checked_mul(d));
            let len = len.and_then(|len| usize::try_from(len).ok()).unwrap_or(usize::MAX);
            let mut region = Region::one(len)?;
            tensor.decode_slice_into(first..end, left..right, region.bytes_mut())?;
            Ok(Memory::new(region, tensor.dtype(), shape))
        })
    }

    /// Rows of a tensor, and elements of a row (bytes, where elements are none).
    fn grid(&self, name: &str) -> PyResult<(u64, u64)> {
        let tensor = self.archive.tensor(name).map_err(raise)?;
        Ok((tensor.rows(), tensor.columns()))
    }

    /// All tensors, or some, decoded side by side; with `dequantize`, integers as floats of that type.
    #[pyo3(signature = (names=None, threads=0, dequantize=None))]
    fn load(
        &self,
        py: Python<'_>,
        names: Option<Vec<String>>,
        threads: usize,
        dequantize: Option<&str>,
    ) -> PyResult<Vec<Named<Memory>>> {
        let watch = Watch::new(None);
        if let Some(to) = dequantize {
            let to = float(to).map_err(raise)?;
            return watch.run(py, threads, || self.floats(names, to, &watch));
        }
        watch.run(py, threads, || {
            let tensors: Vec<Tensor<'_>> = match &names {
                Some(names) => names.iter().map(|name| self.archive.tensor(name)).collect::<Result<_, _>>()?,
                None => self.archive.tensors().collect(),
            };
            let lens = tensors.iter().map(length).collect::<Result<Vec<_>, _>>()?;
            let mut regions = Region::all(&lens)?;
            // What is cached is decoded where it lies; a disk is better read by many reads at once, and past the cache.
            if wcodec::is_cached(&self.path) {
                let mut jobs: Vec<_> = tensors.iter().copied().zip(regions.iter_mut().map(Region::bytes_mut)).collect();
                let mut rest = &mut jobs[..];
                while !rest.is_empty() {
                    let (mut count, mut bytes) = (0, 0);
                    while count < rest.len() && bytes < GROUP {
                        bytes += rest[count].1.len();
                        count += 1;
                    }
                    let (now, later) = rest.split_at_mut(count);
                    watch.check()?;
                    self.archive.decode_many(now)?;
                    rest = later;
                }
            } else {
                regions = self.read(&tensors, regions, &watch)?;
            }
            let named = |(t, region): (&Tensor<'_>, _)| {
                let memory = Memory::new(region, t.dtype(), t.shape().to_vec());
                (t.name().to_owned(), t.dtype_name().to_owned(), t.shape().to_vec(), memory)
            };
            Ok(tensors.iter().zip(regions).map(named).collect())
        })
    }

    /// All tensors, or some, decoded on this CUDA device, as capsules of DLPack's: of bytes, for those of `raw` dtypes.
    #[pyo3(signature = (ordinal, raw, names=None))]
    fn load_on<'py>(
        &self,
        py: Python<'py>,
        ordinal: usize,
        raw: Vec<String>,
        names: Option<Vec<String>>,
    ) -> PyResult<Vec<Named<Bound<'py, PyAny>>>> {
        let loaded = run(py, 0, || {
            let mut loader = self.loader()?.device(Device::open(DeviceChoice::Cuda(ordinal))?);
            if let Some(names) = names {
                loader = loader.tensors(names);
            }
            loader.load()?.collect_all()
        })?;
        let capsules = loaded.into_iter().map(|mut tensor| {
            let dtype = self.archive.tensor(&tensor.info.name).map_err(raise)?.dtype_name().to_owned();
            let (name, shape) = (tensor.info.name.clone(), tensor.info.shape.clone());
            if raw.contains(&dtype) {
                tensor.info.shape = vec![tensor.info.byte_len];
                tensor.info.dtype = Dtype::U8;
            }
            Ok((name, dtype, shape, capsule(py, tensor)?))
        });
        capsules.collect()
    }
}

impl Archive {
    fn loader(&self) -> Result<Loader, Error> {
        let loader = Loader::open(&self.path)?;
        match &self.base {
            Some(base) => loader.base(Base::open(base)?),
            None => Ok(loader),
        }
    }

    /// Loads tensors, of the model's names, with integers as floats.
    fn floats(&self, names: Option<Vec<String>>, to: Dtype, watch: &Watch) -> Result<Vec<Named<Memory>>, Error> {
        let mut loader = self.loader()?.dequantize(to);
        if let Some(names) = names {
            loader = loader.tensors(names);
        }
        let large = || Error::new(wcodec::ErrorKind::InvalidArgument, "more bytes than this system addresses");
        let memory = move |info: &wcodec::TensorInfo| Region::one(usize::try_from(info.byte_len).map_err(|_| large())?);
        let mut all = Vec::new();
        for tensor in loader.memory(memory).load()? {
            let tensor = tensor?;
            watch.check()?;
            let info = tensor.info.clone();
            // A type without a name is that of a tensor which is as it was.
            let dtype = match info.dtype.name() {
                Some(name) => name.to_owned(),
                None => self.archive.tensor(&info.name)?.dtype_name().to_owned(),
            };
            let named = |region| (info.name, dtype, info.shape.clone(), Memory::new(region, info.dtype, info.shape));
            all.extend(tensor.into_host::<Region>().map(named));
        }
        Ok(all)
    }

    /// Loads tensors into these regions.
    fn read(&self, tensors: &[Tensor<'_>], regions: Vec<Region>, watch: &Watch) -> Result<Vec<Region>, Error> {
        let names: Vec<String> = tensors.iter().map(|t| t.name().to_owned()).collect();
        let free: HashMap<String, Region> = names.iter().cloned().zip(regions).collect();
        let free = Mutex::new(free);
        let missing = |name: &str| Error::new(wcodec::ErrorKind::Corrupt, "the file has changed").with_tensor(name);
        let take = move |info: &wcodec::TensorInfo| {
            free.lock().ok().and_then(|mut free| free.remove(&info.name)).ok_or_else(|| missing(&info.name))
        };
        let mut loaded = HashMap::new();
        for tensor in self.loader()?.tensors(names.clone()).memory(take).load()? {
            let tensor = tensor?;
            watch.check()?;
            let name = tensor.info.name.clone();
            loaded.extend(tensor.into_host::<Region>().map(|region| (name, region)));
        }
        names.iter().map(|name| loaded.remove(name).ok_or_else(|| missing(name))).collect()
    }
}

/// The type of floats that is called so.
fn float(name: &str) -> Result<Dtype, Error> {
    match name.to_ascii_lowercase().as_str() {
        "bf16" | "bfloat16" => Ok(Dtype::BF16),
        "fp16" | "f16" | "float16" => Ok(Dtype::F16),
        "fp32" | "f32" | "float32" => Ok(Dtype::F32),
        _ => Err(Error::new(wcodec::ErrorKind::InvalidArgument, format!("integers become bf16, fp16 or fp32, not '{name}'"))),
    }
}

/// Bytes of a tensor.
fn length(tensor: &Tensor<'_>) -> Result<usize, Error> {
    usize::try_from(tensor.byte_len()).map_err(|_| {
        Error::new(wcodec::ErrorKind::InvalidArgument, "more bytes than this system addresses").with_tensor(tensor.name())
    })
}
