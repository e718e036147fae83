//! A checkpoint where none is given: SmolLM2-135M, or one of the same shape made from a seed.

use crate::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where what this example makes is kept.
pub(crate) fn target_dir() -> PathBuf {
    workspace().join("target/load_llama")
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(|| ".".into(), Path::to_path_buf)
}

/// SmolLM2-135M in BF16 if it is fetched or can be, else a checkpoint made from a seed.
pub(crate) fn default() -> Result<PathBuf> {
    let models = std::env::var_os("WCODEC_MODELS").map_or_else(|| workspace().join("models"), PathBuf::from);
    let path = models.join("smollm2-bf16.safetensors");
    if path.exists() {
        return Ok(path);
    }
    println!("SmolLM2-135M is not there yet: fetching it with `cargo xtask models`");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let fetched = Command::new(cargo).args(["xtask", "models"]).current_dir(workspace()).status();
    if fetched.is_ok_and(|s| s.success()) && path.exists() {
        return Ok(path);
    }
    println!("it cannot be fetched: using a checkpoint of Llama's shape with random weights made from a seed\n");
    synthetic()
}

/// A Llama-shaped BF16 checkpoint with normally distributed weights.
fn synthetic() -> Result<PathBuf> {
    let path = target_dir().join("synthetic-llama.safetensors");
    if path.exists() {
        return Ok(path);
    }
    let (hidden, inner, kv, vocabulary, layers) = (576, 1536, 192, 49152, 10);
    let mut shapes = vec![("model.embed_tokens.weight".to_owned(), vec![vocabulary, hidden])];
    for l in 0..layers {
        let layer = |name: &str, shape: &[usize]| (format!("model.layers.{l}.{name}.weight"), shape.to_vec());
        shapes.extend([
            layer("self_attn.q_proj", &[hidden, hidden]),
            layer("self_attn.k_proj", &[kv, hidden]),
            layer("self_attn.v_proj", &[kv, hidden]),
            layer("self_attn.o_proj", &[hidden, hidden]),
            layer("mlp.gate_proj", &[inner, hidden]),
            layer("mlp.up_proj", &[inner, hidden]),
            layer("mlp.down_proj", &[hidden, inner]),
            layer("input_layernorm", &[hidden]),
            layer("post_attention_layernorm", &[hidden]),
        ]);
    }
    shapes.push(("model.norm.weight".to_owned(), vec![hidden]));
    let mut random = Normal(0x5eed);
    let data: Vec<(String, Vec<usize>, Vec<u8>)> = shapes
        .into_iter()
        .map(|(name, shape)| {
            let (n, scale) = (shape.iter().product::<usize>(), 1.0 / (shape[shape.len() - 1] as f32).sqrt());
            let bf16 = |x: f32| ((x.to_bits() + 0x8000) >> 16) as u16;
            let bytes = (0..n).flat_map(|_| bf16(random.next() * scale).to_le_bytes()).collect();
            (name, shape, bytes)
        })
        .collect();
    let views = data
        .iter()
        .map(|(name, shape, bytes)| {
            Ok((name, safetensors::tensor::TensorView::new(safetensors::Dtype::BF16, shape.clone(), bytes)?))
        })
        .collect::<Result<Vec<_>>>()?;
    std::fs::create_dir_all(target_dir())?;
    safetensors::serialize_to_file(views, None, &path)?;
    Ok(path)
}

/// Normally distributed numbers: the sum of four uniform ones is near enough.
struct Normal(u64);

impl Normal {
    fn next(&mut self) -> f32 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let sum: i32 = (0..4).map(|i| (z >> (16 * i) & 0xffff) as i32 - 0x8000).sum();
        sum as f32 / 37837.0 // the standard deviation of the sum
    }
}
