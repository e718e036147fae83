//! What progressive archives are expected to decode to, said once more and plainly.

use super::{Fill, Owned};
use wcodec::Dtype;

/// The types that are split.
pub const SPLIT: [Dtype; 7] = [Dtype::BF16, Dtype::F16, Dtype::F32, Dtype::F8_E4M3, Dtype::F8_E5M2, Dtype::I8, Dtype::I16];

/// Bits of the mantissa, or below the sign and the highest.
pub fn planes(dtype: Dtype) -> usize {
    match dtype {
        Dtype::BF16 => 7,
        Dtype::F16 => 10,
        Dtype::F32 => 23,
        Dtype::F8_E4M3 => 3,
        Dtype::F8_E5M2 => 2,
        Dtype::I8 => 6,
        Dtype::I16 => 14,
        _ => 0,
    }
}

/// What an element is at `k` planes, said once more and plainly.
pub fn expected(dtype: Dtype, data: &[u8], k: usize) -> Vec<u8> {
    let bits = match dtype {
        Dtype::F32 => 32,
        Dtype::BF16 | Dtype::F16 | Dtype::I16 => 16,
        _ => 8,
    };
    let all = planes(dtype);
    let integer = matches!(dtype, Dtype::I8 | Dtype::I16);
    let coarse = |x: u64| -> u64 {
        if integer {
            let x = ((x << (64 - bits)) as i64) >> (64 - bits);
            let magnitude = x.unsigned_abs();
            if magnitude == 0 || magnitude == 1 << (bits - 1) {
                return x as u64;
            }
            let below = 63 - magnitude.leading_zeros() as usize;
            let lost = below.saturating_sub(k);
            let kept = magnitude >> lost << lost;
            let magnitude = if lost > 0 { kept | 1 << (lost - 1) } else { kept };
            if x < 0 { magnitude.wrapping_neg() } else { magnitude }
        } else {
            let lost = all.saturating_sub(k);
            let exponents = (1u64 << (bits - 1 - all)) - 1;
            let exponent = x >> all & exponents;
            let kept = x >> lost << lost;
            if lost > 0 && exponent != 0 && exponent != exponents { kept | 1 << (lost - 1) } else { kept }
        }
    };
    let size = bits / 8;
    let element = |e: &[u8]| {
        let mut wide = [0; 8];
        wide[..size].copy_from_slice(e);
        coarse(u64::from_le_bytes(wide)).to_le_bytes()[..size].to_vec()
    };
    if all == 0 { data.to_vec() } else { data.chunks(size).flat_map(element).collect() }
}

/// [`expected`] of a tensor, which is split if it has enough elements.
pub fn expected_of(t: &Owned, k: usize) -> Vec<u8> {
    if t.shape.iter().product::<u64>() < 4096 { t.data.clone() } else { expected(t.dtype, &t.data, k) }
}

/// Tensors of several types, split and not.
pub fn model() -> Vec<Owned> {
    let new = Owned::new;
    vec![
        new("model.embed_tokens.weight", Dtype::BF16, &[400, 576], Fill::Gaussian, 1),
        new("model.layers.0.self_attn.q_proj.weight", Dtype::BF16, &[576, 576], Fill::Gaussian, 2),
        new("model.layers.0.self_attn.q_proj.bias", Dtype::BF16, &[576], Fill::Random, 3),
        new("model.layers.0.mlp.down_proj.weight", Dtype::I8, &[576, 300], Fill::Gaussian, 4),
        new("model.layers.1.mlp.up_proj.weight", Dtype::F32, &[90, 170], Fill::Gaussian, 5),
        new("packed", Dtype::U8, &[90, 170], Fill::Random, 6),
        new("ids", Dtype::I64, &[5000], Fill::Ramp, 7),
        new("empty", Dtype::BF16, &[0, 8192], Fill::Constant, 8),
    ]
}
