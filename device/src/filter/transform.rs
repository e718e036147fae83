//! Transforms of 8 values, exactly reversible: every rotation is three lifting steps, each of which adds to one value what another
//! tells, modulo 2^bits.

use super::Ring;

/// Values in a row or column of a sub-block.
pub const SIDE: usize = 8;

/// What a sub-block's residuals went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transform {
    /// Nothing.
    #[default]
    None,
    /// DCT-II: for what is smooth.
    Cosine,
    /// DST-IV but for signs: for what grows with the distance from the top left.
    Sine,
}

impl Transform {
    /// The transform of this number.
    #[inline(always)]
    pub fn from_u8(v: u8) -> Option<Self> {
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

/// A transform of one value, which is none.
#[inline(always)]
fn one(_: Ring, x: [i32; 1]) -> [i32; 1] {
    x
}

/// The transforms of `$n` values, `$h` being half as many: the DCT-II, of which even coefficients are the DCT-II of sums and odd ones the DCT-IV
/// of differences; the DCT-IV from two DCT-II, with the angles (2 i + 1) π / 4 n; the inverses of both. One function a size, as none may
/// call itself: in a kernel all of it must be inlined for values to stay in registers.
macro_rules! transforms {
    ($($n:literal / $h:literal: $second:ident, $second_back:ident, $fourth:ident, $fourth_back:ident
       of $half_second:ident, $half_second_back:ident, $half_fourth:ident, $half_fourth_back:ident, $angles:expr;)*) => {$(
        #[inline(always)]
        fn $second(ring: Ring, x: [i32; $n]) -> [i32; $n] {
            let (mut sums, mut differences, mut out) = ([0; $h], [0; $h], [0; $n]);
            let mut i = 0;
            while i < $h {
                (sums[i], differences[i]) = turn(ring, QUARTER, x[$n - 1 - i], x[i]);
                i += 1;
            }
            (sums, differences) = ($half_second(ring, sums), $half_fourth(ring, differences));
            i = 0;
            while i < $h {
                (out[2 * i], out[2 * i + 1]) = (sums[i], differences[i]);
                i += 1;
            }
            out
        }

        #[inline(always)]
        fn $second_back(ring: Ring, x: [i32; $n]) -> [i32; $n] {
            let (mut sums, mut differences, mut out) = ([0; $h], [0; $h], [0; $n]);
            let mut i = 0;
            while i < $h {
                (sums[i], differences[i]) = (x[2 * i], x[2 * i + 1]);
                i += 1;
            }
            (sums, differences) = ($half_second_back(ring, sums), $half_fourth_back(ring, differences));
            i = 0;
            while i < $h {
                (out[$n - 1 - i], out[i]) = turn_back(ring, QUARTER, sums[i], differences[i]);
                i += 1;
            }
            out
        }

        #[inline(always)]
        fn $fourth(ring: Ring, x: [i32; $n]) -> [i32; $n] {
            const ANGLES: [Angle; $h] = $angles;
            let (mut u, mut v, mut out) = ([0; $h], [0; $h], [0; $n]);
            let mut i = 0;
            while i < $h {
                let turned = turn(ring, ANGLES[i], x[i], x[$n - 1 - i]);
                (u[i], v[i]) = (turned.0, if i % 2 == 1 { ring.sub(0, turned.1) } else { turned.1 });
                i += 1;
            }
            (u, v) = ($half_second(ring, u), $half_second(ring, v));
            (out[0], out[$n - 1]) = (u[0], ring.sub(0, v[0]));
            i = 1;
            while i < $h {
                (out[2 * i], out[2 * i - 1]) = turn(ring, QUARTER, v[$h - i], u[i]);
                i += 1;
            }
            out
        }

        #[inline(always)]
        fn $fourth_back(ring: Ring, x: [i32; $n]) -> [i32; $n] {
            const ANGLES: [Angle; $h] = $angles;
            let (mut u, mut v, mut out) = ([0; $h], [0; $h], [0; $n]);
            (u[0], v[0]) = (x[0], ring.sub(0, x[$n - 1]));
            let mut i = 1;
            while i < $h {
                (v[$h - i], u[i]) = turn_back(ring, QUARTER, x[2 * i], x[2 * i - 1]);
                i += 1;
            }
            (u, v) = ($half_second_back(ring, u), $half_second_back(ring, v));
            i = 0;
            while i < $h {
                let turned = if i % 2 == 1 { ring.sub(0, v[i]) } else { v[i] };
                (out[i], out[$n - 1 - i]) = turn_back(ring, ANGLES[i], u[i], turned);
                i += 1;
            }
            out
        }
    )*};
}

transforms! {
    2 / 1: second2, second2_back, fourth2, fourth2_back of one, one, one, one, [(3259, 6270)];
    4 / 2: second4, second4_back, fourth4, fourth4_back of second2, second2_back, fourth2, fourth2_back, [(1614, 3196), (4970, 9102)];
    8 / 4: second8, second8_back, fourth8, fourth8_back of second4, second4_back, fourth4, fourth4_back,
        [(805, 1606), (2430, 4756), (4104, 7723), (5862, 10394)];
}

/// The values in reverse order.
#[inline(always)]
fn reversed(x: [i32; SIDE]) -> [i32; SIDE] {
    let [a, b, c, d, e, f, g, h] = x;
    [h, g, f, e, d, c, b, a]
}

/// Transforms a row or column of a sub-block.
#[inline(always)]
pub fn forward_line(ring: Ring, kind: Transform, x: [i32; SIDE]) -> [i32; SIDE] {
    match kind {
        Transform::None => x,
        Transform::Cosine => second8(ring, x),
        Transform::Sine => fourth8(ring, reversed(x)),
    }
}

/// Inverse of [`forward_line`].
#[inline(always)]
pub fn inverse_line(ring: Ring, kind: Transform, x: [i32; SIDE]) -> [i32; SIDE] {
    match kind {
        Transform::None => x,
        Transform::Cosine => second8_back(ring, x),
        Transform::Sine => reversed(fourth8_back(ring, x)),
    }
}

/// Band of the coefficient in row `r`, column `c`, by its place in the zig-zag scan: the first 3 are 1, the next 18 are 2, the rest 3.
#[inline(always)]
pub fn band(r: usize, c: usize) -> u8 {
    match r + c {
        0 | 1 => 1,
        2..=5 => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All values of 4 bits in each place of a rotation, and the corners of the ranges.
    #[test]
    fn rotations_are_exact_at_the_corners() {
        const ANGLES: [Angle; 8] =
            [QUARTER, (3259, 6270), (1614, 3196), (4970, 9102), (805, 1606), (2430, 4756), (4104, 7723), (5862, 10394)];
        for bits in [4, 8, 16, 32] {
            let ring = Ring::new(bits);
            let most = ring.most();
            let values = || (-8..8).chain([most, most - 1, -most, -most - 1]).map(|x| ring.wrap(x));
            for angle in ANGLES {
                for (x, y) in values().flat_map(|x| values().map(move |y| (x, y))) {
                    let (a, b) = turn(ring, angle, x, y);
                    assert_eq!(turn_back(ring, angle, a, b), (x, y));
                }
            }
        }
    }
}
