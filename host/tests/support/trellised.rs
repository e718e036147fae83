//! Integers that are a trellis's numbers, in the tiles that the encoder cuts.

use super::writer::Record;
use super::{Fill, Owned, encode_tensors, fill, open};
use wcodec::Dtype;

/// The taps that the encoder looks for.
pub const TAPS: [u8; 2] = [24, 13];

impl Owned {
    /// Numbers about as large as a weight of five bits.
    pub fn on_trellis(name: &str, shape: [u64; 2], seed: u64) -> Self {
        let stored = fill(Dtype::F32, (4 * shape[0] * shape[1]) as usize, Fill::Gaussian, seed);
        let stored = stored.as_chunks::<4>().0.iter().map(|x| (300.0 * f32::from_le_bytes(*x)) as i8 as u8).collect();
        numbers(Self { name: name.into(), dtype: Dtype::I8, shape: shape.into(), data: stored })
    }

    /// With a scale for each row and each column.
    pub fn scaled_on_trellis(name: &str, shape: [u64; 2], seed: u64) -> Self {
        let mut stored = Self::scaled(name, Dtype::I8, shape, seed);
        stored.data.iter_mut().for_each(|b| *b = (*b as i8 / 2) as u8);
        numbers(stored)
    }
}

/// The numbers of which `stored` is stored.
fn numbers(stored: Owned) -> Owned {
    let (high, wide) = open(&encode_tensors(std::slice::from_ref(&stored))).report().unwrap()[0].tile;
    let (rows, columns) = ([stored.shape[0] as usize, high as usize], [stored.shape[1] as usize, wide as usize]);
    let data = Record::new("", 1, rows, columns, stored.data, &[]).on_trellis(TAPS).data;
    Owned { data, ..stored }
}
