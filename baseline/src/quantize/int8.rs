//! INT8, with one FP32 scale a row or for the whole matrix.

use super::{Layout, Rows, amax, beside, each_row, scale_for};
use crate::architectures::SourceTensor;
use crate::error::Result;
use wcodec::Dtype;

pub(super) fn layouts(tensor: &SourceTensor, per_channel: bool) -> Vec<Layout> {
    let scales = if per_channel { tensor.rows() as u64 } else { 1 };
    vec![
        Layout::new(&tensor.name, Dtype::I8, tensor.shape.clone()),
        Layout::new(beside(tensor, "_scale"), Dtype::F32, vec![scales]),
    ]
}

pub(super) fn per_channel(tensor: &SourceTensor, rows: &dyn Rows) -> Result<Vec<Vec<u8>>> {
    let (mut codes, mut scales) = (Vec::with_capacity(tensor.weights() as usize), Vec::new());
    each_row(tensor, rows, |row| {
        let scale = scale_for(amax(row), 127.0);
        codes.extend(row.iter().map(|&v| step(v, scale)));
        scales.extend(scale.to_le_bytes());
    })?;
    Ok(vec![codes, scales])
}

/// Goes over the rows twice, so that no matrix of floats need be kept.
pub(super) fn per_tensor(tensor: &SourceTensor, rows: &dyn Rows) -> Result<Vec<Vec<u8>>> {
    let mut top = 0.0f32;
    each_row(tensor, rows, |row| top = top.max(amax(row)))?;
    let scale = scale_for(top, 127.0);
    let mut codes = Vec::with_capacity(tensor.weights() as usize);
    each_row(tensor, rows, |row| codes.extend(row.iter().map(|&v| step(v, scale))))?;
    Ok(vec![codes, scale.to_le_bytes().to_vec()])
}

fn step(value: f32, scale: f32) -> u8 {
    ((value / scale).round_ties_even().clamp(-127.0, 127.0) as i8).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use crate::quantize::{Quant, tests::quantized};

    const VALUES: [f32; 8] = [127.0, 0.5, -1.5, 2.5, -254.0, 3.0, 1.0, 100.0];

    fn signed(codes: &[u8]) -> Vec<i8> {
        codes.iter().map(|c| c.cast_signed()).collect()
    }

    #[test]
    fn rows_have_their_own_scale() {
        let all = quantized(Quant::Int8, 4, &VALUES);
        assert_eq!(signed(&all[0]), [127, 0, -2, 2, -127, 2, 0, 50]);
        assert_eq!(all[1], [1f32, 2.0].map(f32::to_le_bytes).concat());
    }

    #[test]
    fn one_scale_serves_every_row() {
        let all = quantized(Quant::Int8Tensor, 4, &VALUES);
        assert_eq!(signed(&all[0]), [64, 0, -1, 1, -127, 2, 0, 50]);
        assert_eq!(all[1], 2f32.to_le_bytes());
    }
}
