//! The suite's part on filtered tensors: predictions and transforms undone.

use super::damage::damage_of;
use super::suite::check_archive;
use crate::oracle;
use crate::support::target::Target;
use crate::support::*;
use wcodec::Dtype;

/// Types of every number of bytes that are filtered where they are smooth.
const SMOOTH: [Dtype; 8] = [Dtype::I8, Dtype::F8_E4M3, Dtype::I16, Dtype::F16, Dtype::BF16, Dtype::I32, Dtype::F32, Dtype::U16];

/// Two smooth numbers of four bits in each byte.
fn nibbles([rows, columns]: [u64; 2], seed: u64) -> Owned {
    let mut rng = Numbers(seed);
    let (a, b) = (5.0 + 9.0 * rng.unit(), 7.0 + 9.0 * rng.unit());
    let mut number = |i: u64| {
        let (y, x) = ((i / (2 * columns)) as f64, (i % (2 * columns)) as f64);
        (7.5 + 5.0 * (x / a).sin() + 2.5 * (y / b).cos() + 0.2 * rng.normal()).clamp(0.0, 15.0) as u8
    };
    let data = (0..rows * columns).map(|i| number(2 * i) | number(2 * i + 1) << 4).collect();
    Owned { name: format!("nibbles {rows} × {columns}"), dtype: Dtype::U8, shape: vec![rows, columns], data }
}

/// Tiles of an archive that are filtered.
fn filtered(archive: &[u8]) -> u64 {
    open(archive).report().unwrap().iter().map(|t| t.filtered).sum()
}

/// Whether a block of the archive is predicted by weights.
fn weighted(archive: &[u8]) -> bool {
    oracle::decode(archive).unwrap().filters.contains(&10)
}

/// Smooth tensors in shapes that meet every kind of tile: rows that are not aligned, fewer or more than lanes, edges within blocks.
pub(crate) fn types(target: Target) {
    const SHAPES: [[u64; 2]; 6] = [[75, 83], [1, 5000], [3, 9000], [900, 3], [130, 301], [40, 128]];
    for dtype in SMOOTH {
        let smooth = |(i, &shape)| Owned::smooth(&format!("{dtype:?} {shape:?}"), dtype, shape, i as u64);
        let tensors: Vec<_> = SHAPES.iter().enumerate().map(smooth).collect();
        let archive = encode_max(&tensors);
        assert!(filtered(&archive) >= 3, "{dtype:?}: {}", filtered(&archive));
        check_archive(target, &archive, &tensors);
        let waves = |(i, &shape)| Owned::waves(&format!("{dtype:?} {shape:?}"), dtype, shape, i as u64);
        let tensors: Vec<_> = SHAPES.iter().enumerate().map(waves).collect();
        let archive = encode_max(&tensors);
        // Without a sign, waves fall apart where they would be negative.
        assert!(weighted(&archive) || dtype == Dtype::U16, "{dtype:?}");
        check_archive(target, &archive, &tensors);
    }
    let tensors = [nibbles([90, 70], 1), nibbles([33, 203], 2), nibbles([2, 4000], 3)];
    let archive = encode_max(&tensors);
    assert!(filtered(&archive) >= 2, "{}", filtered(&archive));
    check_archive(target, &archive, &tensors);
}

/// [`damage`](super::damage::damage) of filtered tensors: their modes, too, become any that there are, and some that there are not.
pub(crate) fn damage(target: Target, cases: usize) {
    damage_of(target, cases, 64, |rng, _| {
        loop {
            let shape = rng.pick(&[[48, 72], [33, 130], [70, 41], [3, 1000]]);
            let tensor = match rng.below(5) {
                0 => nibbles(shape, rng.next()),
                1 | 2 => Owned::waves("t", rng.pick(&SMOOTH), shape, rng.next()),
                _ => Owned::smooth("t", rng.pick(&SMOOTH), shape, rng.next()),
            };
            let archive = encode_max(&[tensor]);
            if filtered(&archive) > 0 {
                return archive;
            }
        }
    });
}
