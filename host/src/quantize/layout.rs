//! Which stored tensors are integers, and which are what it takes to read those.

use super::scheme::Format;
use super::stored::Stored;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use std::collections::BTreeMap;

/// How a matrix of integers is stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Integers {
    pub format: Format,
    /// The type of the scales.
    pub scale: Dtype,
    /// Groups of columns, of which each has a scale in each row.
    pub groups: u64,
    pub rows: u64,
    pub columns: u64,
}

impl Integers {
    /// Numbers in a byte.
    pub(crate) fn per_byte(&self) -> u64 {
        if self.format == Format::Int4 { 2 } else { 1 }
    }

    /// Bytes of a row of integers.
    pub(crate) fn row_bytes(&self) -> u64 {
        if self.format == Format::Int4 { 4 * self.columns.div_ceil(8) } else { self.columns }
    }

    /// The name that the integers of the tensor `name` are stored under.
    pub(crate) fn stored_as(&self, name: &str) -> String {
        if self.format == Format::Int4 { format!("{name}_packed") } else { name.to_owned() }
    }
}

/// What is stored, by name.
pub(crate) type List = BTreeMap<String, (Dtype, Vec<u64>)>;

/// The type and shape of a module's scales.
fn scales<'a>(list: &'a List, module: &str) -> Result<(Dtype, &'a [u64])> {
    let found = list.get(&format!("{module}.weight_scale"));
    let (dtype, shape) = found.ok_or_else(|| Error::bad_source("its integers have no scales ('….weight_scale')"))?;
    let floats = matches!(dtype, Dtype::BF16 | Dtype::F16 | Dtype::F32);
    if floats { Ok((*dtype, shape)) } else { Err(Error::bad_source("its scales are no floats")) }
}

/// A byte for each number.
pub(crate) fn int8(list: &List, module: &str, shape: &[u64]) -> Result<Integers> {
    match (scales(list, module)?, shape) {
        ((scale, &[r, 1] | &[r]), &[rows, columns]) if r == rows => {
            Ok(Integers { format: Format::Int8, scale, groups: 1, rows, columns })
        }
        _ => Err(Error::bad_source(format!("its scales are not those of the rows of {shape:?}"))),
    }
}

/// Words of eight numbers.
pub(crate) fn int4(stored: &impl Stored, list: &List, module: &str, dtype: Dtype, shape: &[u64]) -> Result<Integers> {
    let words = format!("{module}.weight_shape");
    // Not read before its own shape says that it is short.
    let whole = match list.get(&words) {
        Some((Dtype::I64, shape)) if shape[..] == [2] => stored.read(&words)?,
        _ => Vec::new(),
    };
    let whole: Vec<u64> = whole.as_chunks().0.iter().map(|b| u64::from_le_bytes(*b)).collect();
    let &[rows, columns] = &whole[..] else { return Err(Error::bad_source(format!("'{words}' is no shape of a matrix"))) };
    let (scale, groups) = match scales(list, module)? {
        (scale, &[r, groups]) if r == rows && groups > 0 && columns.is_multiple_of(groups) => (scale, groups),
        _ => return Err(Error::bad_source(format!("its scales are not those of {rows} × {columns} weights"))),
    };
    if dtype != Dtype::I32 || shape[..] != [rows, columns.div_ceil(8)] {
        return Err(Error::bad_source(format!("{dtype:?} of shape {shape:?} are not {rows} × {columns} weights of 4 bits")));
    }
    Ok(Integers { format: Format::Int4, scale, groups, rows, columns })
}

/// Refuses integers of which more is stored than is known here, or more than can be addressed.
pub(crate) fn complete(list: &List, module: &str, integers: Integers) -> Result<Integers> {
    for (part, what) in [("weight_zero_point", "zero points"), ("weight_g_idx", "an order of its columns")] {
        if list.contains_key(&format!("{module}.{part}")) {
            return Err(Error::bad_source(format!("its integers have {what} ('….{part}'), which this version does not know")));
        }
    }
    match Dtype::F32.byte_len(&[integers.rows, integers.columns]) {
        Some(bytes) if bytes <= isize::MAX as u64 => Ok(integers),
        _ => Err(Error::bad_source(format!("{} × {} weights are too many", integers.rows, integers.columns))),
    }
}
