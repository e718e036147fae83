//! What the kernels really do on a GPU: `cargo test --release -- --ignored gpu`. Prints, asserts no times; without a GPU it says so.

#![allow(missing_docs)]

mod support;

use std::path::Path;
use support::target::{Target, report, skipped};
use wcodec::{Archive, Encoder};

#[test]
#[ignore = "needs a GPU"]
fn gpu_bandwidth() {
    let Some(gpu) = Target::Cuda.gpu() else { return };
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let directory = tempfile::tempdir().unwrap();
    for name in [
        "minilm-bf16.safetensors",
        "smollm2-bf16.safetensors",
        "minilm-fp16.safetensors",
        "minilm/model.safetensors",
        "smollm2-fp8.safetensors",
        "smollm2-int8-channel.safetensors",
        "minilm-int4-g128.safetensors",
    ] {
        let path = models.join(name);
        if !path.exists() {
            skipped(&format!("{name} is not there; `cargo xtask models` fetches it"));
            continue;
        }
        let file = directory.path().join("model.wcodec");
        Encoder::new().overwrite(true).encode_file(&path, &file).unwrap();
        let archive = Archive::open(&file).unwrap();
        // As many copies as fill the device: a small model has too few tiles for it.
        let one: Vec<_> = archive.tensors().collect();
        let bytes: u64 = one.iter().map(|t| t.byte_len()).sum();
        let copies = (1u64 << 30).div_ceil(bytes) as usize;
        let tensors: Vec<_> = std::iter::repeat_n(one, copies).flatten().collect();
        let ms = gpu.time_kernels(&tensors, 10).unwrap();
        let gb = bytes as f64 * copies as f64 / 1e9;
        report(&format!("{}: {name} × {copies}: {:.1} GB/s decoded ({ms:.3} ms)", gpu.name(), gb / (ms as f64 / 1e3)));
    }
}
