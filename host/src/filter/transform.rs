//! Transforms of 8 × 8 values, exactly reversible: every rotation is three lifting steps, each of which adds to one value what another
//! tells, modulo 2^bits.

use super::Ring;

/// Values in a row or column of a sub-block.
pub(crate) const SIDE: usize = 8;

/// What a sub-block's residuals went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Transform {
    #[default]
    None,
    /// DCT-II: for what is smooth.
    Cosine,
    /// DST-IV but for signs: for what grows with the distance from the top left.
    Sine,
}

impl Transform {
    pub(crate) fn from_u8(v: u8) -> Option<Self> {
        Some(match v {
            0 => Self::None,
            1 => Self::Cosine,
            2 => Self::Sine,
            _ => return None,
        })
    }
}

/// A rotation: tangent of half the angle, sine of the angle, in units of 2^-14.
type Angle = (i64, i64);
const FRACTION: u32 = 14;

/// A quarter of a half turn.
const QUARTER: Angle = (6786, 11585);
/// Those of a DCT-IV of 2, 4 and 8 values: (2 i + 1) π / 4 n.
const FOURTH: [&[Angle]; 3] =
    [&[(3259, 6270)], &[(1614, 3196), (4970, 9102)], &[(805, 1606), (2430, 4756), (4104, 7723), (5862, 10394)]];

fn angles(n: usize) -> &'static [Angle] {
    FOURTH[n.trailing_zeros() as usize - 1]
}

/// The rounded product that a lifting step adds.
#[inline(always)]
fn part(factor: i64, value: i32) -> i32 {
    ((factor * value as i64 + (1 << (FRACTION - 1))) >> FRACTION) as i32
}

/// `(x, y)` turned: `(x cos + y sin, y cos - x sin)`.
#[inline(always)]
fn turn(ring: Ring, (t, s): Angle, mut x: i32, mut y: i32) -> (i32, i32) {
    x = ring.add(x, part(t, y));
    y = ring.sub(y, part(s, x));
    x = ring.add(x, part(t, y));
    (x, y)
}

/// Inverse of [`turn`].
#[inline(always)]
fn turn_back(ring: Ring, (t, s): Angle, mut x: i32, mut y: i32) -> (i32, i32) {
    x = ring.sub(x, part(t, y));
    y = ring.add(y, part(s, x));
    x = ring.sub(x, part(t, y));
    (x, y)
}

/// DCT-II of 1, 2, 4 or 8 values: even coefficients are the DCT-II of sums, odd ones the DCT-IV of differences.
fn second(ring: Ring, x: &mut [i32]) {
    let (n, h) = (x.len(), x.len() / 2);
    if n == 1 {
        return;
    }
    let mut half = [0; SIDE];
    for i in 0..h {
        (half[i], half[h + i]) = turn(ring, QUARTER, x[n - 1 - i], x[i]);
    }
    second(ring, &mut half[..h]);
    fourth(ring, &mut half[h..n]);
    for i in 0..h {
        (x[2 * i], x[2 * i + 1]) = (half[i], half[h + i]);
    }
}

fn second_back(ring: Ring, x: &mut [i32]) {
    let (n, h) = (x.len(), x.len() / 2);
    if n == 1 {
        return;
    }
    let mut half = [0; SIDE];
    for i in 0..h {
        (half[i], half[h + i]) = (x[2 * i], x[2 * i + 1]);
    }
    second_back(ring, &mut half[..h]);
    fourth_back(ring, &mut half[h..n]);
    for i in 0..h {
        (x[n - 1 - i], x[i]) = turn_back(ring, QUARTER, half[i], half[h + i]);
    }
}

/// DCT-IV of 1, 2, 4 or 8 values, from two DCT-II of half as many.
fn fourth(ring: Ring, x: &mut [i32]) {
    let (n, h) = (x.len(), x.len() / 2);
    if n == 1 {
        return;
    }
    let mut half = [0; SIDE];
    for (i, &angle) in angles(n).iter().enumerate() {
        let (u, v) = turn(ring, angle, x[i], x[n - 1 - i]);
        (half[i], half[h + i]) = (u, if i % 2 == 1 { ring.sub(0, v) } else { v });
    }
    second(ring, &mut half[..h]);
    second(ring, &mut half[h..n]);
    (x[0], x[n - 1]) = (half[0], ring.sub(0, half[h]));
    for m in 1..h {
        (x[2 * m], x[2 * m - 1]) = turn(ring, QUARTER, half[n - m], half[m]);
    }
}

fn fourth_back(ring: Ring, x: &mut [i32]) {
    let (n, h) = (x.len(), x.len() / 2);
    if n == 1 {
        return;
    }
    let mut half = [0; SIDE];
    (half[0], half[h]) = (x[0], ring.sub(0, x[n - 1]));
    for m in 1..h {
        (half[n - m], half[m]) = turn_back(ring, QUARTER, x[2 * m], x[2 * m - 1]);
    }
    second_back(ring, &mut half[..h]);
    second_back(ring, &mut half[h..n]);
    for (i, &angle) in angles(n).iter().enumerate() {
        let v = half[h + i];
        (x[i], x[n - 1 - i]) = turn_back(ring, angle, half[i], if i % 2 == 1 { ring.sub(0, v) } else { v });
    }
}

/// Transforms a sub-block, rows, then columns.
pub(crate) fn forward(ring: Ring, kind: Transform, block: &mut [[i32; SIDE]; SIDE]) {
    let line = |x: &mut [i32; SIDE]| match kind {
        Transform::None => {}
        Transform::Cosine => second(ring, x),
        Transform::Sine => {
            x.reverse();
            fourth(ring, x);
        }
    };
    block.iter_mut().for_each(line);
    columns(block, line);
}

/// Inverse of [`forward`].
pub(crate) fn inverse(ring: Ring, kind: Transform, block: &mut [[i32; SIDE]; SIDE]) {
    let line = |x: &mut [i32; SIDE]| match kind {
        Transform::None => {}
        Transform::Cosine => second_back(ring, x),
        Transform::Sine => {
            fourth_back(ring, x);
            x.reverse();
        }
    };
    columns(block, line);
    block.iter_mut().for_each(line);
}

fn columns(block: &mut [[i32; SIDE]; SIDE], line: impl Fn(&mut [i32; SIDE])) {
    for c in 0..SIDE {
        let mut column = std::array::from_fn(|r| block[r][c]);
        line(&mut column);
        for (row, x) in block.iter_mut().zip(column) {
            row[c] = x;
        }
    }
}

/// Band of the coefficient in row `r`, column `c`, by its place in the zig-zag scan: the first 3 are 1, the next 18 are 2, the rest 3.
pub(crate) fn band(r: usize, c: usize) -> u8 {
    match r + c {
        0 | 1 => 1,
        2..=5 => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::f64::consts::PI;

    fn any_block() -> impl Strategy<Value = [[i32; SIDE]; SIDE]> {
        prop::array::uniform8(prop::array::uniform8(any::<i32>()))
    }

    proptest! {
        #[test]
        fn every_block_comes_back(block in any_block(), bits in prop::sample::select(vec![4u32, 8, 16, 32])) {
            let ring = Ring::new(bits);
            let block = block.map(|row| row.map(|x| ring.wrap(x)));
            for kind in [Transform::None, Transform::Cosine, Transform::Sine] {
                let mut there = block;
                forward(ring, kind, &mut there);
                prop_assert!(there.iter().flatten().all(|&x| ring.wrap(x) == x));
                inverse(ring, kind, &mut there);
                prop_assert_eq!(there, block);
            }
        }
    }

    /// All values of 4 bits in each place of a rotation, and the corners of the ranges.
    #[test]
    fn rotations_are_exact_at_the_corners() {
        for bits in [4, 8, 16, 32] {
            let ring = Ring::new(bits);
            let most = ring.wrap(i32::MAX >> (32 - bits));
            let values: Vec<i32> = (-8..8).chain([most, most - 1, -most, -most - 1]).map(|x| ring.wrap(x)).collect();
            for &angle in FOURTH.iter().copied().flatten().chain([&QUARTER]) {
                for (&x, &y) in values.iter().flat_map(|x| values.iter().map(move |y| (x, y))) {
                    let (a, b) = turn(ring, angle, x, y);
                    assert_eq!(turn_back(ring, angle, a, b), (x, y));
                }
            }
        }
    }

    #[test]
    fn they_are_what_they_are_called() {
        let ring = Ring::new(32);
        let x: [i32; SIDE] = [90_000, -31_000, 7_000, 65_000, -80_000, 12_345, 3, 55_555];
        let (mut cosine, mut sine) = (x, x);
        second(ring, &mut cosine);
        sine.reverse();
        fourth(ring, &mut sine);
        for k in 0..SIDE {
            let sum = |f: &dyn Fn(f64) -> f64| (0..SIDE).map(|n| x[n] as f64 * f(n as f64)).sum::<f64>();
            let scale = if k == 0 { 8f64.sqrt().recip() } else { 0.5 };
            let wanted = scale * sum(&|n| (PI * (2.0 * n + 1.0) * k as f64 / 16.0).cos());
            assert!((cosine[k] as f64 - wanted).abs() < 20.0, "{k}: {} {wanted}", cosine[k]);
            let wanted = 0.5 * sum(&|n| (PI * (2.0 * n + 1.0) * (2.0 * k as f64 + 1.0) / 32.0).sin());
            assert!((sine[k].abs() as f64 - wanted.abs()).abs() < 20.0, "{k}: {} {wanted}", sine[k]);
        }
    }
}
