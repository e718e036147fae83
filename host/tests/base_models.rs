//! Fine-tunes of a real model against it.
#![allow(missing_docs)]

mod support;

use half::bf16;
use std::path::PathBuf;
use support::Numbers;
use wcodec::{Archive, Base, Encoder, FileReader};

fn models() -> PathBuf {
    let here = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../models");
    std::env::var_os("WCODEC_MODELS").map_or_else(here, PathBuf::from)
}

/// A BF16 tensor: rows, columns, numbers.
type Weights<'a> = (usize, usize, &'a mut [f32]);

/// The source with every `step`th of its weights (matrices), from one on, changed by `change`.
fn tuned(source: &[u8], (first, step): (usize, usize), mut change: impl FnMut(Weights<'_>)) -> Vec<u8> {
    let tensors = safetensors::SafeTensors::deserialize(source).unwrap();
    let mut names: Vec<_> = tensors
        .tensors()
        .into_iter()
        .filter(|(_, t)| t.shape().len() == 2 && t.dtype() == safetensors::Dtype::BF16)
        .map(|(n, _)| n)
        .collect();
    names.sort();
    let mut out = source.to_vec();
    for name in names.iter().skip(first).step_by(step) {
        let view = tensors.tensor(name).unwrap();
        let at = view.data().as_ptr() as usize - source.as_ptr() as usize;
        let mut w: Vec<f32> = view.data().chunks(2).map(|b| bf16::from_le_bytes(b.try_into().unwrap()).to_f32()).collect();
        change((view.shape()[0], view.shape()[1], &mut w));
        for (b, w) in out[at..].chunks_mut(2).zip(&w) {
            b.copy_from_slice(&bf16::from_f32(*w).to_le_bytes());
        }
    }
    out
}

fn scale(w: &[f32]) -> f32 {
    (w.iter().map(|x| x * x).sum::<f32>() / w.len() as f32).sqrt()
}

/// `W + B A` of rank 8, a fiftieth of the weights' size.
fn low_rank(rng: &mut Numbers) -> impl FnMut(Weights<'_>) {
    |(rows, columns, w)| {
        const RANK: usize = 8;
        let mut normal = |n: usize| (0..n).map(|_| rng.normal() as f32).collect::<Vec<_>>();
        let (b, a) = (normal(rows * RANK), normal(RANK * columns));
        let size = 0.02 * scale(w) / (RANK as f32).sqrt();
        for (row, w) in w.chunks_mut(columns).enumerate() {
            for (column, w) in w.iter_mut().enumerate() {
                *w += size * (0..RANK).map(|r| b[row * RANK + r] * a[r * columns + column]).sum::<f32>();
            }
        }
    }
}

/// A step of Adam at its first: the gradient's sign times the learning rate, nearly.
fn training_step(rng: &mut Numbers) -> impl FnMut(Weights<'_>) {
    |(_, _, w)| {
        for w in w {
            let gradient = rng.normal() as f32 * 1e-3;
            *w -= 2e-5 * gradient / (gradient.abs() + 1e-4);
        }
    }
}

/// Sizes without and with the base; checks that the file comes back.
fn check(name: &str, what: &str, tuned: &[u8], most: f64) {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("tuned.safetensors"), tuned).unwrap();
    let base = models().join(name);
    let alone = Encoder::new().encode_file(path("tuned.safetensors"), path("alone.wcodec")).unwrap();
    let encoder = Encoder::new().base(Base::open(&base).unwrap());
    let with = encoder.encode_file(path("tuned.safetensors"), path("with.wcodec")).unwrap();
    let ratio = with.archive_bytes as f64 / alone.archive_bytes as f64;
    println!("{name}, {what}: {:.4} alone, {:.4} with the base: {ratio:.4}", alone.ratio(), with.ratio());
    assert!(ratio <= most, "{what}: {ratio:.4} > {most}");

    Encoder::new().encode_file(&base, path("base.wcodec")).unwrap();
    for base in [&base, &path("base.wcodec")] {
        let a = Archive::open(path("with.wcodec")).unwrap().with_base(base).unwrap();
        a.verify_against(&FileReader::open(&path("tuned.safetensors")).unwrap(), |_, _| ()).unwrap();
        a.decompress_file(path("back.safetensors"), true, |_, _| ()).unwrap();
        assert!(std::fs::read(path("back.safetensors")).unwrap() == tuned);
    }
}

#[test]
fn fine_tunes_of_real_models() {
    for name in ["minilm-bf16.safetensors", "wordllama-bf16.safetensors"] {
        let Ok(source) = std::fs::read(models().join(name)) else {
            println!("skipped: {name} is not there; `cargo xtask models` fetches it");
            continue;
        };
        let mut rng = Numbers(11);
        check(name, "unchanged", &source, 0.01);
        // Each third of the tensors, one of which has the embedding, half the model, among them.
        if safetensors::SafeTensors::deserialize(&source).unwrap().len() > 3 {
            for third in 0..3 {
                check(name, "low-rank update of a third", &tuned(&source, (third, 3), low_rank(&mut rng)), 0.35);
            }
        }
        check(name, "low-rank update of all", &tuned(&source, (0, 1), low_rank(&mut rng)), 0.6);
        check(name, "training step", &tuned(&source, (0, 1), training_step(&mut rng)), 0.35);
    }
}
