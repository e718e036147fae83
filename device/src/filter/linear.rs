//! A number's value foretold from the values of eight neighbours, each with a weight of its block's own.
//!
//! A map keeps floats in their order, but what adds up in values does not in it: it is a logarithm with a sign, which jumps where that changes.
//! So weights apply to what numbers stand for, and the sum goes back to the number next to it. All in integers: floating point need not
//! round alike, nor keep subnormals, in every process and on every device.

use super::{Map, Near, Ring};

/// Neighbours that have weights.
pub const NEIGHBOURS: usize = 8;

/// Weights of neighbours in the order of [`Near::PLACES`], signed, in 4096ths, two to a word: the former in its lower half.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weights(pub [u32; NEIGHBOURS / 2]);

impl From<[i16; NEIGHBOURS]> for Weights {
    fn from(weights: [i16; NEIGHBOURS]) -> Self {
        Self(core::array::from_fn(|i| weights[2 * i] as u16 as u32 | (weights[2 * i + 1] as u16 as u32) << 16))
    }
}

/// Bytes that a block's weights take.
pub const WEIGHT_BYTES: usize = 2 * NEIGHBOURS;
/// Weights are so many bits below one.
pub const WEIGHT_SHIFT: u32 = 12;
/// Bits below the leading one of the largest neighbour, in the unit of the sum.
const BELOW: u32 = 29;

/// What numbers stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Values {
    ring: Ring,
    /// Bits of a float's fraction; 0 where numbers stand for themselves.
    fraction: u32,
}

impl Values {
    /// Of numbers that `map` makes of elements; of floats with `fraction` bits below the leading one, otherwise 0. `None` where there is no such
    /// type: floats have a fraction, and an exponent of 2 to 8 bits.
    #[inline(always)]
    pub fn new(map: Map, ring: Ring, fraction: u32) -> Option<Self> {
        let exponent = (ring.bits() - 1).wrapping_sub(fraction);
        let there = match map {
            Map::Float => fraction > 0 && exponent > 1 && exponent <= 8,
            Map::Signed | Map::Unsigned => fraction == 0,
        };
        if there { Some(Self { ring, fraction }) } else { None }
    }

    /// The number whose value is nearest to the weighted sum of the neighbours' values, or the outermost one.
    #[inline(always)]
    pub fn guess(self, weights: Weights, near: [i32; NEIGHBOURS]) -> i32 {
        if self.fraction == 0 {
            let most = self.ring.most() as i64;
            return weigh(weights, near, |n| n).clamp(-most - 1, most) as i32;
        }
        // Spelt out, here and below: compilers for GPUs put arrays with an index into memory.
        let [a, b, c, d, e, f, g, h] = near.map(magnitude);
        let largest = a.max(b).max(c.max(d)).max(e.max(f).max(g.max(h)));
        let highest = self.exponent(largest);
        let sum = weigh(weights, near, |n| {
            let part = self.part(n) << (BELOW - self.fraction);
            part >> (highest - self.exponent(magnitude(n))).min(31)
        });
        let sign = (sum >> 63) as i32;
        self.nearest(sum.unsigned_abs(), highest) as i32 ^ sign
    }

    /// What number `n` stands for: its part, times two to the power of its exponent in a unit that all numbers share.
    #[inline(always)]
    pub fn worth(self, n: i32) -> (i32, i32) {
        if self.fraction == 0 { (n, 0) } else { (self.part(n), self.exponent(magnitude(n))) }
    }

    /// The exponent of a float of this magnitude; subnormals have that of the smallest which are none.
    #[inline(always)]
    fn exponent(self, magnitude: i32) -> i32 {
        (magnitude >> self.fraction).max(1)
    }

    /// The fraction of number `n` with its leading one and its sign.
    #[inline(always)]
    fn part(self, n: i32) -> i32 {
        let (sign, one) = (n >> 31, 1 << self.fraction);
        let magnitude = magnitude(n);
        let below = if magnitude < one { magnitude } else { magnitude & (one - 1) | one };
        (below ^ sign) - sign
    }

    /// The magnitude of the float nearest to `sum`, of which bit [`BELOW`] has the worth of the leading one of floats of that `exponent`.
    #[inline(always)]
    fn nearest(self, sum: u64, exponent: i32) -> u32 {
        let length = 64 - sum.leading_zeros() as i32;
        // The exponent that the sum has itself, 1 for all that have no leading one of their own.
        let own = (exponent + length - 1 - BELOW as i32).max(1);
        // Bits of the sum below the lowest of the fraction.
        let excess = own - exponent + (BELOW - self.fraction) as i32;
        let units = if excess > 0 { (sum + (1 << (excess - 1))) >> excess } else { sum << -excess };
        // Units have the leading one, which the exponent counts already; where they are rounded up to the next power it rises by itself.
        let magnitude = ((own as u64 - 1) << self.fraction) + units;
        magnitude.min(self.ring.most() as u64) as u32
    }
}

/// A float without its sign, as an integer: negative numbers have all other bits inverted.
#[inline(always)]
fn magnitude(n: i32) -> i32 {
    n ^ n >> 31
}

/// The sum of what `of` makes of these numbers, each times its weight, rounded.
#[inline(always)]
fn weigh(weights: Weights, numbers: [i32; NEIGHBOURS], of: impl Fn(i32) -> i32) -> i64 {
    let [ab, cd, ef, gh] = weights.0;
    let [a, b, c, d, e, f, g, h] = numbers;
    let pair = |two: u32, x: i32, y: i32| (two as i16 as i64) * of(x) as i64 + ((two as i32) >> 16) as i64 * of(y) as i64;
    let sum = pair(ab, a, b) + pair(cd, c, d) + pair(ef, e, f) + pair(gh, g, h) + (1 << (WEIGHT_SHIFT - 1));
    sum >> WEIGHT_SHIFT
}

impl Near {
    /// Where they are: so many rows above and columns to the left.
    pub const PLACES: [(usize, usize); NEIGHBOURS] = [(0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (1, 2), (2, 1), (2, 2)];

    /// Those of the value in row `r`, column `c` that have weights, in the order of [`PLACES`](Self::PLACES); those outside the tile are 0.
    #[inline(always)]
    pub fn all(self, r: usize, c: usize) -> [i32; NEIGHBOURS] {
        let there = |x: i32, up: usize, back: usize| if r >= up && c >= back { x } else { 0 };
        [
            there(self.left, 0, 1),
            there(self.top, 1, 0),
            there(self.corner, 1, 1),
            there(self.left2, 0, 2),
            there(self.top2, 2, 0),
            there(self.corner_left, 1, 2),
            there(self.corner_top, 2, 1),
            there(self.corner2, 2, 2),
        ]
    }
}
