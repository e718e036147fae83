//! Real checkpoints, whole: the file comes back byte for byte by every way there is, and is as small as promised.
#![allow(missing_docs)]

use std::path::PathBuf;
use wcodec::{Archive, Backend, Backing, Encoder, FileReader, Profile};

/// The most that each checkpoint may take of its size in the default profile.
const PROMISED: [(&str, f64); 9] = [
    ("minilm-bf16.safetensors", 0.665),
    ("smollm2-bf16.safetensors", 0.665),
    ("minilm-fp16.safetensors", 0.849),
    ("minilm/model.safetensors", 0.820),
    ("minilm-fp8.safetensors", 0.820),
    ("smollm2-fp8.safetensors", 0.820),
    ("minilm-int8-channel.safetensors", 0.908),
    ("minilm-int8-tensor.safetensors", 0.615),
    ("minilm-int4-g128.safetensors", 0.834),
];

fn models() -> PathBuf {
    let here = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../models");
    std::env::var_os("WCODEC_MODELS").map_or_else(here, PathBuf::from)
}

/// The model's path; `None`, and a word about it, where it is not fetched.
fn fetched(name: &str) -> Option<PathBuf> {
    let path = models().join(name);
    if !path.exists() {
        println!("skipped: {name} is not there; `cargo xtask models` fetches it");
        return None;
    }
    Some(path)
}

#[test]
fn every_checkpoint_is_small_and_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    for (name, promised) in PROMISED {
        let Some(path) = fetched(name) else { continue };
        let archive = directory.path().join("model.wcodec");
        let report = Encoder::new().overwrite(true).encode_file(&path, &archive).unwrap();
        println!("{name}: {:.5} (promised {promised})", report.ratio());
        assert!(report.ratio() <= promised, "{name}: {:.5} > {promised}", report.ratio());
        assert_eq!(archive.metadata().unwrap().len(), report.archive_bytes);

        let by_reads = Archive::open_with(&archive, Backing::Read).unwrap();
        by_reads.verify_against(&FileReader::open(&path).unwrap(), |_, _| ()).unwrap();
        let restored = directory.path().join("restored.safetensors");
        by_reads.decompress_file(&restored, true, |_, _| ()).unwrap();
        let source = std::fs::read(&path).unwrap();
        assert!(std::fs::read(&restored).unwrap() == source, "{name}: the restored file differs");

        let mut by_map = Archive::open(&archive).unwrap();
        let theirs = safetensors::SafeTensors::deserialize(&source).unwrap();
        for &backend in Backend::available() {
            by_map.set_backend(backend);
            for (tensor, bytes) in by_map.decode_all().unwrap() {
                let view = theirs.tensor(tensor.name()).unwrap();
                assert!(view.data() == bytes, "{name}: {} differs ({})", tensor.name(), backend.name());
                assert!(view.shape().iter().map(|&d| d as u64).eq(tensor.shape().iter().copied()));
            }
        }
    }
}

/// The most that each takes with profile `max`: below the smallest that any peer makes of it (the second number; `docs/performance.md` says which).
const PROMISED_OF_MAX: [(&str, f64, f64); 8] = [
    ("minilm-bf16.safetensors", 0.6583, 0.6606),
    ("smollm2-bf16.safetensors", 0.6525, 0.6568),
    ("minilm-fp16.safetensors", 0.845, 0.8482),
    ("minilm/model.safetensors", 0.817, 0.8182),
    ("minilm-fp8.safetensors", 0.8144, 0.8178),
    ("minilm-int8-channel.safetensors", 0.904, 0.9074),
    ("minilm-int8-tensor.safetensors", 0.606, 0.6131),
    ("minilm-int4-g128.safetensors", 0.829, 0.8318),
];

#[test]
fn max_is_below_every_peer() {
    let directory = tempfile::tempdir().unwrap();
    for (name, promised, peer) in PROMISED_OF_MAX {
        let Some(path) = fetched(name) else { continue };
        let archive = directory.path().join("model.wcodec");
        let report = Encoder::new().profile(Profile::Max).overwrite(true).encode_file(&path, &archive).unwrap();
        println!("{name}, max: {:.5} (promised {promised}, the best peer {peer})", report.ratio());
        assert!(report.ratio() <= promised && promised < peer, "{name}: {:.5} > {promised}", report.ratio());
        let source = FileReader::open(&path).unwrap();
        Archive::open(&archive).unwrap().verify_against(&source, |_, _| ()).unwrap();
    }
}

/// FP32 values that an FP16 or a BF16 could hold take hardly more than these do: what the narrower type lacks is constant, or nearly.
#[test]
fn values_of_a_narrower_type_are_recognised() {
    for (name, widen) in [
        ("minilm-fp16.safetensors", (|bits| half::f16::from_bits(bits).to_f32()) as fn(u16) -> f32),
        ("minilm-bf16.safetensors", |bits| half::bf16::from_bits(bits).to_f32()),
    ] {
        let Some(path) = fetched(name) else { continue };
        let source = std::fs::read(path).unwrap();
        let file = safetensors::SafeTensors::deserialize(&source).unwrap();
        let view = file.tensor("encoder.layer.0.intermediate.dense.weight").unwrap();
        let shape: Vec<u64> = view.shape().iter().map(|&d| d as u64).collect();
        let bits = view.data().chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
        let wide: Vec<u8> = bits.flat_map(|bits| widen(bits).to_le_bytes()).collect();
        let size = |dtype, data: &[u8]| {
            let input = wcodec::TensorInput { name: "w", dtype, shape: &shape, data };
            let mut out = std::io::Cursor::new(Vec::new());
            Encoder::new().profile(Profile::Max).encode_tensors(&[input], &mut out).unwrap();
            assert!(Archive::from_bytes(out.get_ref().clone()).unwrap().tensor("w").unwrap().decode().unwrap() == data);
            out.into_inner().len()
        };
        let narrow_type = if name.contains("bf16") { wcodec::Dtype::BF16 } else { wcodec::Dtype::F16 };
        let (narrow, wide) = (size(narrow_type, view.data()), size(wcodec::Dtype::F32, &wide));
        println!("{name}: {narrow} bytes, as FP32 {wide}");
        assert!(wide as f64 <= 1.03 * narrow as f64, "{name}: {narrow} bytes, as FP32 {wide}");
    }
}

/// Noise has nothing to squeeze, and the container costs next to nothing.
#[test]
fn noise_hardly_grows() {
    let mut x = 0x2545_f491_4f6c_dd1du64;
    let noise: Vec<u8> = (0..1 << 20)
        .flat_map(|_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x.to_le_bytes()
        })
        .collect();
    for dtype in [wcodec::Dtype::U8, wcodec::Dtype::BF16, wcodec::Dtype::F32, wcodec::Dtype::F8_E4M3, wcodec::Dtype::F64] {
        let elements = noise.len() as u64 * 8 / dtype.bits().unwrap() as u64;
        let tensor = wcodec::TensorInput { name: "noise", dtype, shape: &[1024, elements / 1024], data: &noise };
        let mut out = std::io::Cursor::new(Vec::new());
        let report = Encoder::new().encode_tensors(&[tensor], &mut out).unwrap();
        assert!(report.ratio() <= 1.002, "{dtype:?}: {}", report.ratio());
        let archive = Archive::from_bytes(out.into_inner()).unwrap();
        assert!(archive.tensor("noise").unwrap().decode().unwrap() == noise);
    }
}
