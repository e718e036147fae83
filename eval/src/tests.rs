//! The model on weights made from a seed, and on SmolLM2's own where these are fetched.

use super::*;
use candle_core::{Device, Tensor};
use std::path::{Path, PathBuf};

fn small() -> (tempfile::TempDir, Checkpoint) {
    let directory = tempfile::tempdir().expect("a directory");
    SyntheticModel::SMALL.write(directory.path()).expect("written");
    let checkpoint = Checkpoint::open(directory.path()).expect("opens");
    (directory, checkpoint)
}

fn model(checkpoint: &Checkpoint) -> Llama {
    let tensors = raw::load(&checkpoint.weights, |_, _, _| {}).expect("loads");
    Llama::from_tensors(&checkpoint.config, tensors, &Device::Cpu).expect("builds")
}

#[test]
fn the_cache_changes_nothing_but_time() {
    let (_held, checkpoint) = small();
    let model = model(&checkpoint);
    let text: Vec<u32> = (0..12).map(|i| i * 19 % 256).collect();
    let whole: Vec<f32> = model.forward(&text, &mut Cache::default()).expect("runs").to_vec1().expect("logits");
    let each: Vec<Vec<f32>> = model.logits(&text, &mut Cache::default()).expect("runs").to_vec2().expect("logits");
    assert_eq!(each.len(), text.len());
    let apart = |of: &[f32]| whole.iter().zip(of).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(apart(&each[11]) < 1e-4 && apart(&each[10]) > 1e-3);
    for split in [1, 5, 11] {
        let mut cache = Cache::default();
        model.forward(&text[..split], &mut cache).expect("runs");
        assert_eq!(cache.len(), split);
        let parts: Vec<f32> = model.forward(&text[split..], &mut cache).expect("runs").to_vec1().expect("logits");
        assert!(apart(&parts) < 1e-4, "split at {split}: {}", apart(&parts));
    }
    assert!(model.forward(&[], &mut Cache::default()).is_err());
}

#[test]
fn equal_weights_give_equal_text_and_a_changed_bit_shows() {
    let (_held, checkpoint) = small();
    let run = |model: &Llama| generate(model, &checkpoint.config, &checkpoint.tokenizer, "abc", 8).expect("runs");
    let (first, again) = (run(&model(&checkpoint)), run(&model(&checkpoint)));
    assert!(first.same(&again) && first.tokens.len() == 8 && first.rest.len() == 7, "{first:?} {again:?}");
    let mut tensors = raw::load(&checkpoint.weights, |_, _, _| {}).expect("loads");
    let norm = tensors.get_mut("model.norm.weight").expect("there");
    let mut values: Vec<half::bf16> = norm.to_vec1().expect("BF16");
    values[3] = half::bf16::from_bits(values[3].to_bits() ^ 1);
    *norm = Tensor::new(values, &Device::Cpu).expect("a tensor");
    let changed = Llama::from_tensors(&checkpoint.config, tensors, &Device::Cpu).expect("builds");
    assert!(!first.same(&run(&changed)));
}

#[test]
fn layers_are_built_in_the_order_in_which_they_are_needed() {
    /// Remembers what it is asked for.
    struct Asked(Tensors, std::sync::Arc<std::sync::Mutex<Vec<String>>>);
    impl candle_nn::var_builder::SimpleBackend for Asked {
        fn get(
            &self,
            shape: candle_core::Shape,
            name: &str,
            init: candle_nn::Init,
            dtype: candle_core::DType,
            device: &Device,
        ) -> candle_core::Result<Tensor> {
            self.1.lock().expect("not poisoned").push(name.to_owned());
            candle_nn::var_builder::SimpleBackend::get(&self.0, shape, name, init, dtype, device)
        }
        fn get_unchecked(&self, name: &str, dtype: candle_core::DType, device: &Device) -> candle_core::Result<Tensor> {
            candle_nn::var_builder::SimpleBackend::get_unchecked(&self.0, name, dtype, device)
        }
        fn contains_tensor(&self, name: &str) -> bool {
            self.0.contains_key(name)
        }
    }
    let (_held, checkpoint) = small();
    let asked = std::sync::Arc::default();
    let backend = Asked(raw::load(&checkpoint.weights, |_, _, _| {}).expect("loads"), std::sync::Arc::clone(&asked));
    let tensors = candle_nn::VarBuilder::from_backend(Box::new(backend), candle_core::DType::F32, Device::Cpu);
    let mut built = Vec::new();
    Llama::new(&checkpoint.config, tensors, |layer| built.push(layer)).expect("builds");
    assert_eq!(built, [0, 1, 2]);
    let names: Vec<_> = checkpoint.config.tensors().into_iter().map(|(name, _)| name).collect();
    assert_eq!(*asked.lock().expect("not poisoned"), names);
}

#[test]
fn a_checkpoint_that_does_not_fit_is_refused() {
    let (held, checkpoint) = small();
    let entries = raw::header(&checkpoint.weights[0]).expect("reads");
    let shape_of = |name: &str| entries.iter().find(|entry| entry.name == name).map(|entry| entry.shape.as_slice());
    checkpoint.config.check(shape_of).expect("fits");
    let lacking = checkpoint.config.check(|name| shape_of(name).filter(|_| !name.contains("v_proj")));
    let said = lacking.expect_err("refused").to_string();
    assert!(said.contains("2 of 20") && said.contains("layers.0.self_attn.v_proj"), "{said}");
    let said = checkpoint.config.check(|_| Some(&[1, 2])).expect_err("refused").to_string();
    assert!(said.contains("embed_tokens") && said.contains("[256, 64]"), "{said}");

    let weights = &checkpoint.weights[0];
    let bytes = std::fs::read(weights).expect("reads");
    for end in [0, 7, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(weights, &bytes[..end]).expect("written");
        let said = raw::load(&checkpoint.weights, |_, _, _| {}).expect_err("too short").to_string();
        assert!(said.contains("model.safetensors"), "{said}");
    }
    std::fs::remove_file(weights).expect("removed");
    assert!(Checkpoint::open(held.path()).expect_err("no weights").to_string().contains("is not there"));
}

#[test]
fn configurations_that_cannot_be_run_are_refused() {
    let with = |key: &str, value: serde_json::Value| {
        let mut config: serde_json::Value = serde_json::from_str(&SyntheticModel::SMALL.config()).expect("JSON");
        config[key] = value;
        Config::from_json(config.to_string().as_bytes())
    };
    assert!(with("model_type", "gpt2".into()).is_err());
    assert!(with("num_key_value_heads", 3.into()).is_err());
    assert!(with("num_attention_heads", 0.into()).is_err());
    assert!(with("head_dim", 3.into()).is_err());
    for key in ["hidden_size", "intermediate_size", "vocab_size"] {
        let mut config: serde_json::Value = serde_json::from_str(&SyntheticModel::SMALL.config()).expect("JSON");
        // Heads that have elements all the same.
        (config["head_dim"], config[key]) = (16.into(), 0.into());
        assert!(Config::from_json(config.to_string().as_bytes()).is_err(), "{key}");
    }
    assert!(with("attention_bias", true.into()).is_err());
    assert!(with("rope_scaling", serde_json::json!({"type": "yarn"})).is_err());
    let scaling = serde_json::json!({
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    });
    let (plain, scaled) = (with("x", 0.into()).expect("runs"), with("rope_scaling", scaling).expect("runs"));
    let (plain, scaled) = (plain.rotations(), scaled.rotations());
    // The quickest turn stays, the slowest is slowed by the factor.
    assert_eq!((plain[0], scaled[0]), (1.0, 1.0));
    assert!((plain[7] / scaled[7] - 8.0).abs() < 1e-5);
    let ends = with("eos_token_id", serde_json::json!([3, 5])).expect("runs");
    assert!(ends.is_end(5) && !ends.is_end(4));
}

#[test]
fn bytes_are_tokens_of_a_model_made_from_a_seed() {
    let (_held, checkpoint) = small();
    assert!(checkpoint.is_synthetic());
    let tokens = checkpoint.tokenizer.encode("aé").expect("encodes");
    assert_eq!(tokens, [0x61, 0xc3, 0xa9]);
    assert_eq!(checkpoint.tokenizer.decode(&tokens).expect("decodes"), "aé");
    assert_eq!(checkpoint.tokenizer.decode(&[0xc3]).expect("decodes"), "\u{fffd}");
    let run = |prompt: &str, limit| generate(&model(&checkpoint), &checkpoint.config, &checkpoint.tokenizer, prompt, limit);
    assert!(run("", 1).is_err() && run("a", 0).is_err() && run(&"a".repeat(2048), 1).is_err());
}

/// The directory of SmolLM2, where it is fetched.
fn smollm2() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let directory = std::env::var_os("WCODEC_MODELS").map_or_else(beside, PathBuf::from).join("smollm2");
    let is_there = directory.join("tokenizer.json").exists();
    if !is_there {
        println!("skipped: run `cargo xtask models`");
    }
    is_there.then_some(directory)
}

#[test]
fn smollm2_tokenizes_and_knows_the_capital_of_france() {
    let Some(directory) = smollm2() else { return };
    let checkpoint = Checkpoint::open(&directory).expect("opens");
    let tokenizer = &checkpoint.tokenizer;
    for text in ["The capital of France is", "In 2024, 1 + 1 = 2.\n\tIt's naïve — 日本 🦀", "  a   b"] {
        let tokens = tokenizer.encode(text).expect("encodes");
        assert_eq!(tokenizer.decode(&tokens).expect("decodes"), text);
    }
    // Each digit is a token, as the model was trained, and the end of a turn is one.
    assert_eq!(tokenizer.encode("2024").expect("encodes").len(), 4);
    assert_eq!(tokenizer.encode("<|im_end|>").expect("encodes"), [2]);
    assert!(checkpoint.config.is_end(2) && !checkpoint.is_synthetic());
    let told = generate(&model(&checkpoint), &checkpoint.config, tokenizer, "The capital of France is", 8).expect("runs");
    assert!(told.text.starts_with(" Paris"), "{:?}", told.text);
}
