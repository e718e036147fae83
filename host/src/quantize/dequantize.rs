//! Numbers from integers and scales again: what a checkpoint in compressed-tensors' layout stands for.

use super::checkpoint::{widen, widen_here};
use super::expand::{Scaled, View, float_bytes};
use super::layout::{Integers, List, complete, int4, int8};
use super::scheme::Format;
use super::stored::Stored;
use crate::cpu::Backend;
use crate::dtype::Dtype;
use crate::error::{Error, ErrorKind, Result};
use crate::source::zeroed;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// A tensor as a model knows it.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Plain(Dtype),
    Integers(Integers),
}

/// A quantized matrix, as a model knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quantized {
    /// Its name.
    pub name: String,
    /// The name of the tensor that its integers are.
    pub stored_as: String,
    /// How they are stored.
    pub format: Format,
    /// Rows.
    pub rows: u64,
    /// Columns.
    pub columns: u64,
    /// Columns that share a scale in each row.
    pub group: u64,
}

/// Integer bytes that a thread expands at a time.
const PIECE: usize = 1 << 18;

/// A model's tensors, whether they are stored as floats or as integers with scales: [`names`](Self::names) are those that the model knows.
pub struct Dequantized<S> {
    stored: S,
    tensors: BTreeMap<String, (Kind, Vec<u64>)>,
}

impl<S: Stored> Dequantized<S> {
    /// Looks at what is stored: `NAME.weight` (I8) with `NAME.weight_scale`, `NAME.weight_packed` with `NAME.weight_scale` and `NAME.weight_shape`,
    /// and tensors that are what they are.
    ///
    /// # Errors
    /// Integers without scales, of shapes that do not go together, or with what this version does not know (zero points, columns out of order).
    pub fn new(stored: S) -> Result<Self> {
        let list: List = stored.list().into_iter().map(|(n, d, s)| (n, (d, s))).collect();
        let mut tensors = BTreeMap::new();
        for (name, (dtype, shape)) in &list {
            let part = |suffix: &str| name.strip_suffix(suffix).filter(|module| !module.is_empty());
            let integers = match (part(".weight_packed"), part(".weight")) {
                (Some(module), _) => Some((module, int4(&stored, &list, module, *dtype, shape))),
                (_, Some(module)) if *dtype == Dtype::I8 => Some((module, int8(&list, module, shape))),
                _ => None,
            };
            if let Some((module, integers)) = integers {
                let integers = integers.and_then(|integers| complete(&list, module, integers));
                let integers = integers.map_err(|e| stored.place(e.with_tensor(name)))?;
                let (rows, columns) = (integers.rows, integers.columns);
                if tensors.insert(format!("{module}.weight"), (Kind::Integers(integers), vec![rows, columns])).is_some() {
                    let why = "it is stored twice, as integers of 4 bits and as something else";
                    return Err(stored.place(Error::bad_source(why).with_tensor(name)));
                }
                continue;
            }
            let scaled = |module: &str| {
                list.contains_key(&format!("{module}.weight_packed"))
                    || list.get(&format!("{module}.weight")).is_some_and(|(dtype, _)| *dtype == Dtype::I8)
            };
            let helper = part(".weight_scale").or_else(|| part(".weight_shape"));
            if !helper.is_some_and(scaled) {
                tensors.insert(name.clone(), (Kind::Plain(*dtype), shape.clone()));
            }
        }
        Ok(Self { stored, tensors })
    }

    /// The names of the model's tensors.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The shape of a tensor; `None` if there is none of that name.
    pub fn shape(&self, name: &str) -> Option<&[u64]> {
        self.tensors.get(name).map(|(_, shape)| shape.as_slice())
    }

    /// The type of a tensor whose integers, if it has any, are to become `to`; `None` if there is none of that name.
    pub fn dtype(&self, name: &str, to: Dtype) -> Option<Dtype> {
        self.tensors.get(name).map(|(kind, _)| if let Kind::Plain(dtype) = kind { *dtype } else { to })
    }

    /// The tensors that are stored as integers, by name.
    pub fn quantized(&self) -> impl Iterator<Item = Quantized> {
        self.tensors.keys().filter_map(|name| {
            let Integers { format, rows, columns, groups, .. } = *self.integers(name)?;
            let stored_as = self.integers(name)?.stored_as(name);
            Some(Quantized { name: name.clone(), stored_as, format, rows, columns, group: columns / groups })
        })
    }

    /// How a tensor's integers are stored, if it has any.
    pub(crate) fn integers(&self, name: &str) -> Option<&Integers> {
        match self.tensors.get(name) {
            Some((Kind::Integers(integers), _)) => Some(integers),
            _ => None,
        }
    }

    pub(crate) fn stored(&self) -> &S {
        &self.stored
    }

    /// The scales of a quantized tensor: of each row, those of its groups.
    ///
    /// # Errors
    /// No integers of that name; scales that are no finite numbers, or cannot be read.
    pub fn scales(&self, name: &str) -> Result<Vec<f32>> {
        let Some(integers) = self.integers(name) else { return Err(self.absent(name, "no quantized tensor of this name")) };
        if integers.rows == 0 || integers.columns == 0 {
            return Ok(Vec::new());
        }
        let stored = format!("{name}_scale");
        let fail = |e: Error| self.stored.place(e.with_tensor(&stored));
        let scales = widen_here(integers.scale, &self.stored.read(&stored).map_err(fail)?).unwrap_or_default();
        if Some(scales.len() as u64) != integers.rows.checked_mul(integers.groups) {
            return Err(fail(Error::corrupt("its bytes are not those of its shape")));
        }
        match scales.iter().position(|scale| !scale.is_finite()) {
            None => Ok(scales),
            Some(at) => Err(fail(Error::bad_source(format!("scale {at} is {}, no finite number", scales[at])))),
        }
    }

    /// A quantized tensor's scales, ready to make numbers of its integers.
    pub(crate) fn scaled(&self, name: &str) -> Result<Scaled> {
        let scales = self.scales(name)?;
        let integers = self.integers(name).ok_or_else(|| self.absent(name, "no quantized tensor of this name"))?;
        let (columns, groups) = (integers.columns as usize, integers.groups as usize);
        Ok(Scaled { format: integers.format, columns, groups, scales })
    }

    /// A tensor's bytes: integers become floats of type `to` (BF16, F16 or F32), each the nearest to its integer times its scale, as FP32 rounds that;
    /// what has none stays as it is.
    ///
    /// # Errors
    /// No tensor of that name; another type; a number that is too large for the type; what cannot be read.
    pub fn read(&self, name: &str, to: Dtype) -> Result<Vec<u8>> {
        let bytes = float_bytes(to)?;
        let Some((kind, shape)) = self.tensors.get(name) else { return Err(self.absent(name, "no tensor of this name")) };
        if let Kind::Plain(_) = kind {
            return self.stored.read(name);
        }
        let len = shape.iter().product::<u64>() as usize * bytes;
        let mut out = zeroed(len).map_err(|e| self.stored.place(Error::io("dequantizing", e).with_tensor(name)))?;
        self.fill(name, to, &mut out)?;
        Ok(out)
    }

    /// The numbers of a tensor: of integers, each times its scale.
    ///
    /// # Errors
    /// No tensor of that name; one that is neither floats nor integers with scales; bytes that cannot be read.
    pub fn read_f32(&self, name: &str) -> Result<Vec<f32>> {
        let Some((kind, shape)) = self.tensors.get(name) else { return Err(self.absent(name, "no tensor of this name")) };
        if let Kind::Plain(dtype) = *kind {
            let no_floats = || self.stored.place(Error::argument(format!("{dtype:?} are no floats")).with_tensor(name));
            return widen(dtype, &self.stored.read(name)?).ok_or_else(no_floats);
        }
        let mut out = vec![0.0; shape.iter().product::<u64>() as usize];
        self.fill(name, Dtype::F32, bytemuck::cast_slice_mut(&mut out))?;
        Ok(out)
    }

    /// Makes numbers of all of a tensor's integers.
    fn fill(&self, name: &str, to: Dtype, out: &mut [u8]) -> Result<()> {
        let Some(integers) = self.integers(name) else { return Err(self.absent(name, "no quantized tensor of this name")) };
        let codes = self.stored.read(&integers.stored_as(name))?;
        let (row, columns) = (integers.row_bytes() as usize, integers.columns as usize);
        let fail = |e: Error| self.stored.place(e.with_tensor(name));
        if integers.rows.checked_mul(row as u64) != Some(codes.len() as u64) {
            return Err(fail(Error::corrupt("the bytes of its integers are not those of its shape")));
        }
        if codes.is_empty() {
            return Ok(());
        }
        let (matrix, backend) = (self.scaled(name)?, Backend::best());
        let rows = (PIECE / row).max(1);
        let parts = codes.par_chunks(rows * row).zip(out.par_chunks_mut(rows * columns * float_bytes(to)?));
        parts
            .enumerate()
            .try_for_each(|(i, (codes, out))| {
                let view = View {
                    row: (i * rows) as u64,
                    columns: 0..integers.columns,
                    row_bytes: row as u64,
                    per_byte: integers.per_byte(),
                };
                matrix.expand(backend, &view, 0, codes, to, out)
            })
            .map_err(fail)
    }

    fn absent(&self, name: &str, why: &str) -> Error {
        self.stored.place(Error::new(ErrorKind::NotFound, why).with_tensor(name))
    }
}
