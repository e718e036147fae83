//! Models and their fine-tunes, and archives of one against the other.

use super::{DTYPES, Fill, Numbers, Owned};
use std::io::Cursor;
use wcodec::{Base, Encoder, Profile};

/// An archive of `source` against `base`, a safetensors file or its archive.
pub fn encode(source: &[u8], base: &[u8], profile: Profile) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    let encoder = Encoder::new().profile(profile).base(Base::from_bytes(base).unwrap());
    encoder.encode_source(&source, &mut out).unwrap();
    out.into_inner()
}

/// Moves some elements by a few units of the last place.
pub fn tune(t: &Owned, rng: &mut Numbers) -> Owned {
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

/// Types, shapes and fills of a small model.
pub fn model() -> Vec<Owned> {
    let shapes: [&[u64]; 5] = [&[300, 130], &[2, 40_000], &[], &[7, 31, 8], &[0, 3]];
    let mut tensors = Vec::new();
    for (i, dtype) in DTYPES.into_iter().enumerate() {
        for (j, shape) in shapes.into_iter().enumerate() {
            if (u64::from(dtype.bits().unwrap()) * shape.iter().product::<u64>()).is_multiple_of(8) {
                let fill = [Fill::Gaussian, Fill::Special, Fill::Random, Fill::Few, Fill::Constant][(i + j) % 5];
                tensors.push(Owned::new(&format!("{dtype:?}.{j}"), dtype, shape, fill, (i * 5 + j) as u64));
            }
        }
    }
    tensors
}

/// Every third as it was, the others moved.
pub fn fine_tuned(base: &[Owned]) -> Vec<Owned> {
    let mut rng = Numbers(7);
    base.iter().enumerate().map(|(i, t)| if i % 3 == 0 { t.clone() } else { tune(t, &mut rng) }).collect()
}
