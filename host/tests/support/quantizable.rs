//! A small checkpoint to quantize.

use super::Numbers;
use half::{bf16, f16};
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use std::path::{Path, PathBuf};
use wcodec::Archive;
use wcodec::quantize::{Checkpoint, QuantizeReport, Quantizer, Target};

/// Weights like a normal distribution's, from a seed.
pub fn normal(seed: u64, n: usize) -> Vec<f32> {
    let mut numbers = Numbers(seed);
    (0..n).map(|_| 0.05 * numbers.normal() as f32).collect()
}

pub type Model = Vec<(&'static str, Dtype, Vec<usize>, Vec<f32>)>;

/// A model with one tensor of every kind that the rules know.
pub fn model() -> Model {
    let mut outlier = normal(2, 128 * 256);
    outlier[1000] = 80.0;
    outlier[5 * 256..6 * 256].fill(0.0);
    vec![
        ("layers.0.a.weight", Dtype::BF16, vec![128, 256], normal(1, 128 * 256)),
        ("layers.0.b.weight", Dtype::F32, vec![128, 256], outlier),
        ("layers.0.c.weight", Dtype::F16, vec![96, 320], normal(3, 96 * 320)),
        ("layers.0.norm.weight", Dtype::BF16, vec![256], normal(4, 256)),
        ("layers.0.a.bias", Dtype::F32, vec![128], normal(5, 128)),
        ("embed_tokens.weight", Dtype::BF16, vec![512, 64], normal(6, 512 * 64)),
        ("zeros.weight", Dtype::BF16, vec![64, 128], vec![0.0; 64 * 128]),
    ]
}

pub fn bytes_of(dtype: Dtype, values: &[f32]) -> Vec<u8> {
    match dtype {
        Dtype::BF16 => values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect(),
        Dtype::F16 => values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    }
}

pub fn write(path: &Path, model: &Model) {
    let data: Vec<Vec<u8>> = model.iter().map(|(_, dtype, _, values)| bytes_of(*dtype, values)).collect();
    let views = model
        .iter()
        .zip(&data)
        .map(|((name, dtype, shape, _), data)| (*name, TensorView::new(*dtype, shape.clone(), data).unwrap()));
    serialize_to_file(views.collect::<Vec<_>>(), None, path).unwrap();
}

pub struct Case {
    pub directory: tempfile::TempDir,
    pub source: PathBuf,
}

impl Case {
    pub fn new(model: &Model) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("model.safetensors");
        write(&source, model);
        Self { directory, source }
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn quantize(&self, quantizer: &Quantizer<'_>, target: Target, output: &str) -> wcodec::Result<QuantizeReport> {
        quantizer.run(&Checkpoint::open(&self.source).unwrap(), target, self.at(output))
    }

    /// The safetensors file that an archive restores.
    pub fn restored(&self, archive: &str) -> Vec<u8> {
        let output = self.at("restored.safetensors");
        Archive::open(self.at(archive)).unwrap().decompress_file(&output, true, |_, _| ()).unwrap();
        std::fs::read(output).unwrap()
    }
}
