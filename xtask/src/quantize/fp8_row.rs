//! FP8 weights: E4M3 with one FP32 scale a row, the layout of FP8 checkpoints made for serving.

use rayon::prelude::*;
use safetensors::tensor::Dtype;

use super::{amax, f32_bytes, scale_for};
use crate::checkpoint::Tensor;

/// The largest finite E4M3 value.
const TOP: f32 = 448.0;

/// Quantizes a matrix: `NAME` holds the codes, `NAME_scale` the scale of each row.
pub(super) fn quantize(name: &str, rows: usize, cols: usize, values: &[f32]) -> [Tensor; 2] {
    let mut codes = vec![0; values.len()];
    let scales: Vec<f32> = codes
        .par_chunks_mut(cols)
        .zip(values.par_chunks(cols))
        .map(|(codes, row)| {
            let scale = scale_for(amax(row), TOP);
            codes.iter_mut().zip(row).for_each(|(code, value)| *code = encode(value / scale));
            scale
        })
        .collect();
    [
        Tensor::new(name, Dtype::F8_E4M3, vec![rows, cols], codes),
        Tensor::new(format!("{name}_scale"), Dtype::F32, vec![rows], f32_bytes(&scales)),
    ]
}

/// The nearest E4M3 code, ties to even, saturating at ±448; a NaN becomes the NaN of its sign.
///
/// The "FN" variety of the format: no infinities, and `S.1111.111` is the only NaN.
fn encode(value: f32) -> u8 {
    let bits = value.to_bits();
    let sign = ((bits >> 24) & 0x80) as u8;
    let magnitude = value.abs();
    let code = if magnitude.is_nan() {
        0x7F
    } else if magnitude >= TOP {
        0x7E
    } else if magnitude < f32::exp2(-6.0) {
        // Subnormal: steps of 2^-9. Eight of them is the first normal code, so a carry needs no care.
        (magnitude * 512.0).round_ties_even() as u8
    } else {
        // Normal: drop 20 of 23 mantissa bits, rounding to even, then move the exponent bias from 127 to 7.
        let bits = magnitude.to_bits();
        let rounded = (bits + 0x7_FFFF + ((bits >> 20) & 1)) >> 20;
        (rounded - ((127 - 7) << 3)) as u8
    };
    sign | code
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of a code, from the format's definition.
    fn decode(code: u8) -> f32 {
        let (exponent, mantissa) = (i32::from(code >> 3) & 15, f32::from(code & 7));
        let magnitude = match exponent {
            0 => mantissa * 2f32.powi(-9),
            _ if code & 0x7F == 0x7F => f32::NAN,
            _ => (1.0 + mantissa / 8.0) * 2f32.powi(exponent - 7),
        };
        if code & 0x80 == 0 { magnitude } else { -magnitude }
    }

    #[test]
    fn every_code_encodes_to_itself() {
        for code in 0..=255u8 {
            assert_eq!(encode(decode(code)) & 0x7F, code & 0x7F, "{code:#04x}");
            if !decode(code).is_nan() {
                assert_eq!(encode(decode(code)), code, "{code:#04x}");
            }
        }
    }

    #[test]
    fn between_two_codes_the_nearer_wins_and_a_tie_goes_to_even() {
        for low in 0..0x7Eu8 {
            let (a, b) = (decode(low), decode(low + 1));
            let middle = (a + b) / 2.0;
            let even = low + (low & 1);
            assert_eq!(encode(middle), even, "tie above {low:#04x}");
            assert_eq!(encode(-middle), even | 0x80, "tie below -{low:#04x}");
            assert_eq!(encode(middle.next_down()), low, "under the tie above {low:#04x}");
            assert_eq!(encode(middle.next_up()), low + 1, "over the tie above {low:#04x}");
        }
    }

    #[test]
    fn the_range_saturates() {
        assert_eq!(encode(448.0), 0x7E);
        assert_eq!(encode(464.0), 0x7E);
        assert_eq!(encode(1e30), 0x7E);
        assert_eq!(encode(f32::NEG_INFINITY), 0xFE);
    }

    #[test]
    fn rows_have_their_own_scale_and_zeros_stay_zeros() {
        let [codes, scales] = quantize("w", 3, 2, &[448.0, -1.0, 0.0, 0.0, 2.0, 1.0]);
        assert_eq!(codes.data, [0x7E, 0xB8, 0, 0, 0x7E, 0x76]);
        assert_eq!(scales.name, "w_scale");
        assert_eq!(scales.data, f32_bytes(&[1.0, 1.0, 2.0 / 448.0]));
    }
}
