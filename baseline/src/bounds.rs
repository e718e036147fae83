//! What a coder of bytes could come to at best if it knew only this much: histograms of planes and their entropies.

use serde::Serialize;

/// Bytes of a plane from which on order one is taken: one for each pair of values. Smaller planes have that of order zero.
pub const ENOUGH: u64 = 1 << 16;

/// Histograms of one plane: byte `n` of every element.
#[derive(Clone, Debug)]
pub struct Plane {
    /// How often each byte is there.
    pub counts: [u64; 256],
    /// By order zero: each byte by its frequency in this plane of this tensor, in bits.
    pub order0_bits: f64,
    /// By order one: given the same byte of the element before, in bits.
    pub order1_bits: f64,
}

/// Entropy bounds of a tensor in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Bounds {
    /// Each plane by itself, bytes independent.
    pub order0_bytes: f64,
    /// Each plane by itself, a byte given the one before.
    pub order1_bytes: f64,
}

/// The planes of a tensor whose elements have `width` bytes.
pub fn planes(data: &[u8], width: usize) -> Vec<Plane> {
    (0..width.max(1)).map(|byte| plane(data, byte, width.max(1))).collect()
}

/// Their sum.
pub fn bounds(planes: &[Plane]) -> Bounds {
    Bounds {
        order0_bytes: planes.iter().map(|p| p.order0_bits).sum::<f64>() / 8.0,
        order1_bytes: planes.iter().map(|p| p.order1_bits).sum::<f64>() / 8.0,
    }
}

fn plane(data: &[u8], byte: usize, width: usize) -> Plane {
    let mut pairs = vec![[0u64; 256]; 256];
    let mut counts = [0; 256];
    let mut before = 0;
    for &b in data.iter().skip(byte).step_by(width) {
        pairs[before][usize::from(b)] += 1;
        before = usize::from(b);
    }
    for row in &pairs {
        counts.iter_mut().zip(row).for_each(|(sum, n)| *sum += n);
    }
    let order0_bits = bits(&counts);
    // Of few bytes, histograms of each context say nothing but these bytes again.
    let is_enough = counts.iter().sum::<u64>() >= ENOUGH;
    let order1_bits = if is_enough { pairs.iter().map(bits).sum::<f64>().min(order0_bits) } else { order0_bits };
    Plane { counts, order0_bits, order1_bits }
}

/// Bits of as many symbols by their entropy, which is corrected for how few they are (Miller and Madow 1955).
fn bits(counts: &[u64; 256]) -> f64 {
    let n: u64 = counts.iter().sum();
    let seen = counts.iter().filter(|&&c| c > 0).count();
    if n == 0 {
        return 0.0;
    }
    let sum: f64 = counts.iter().filter(|&&c| c > 0).map(|&c| c as f64 * (c as f64).log2()).sum();
    let entropy = n as f64 * (n as f64).log2() - sum;
    entropy + (seen - 1) as f64 / (2.0 * std::f64::consts::LN_2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn of(data: &[u8], width: usize) -> Bounds {
        bounds(&planes(data, width))
    }

    #[test]
    fn bounds_of_what_is_known() {
        assert_eq!(of(&[], 1), Bounds::default());
        assert_eq!(of(&[7; 1000], 2), Bounds::default());
        // Two values in turn: a bit each by themselves, nothing given the one before (but for the correction).
        let alternating: Vec<u8> = [0, 1].repeat(40_000);
        let b = of(&alternating, 1);
        assert!((b.order0_bytes - 10_000.0).abs() < 1.0 && b.order1_bytes < 4.0, "{b:?}");
        // As planes they are two constants.
        assert_eq!(of(&alternating, 2), Bounds::default());
    }

    #[test]
    fn noise_has_no_order() {
        let mut random = Random::at(1, 1);
        let noise: Vec<u8> = (0..1 << 20).map(|_| random.next() as u8).collect();
        let b = of(&noise, 1);
        let n = noise.len() as f64;
        assert!((b.order0_bytes / n - 1.0).abs() < 1e-3 && (b.order1_bytes / n - 1.0).abs() < 5e-3, "{b:?}");
    }
}
