//! What a value's neighbours in its tile say of it: those to the left and above, which are known before it.

use super::Ring;
use std::ops::Range;
pub(crate) use wcodec_device::filter::{Near, Plane, Predictor, guess, on_plane};

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
            out[r * width + c] = ring.sub(values[r * width + c], guess(Near::of(values, width, r, c)));
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
        values[at] = ring.add(values[at], guess(ring, predictor, Near::of(values, width, r, c)));
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
