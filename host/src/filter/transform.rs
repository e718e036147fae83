//! Transforms of 8 × 8 values, exactly reversible: every rotation is three lifting steps, each of which adds to one value what another
//! tells, modulo 2^bits.

use super::Ring;
pub(crate) use wcodec_device::filter::{SIDE, Transform, band};
use wcodec_device::filter::{forward_line, inverse_line};

/// Transforms a sub-block, rows, then columns.
pub(crate) fn forward(ring: Ring, kind: Transform, block: &mut [[i32; SIDE]; SIDE]) {
    let line = |x: &mut [i32; SIDE]| *x = forward_line(ring, kind, *x);
    block.iter_mut().for_each(line);
    columns(block, line);
}

/// Inverse of [`forward`].
pub(crate) fn inverse(ring: Ring, kind: Transform, block: &mut [[i32; SIDE]; SIDE]) {
    let line = |x: &mut [i32; SIDE]| *x = inverse_line(ring, kind, *x);
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

    #[test]
    fn they_are_what_they_are_called() {
        let ring = Ring::new(32);
        let x: [i32; SIDE] = [90_000, -31_000, 7_000, 65_000, -80_000, 12_345, 3, 55_555];
        let [cosine, sine] = [Transform::Cosine, Transform::Sine].map(|kind| forward_line(ring, kind, x));
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
