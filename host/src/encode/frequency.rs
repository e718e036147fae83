//! Counts to frequencies, and what a symbol costs under them.

use crate::container::tables::Freqs;
use crate::cpu::{Backend, Body};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use wcodec_device::rans::{SCALE_BITS, SLOTS};

/// Counts of the 256 symbols.
pub(crate) type Histogram = [u32; 256];

/// Eight histograms, because consecutive equal symbols would wait for each other's increment.
struct Parts([[u32; 256]; 8]);

impl Parts {
    fn new() -> Self {
        Self([[0; 256]; 8])
    }

    #[inline]
    fn count(&mut self, bytes: &[u8]) {
        let (eights, rest) = bytes.as_chunks::<8>();
        for eight in eights {
            // One load for eight symbols: a core stores two counters a cycle, and must load them too.
            let symbols = u64::from_le_bytes(*eight);
            for (i, part) in self.0.iter_mut().enumerate() {
                part[(symbols >> (8 * i)) as u8 as usize] += 1;
            }
        }
        for &byte in rest {
            self.0[0][byte as usize] += 1;
        }
    }

    fn sum(&self) -> Histogram {
        std::array::from_fn(|i| self.0.iter().map(|part| part[i]).sum())
    }
}

/// Counts bytes.
pub(crate) fn histogram(bytes: &[u8]) -> Histogram {
    let mut parts = Parts::new();
    parts.count(bytes);
    parts.sum()
}

/// The histogram of everything that some histograms count.
pub(crate) fn sum_of(histograms: &[Histogram]) -> Histogram {
    let mut sum = [0; 256];
    histograms.iter().for_each(|h| sum.iter_mut().zip(h).for_each(|(sum, n)| *sum += n));
    sum
}

/// Counts one block of each pair twice, and what is left over once: near enough to choose a table by. Which of the two is counted follows the
/// Thue-Morse sequence, as a fixed one would agree with data of that period.
pub(crate) fn half_histogram(bytes: &[u8]) -> Histogram {
    const BLOCK: usize = 1024;
    if bytes.len() < 8 * BLOCK {
        return histogram(bytes);
    }
    let (pairs, rest) = bytes.as_chunks::<{ 2 * BLOCK }>();
    let mut parts = Parts::new();
    for (i, pair) in pairs.iter().enumerate() {
        let at = (i.count_ones() & 1) as usize * BLOCK;
        parts.count(&pair[at..at + BLOCK]);
    }
    let mut counts = parts.sum().map(|n| 2 * n);
    rest.iter().for_each(|&byte| counts[byte as usize] += 1);
    counts
}

/// Frequencies for `counts` that cost the fewest bits.
///
/// Every symbol that keeps a slot has at least one of the 4096. A symbol so rare that its slot costs the others more than
/// patching it costs, at `patch_bits` apiece, gets none.
pub(crate) fn normalise(counts: &[u64; 256], patch_bits: f32) -> Freqs {
    let total: u64 = counts.iter().sum();
    // A slot taken from the rest costs them total * log2(4096 / 4095) bits.
    let slot_cost = total as f32 * std::f32::consts::LOG2_E / SLOTS as f32;
    let most = (0..256).max_by_key(|&s| (counts[s], 255 - s)).unwrap_or(0);
    let kept: Vec<usize> = (0..256)
        .filter(|&s| counts[s] > 0 && (s == most || counts[s] as f32 * (patch_bits - SCALE_BITS as f32) > slot_cost))
        .collect();
    let sum: u64 = kept.iter().map(|&s| counts[s]).sum::<u64>().max(1);
    let mut freqs = [0u16; 256];
    for &s in &kept {
        freqs[s] = ((counts[s] as u128 * SLOTS as u128 / sum as u128) as u16).clamp(1, SLOTS as u16 - 1);
    }
    if kept.len() <= 1 {
        // A single symbol cannot have every slot: its neighbour holds one that no encoder uses.
        freqs[most] = SLOTS as u16 - 1;
        freqs[(most + 1) & 255] = 1;
        return freqs;
    }
    // Hand out what rounding left, or take back what the minimum of one overdrew, where it changes the cost least; of equals, the
    // smallest symbol. Numbers above zero are ordered like their bits.
    let used: i64 = freqs.iter().map(|&f| f as i64).sum();
    let left = SLOTS as i64 - used;
    if left > 0 {
        // ln((f + 1) / f) is 1 / (f + 1/2) to within 3 %.
        let gain = |s: usize, f: u16| ((counts[s] as f64 / (f as f64 + 0.5)).to_bits(), Reverse(s));
        let mut gains: BinaryHeap<_> = kept.iter().map(|&s| gain(s, freqs[s])).collect();
        for _ in 0..left {
            let Some(mut top) = gains.peek_mut() else { unreachable!("two symbols are kept") };
            let s = top.1.0;
            freqs[s] += 1;
            *top = gain(s, freqs[s]);
        }
    } else {
        let loss = |s: usize, f: u16| Reverse(((counts[s] as f64 / (f as f64 - 0.5)).to_bits(), s));
        let mut losses: BinaryHeap<_> = kept.iter().filter(|&&s| freqs[s] > 1).map(|&s| loss(s, freqs[s])).collect();
        for _ in left..0 {
            let Some(Reverse((_, s))) = losses.pop() else { unreachable!("256 symbols of one slot are no 4096") };
            freqs[s] -= 1;
            if freqs[s] > 1 {
                losses.push(loss(s, freqs[s]));
            }
        }
    }
    freqs
}

/// Logarithm to base 2 of a positive number, to seven digits. The standard library's depends on the platform, and archives must not.
#[inline(always)]
pub(crate) fn log2(x: u32) -> f32 {
    log2_f64(x as f64)
}

/// The same of a float; of zero, and what is no number above, the logarithm of the smallest normal one.
pub(crate) fn log2_of(x: f32) -> f32 {
    if x >= f32::MIN_POSITIVE { log2_f64(x.min(f32::MAX) as f64) } else { -126.0 }
}

#[inline(always)]
fn log2_f64(x: f64) -> f32 {
    // A double is 2^exponent times a number from 1 to 2: no instruction set lacks what takes it apart.
    let bits = x.to_bits();
    let exponent = (bits >> 52) as i32 - 1023;
    let m = f64::from_bits(bits & ((1 << 52) - 1) | 1f64.to_bits());
    // ln m = 2 artanh t with t at most 1/3: the eighth term is below 1e-8.
    let t = (m - 1.0) / (m + 1.0);
    let mut series = 0.0;
    for k in (0..8).rev() {
        series = series * (t * t) + 1.0 / (2 * k + 1) as f64;
    }
    (exponent as f64 + 2.0 * t * series * std::f64::consts::LOG2_E) as f32
}

/// Bits that each symbol costs, `patch_bits` where it has no probability.
pub(crate) fn costs(freqs: &Freqs, patch_bits: f32) -> [f32; 256] {
    freqs.map(|f| if f == 0 { patch_bits } else { SCALE_BITS as f32 - log2(f as u32) })
}

/// Adds up a term for each symbol. 32 partial sums, then halves: the order of additions is fixed, so every machine and thread count
/// gives the same.
#[inline(always)]
fn sum(term: impl Fn(usize) -> f32) -> f32 {
    let mut sums = [0f32; 32];
    for at in (0..256).step_by(32) {
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum += term(at + i);
        }
    }
    for half in [16, 8, 4, 2, 1] {
        for i in 0..half {
            sums[i] += sums[i + half];
        }
    }
    sums[0]
}

/// Counts are below 2^31, and SSE2 converts no unsigned numbers.
#[inline(always)]
fn float(count: u32) -> f32 {
    count as i32 as f32
}

/// Bits that a histogram costs with each of several tables.
pub(crate) fn total_costs(histogram: &Histogram, tables: &[[f32; 256]]) -> Vec<f32> {
    struct Costs<'a>(&'a Histogram, &'a [[f32; 256]], &'a mut [f32]);
    impl Body for Costs<'_> {
        #[inline(always)]
        fn run(self) {
            for (bits, costs) in self.2.iter_mut().zip(self.1) {
                *bits = sum(|s| float(self.0[s]) * costs[s]);
            }
        }
    }
    let mut bits = vec![0.0; tables.len()];
    Backend::best().run(Costs(histogram, tables, &mut bits));
    bits
}

/// Zero-order entropy of a histogram, in bits.
pub(crate) fn entropy(histogram: &Histogram) -> f32 {
    struct Entropy<'a>(&'a Histogram, &'a mut f32);
    impl Body for Entropy<'_> {
        #[inline(always)]
        fn run(self) {
            *self.1 = sum(|s| float(self.0[s]) * log2(self.0[s].max(1)));
        }
    }
    let total: u32 = histogram.iter().sum();
    let mut inside = 0.0;
    Backend::best().run(Entropy(histogram, &mut inside));
    float(total) * log2(total.max(1)) - inside
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sums_to_4096_and_keeps_what_is_dear(counts in prop::collection::vec(prop_oneof![3 => 0u64..3, 1 => 0u64..1_000_000], 256), patch in 13f32..60.0) {
            let counts: [u64; 256] = counts.try_into().unwrap();
            for patch in [patch, f32::INFINITY] {
                let freqs = normalise(&counts, patch);
                prop_assert_eq!(freqs.iter().map(|&f| f as u32).sum::<u32>(), 4096);
                prop_assert!(freqs.iter().all(|&f| f < 4096));
                if patch.is_infinite() {
                    prop_assert!(counts.iter().zip(&freqs).all(|(&c, &f)| c == 0 || f > 0));
                }
            }
        }
    }

    #[test]
    fn halves_add_up_to_the_whole() {
        let bytes: Vec<u8> = (0..40_000u32).map(|i| ((i * i) >> 11) as u8).collect();
        for len in (0..40_000).step_by(511).chain([8191, 8192, 8193, 9216, 10_240]) {
            assert_eq!(half_histogram(&bytes[..len]).iter().sum::<u32>() as usize, len);
        }
        // A block of each kind in turn: both are counted.
        let turns: Vec<u8> = (0..64 * 1024usize).map(|i| (i / 1024 % 2) as u8).collect();
        let counts = half_histogram(&turns);
        assert_eq!((counts[0], counts[1]), (32 * 1024, 32 * 1024));
    }

    #[test]
    fn log2_is_good_to_seven_digits() {
        for x in (1..100_000).chain((0..32).map(|i| u32::MAX >> i)) {
            assert!((log2(x) as f64 - (x as f64).log2()).abs() < 2e-6, "{x}");
        }
    }

    #[test]
    fn a_rare_symbol_loses_its_slot_only_when_that_pays() {
        let mut counts = [0u64; 256];
        counts[1] = 1 << 30;
        counts[2] = 1 << 30;
        counts[3] = 1;
        assert_eq!(normalise(&counts, 24.0)[3], 0);
        counts[3] = 1 << 25;
        assert!(normalise(&counts, 24.0)[3] > 0);
    }
}
