//! The source: the tensors of a safetensors file, or of all those of a directory, read one at a time.

use crate::directory::Directory;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::source::safetensors::{Entry, read_header};
use crate::source::{FileReader, ReadAt};
use half::{bf16, f16};
use rayon::prelude::*;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// Float tensors in safetensors files.
pub struct Checkpoint {
    path: PathBuf,
    files: Vec<(PathBuf, FileReader)>,
    /// Each with the number of its file, in the order of files and of their bytes.
    tensors: Vec<(usize, Entry)>,
    directory: Option<Directory>,
}

impl std::fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checkpoint").field("path", &self.path).field("tensors", &self.tensors.len()).finish_non_exhaustive()
    }
}

impl Checkpoint {
    /// Opens a safetensors file, or a directory as Hugging Face has them.
    ///
    /// # Errors
    /// Those of [`Directory::open`]; a file that is no safetensors file; two files with tensors of one name.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let directory = if path.is_dir() { Some(Directory::open(path)?) } else { None };
        let paths: Vec<PathBuf> = match &directory {
            Some(directory) => directory.shards().map(Path::to_owned).collect(),
            None => vec![path.to_owned()],
        };
        let (mut files, mut tensors, mut names) = (Vec::new(), Vec::new(), HashSet::new());
        for path in paths {
            let reader = FileReader::open(&path).map_err(|e| Error::io("opening", e).with_path(&path))?;
            for entry in read_header(&reader).map_err(|e| e.with_path(&path))?.tensors {
                if !names.insert(entry.name.clone()) {
                    let why = "two of the files have a tensor of this name";
                    return Err(Error::bad_source(why).with_path(&path).with_tensor(&entry.name));
                }
                tensors.push((files.len(), entry));
            }
            files.push((path, reader));
        }
        Ok(Self { path: path.to_owned(), files, tensors, directory })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn directory(&self) -> Option<&Directory> {
        self.directory.as_ref()
    }

    /// Bytes of all its safetensors files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, reader)| reader.size()).sum()
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Name, type and shape of each tensor.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = (&str, Dtype, &[u64])> {
        self.tensors.iter().map(|(_, t)| (t.name.as_str(), t.dtype, t.shape.as_slice()))
    }

    pub(crate) fn entry(&self, number: usize) -> &Entry {
        &self.tensors[number].1
    }

    /// The bytes of a tensor.
    pub(crate) fn read(&self, number: usize) -> Result<Vec<u8>> {
        let (file, entry) = &self.tensors[number];
        let (path, reader) = &self.files[*file];
        let fail = |e| Error::io("reading", e).with_path(path).with_tensor(&entry.name).at(entry.offset);
        let reader: &dyn ReadAt = reader;
        reader.fetch(entry.offset, entry.len as usize).map(std::borrow::Cow::into_owned).map_err(fail)
    }

    /// The numbers of a float tensor.
    ///
    /// # Errors
    /// One of them is no finite number: no integer stands for it.
    pub(crate) fn read_finite(&self, number: usize) -> Result<Vec<f32>> {
        let entry = self.entry(number);
        let values = widen(entry.dtype, &self.read(number)?)
            .ok_or_else(|| Error::argument(format!("{} are no floats", entry.dtype_name)).with_tensor(&entry.name))?;
        self.finite(number, values, "it cannot be quantized; an exception may keep the tensor as it is")
    }

    /// Refuses tensors of floats that are not all finite: nothing can be measured of such a model.
    ///
    /// # Errors
    /// There is one, with its file and where it lies; what cannot be read.
    pub fn refuse_non_finite(&self) -> Result<()> {
        for number in 0..self.len() {
            if let Some(values) = widen(self.entry(number).dtype, &self.read(number)?) {
                self.finite(number, values, "such a model cannot be measured, only quantized without")?;
            }
        }
        Ok(())
    }

    fn finite(&self, number: usize, values: Vec<f32>, what_then: &str) -> Result<Vec<f32>> {
        let entry = self.entry(number);
        if let Some(at) = first_not_finite(&values) {
            let path = &self.files[self.tensors[number].0].0;
            let size = entry.len / values.len() as u64;
            let why = format!("weight {at} is {}: {what_then}", values[at]);
            return Err(Error::bad_source(why).with_path(path).with_tensor(&entry.name).at(entry.offset + at as u64 * size));
        }
        Ok(values)
    }
}

/// Floats from their bytes; `None` if the type is none of BF16, FP16 and FP32.
pub(crate) fn widen(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    Some(match dtype {
        Dtype::BF16 => bytes.as_chunks().0.par_iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
        Dtype::F16 => bytes.as_chunks().0.par_iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
        Dtype::F32 => bytes.as_chunks().0.par_iter().map(|b| f32::from_le_bytes(*b)).collect(),
        _ => return None,
    })
}

/// [`widen`] on this thread alone.
pub(crate) fn widen_here(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    Some(match dtype {
        Dtype::BF16 => bytes.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
        Dtype::F16 => bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
        Dtype::F32 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        _ => return None,
    })
}

/// Weights that are looked at together.
const LOOK: usize = 1 << 14;

/// The first weight that is no finite number.
fn first_not_finite(values: &[f32]) -> Option<usize> {
    // Whole runs first, without a branch for each.
    let finite = |run: &[f32]| run.iter().fold(0, |most, v| (v.to_bits() & 0x7fff_ffff).max(most)) < f32::INFINITY.to_bits();
    let run = LOOK * values.par_chunks(LOOK).position_first(|run| !finite(run))?;
    values[run..].iter().position(|v| !v.is_finite()).map(|at| run + at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_is_not_finite() {
        let mut values = vec![f32::MAX; 3 * LOOK + 5];
        assert_eq!(first_not_finite(&values), None);
        for (at, value) in [(3 * LOOK + 4, f32::NAN), (LOOK, f32::NEG_INFINITY), (LOOK - 1, -f32::NAN), (0, f32::INFINITY)] {
            values[at] = value;
            assert_eq!(first_not_finite(&values), Some(at));
        }
        assert_eq!(first_not_finite(&[]), None);
    }
}
