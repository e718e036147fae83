//! A real checkpoint, a tensor at a time.

use crate::architectures::SourceTensor;
use crate::error::{Error, ErrorKind, Result};
use crate::quantize::{Layout, Rows};
use half::{bf16, f16};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use wcodec::Dtype;

/// What a header may be long: safetensors' own limit.
const HEADER_LIMIT: u64 = 100_000_000;

/// A safetensors file.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    tensors: Vec<Place>,
}

#[derive(Debug)]
struct Place {
    layout: Layout,
    offset: u64,
    len: usize,
}

/// A tensor of a checkpoint.
#[derive(Debug)]
pub struct InputTensor {
    /// As it is stored.
    pub layout: Layout,
    /// Its bytes.
    pub data: Vec<u8>,
}

impl Checkpoint {
    /// Reads the header.
    pub fn open(path: &Path) -> Result<Self> {
        let io = |e: std::io::Error| Error::io(path, "reading", &e);
        let bad = |what: &str| Error::new(ErrorKind::BadSource, format!("{}: no safetensors checkpoint: {what}", path.display()));
        let mut file = File::open(path).map_err(io)?;
        let meta = file.metadata().map_err(io)?;
        if meta.is_dir() {
            return Err(bad("it is a directory"));
        }
        let mut len = [0; 8];
        file.read_exact(&mut len).map_err(|_| bad("it is shorter than a header's length"))?;
        let len = u64::from_le_bytes(len);
        let start = len.checked_add(8).filter(|&end| len <= HEADER_LIMIT && end <= meta.len());
        let start = start.ok_or_else(|| bad("its header does not fit into it"))?;
        let mut header = vec![0; len as usize];
        file.read_exact(&mut header).map_err(io)?;
        let header: BTreeMap<String, Value> = serde_json::from_slice(&header).map_err(|_| bad("its header is no JSON object"))?;
        let mut tensors = Vec::new();
        for (name, info) in header.iter().filter(|(name, _)| *name != "__metadata__") {
            tensors
                .push(place(name, info, start, meta.len()).ok_or_else(|| bad(&format!("its header is wrong about {name:?}")))?);
        }
        tensors.sort_by_key(|t| t.offset);
        if tensors.iter().all(|t| t.len == 0) {
            return Err(bad("there is no tensor with elements in it"));
        }
        Ok(Self { path: path.to_owned(), tensors })
    }

    /// How many tensors it has.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// What a tensor is.
    pub fn layout(&self, index: usize) -> &Layout {
        &self.tensors[index].layout
    }

    /// Bytes of a tensor.
    pub fn bytes(&self, index: usize) -> u64 {
        self.tensors[index].len as u64
    }

    /// Reads a tensor.
    pub fn read(&self, index: usize) -> Result<InputTensor> {
        let place = &self.tensors[index];
        let io = |e: std::io::Error| Error::io(&self.path, "reading", &e);
        let mut file = File::open(&self.path).map_err(io)?;
        file.seek(SeekFrom::Start(place.offset)).map_err(io)?;
        let mut data = vec![0; place.len];
        file.read_exact(&mut data).map_err(io)?;
        Ok(InputTensor { layout: place.layout.clone(), data })
    }
}

/// A tensor's place in the file, if what the header says of it can be.
fn place(name: &str, info: &Value, start: u64, end: u64) -> Option<Place> {
    let dtype = Dtype::from_name(info["dtype"].as_str()?);
    let shape: Vec<u64> = info["shape"].as_array()?.iter().map(Value::as_u64).collect::<Option<_>>()?;
    let [from, to] = [0, 1].map(|i| info["data_offsets"][i].as_u64());
    let (from, to) = (start.checked_add(from?)?, start.checked_add(to?)?);
    let len = usize::try_from(to.checked_sub(from)?).ok().filter(|_| to <= end)?;
    let elements = shape.iter().try_fold(1u64, |n, &d| n.checked_mul(d))?;
    if let Some(bits) = dtype.bits() {
        let bytes = elements.checked_mul(u64::from(bits))?.div_ceil(8);
        (bytes == len as u64).then_some(())?;
    }
    // Of a type that is not known there are only bytes.
    let (dtype, shape) = if dtype.bits().is_some() { (dtype, shape) } else { (Dtype::U8, vec![len as u64]) };
    Some(Place { layout: Layout { name: name.to_owned(), dtype, shape }, offset: from, len })
}

impl InputTensor {
    /// The tensor as one that can be quantized, if it is one of floats.
    pub fn source(&self) -> Option<SourceTensor> {
        let is_float = matches!(self.layout.dtype, Dtype::BF16 | Dtype::F16 | Dtype::F32);
        is_float.then(|| SourceTensor::new(&self.layout.name, self.layout.shape.clone()))
    }
}

impl Rows for InputTensor {
    fn fill(&self, row: usize, out: &mut [f32]) -> Result<()> {
        let n = out.len();
        match self.layout.dtype {
            Dtype::BF16 => convert(&self.data[2 * n * row..], out, |b| bf16::from_le_bytes(b).to_f32()),
            Dtype::F16 => convert(&self.data[2 * n * row..], out, |b| f16::from_le_bytes(b).to_f32()),
            _ => convert(&self.data[4 * n * row..], out, f32::from_le_bytes),
        }
        Ok(())
    }
}

/// Elements of `N` bytes as floats; what no quantizer can take (infinities, NaNs) as zeros.
fn convert<const N: usize>(bytes: &[u8], out: &mut [f32], decode: impl Fn([u8; N]) -> f32) {
    for (v, &b) in out.iter_mut().zip(bytes.as_chunks().0) {
        let value = decode(b);
        *v = if value.is_finite() { value } else { 0.0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(header: &str, data: &[u8]) -> Result<Checkpoint> {
        let file = tempfile::NamedTempFile::new().expect("file");
        let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat();
        std::fs::write(file.path(), bytes).expect("write");
        let checkpoint = Checkpoint::open(file.path())?;
        assert_eq!(checkpoint.read(0)?.data, data);
        Ok(checkpoint)
    }

    #[test]
    fn what_is_no_checkpoint_is_refused() {
        let right = r#"{"w":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}"#;
        let tensor = open(right, &[0, 0x80, 0x80, 0x3f]).expect("opens").len();
        assert_eq!(tensor, 1);
        for (header, data) in [
            ("[]", &[][..]),
            ("{}", &[]),
            (right, &[0, 0]),
            (r#"{"w":{"dtype":"BF16","shape":[3],"data_offsets":[0,4]}}"#, &[0; 4]),
            (r#"{"w":{"dtype":"BF16","shape":[2],"data_offsets":[4,0]}}"#, &[0; 4]),
            (r#"{"w":{"dtype":"BF16","shape":[0],"data_offsets":[0,0]}}"#, &[]),
            (r#"{"w":{"dtype":"BF16","shape":[18446744073709551615,3],"data_offsets":[0,4]}}"#, &[0; 4]),
        ] {
            assert_eq!(open(header, data).expect_err(header).kind(), ErrorKind::BadSource, "{header}");
        }
    }
}
