//! The suite's part on progressive archives: numbers from planes of bits.

use super::damage::{Sound, damage_of};
use crate::support::progressive::{SPLIT, expected_of, planes};
use crate::support::target::Target;
use crate::support::*;
use wcodec::Dtype;

/// Every type that is split, in shapes that meet every kind of tile, decoded to some planes and to all.
pub(crate) fn types(target: Target) {
    const SHAPES: [&[u64]; 5] = [&[75, 83], &[4097], &[3, 9001], &[300, 130], &[4096, 1]];
    const FILLS: [Fill; 5] = [Fill::Gaussian, Fill::Special, Fill::Random, Fill::Few, Fill::Constant];
    for dtype in SPLIT {
        let of = |(i, shape): (usize, &&[u64])| Owned::new(&format!("{dtype:?} {i}"), dtype, shape, FILLS[i], i as u64);
        let tensors: Vec<_> = SHAPES.iter().enumerate().map(of).collect();
        let archive = encode_progressive(&safetensors(&tensors));
        let all = planes(dtype);
        for k in [0, 1, all / 2, all - 1, all] {
            let mut a = open(&archive).planes(k).unwrap();
            if !target.set(&mut a) {
                return;
            }
            for (t, (tensor, bytes)) in tensors.iter().zip(a.decode_all().unwrap()) {
                let expected = expected_of(t, k);
                assert!(bytes == expected, "{t:?} at {k}");
                let row = expected.len() / tensor.rows() as usize;
                let rows = tensor.rows() / 3..tensor.rows();
                let part = &expected[rows.start as usize * row..];
                assert!(tensor.decode_slice(rows, 0..tensor.columns()).unwrap() == part, "rows of {t:?} at {k}");
                if let Some(gpu) = target.gpu() {
                    assert!(gpu.decode(&[tensor]).unwrap()[0].to_vec().unwrap() == expected, "{t:?} at {k}, to stay");
                }
            }
        }
        let mut a = open(&archive);
        target.set(&mut a);
        a.verify(|_, _| ()).unwrap();
    }
}

/// [`damage`](super::damage::damage) of categories and of planes.
pub(crate) fn damage(target: Target, cases: usize) {
    damage_of(target, cases, 64, |rng, number| {
        // Integers twice as often: their planes' lengths depend on categories.
        let dtype = if number % 2 == 0 { rng.pick(&[Dtype::I8, Dtype::I16]) } else { rng.pick(&SPLIT) };
        let shape = rng.pick(&[[64, 65], [5, 1001], [4500, 1]]);
        let fill = rng.pick(&[Fill::Gaussian, Fill::Few, Fill::Skewed]);
        let archive = encode_progressive(&safetensors(&[Owned::new("t", dtype, &shape, fill, rng.next())]));
        // The header, then categories, signs and planes: most of these are raw, so that damage only changes numbers.
        let record = if rng.below(3) > 0 { 1 } else { 1 + rng.below(2 + planes(dtype) as u64) as usize };
        Sound { archive, base: None, record }
    });
}
