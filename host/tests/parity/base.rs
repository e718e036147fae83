//! The suite's part on tensors that are coded against a base.

use super::damage::{Sound, damage_of};
use super::suite::check_opened;
use crate::support::target::Target;
use crate::support::*;
use std::io::Cursor;
use wcodec::{Base, Dtype, Encoder, Profile};

/// An archive of `source` against `base`.
fn encode(source: &[u8], base: &[u8], profile: Profile) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    let encoder = Encoder::new().profile(profile).base(Base::from_bytes(base).unwrap());
    encoder.encode_source(&source, &mut out).unwrap();
    out.into_inner()
}

/// Moves elements by a few units of the last place.
fn tune(t: &Owned, rng: &mut Numbers) -> Owned {
    let unit = (t.dtype.bits().unwrap() as usize / 8).max(1);
    let mut tuned = t.clone();
    for x in tuned.data.chunks_exact_mut(unit) {
        let mut word = [0; 8];
        word[..unit].copy_from_slice(x);
        let moved = u64::from_le_bytes(word).wrapping_add((rng.normal() * 3.0) as i64 as u64);
        x.copy_from_slice(&moved.to_le_bytes()[..unit]);
    }
    tuned
}

/// Every type in shapes of every alignment, every third as it is in the base; the base as a file and as archives, whose tiles are others.
pub(crate) fn types(target: Target) {
    let shapes: [&[u64]; 5] = [&[300, 130], &[2, 40_000], &[], &[7, 31, 8], &[0, 3]];
    let mut before = Vec::new();
    for (i, dtype) in DTYPES.into_iter().enumerate() {
        for (j, shape) in shapes.into_iter().enumerate() {
            if (u64::from(dtype.bits().unwrap()) * shape.iter().product::<u64>()).is_multiple_of(8) {
                let fill = [Fill::Gaussian, Fill::Special, Fill::Random, Fill::Few, Fill::Constant][(i + j) % 5];
                before.push(Owned::new(&format!("{dtype:?}.{j}"), dtype, shape, fill, (i * 5 + j) as u64));
            }
        }
    }
    before.push(Owned::smooth("smooth", Dtype::I16, [300, 130], 3));
    let mut rng = Numbers(7);
    let after: Vec<_> = before.iter().enumerate().map(|(i, t)| if i % 3 == 0 { t.clone() } else { tune(t, &mut rng) }).collect();
    let (base, source) = (safetensors(&before), safetensors(&after));
    let archive = encode(&source, &base, Profile::Max);
    let report = open(&archive).report().unwrap();
    for wanted in [None, Some("same"), Some("xor"), Some("subtract")] {
        assert!(report.iter().any(|t| t.base == wanted), "no {wanted:?}");
    }
    assert!(report.iter().flat_map(|t| &t.planes).any(|p| p.contexts > 0), "no contexts");
    let mut filtered = Cursor::new(Vec::new());
    Encoder::new().profile(Profile::Max).encode_source(&base, &mut filtered).unwrap();
    let bases = [base.clone(), encode_source(&base).unwrap(), filtered.into_inner(), encode_progressive(&base)];
    for base in &bases {
        let mut a = open(&archive);
        a.set_base(Base::from_bytes(&base[..]).unwrap()).unwrap();
        if !target.set(&mut a) {
            return;
        }
        check_opened(&a, &after);
        if let Some(gpu) = target.gpu() {
            let tensors: Vec<_> = a.tensors().collect();
            for (t, there) in after.iter().zip(gpu.decode(&tensors).unwrap()) {
                assert!(there.to_vec().unwrap() == t.data, "{t:?}");
            }
        }
    }
}

/// [`damage`](super::damage::damage) of differences.
pub(crate) fn damage(target: Target, cases: usize) {
    damage_of(target, cases, 100, |rng, _| {
        let dtype = rng.pick(&[Dtype::BF16, Dtype::F32, Dtype::F16, Dtype::I8, Dtype::F64]);
        let shape = rng.pick(&[[40, 130], [9, 1000], [1, 4001]]);
        let before = Owned::new("t", dtype, &shape, Fill::Gaussian, rng.next());
        let after = tune(&before, rng);
        let base = safetensors(&[before]);
        let archive = encode(&safetensors(&[after]), &base, rng.pick(&[Profile::Default, Profile::Max]));
        // The header's blob comes before the tensor.
        Sound { archive, base: Some(base), record: 1 }
    });
}
