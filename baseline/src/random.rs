//! Numbers that look random and are the same everywhere: a generator for each row, Student's t by its quantiles.

use std::f64::consts::FRAC_PI_2;

/// SplitMix64 (Steele, Lea and Flood 2014).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// A generator for a place: a tensor's hash and a row, say.
    pub(crate) fn at(seed: u64, place: u64) -> Self {
        let mut first = Self(seed ^ place.wrapping_mul(0xd134_2543_de82_ef95));
        Self(first.next())
    }

    /// 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// A hash of a name (FNV-1a).
pub(crate) fn hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

/// Bits of a table's index within an octave of probabilities.
const STEP_BITS: u32 = 6;
const STEPS: usize = 1 << STEP_BITS;
/// Octaves: two-sided tail probabilities down to 2^-31.
const OCTAVES: usize = 31;

/// Student's t of unit variance, by quantiles of its magnitude. The table is indexed like a floating-point number of the tail's
/// probability, so that tails are as fine as the middle.
#[derive(Clone, Debug)]
pub(crate) struct StudentT {
    /// The magnitude at each step's upper probability; one more at the end.
    quantiles: Vec<f32>,
}

impl StudentT {
    /// The distribution with `nu` degrees of freedom, more than two.
    pub(crate) fn new(nu: f64) -> Self {
        // With x = √ν cot φ the two-sided tail is ∫₀^φ sin^(ν-1), over that to π/2. φ goes up in equal ratios.
        const POINTS: usize = 20_000;
        let low: f64 = 2f64.powf(-(OCTAVES as f64 + 3.0) / nu) * 1e-1;
        let ratio = (FRAC_PI_2 / low).powf(1.0 / POINTS as f64);
        let density = |phi: f64| phi.sin().powf(nu - 1.0);
        let mut points = vec![(low.powf(nu) / nu, low)];
        let (mut phi, mut sum) = (low, low.powf(nu) / nu);
        for _ in 0..POINTS {
            let next = (phi * ratio).min(FRAC_PI_2);
            sum += (next - phi) / 6.0 * (density(phi) + 4.0 * density(f64::midpoint(phi, next)) + density(next));
            points.push((sum, next));
            phi = next;
        }
        let unit = ((nu - 2.0) / nu).sqrt();
        let quantile = |p: f64| {
            let p = p * sum;
            let after = points.partition_point(|point| point.0 < p).clamp(1, POINTS);
            let ((p0, phi0), (p1, phi1)) = (points[after - 1], points[after]);
            let phi = phi0 + (phi1 - phi0) * ((p - p0) / (p1 - p0)).clamp(0.0, 1.0);
            (nu.sqrt() / phi.tan() * unit) as f32
        };
        // From a probability of one (magnitude zero) down.
        let steps = (0..=OCTAVES * STEPS).map(|i| {
            let within = 1.0 - (i % STEPS) as f64 / (2 * STEPS) as f64;
            quantile(within * 2f64.powi(-((i / STEPS) as i32))).max(0.0)
        });
        let mut quantiles: Vec<f32> = steps.collect();
        quantiles[0] = 0.0;
        Self { quantiles }
    }

    /// The number that belongs to 32 random bits.
    pub(crate) fn sample(&self, bits: u32) -> f32 {
        // 31 bits of probability, from one downwards: the leading zeros are the octave.
        let p = bits >> 1 | 1;
        let octave = p.leading_zeros() - 1;
        let rest = !(p << octave) & 0x3fff_ffff; // thirty bits, how far below the octave's upper end
        let index = octave as usize * STEPS + (rest >> (30 - STEP_BITS)) as usize;
        let part = (rest & ((1 << (30 - STEP_BITS)) - 1)) as f32 * (1.0 / (1u32 << (30 - STEP_BITS)) as f32);
        let (from, to) = (self.quantiles[index], self.quantiles[index + 1]);
        f32::from_bits((from + (to - from) * part).to_bits() | (bits << 31))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean magnitude, mean square, share above two.
    fn moments(nu: f64) -> (f64, f64, f64) {
        let (t, mut random) = (StudentT::new(nu), Random::at(1, 2));
        let n = 2_000_000;
        let (mut magnitude, mut square, mut above) = (0.0, 0.0, 0.0);
        for _ in 0..n {
            let v = f64::from(t.sample(random.next() as u32));
            magnitude += v.abs();
            square += v * v;
            above += f64::from(u8::from(v.abs() > 2.0));
        }
        let n = f64::from(n);
        (magnitude / n, square / n, above / n)
    }

    #[test]
    fn many_degrees_of_freedom_are_a_normal_distribution() {
        let (magnitude, square, above) = moments(1000.0);
        assert!((magnitude - 0.7979).abs() < 0.003, "{magnitude}");
        assert!((square - 1.0).abs() < 0.005, "{square}");
        assert!((above - 0.0455).abs() < 0.001, "{above}");
    }

    #[test]
    fn few_have_the_tails_of_theirs() {
        // ν = 5: the mean magnitude is 2√5 Γ(3) / (4 √π Γ(5/2)) = 0.949 of a deviation of √(5/3); P(|t| > 2·√(5/3)) = 0.049.
        let (magnitude, square, above) = moments(5.0);
        assert!((magnitude - 0.7351).abs() < 0.003, "{magnitude}");
        assert!((square - 1.0).abs() < 0.02, "{square}");
        assert!((above - 0.0495).abs() < 0.001, "{above}");
    }

    #[test]
    fn every_bit_pattern_is_finite_and_signs_are_even() {
        let t = StudentT::new(4.0);
        for bits in [0, 1, 2, 3, u32::MAX, u32::MAX - 1, 1 << 31, (1 << 31) - 1] {
            assert!(t.sample(bits).is_finite(), "{bits:#x}");
        }
        assert_eq!(t.sample(0x1234_5678), -t.sample(0x1234_5679));
    }
}
