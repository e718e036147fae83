//! Numbers from integers and scales again: what a checkpoint in compressed-tensors' layout stands for.

use super::checkpoint::{Checkpoint, widen};
use super::scheme::unpack;
use crate::archive::Archive;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Stored tensors, by name.
pub trait Stored {
    /// Name, type and shape of each.
    fn list(&self) -> Vec<(String, Dtype, Vec<u64>)>;

    /// A tensor's bytes.
    ///
    /// # Errors
    /// Where they cannot be read or decoded.
    fn read(&self, name: &str) -> Result<Vec<u8>>;
}

impl Stored for Archive {
    fn list(&self) -> Vec<(String, Dtype, Vec<u64>)> {
        self.tensors().map(|t| (t.name().to_owned(), t.dtype(), t.shape().to_vec())).collect()
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        self.tensor(name)?.decode()
    }
}

impl Stored for Checkpoint {
    fn list(&self) -> Vec<(String, Dtype, Vec<u64>)> {
        self.tensors().map(|(name, dtype, shape)| (name.to_owned(), dtype, shape.to_vec())).collect()
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        let number = self.tensors().position(|(n, ..)| n == name);
        let number = number.ok_or_else(|| Error::new(crate::ErrorKind::NotFound, "no tensor of this name").with_tensor(name))?;
        Checkpoint::read(self, number)
    }
}

/// A tensor as a model knows it.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Plain(Dtype),
    /// With the type of its scales.
    Int8(Dtype),
    Int4(Dtype),
}

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
    /// Integers without scales, or of shapes that do not go together.
    pub fn new(stored: S) -> Result<Self> {
        let list: BTreeMap<String, (Dtype, Vec<u64>)> = stored.list().into_iter().map(|(n, d, s)| (n, (d, s))).collect();
        let fail = |name: &str, why: String| Error::bad_source(why).with_tensor(name);
        let mut tensors = BTreeMap::new();
        for (name, (dtype, shape)) in &list {
            let part = |suffix: &str| name.strip_suffix(suffix).filter(|module| !module.is_empty());
            let scales = |module: &str| -> Result<(Dtype, &[u64])> {
                let (dtype, shape) = list
                    .get(&format!("{module}.weight_scale"))
                    .ok_or_else(|| fail(name, "its integers have no scales ('….weight_scale')".into()))?;
                let floats = matches!(dtype, Dtype::BF16 | Dtype::F16 | Dtype::F32);
                if floats { Ok((*dtype, shape)) } else { Err(fail(name, "its scales are no floats".into())) }
            };
            if let Some(module) = part(".weight_packed") {
                let words = format!("{module}.weight_shape");
                let bytes = stored.read(&words).map_err(|e| e.with_tensor(&words))?;
                let whole: Vec<u64> = bytes.as_chunks().0.iter().map(|b| u64::from_le_bytes(*b)).collect();
                let &[rows, columns] = &whole[..] else { return Err(fail(name, format!("'{words}' is no shape of a matrix"))) };
                let scale = match scales(module)? {
                    (scale, &[r, groups]) if r == rows && groups > 0 && columns.is_multiple_of(groups) => scale,
                    _ => return Err(fail(name, format!("its scales are not those of {rows} × {columns} weights"))),
                };
                if *dtype != Dtype::I32 || shape[..] != [rows, columns.div_ceil(8)] {
                    return Err(fail(name, format!("{dtype:?} of shape {shape:?} are not {rows} × {columns} weights of 4 bits")));
                }
                tensors.insert(format!("{module}.weight"), (Kind::Int4(scale), whole));
            } else if let (Some(module), Dtype::I8) = (part(".weight"), dtype) {
                let rows = shape.first().copied().unwrap_or(0);
                let scale = match scales(module)? {
                    (scale, &[r, 1] | &[r]) if r == rows && shape.len() == 2 => scale,
                    _ => return Err(fail(name, format!("its scales are not those of the rows of {shape:?}"))),
                };
                tensors.insert(name.clone(), (Kind::Int8(scale), shape.clone()));
            } else {
                let scaled = |module: &str| {
                    list.contains_key(&format!("{module}.weight_packed"))
                        || list.get(&format!("{module}.weight")).is_some_and(|(dtype, _)| *dtype == Dtype::I8)
                };
                let helper = part(".weight_scale").or_else(|| part(".weight_shape"));
                if !helper.is_some_and(scaled) {
                    tensors.insert(name.clone(), (Kind::Plain(*dtype), shape.clone()));
                }
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

    /// The numbers of a tensor: of integers, each times its scale.
    ///
    /// # Errors
    /// No tensor of that name; one that is neither floats nor integers with scales; bytes that cannot be read.
    pub fn read_f32(&self, name: &str) -> Result<Vec<f32>> {
        let Some((kind, shape)) = self.tensors.get(name) else {
            return Err(Error::new(crate::ErrorKind::NotFound, "no tensor of this name").with_tensor(name));
        };
        let plain = |dtype: Dtype, name: &str| -> Result<Vec<f32>> {
            let bytes = self.stored.read(name)?;
            widen(dtype, &bytes).ok_or_else(|| Error::argument(format!("{dtype:?} are no floats")).with_tensor(name))
        };
        match *kind {
            Kind::Plain(dtype) => plain(dtype, name),
            Kind::Int8(scale) => {
                let (codes, scales) = (self.stored.read(name)?, plain(scale, &format!("{name}_scale"))?);
                let columns = shape.get(1).map_or(1, |&c| c as usize).max(1);
                let row = |(codes, &scale): (&[u8], &f32)| codes.iter().map(move |&c| c as i8 as f32 * scale).collect::<Vec<_>>();
                Ok(codes.par_chunks(columns).zip(&scales).flat_map_iter(row).collect())
            }
            Kind::Int4(scale) => {
                let packed = self.stored.read(&format!("{name}_packed"))?;
                let scales = plain(scale, &format!("{name}_scale"))?;
                let words: Vec<u32> = packed.as_chunks().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
                let (rows, columns) = (shape[0] as usize, shape[1] as usize);
                let groups = scales.len() / rows.max(1);
                let row = |(words, scales): (&[u32], &[f32])| {
                    (0..columns).map(|c| unpack(words, c) as f32 * scales[c * groups / columns]).collect::<Vec<_>>()
                };
                Ok(words
                    .par_chunks(columns.div_ceil(8).max(1))
                    .zip(scales.par_chunks(groups.max(1)))
                    .flat_map_iter(row)
                    .collect())
            }
        }
    }
}
