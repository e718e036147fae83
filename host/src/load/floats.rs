//! Integers that are handed out as the floats that they stand for.
//!
//! A unit of a quantized tensor is read and decoded as any other, but a few tiles at a time into a thread's own buffer; from there its integers go times
//! their scales to the tensor. The scales are read by the thread that needs them first, and are gone when the tensor is done.

use super::request::{Asked, Shard, Want, place};
use super::{Loader, TensorInfo};
use crate::archive::Archive;
use crate::directory::single::RESERVED;
use crate::dtype::Dtype;
use crate::error::{Error, ErrorKind, Result};
use crate::quantize::{Dequantized, Scaled, Stored, View, float_bytes};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes of integers that a thread decodes before it makes floats of them: they stay in its cache.
pub(super) const PIECE: u64 = 256 << 10;

/// The archives of a model, each read by the thread that asks.
pub(super) struct Archives(pub Vec<Arc<Archive>>);

impl Stored for Archives {
    fn list(&self) -> Vec<(String, Dtype, Vec<u64>)> {
        self.0.iter().flat_map(|archive| archive.list()).collect()
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        let found = self.0.iter().find_map(|archive| archive.tensor(name).ok());
        found.ok_or_else(|| Error::new(ErrorKind::NotFound, "no tensor of this name").with_tensor(name))?.decode_here()
    }

    fn place(&self, e: Error) -> Error {
        let of = |name: &str| self.0.iter().find(|archive| archive.tensor(name).is_ok());
        match e.tensor().and_then(of).or(self.0.first()).cloned() {
            Some(archive) => archive.place(e),
            None => e,
        }
    }
}

/// A model's tensors as they are handed out.
pub(super) type Model = Dequantized<Archives>;

impl Loader {
    /// The model whose integers become floats.
    pub(super) fn model(&self) -> Result<Arc<Model>> {
        match &self.model {
            Some(model) => Ok(model.clone()),
            None => Ok(Arc::new(Model::new(Archives(vec![self.archive.clone()]))?)),
        }
    }
}

/// Whether a load hands out one of the model's tensors: all but what an archive of a directory holds beside them, and that by name.
pub(super) fn is_model(name: &str) -> bool {
    !name.starts_with(RESERVED)
}

/// That there is no such tensor in the model; where there is one in the archive, what it is a part of.
pub(super) fn absent(model: &Model, name: &str) -> Error {
    let whole = ["_packed", "_scale", "_shape"].iter().find_map(|part| name.strip_suffix(part));
    let why = match whole.filter(|whole| model.integers(whole).is_some()) {
        Some(whole) => format!("no tensor of this name once integers are dequantized: it is a part of '{whole}'"),
        None => "no tensor of this name".into(),
    };
    model.stored().place(Error::new(ErrorKind::NotFound, why).with_tensor(name))
}

/// What becomes of a tensor's integers.
pub(super) struct Floats {
    model: Arc<Model>,
    name: String,
    to: Dtype,
    /// Bytes of a float.
    size: u64,
    view: View,
    shape: Vec<u64>,
    scales: Mutex<Scales>,
}

#[derive(Default)]
struct Scales {
    known: Option<Arc<Scaled>>,
    /// Parts of the tensor that are not decoded yet.
    left: usize,
}

impl Floats {
    pub(super) fn info(&self) -> TensorInfo {
        let byte_len = self.shape.iter().product::<u64>() * self.size;
        TensorInfo { name: self.name.clone(), dtype: self.to, shape: self.shape.clone(), byte_len }
    }

    /// Says that the tensor is decoded in one part more.
    pub(super) fn expect_part(&mut self) {
        self.scales.get_mut().unwrap_or_else(PoisonError::into_inner).left += 1;
    }

    /// Where the floats of these bytes of integers go.
    pub(super) fn output(&self, codes: &Range<u64>) -> Range<u64> {
        self.view.numbers_before(codes.start) * self.size..self.view.numbers_before(codes.end) * self.size
    }

    /// Makes floats of a part's integers, which begin at byte `at` of all that are wanted.
    pub(super) fn expand(&self, archive: &Archive, at: u64, codes: &[u8], out: &mut [u8]) -> Result<()> {
        let placed = |e: Error| archive.place(e.with_tensor(&self.name));
        self.scaled()?.expand(archive.backend(), &self.view, at, codes, self.to, out).map_err(placed)?;
        let mut scales = self.scales.lock().unwrap_or_else(PoisonError::into_inner);
        scales.left = scales.left.saturating_sub(1);
        if scales.left == 0 {
            scales.known = None;
        }
        Ok(())
    }

    /// The scales, which the first that asks reads.
    fn scaled(&self) -> Result<Arc<Scaled>> {
        let mut scales = self.scales.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &scales.known {
            return Ok(known.clone());
        }
        let read = Arc::new(self.model.scaled(&self.name)?);
        scales.known = Some(read.clone());
        Ok(read)
    }
}

/// [`request::wants`](super::request::wants) by the model's names: what is to be read of `archive`, and what becomes of it.
pub(super) fn wants(
    model: &Arc<Model>,
    archive: &Archive,
    names: Option<&[String]>,
    shard: Option<&Shard>,
    to: Dtype,
) -> Result<Vec<(Want, Option<Floats>)>> {
    let size = float_bytes(to)? as u64;
    let mut wants = Vec::new();
    let all: Vec<&str> = match names {
        Some(names) => names.iter().map(String::as_str).collect(),
        None => model.names().filter(|name| is_model(name)).collect(),
    };
    for name in all {
        let Some(shape) = model.shape(name) else { return Err(absent(model, name)) };
        let Some(integers) = model.integers(name) else {
            wants.push((place(name), Asked::stored(archive.tensor(name)?).want(shard)?, None));
            continue;
        };
        let tensor = archive.tensor(&integers.stored_as(name))?;
        let asked = Asked { tensor, name, shape, columns: integers.columns, column_bits: 8 / integers.per_byte() };
        let want = asked.want(shard)?;
        let per_byte = integers.per_byte();
        let columns = want.columns.start * per_byte..(want.columns.end * per_byte).min(integers.columns);
        let row_bytes = want.columns.end - want.columns.start;
        let view = View { row: want.rows.start, columns, row_bytes, per_byte };
        let shape = vec![want.rows.end - want.rows.start, view.width()];
        let (model, name) = (model.clone(), name.to_owned());
        let floats = Floats { model, name, to, size, view, shape, scales: Mutex::default() };
        wants.push((place(&floats.name), want, Some(floats)));
    }
    wants.sort_by_key(|(place, want, _)| (*place, want.entry));
    wants.dedup_by(|a, b| a.1 == b.1);
    Ok(wants.into_iter().map(|(_, want, floats)| (want, floats)).collect())
}
