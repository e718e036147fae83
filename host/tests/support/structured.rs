//! Tensors with a structure that predictions and transforms may find.

use super::Owned;
use wcodec::Dtype;

/// A tensor whose element in row `r`, column `c` is `of(r, c)`, in the type.
pub fn made(name: &str, dtype: Dtype, shape: &[u64], of: impl Fn(usize, usize) -> f64) -> Owned {
    let columns = *shape.last().unwrap() as usize;
    let elements = shape.iter().product::<u64>() as usize;
    let data = (0..elements).flat_map(|i| {
        let x = of(i / columns, i % columns);
        match dtype {
            Dtype::F32 => (x as f32).to_le_bytes().to_vec(),
            Dtype::F16 => half::f16::from_f64(x).to_le_bytes().to_vec(),
            Dtype::BF16 => half::bf16::from_f64(x).to_le_bytes().to_vec(),
            Dtype::I16 => (x.round() as i16).to_le_bytes().to_vec(),
            Dtype::I32 => (x.round() as i32).to_le_bytes().to_vec(),
            Dtype::I8 => vec![x.round() as i8 as u8],
            Dtype::U8 => vec![x.round() as u8],
            _ => unreachable!(),
        }
    });
    Owned { name: name.into(), dtype, shape: shape.into(), data: data.collect() }
}

/// A bank of Gabor filters in a type: waves of 64 directions and lengths under bells, in three phases.
pub fn gabor(name: &str, dtype: Dtype) -> Owned {
    const SHAPE: [u64; 4] = [64, 3, 31, 31];
    let [_, channels, rows, columns] = SHAPE.map(|n| n as usize);
    let scale = if dtype == Dtype::I8 { 127.0 } else { 0.3 };
    made(name, dtype, &SHAPE, |row, c| {
        let (filter, channel) = (row / rows / channels, row / rows % channels);
        let middle = |i: usize, n: usize| i as f64 - (n / 2) as f64;
        let (y, x) = (middle(row % rows, rows), middle(c, columns));
        let turn = filter as f64 * std::f64::consts::PI / 16.0;
        let wave = 5.0 + (filter / 16) as f64 * 3.0;
        let (u, v) = (x * turn.cos() + y * turn.sin(), y * turn.cos() - x * turn.sin());
        let sigma = 0.7 * wave;
        let phase = channel as f64 * 0.7;
        scale * (-(u * u + 0.5 * v * v) / (2.0 * sigma * sigma)).exp() * (std::f64::consts::TAU * u / wave + phase).cos()
    })
}
