//! What a value's neighbours in its tile say of it: those to the left and above, which are known before it.

use super::Ring;
use std::ops::Range;

/// How a block's values are predicted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Predictor {
    #[default]
    None,
    Left,
    Top,
    /// The mean of left and top, rounded down.
    Average,
    /// A plane of the block's own.
    Planar,
    /// Left + top - top left.
    Gradient,
    /// The line through the two to the left.
    LeftLine,
    /// The line through the two above.
    TopLine,
    /// The middle one of left, top and gradient.
    Median,
    /// The parabola through the three above.
    TopParabola,
}

impl Predictor {
    /// All but planes.
    pub(crate) const FROM_NEIGHBOURS: [Self; 9] = [
        Self::None,
        Self::Left,
        Self::Top,
        Self::Average,
        Self::Gradient,
        Self::LeftLine,
        Self::TopLine,
        Self::Median,
        Self::TopParabola,
    ];

    pub(crate) fn from_u8(v: u8) -> Option<Self> {
        if v == Self::Planar as u8 { Some(Self::Planar) } else { Self::FROM_NEIGHBOURS.into_iter().find(|&p| p as u8 == v) }
    }
}

/// A block's plane: its value at the top left, and what it gains from column to column and from row to row, in 256ths.
pub(crate) type Plane = [i32; 3];

/// The plane's value in row `y`, column `x` of the block.
#[inline(always)]
pub(crate) fn on_plane(ring: Ring, [a, b, c]: Plane, y: usize, x: usize) -> i32 {
    ring.wrap(a.wrapping_add(((b as i64 * x as i64 + c as i64 * y as i64 + 128) >> 8) as i32))
}

/// Neighbours of a value. Of those that are missing the nearest one stands in; at the top left all are 0.
struct Near {
    left: i32,
    top: i32,
    corner: i32,
    left2: i32,
    top2: i32,
    top3: i32,
}

/// The value's neighbours: `at` is its index, in row `r` and column `c`.
#[inline(always)]
fn near(values: &[i32], columns: usize, r: usize, c: usize) -> Near {
    let at = r * columns + c;
    let left = (c > 0).then(|| values[at - 1]);
    let top = (r > 0).then(|| values[at - columns]);
    let (l, t) = (left.or(top).unwrap_or(0), top.or(left).unwrap_or(0));
    let corner = if c > 0 && r > 0 { values[at - columns - 1] } else { l };
    let left2 = if c > 1 { values[at - 2] } else { l };
    let top2 = if r > 1 { values[at - 2 * columns] } else { t };
    let top3 = if r > 2 { values[at - 3 * columns] } else { top2 };
    Near { left: l, top: t, corner, left2, top2, top3 }
}

/// Predictions of neighbours alone, by `predictor`.
#[inline(always)]
fn guess(ring: Ring, predictor: Predictor, n: Near) -> i32 {
    let twice = |x: i32| x.wrapping_mul(2);
    ring.wrap(match predictor {
        Predictor::None | Predictor::Planar => 0,
        Predictor::Left => n.left,
        Predictor::Top => n.top,
        // The sum's half, without the sum.
        Predictor::Average => (n.left & n.top).wrapping_add((n.left ^ n.top) >> 1),
        Predictor::Gradient => n.left.wrapping_add(n.top).wrapping_sub(n.corner),
        Predictor::LeftLine => twice(n.left).wrapping_sub(n.left2),
        Predictor::TopLine => twice(n.top).wrapping_sub(n.top2),
        Predictor::Median => {
            let gradient = n.left as i64 + n.top as i64 - n.corner as i64;
            gradient.clamp(n.left.min(n.top) as i64, n.left.max(n.top) as i64) as i32
        }
        Predictor::TopParabola => n.top.wrapping_sub(n.top2).wrapping_mul(3).wrapping_add(n.top3),
    })
}

/// Writes what neighbours do not tell of a tile of rows `width` long to `out`, which is as long as `values`.
pub(crate) fn residuals(ring: Ring, predictor: Predictor, values: &[i32], width: usize, out: &mut [i32]) {
    use Predictor::*;
    // Each with a loop of its own, without a branch in it.
    match predictor {
        None | Planar => residuals_by(ring, values, width, out, |n| guess(ring, None, n)),
        Left => residuals_by(ring, values, width, out, |n| guess(ring, Left, n)),
        Top => residuals_by(ring, values, width, out, |n| guess(ring, Top, n)),
        Average => residuals_by(ring, values, width, out, |n| guess(ring, Average, n)),
        Gradient => residuals_by(ring, values, width, out, |n| guess(ring, Gradient, n)),
        LeftLine => residuals_by(ring, values, width, out, |n| guess(ring, LeftLine, n)),
        TopLine => residuals_by(ring, values, width, out, |n| guess(ring, TopLine, n)),
        Median => residuals_by(ring, values, width, out, |n| guess(ring, Median, n)),
        TopParabola => residuals_by(ring, values, width, out, |n| guess(ring, TopParabola, n)),
    }
}

#[inline(always)]
fn residuals_by(ring: Ring, values: &[i32], width: usize, out: &mut [i32], guess: impl Fn(Near) -> i32) {
    for r in 0..values.len() / width {
        // Values with all their neighbours.
        let inner = if r < 3 { width } else { width.min(2) };
        for c in 0..inner {
            out[r * width + c] = ring.sub(values[r * width + c], guess(near(values, width, r, c)));
        }
        let (at, n) = (r * width + inner, width - inner);
        if n == 0 {
            continue;
        }
        let row = |back: usize| &values[at - back..][..n];
        let (left, top, corner, left2) = (row(1), row(width), row(width + 1), row(2));
        let (top2, top3) = (row(2 * width), row(3 * width));
        for (i, (out, &value)) in out[at..at + n].iter_mut().zip(row(0)).enumerate() {
            let (left, top, corner, left2) = (left[i], top[i], corner[i], left2[i]);
            *out = ring.sub(value, guess(Near { left, top, corner, left2, top2: top2[i], top3: top3[i] }));
        }
    }
}

/// Inverse of [`residuals`], in place; rows above and columns to the left are values already.
#[inline(always)]
pub(crate) fn rebuild(ring: Ring, predictor: Predictor, values: &mut [i32], width: usize, r: usize, columns: Range<usize>) {
    for c in columns {
        let at = r * width + c;
        values[at] = ring.add(values[at], guess(ring, predictor, near(values, width, r, c)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_tile_comes_back(
            values in prop::collection::vec(any::<i32>(), 1..400),
            width in 1usize..40,
            bits in prop::sample::select(vec![4u32, 8, 16, 32]),
        ) {
            let ring = Ring::new(bits);
            let width = width.min(values.len());
            let rows = values.len() / width;
            let values: Vec<i32> = values[..rows * width].iter().map(|&x| ring.wrap(x)).collect();
            for predictor in Predictor::FROM_NEIGHBOURS {
                let mut there = vec![0; values.len()];
                residuals(ring, predictor, &values, width, &mut there);
                prop_assert!(there.iter().all(|&x| ring.wrap(x) == x));
                (0..rows).for_each(|r| rebuild(ring, predictor, &mut there, width, r, 0..width));
                prop_assert_eq!(&there, &values);
            }
        }
    }

    #[test]
    fn what_is_straight_is_foretold() {
        let ring = Ring::new(16);
        let values: Vec<i32> = (0..64).map(|i| 3 * (i % 8) - 5 * (i / 8)).collect();
        for predictor in [Predictor::Gradient, Predictor::LeftLine, Predictor::TopLine, Predictor::Median] {
            let mut there = vec![0; 64];
            residuals(ring, predictor, &values, 8, &mut there);
            assert!((2..8).all(|r| there[8 * r + 2..8 * r + 8].iter().all(|&x| x.abs() <= 5)), "{predictor:?}");
        }
        assert!((0..64).all(|i| on_plane(ring, [0, 768, -1280], i / 8, i % 8) == values[i]));
    }
}
