//! Weights for tests.

use crate::random::SplitMix64;

/// Weights like a normal distribution's, the same each time.
pub(super) fn normal(n: usize) -> Vec<f32> {
    let mut random = SplitMix64(11);
    let mut uniform = || (random.next() >> 40) as f32 / (1u64 << 24) as f32;
    (0..n).map(|_| 0.02 * ((0..12).map(|_| uniform()).sum::<f32>() - 6.0)).collect()
}

/// Bits `at..at + count` of bytes, the lowest bit of each byte first.
pub(super) fn bits(bytes: &[u8], at: usize, count: usize) -> u32 {
    (0..count).map(|i| (u32::from(bytes[(at + i) / 8]) >> ((at + i) % 8) & 1) << i).sum()
}

/// An FP16 number from its two bytes, by its definition: sign, five bits of exponent, ten of mantissa.
pub(super) fn fp16(bytes: &[u8]) -> f32 {
    let (mantissa, exponent, sign) = (bits(bytes, 0, 10) as f32, bits(bytes, 10, 5) as i32, bits(bytes, 15, 1));
    let magnitude = if exponent == 0 { mantissa * 2f32.powi(-24) } else { (1024.0 + mantissa) * 2f32.powi(exponent - 25) };
    if sign == 1 { -magnitude } else { magnitude }
}
