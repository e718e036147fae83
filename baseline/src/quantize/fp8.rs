//! E4M3 with one FP32 scale a row, the layout of FP8 checkpoints made for serving.

use super::{Layout, Rows, amax, beside, each_row, scale_for};
use crate::architectures::SourceTensor;
use crate::error::Result;
use wcodec::Dtype;

/// The largest finite E4M3 value.
const TOP: f32 = 448.0;

pub(super) fn layouts(tensor: &SourceTensor) -> Vec<Layout> {
    vec![
        Layout::new(&tensor.name, Dtype::F8_E4M3, tensor.shape.clone()),
        Layout::new(beside(tensor, "_scale"), Dtype::F32, vec![tensor.rows() as u64]),
    ]
}

pub(super) fn quantize(tensor: &SourceTensor, rows: &dyn Rows) -> Result<Vec<Vec<u8>>> {
    let (mut codes, mut scales) = (Vec::with_capacity(tensor.weights() as usize), Vec::new());
    each_row(tensor, rows, |row| {
        let scale = scale_for(amax(row), TOP);
        codes.extend(row.iter().map(|v| encode(v / scale)));
        scales.extend(scale.to_le_bytes());
    })?;
    Ok(vec![codes, scales])
}

/// The nearest code, ties to even, saturating at ±448 (the "FN" variety: no infinities).
fn encode(value: f32) -> u8 {
    let sign = ((value.to_bits() >> 24) & 0x80) as u8;
    let magnitude = value.abs();
    let code = if magnitude.is_nan() {
        0x7f
    } else if magnitude >= TOP {
        0x7e
    } else if magnitude < 1.0 / 64.0 {
        // Subnormal, in steps of 2^-9: eight of them are the first normal code, so that a carry needs no care.
        (magnitude * 512.0).round_ties_even() as u8
    } else {
        // Three bits of mantissa are left, and the exponent's bias goes from 127 to 7.
        let bits = magnitude.to_bits();
        (((bits + 0x7_ffff + ((bits >> 20) & 1)) >> 20) - (120 << 3)) as u8
    };
    sign | code
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantize::{Quant, tests::quantized};

    #[test]
    fn codes_are_the_nearest() {
        let known = [(0.0, 0x00), (1.0, 0x38), (-1.0, 0xb8), (448.0, 0x7e), (1e9, 0x7e), (1.0625, 0x38), (1.1875, 0x3a)];
        for (value, code) in known {
            assert_eq!(encode(value), code, "{value}");
        }
        assert_eq!([encode(1.0 / 512.0), encode(1.0 / 64.0), encode(15.9 / 1024.0)], [1, 8, 8]);
    }

    #[test]
    fn rows_have_their_own_scale() {
        let all = quantized(Quant::Fp8, 2, &[448.0, -1.0, 0.0, 0.0]);
        assert_eq!(all[0], [0x7e, 0xb8, 0, 0]);
        assert_eq!(all[1], [1f32, 1.0].map(f32::to_le_bytes).concat());
    }
}
