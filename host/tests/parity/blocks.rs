//! The suite's part on blocks of quantized numbers.

use super::damage::damage_of;
use super::suite::check_archive;
use crate::support::target::Target;
use crate::support::*;
use wcodec::Dtype;

/// A type, numbers in a block, bytes of one; one of each way in which fields are aligned.
const BLOCKS: [(Dtype, u64, usize); 10] = [
    (Dtype::Q4_0, 32, 18),
    (Dtype::Q4_1, 32, 20),
    (Dtype::Q5_1, 32, 24),
    (Dtype::Q8_0, 32, 34),
    (Dtype::Q3_K, 256, 110),
    (Dtype::Q4_K, 256, 144),
    (Dtype::Q6_K, 256, 210),
    (Dtype::Q8_K, 256, 292),
    (Dtype::TQ1_0, 256, 54),
    (Dtype::MXFP4, 32, 17),
];

/// Blocks with scales of one size, numbers around zero; where there is a minimum it says where that is.
fn blocks((dtype, numbers, bytes): (Dtype, u64, usize), [rows, across]: [u64; 2], seed: u64) -> Owned {
    let mut rng = Numbers(seed);
    let mut data = Vec::new();
    for _ in 0..rows * across {
        let mut block: Vec<u8> = (0..bytes).map(|_| (128.0 + 30.0 * rng.normal()) as u8).collect();
        if matches!(dtype, Dtype::Q4_1 | Dtype::Q5_1) {
            let step = 0.01 * (0.8 * rng.normal()).exp();
            let minimum = -step * (7.5 + 3.0 * rng.normal());
            block[..2].copy_from_slice(&half::f16::from_f64(step).to_le_bytes());
            block[2..4].copy_from_slice(&half::f16::from_f64(minimum).to_le_bytes());
            let zero = (-minimum / step) as u8;
            let nibble = |rng: &mut Numbers| (f64::from(zero) + 1.5 * rng.normal()).round().clamp(0.0, 15.0) as u8;
            block[bytes - 16..].iter_mut().for_each(|b| *b = nibble(&mut rng) | nibble(&mut rng) << 4);
        }
        data.extend(block);
    }
    Owned { name: format!("{dtype:?} {rows} × {across}"), dtype, shape: vec![rows, across * numbers], data }
}

/// Every way in which blocks are joined, with their own contexts and without.
pub(crate) fn types(target: Target) {
    for (i, which) in BLOCKS.into_iter().enumerate() {
        let shapes = [[1, 1], [7, 3], [60, 11], [1, 500], [300, 9]];
        let tensors: Vec<_> = shapes.iter().zip(10 * i as u64..).map(|(shape, seed)| blocks(which, *shape, seed)).collect();
        check_archive(target, &encode_tensors(&tensors), &tensors);
        let archive = encode_max(&tensors);
        if which.0 == Dtype::Q4_1 {
            let in_contexts = |p: usize| open(&archive).report().unwrap().iter().map(|t| t.planes[p].contexts).sum::<u64>();
            assert!(in_contexts(3) > 0 && in_contexts(4) > 0, "no contexts of a minimum, or of numbers");
        }
        check_archive(target, &archive, &tensors);
    }
}

/// [`damage`](super::damage::damage) of blocks.
pub(crate) fn damage(target: Target, cases: usize) {
    damage_of(target, cases, 100, |rng, number| {
        let which = if number % 2 == 0 { rng.pick(&[BLOCKS[1], BLOCKS[2]]) } else { rng.pick(&BLOCKS) };
        let tensor = blocks(which, rng.pick(&[[30, 12], [1, 250], [40, 9]]), rng.next());
        if rng.below(3) == 0 { encode_tensors(&[tensor]) } else { encode_max(&[tensor]) }
    });
}
