//! The suite's part on tensors that are coded against a base.

use super::damage::{Sound, damage_of};
use super::suite::check_opened;
use crate::support::base::{encode, fine_tuned, model, tune};
use crate::support::target::Target;
use crate::support::*;
use std::io::Cursor;
use wcodec::{Base, Dtype, Encoder, Profile};

/// Every type in shapes of every alignment, every third as it is in the base; the base as a file and as archives, whose tiles are others.
pub(crate) fn types(target: Target) {
    let mut before = model();
    before.push(Owned::smooth("smooth", Dtype::I16, [300, 130], 3));
    let after = fine_tuned(&before);
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
