//! The hyperparameters of a Llama-architecture GGUF as the `config.json` and `generation_config.json` of a Hugging Face
//! directory.

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use super::file::Gguf;

/// `config.json`. The rows of the projections are in Hugging Face's order once converted, so nothing here speaks of them.
#[derive(Debug, Serialize)]
struct Config<'a> {
    architectures: [&'static str; 1],
    attention_bias: bool,
    #[serde(flatten)]
    tokens: Tokens,
    head_dim: usize,
    hidden_act: &'static str,
    hidden_size: usize,
    intermediate_size: usize,
    max_position_embeddings: usize,
    mlp_bias: bool,
    model_type: &'a str,
    num_attention_heads: usize,
    num_hidden_layers: usize,
    num_key_value_heads: usize,
    // As in the file, where these are `f32`: written as `f64` the epsilon would read 9.99999974e-6.
    rms_norm_eps: f32,
    rope_scaling: Option<()>,
    rope_theta: f32,
    tie_word_embeddings: bool,
    torch_dtype: &'static str,
    vocab_size: usize,
}

/// The tokens that mean something to a generator.
#[derive(Debug, Serialize)]
struct Tokens {
    bos_token_id: usize,
    eos_token_id: usize,
    pad_token_id: Option<usize>,
}

impl Tokens {
    fn of(file: &Gguf<'_>) -> Result<Self> {
        Ok(Self {
            bos_token_id: required(file, "tokenizer.ggml.bos_token_id")?,
            eos_token_id: required(file, "tokenizer.ggml.eos_token_id")?,
            pad_token_id: file.integer("tokenizer.ggml.padding_token_id")?,
        })
    }
}

/// The `config.json` of a file's model, for a checkpoint in `dtype`, by the name that Hugging Face has for it.
pub(crate) fn to_config(file: &Gguf<'_>, dtype: &'static str) -> Result<Vec<u8>> {
    let architecture = file.string("general.architecture")?;
    ensure!(architecture == "llama", "the architecture is {architecture:?}, not llama");
    let hidden_size = required(file, "llama.embedding_length")?;
    let heads = required(file, "llama.attention.head_count")?;
    ensure!(heads > 0 && hidden_size.is_multiple_of(heads), "{hidden_size} does not divide into {heads} heads");
    let head_dim = hidden_size / heads;
    let rotated = file.integer("llama.rope.dimension_count")?.unwrap_or(head_dim);
    ensure!(rotated == head_dim, "{rotated} of {head_dim} elements of a head are rotated, which Llama has no name for");
    let epsilon = file.real("llama.attention.layer_norm_rms_epsilon")?;
    json(&Config {
        architectures: ["LlamaForCausalLM"],
        attention_bias: false,
        tokens: Tokens::of(file)?,
        head_dim,
        hidden_act: "silu",
        hidden_size,
        intermediate_size: required(file, "llama.feed_forward_length")?,
        max_position_embeddings: required(file, "llama.context_length")?,
        mlp_bias: false,
        model_type: architecture,
        num_attention_heads: heads,
        num_hidden_layers: required(file, "llama.block_count")?,
        num_key_value_heads: file.integer("llama.attention.head_count_kv")?.unwrap_or(heads),
        rms_norm_eps: epsilon.context("the epsilon of the norms is not there")? as f32,
        rope_scaling: None,
        // What llama.cpp takes where the file says nothing.
        rope_theta: file.real("llama.rope.freq_base")?.unwrap_or(10000.0) as f32,
        // A model without an output matrix of its own uses the embedding's.
        tie_word_embeddings: file.tensors().iter().all(|entry| entry.name != "output.weight"),
        torch_dtype: dtype,
        vocab_size: required(file, "llama.vocab_size")?,
    })
}

/// The `generation_config.json`: where to begin and where to stop.
pub(crate) fn to_generation_config(file: &Gguf<'_>) -> Result<Vec<u8>> {
    json(&Tokens::of(file)?)
}

/// A whole number that must be there.
fn required(file: &Gguf<'_>, key: &str) -> Result<usize> {
    file.integer(key)?.with_context(|| format!("metadata key {key:?} is not there"))
}

/// JSON as Hugging Face writes it: indented by two, with a newline at its end.
pub(super) fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value).context("cannot print as JSON")?;
    text.push(b'\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::testing::Builder;

    fn model() -> Builder {
        Builder::default()
            .string("general.architecture", "llama")
            .number("llama.block_count", 30)
            .number("llama.context_length", 8192)
            .number("llama.embedding_length", 576)
            .number("llama.feed_forward_length", 1536)
            .number("llama.attention.head_count", 9)
            .number("llama.attention.head_count_kv", 3)
            .number("llama.vocab_size", 49152)
            .real("llama.attention.layer_norm_rms_epsilon", 1e-5)
            .real("llama.rope.freq_base", 1e5)
            .number("tokenizer.ggml.bos_token_id", 1)
            .number("tokenizer.ggml.eos_token_id", 2)
    }

    fn config(builder: Builder) -> Result<serde_json::Value> {
        let bytes = builder.build();
        Ok(serde_json::from_slice(&to_config(&Gguf::parse(&bytes)?, "bfloat16")?)?)
    }

    #[test]
    fn a_config_says_what_the_file_says() {
        let value = config(model()).expect("converts");
        let expected = [
            ("hidden_size", 576.into()),
            ("head_dim", 64.into()),
            ("num_key_value_heads", 3.into()),
            ("rms_norm_eps", 1e-5.into()),
            ("rope_theta", 1e5.into()),
            ("tie_word_embeddings", true.into()),
            ("eos_token_id", 2.into()),
            ("pad_token_id", serde_json::Value::Null),
            ("torch_dtype", "bfloat16".into()),
        ];
        for (key, wanted) in expected {
            assert_eq!(value[key], wanted, "{key}");
        }
        let untied = config(model().floats("output.weight", &[1], &[1.0])).expect("converts");
        assert_eq!(untied["tie_word_embeddings"], false);
    }

    #[test]
    fn the_generation_config_names_the_end() {
        let bytes = model().build();
        let text = to_generation_config(&Gguf::parse(&bytes).expect("parses")).expect("converts");
        let value: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        assert_eq!((&value["bos_token_id"], &value["eos_token_id"]), (&1.into(), &2.into()));
    }

    #[test]
    fn what_llama_has_no_name_for_is_refused() {
        assert!(config(Builder::default().string("general.architecture", "llama")).is_err());
        assert!(config(Builder::default().string("general.architecture", "gpt2")).is_err());
        assert!(config(model().number("llama.rope.dimension_count", 32)).is_err());
    }
}
