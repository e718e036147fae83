//! What lies between two layers, of all windows of a text: in a file, since memory is for one layer.

use crate::Result;
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::Mutex;

/// Tokens that go through the model together.
pub(crate) const WINDOW: usize = 256;

/// A number for each window, token and element.
pub(crate) struct Activations {
    file: Mutex<File>,
    /// Elements of a window.
    size: usize,
}

impl Activations {
    /// For `size` elements of each window.
    pub(crate) fn new(size: usize) -> Result<Self> {
        Ok(Self { file: Mutex::new(tempfile::tempfile()?), size })
    }

    /// A window, tokens × columns.
    pub(crate) fn put(&self, number: usize, x: &Tensor) -> Result<()> {
        self.put_part(number, 0, &x.unsqueeze(0)?)
    }

    /// Some tokens of several windows: `x`, windows × tokens × columns, from window `first` and token `at` on.
    pub(crate) fn put_part(&self, first: usize, at: usize, x: &Tensor) -> Result<()> {
        let (_, tokens, columns) = x.dims3()?;
        let values = x.flatten_all()?.to_vec1::<f32>()?;
        let mut file = self.file.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        for (number, part) in (first..).zip(values.chunks_exact(tokens * columns)) {
            file.seek(SeekFrom::Start(4 * (number * self.size + at * columns) as u64))?;
            file.write_all(bytemuck::cast_slice(part))?;
        }
        Ok(())
    }

    /// Of a window, tokens × columns.
    pub(crate) fn get(&self, number: usize, columns: usize) -> Result<Tensor> {
        let mut values = vec![0f32; self.size];
        {
            let mut file = self.file.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            file.seek(SeekFrom::Start(4 * (number * self.size) as u64))?;
            file.read_exact(bytemuck::cast_slice_mut(&mut values))?;
        }
        Ok(Tensor::from_vec(values, (self.size / columns, columns), &Device::Cpu)?)
    }
}

/// Calls `of` for each window, on all threads, a few windows at a time, and `then` with the results in the windows' order: sums come out the same however many threads
/// there are.
pub(crate) fn in_order<T: Send>(
    windows: usize,
    of: impl Fn(usize) -> Result<T> + Sync,
    mut then: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    let step = rayon::current_num_threads().max(1);
    for first in (0..windows).step_by(step) {
        let found = (first..windows.min(first + step)).into_par_iter().map(&of).collect::<Result<Vec<T>>>()?;
        found.into_iter().try_for_each(&mut then)?;
    }
    Ok(())
}
