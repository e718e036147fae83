//! What a value's neighbours in its tile say of it: those to the left and above, which are known before it.

use super::Ring;
use std::ops::Range;
use wcodec_device::filter::Values;
pub(crate) use wcodec_device::filter::{
    NEIGHBOURS, Near, Plane, Predictor, WEIGHT_BYTES, WEIGHT_SHIFT, Weights, guess, on_plane,
};

/// Writes what neighbours do not tell of a tile of rows `width` long to `out`, which is as long as `values`.
pub(crate) fn residuals(ring: Ring, predictor: Predictor, values: &[i32], width: usize, out: &mut [i32]) {
    use Predictor::*;
    // Each with a loop of its own, without a branch in it.
    match predictor {
        None | Planar | Linear => residuals_by(ring, values, width, out, |n| guess(ring, None, n)),
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
            *out = ring.sub(value, guess(Near { left, top, corner, left2, top2: top2[i], top3: top3[i], ..Near::default() }));
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

/// What the values of neighbours do not tell of a row's `columns`, by these weights.
pub(crate) fn residuals_linear(
    ring: Ring,
    meaning: Values,
    weights: Weights,
    values: &[i32],
    width: usize,
    r: usize,
    columns: Range<usize>,
) -> impl Iterator<Item = i32> {
    columns.map(move |c| ring.sub(values[r * width + c], meaning.guess(weights, Near::around(values, width, r, c).all(r, c))))
}

/// Inverse of [`residuals_linear`], in place; rows above and columns to the left are values already.
pub(crate) fn rebuild_linear(
    ring: Ring,
    meaning: Values,
    weights: Weights,
    values: &mut [i32],
    width: usize,
    r: usize,
    columns: Range<usize>,
) {
    for c in columns {
        let at = r * width + c;
        values[at] = ring.add(values[at], meaning.guess(weights, Near::around(values, width, r, c).all(r, c)));
    }
}

#[cfg(test)]
mod tests {
    use super::super::map::Map;
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

    fn meaning(map: Map, bits: u32, fraction: u32) -> (Ring, Values) {
        (Ring::new(bits), Values::new(map, Ring::new(bits), fraction).unwrap())
    }

    proptest! {
        /// Whatever numbers and weights are: NaNs, infinities, sums beyond the largest float.
        #[test]
        fn every_tile_comes_back_weighted(
            values in prop::collection::vec(any::<i32>(), 1..300),
            width in 1usize..40,
            kind in prop::sample::select(vec![
                (Map::Signed, 4, 0), (Map::Unsigned, 8, 0), (Map::Signed, 16, 0), (Map::Signed, 32, 0),
                (Map::Float, 4, 1), (Map::Float, 8, 2), (Map::Float, 8, 3), (Map::Float, 16, 7), (Map::Float, 16, 10), (Map::Float, 32, 23), (Map::Float, 32, 29),
            ]),
            weights in prop::array::uniform8(any::<i16>()),
        ) {
            let (ring, meaning) = meaning(kind.0, kind.1, kind.2);
            let width = width.min(values.len());
            let rows = values.len() / width;
            let values: Vec<i32> = values[..rows * width].iter().map(|&x| ring.wrap(x)).collect();
            let row = |r| residuals_linear(ring, meaning, weights.into(), &values, width, r, 0..width);
            let mut there: Vec<i32> = (0..rows).flat_map(row).collect();
            prop_assert!(there.iter().all(|&x| ring.wrap(x) == x));
            (0..rows).for_each(|r| rebuild_linear(ring, meaning, weights.into(), &mut there, width, r, 0..width));
            prop_assert_eq!(&there, &values);
        }

        /// A float's own value with weight 1 is foretold exactly, twice it with weight 2; the sum of two within what alignment cuts off.
        #[test]
        fn sums_of_floats_are_the_nearest(x in any::<f32>(), y in any::<f32>()) {
            prop_assume!(x.is_finite() && y.is_finite() && x.abs() < 1e37 && y.abs() < 1e37);
            let (ring, meaning) = meaning(Map::Float, 32, 23);
            let number = |x: f32| Map::Float.apply(ring, x.to_bits() as i32);
            let guess = |a: i16, b: i16| {
                let of = [a, b, 0, 0, 0, 0, 0, 0].into();
                meaning.guess(of, [number(x), number(y), 0, 0, 0, 0, 0, 0])
            };
            // Zeros have no sign, and neighbours that nobody asks for may be far larger.
            let value = |n: i32| f32::from_bits(Map::Float.apply(ring, n) as u32);
            let cut = f64::from(x.abs().max(y.abs())) / f64::from(1 << 28);
            let near = |n: i32, exact: f64| (f64::from(value(n)) - exact).abs() <= cut + f64::from(exact.abs() as f32).max(1e-38) / 1e7;
            if x.abs() >= y.abs() {
                prop_assert!(value(guess(4096, 0)) == x, "{} {x}", value(guess(4096, 0)));
                prop_assert!(value(guess(8192, 0)) == 2.0 * x);
            }
            prop_assert!(near(guess(4096, 4096), f64::from(x) + f64::from(y)));
            prop_assert!(near(guess(-2048, 8192), 2.0 * f64::from(y) - f64::from(x) / 2.0));
        }
    }

    #[test]
    fn waves_are_foretold() {
        // cos (n + 1) a = 2 cos a cos n a - cos (n - 1) a.
        let weights = [(2.0 * 0.5f64.cos() * 4096.0).round() as i16, 0, 0, -4096, 0, 0, 0, 0].into();
        let (ring, meaning) = meaning(Map::Float, 16, 10);
        let values: Vec<i32> = (0..60)
            .map(|i| Map::Float.apply(ring, half::f16::from_f64((0.5 * f64::from(i)).cos()).to_bits() as i16 as i32))
            .collect();
        let left: Vec<i32> = residuals_linear(ring, meaning, weights, &values, 60, 0, 2..60).collect();
        let by_line: Vec<i32> =
            (2..60).map(|c| ring.sub(values[c], guess(ring, Predictor::LeftLine, Near::of(&values, 60, 0, c)))).collect();
        let bits = |x: &[i32]| x.iter().map(|x| (1.0 + x.unsigned_abs() as f64).log2()).sum::<f64>();
        assert!(4.0 * bits(&left) < bits(&by_line), "{left:?} {by_line:?}");
    }

    #[test]
    fn what_numbers_stand_for_has_limits() {
        let there = |map, bits, fraction| Values::new(map, Ring::new(bits), fraction).is_some();
        assert!(there(Map::Float, 16, 7) && there(Map::Float, 32, 23) && there(Map::Signed, 32, 0));
        assert!(![0, 6, 14, 15, 16, 255].iter().any(|&f| there(Map::Float, 16, f)));
        let floats: Vec<u32> = (0..300).filter(|&f| there(Map::Float, 32, f)).collect();
        assert_eq!(floats, (23..=29).collect::<Vec<_>>());
        assert!(![1, 7, 255].iter().any(|&f| there(Map::Unsigned, 16, f)));
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
