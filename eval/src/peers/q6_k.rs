//! llama.cpp's Q6_K: 256 weights in 210 bytes. 128 bytes of the integers' four lower bits, 64 bytes of their two upper ones, a signed scale of 8 bits for each
//! 16 weights, an FP16 scale d of all; a weight is d s (q - 32).
//!
//! The lower bits of weights l, l + 32, l + 64 and l + 96 of each half (l < 32) are in the low nibbles of the bytes l and l + 32 and in the high nibbles of the same
//! two; their upper bits are in one byte, the first weight's lowest.
//!
//! Scales are searched: for each 16 weights those that put the extreme at 28 to 36 steps on either side are tried, each moved to its least squares, and the best is taken. The
//! format's own rounding tries fewer, and weighs errors by the weights' squares.

use super::extreme;
use half::f16;

/// Weights of a block.
pub(super) const WEIGHTS: usize = 256;
/// Weights with a scale of their own.
const PART: usize = 16;

pub(super) fn encode(block: &[f32; WEIGHTS]) -> [u8; 210] {
    let parts = block.as_chunks::<PART>().0;
    let steps: Vec<f32> = parts.iter().map(best_step).collect();
    // The largest step's scale is -128, whose magnitude no positive one reaches.
    let whole = f16::from_f32(extreme(&steps) / -128.0);
    let mut bytes = [0; 210];
    bytes[208..].copy_from_slice(&whole.to_le_bytes());
    let whole = whole.to_f32();
    for (number, (part, step)) in parts.iter().zip(&steps).enumerate() {
        let scale = if whole == 0.0 { 0 } else { (step / whole).round().clamp(-128.0, 127.0) as i8 };
        bytes[192 + number] = scale as u8;
        let step = whole * scale as f32;
        for (i, &w) in part.iter().enumerate() {
            let (low, high) = places(PART * number + i);
            let q = (nearest(w, step) + 32.0) as u8;
            bytes[low.0] |= (q & 15) << low.1;
            bytes[high.0] |= (q >> 4) << high.1;
        }
    }
    bytes
}

pub(super) fn decode(bytes: &[u8; 210]) -> [f32; WEIGHTS] {
    let whole = f16::from_le_bytes([bytes[208], bytes[209]]).to_f32();
    std::array::from_fn(|i| {
        let (low, high) = places(i);
        let q = (bytes[low.0] >> low.1 & 15) | (bytes[high.0] >> high.1 & 3) << 4;
        whole * (bytes[192 + i / PART] as i8) as f32 * (q as f32 - 32.0)
    })
}

/// Byte and shift of the lower and of the upper bits of a weight's integer.
fn places(i: usize) -> ((usize, usize), (usize, usize)) {
    let (half, quarter, l) = (i / 128, i / 32 % 4, i % 32);
    ((64 * half + 32 * (quarter % 2) + l, quarter / 2 * 4), (128 + 32 * half + l, 2 * quarter))
}

/// The integer of a weight, from -32 to 31; zero where there is no step.
fn nearest(w: f32, step: f32) -> f32 {
    if step == 0.0 { 0.0 } else { (w / step).round().clamp(-32.0, 31.0) }
}

/// The step, of either sign, with which the squared error of some weights is least among those tried.
fn best_step(part: &[f32; PART]) -> f32 {
    let extreme = extreme(part);
    if extreme == 0.0 {
        return 0.0;
    }
    // The extreme at -28, -28.25, … -36 steps and at as many of the other sign.
    let tried = (112..=144).flat_map(|n| [-4.0, 4.0].map(|sign| extreme * sign / n as f32));
    let moved = |step: f32| {
        let (mut product, mut square) = (0.0, 0.0);
        for &w in part {
            let q = nearest(w, step);
            product += w * q;
            square += q * q;
        }
        // What the squared error falls by against none at all, and the step at which it does.
        (product * product / square, product / square)
    };
    tried.map(moved).max_by(|a, b| a.0.total_cmp(&b.0)).map_or(0.0, |(_, step)| step)
}

#[cfg(test)]
mod tests {
    use super::super::largest;
    use super::super::testing::{bits, fp16, normal};
    use super::*;

    /// Weight after weight as the layout is documented: for each half and each l of 32, four weights.
    fn naive(bytes: &[u8]) -> Vec<f32> {
        let mut values = vec![0.0; WEIGHTS];
        for half in 0..2 {
            for l in 0..32 {
                let (first, second) = (8 * (64 * half + l), 8 * (64 * half + l + 32));
                let upper = 8 * (128 + 32 * half + l);
                let lower =
                    [bits(bytes, first, 4), bits(bytes, second, 4), bits(bytes, first + 4, 4), bits(bytes, second + 4, 4)];
                for (k, lower) in lower.into_iter().enumerate() {
                    let at = 128 * half + 32 * k + l;
                    let integer = (lower + 16 * bits(bytes, upper + 2 * k, 2)) as f32 - 32.0;
                    let scale = f32::from(i8::from_le_bytes([bytes[192 + at / 16]]));
                    values[at] = fp16(&bytes[208..]) * scale * integer;
                }
            }
        }
        values
    }

    fn error(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum()
    }

    #[test]
    fn values_are_those_of_the_layout() {
        for block in normal(256 * 64).as_chunks::<WEIGHTS>().0 {
            let bytes = encode(block);
            let values = decode(&bytes);
            assert_eq!(values[..], naive(&bytes));
            let mut plain = Vec::new();
            for part in block.as_chunks::<PART>().0 {
                // By the largest weight and no search, with scales that are not rounded.
                let step = largest(part) / 31.0;
                plain.extend(part.map(|w| step * (w / step).round()));
            }
            assert!(error(block, &values) < error(block, &plain), "{} {}", error(block, &values), error(block, &plain));
        }
    }

    #[test]
    fn multiples_of_a_step_are_met() {
        let block: [f32; WEIGHTS] = std::array::from_fn(|i| ((i * 37) % 63) as f32 - 31.0);
        let values = decode(&encode(&block));
        assert!(error(&block, &values) < 1e-3 * block.iter().map(|w| w * w).sum::<f32>());
    }
}
