//! From a Llama-architecture GGUF to the checkpoint it was converted from: names, shapes and row order.
//!
//! llama.cpp stores the rows of the query and key projections in the order its rotary embedding wants. The rows are
//! put back, because the order of rows is part of what a codec sees.

use std::collections::HashMap;

use anyhow::{Context, Result, bail, ensure};
use rayon::prelude::*;

use super::file::{Entry, Gguf};
use crate::checkpoint::{Source, SourceTensor};

/// Decodes a file into a source model with Hugging Face tensor names.
pub(crate) fn to_source(file: &Gguf<'_>) -> Result<Source> {
    let architecture = file.string("general.architecture")?;
    ensure!(architecture == "llama", "the architecture is {architecture:?}, not llama");
    let heads = file.integer("llama.attention.head_count")?.context("the head count is not there")?;
    let kv_heads = file.integer("llama.attention.head_count_kv")?.unwrap_or(heads);
    let mut tensors = file
        .tensors()
        .par_iter()
        .map(|entry| convert(entry, heads, kv_heads).with_context(|| format!("tensor {:?}", entry.name)))
        .collect::<Result<Vec<_>>>()?;
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    Ok(Source { tensors, metadata: Some(metadata) })
}

/// Decodes one tensor.
fn convert(entry: &Entry<'_>, heads: usize, kv_heads: usize) -> Result<SourceTensor> {
    let name = hugging_face_name(entry.name)?;
    let values = entry.decode();
    let values = if name.ends_with("q_proj.weight") {
        restore_rows(&values, &entry.shape, heads)?
    } else if name.ends_with("k_proj.weight") {
        restore_rows(&values, &entry.shape, kv_heads)?
    } else {
        values
    };
    SourceTensor::float(name, entry.shape.clone(), values)
}

/// The name a tensor has in a Hugging Face Llama checkpoint.
fn hugging_face_name(name: &str) -> Result<String> {
    Ok(match name {
        "token_embd.weight" => "model.embed_tokens.weight".to_owned(),
        "output_norm.weight" => "model.norm.weight".to_owned(),
        "output.weight" => "lm_head.weight".to_owned(),
        _ => {
            let block = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
            let (layer, part) = block.context("the name is not one of a Llama model")?;
            let layer: u32 = layer.parse().context("the layer is not a number")?;
            let part = match part {
                "attn_q.weight" => "self_attn.q_proj.weight",
                "attn_k.weight" => "self_attn.k_proj.weight",
                "attn_v.weight" => "self_attn.v_proj.weight",
                "attn_output.weight" => "self_attn.o_proj.weight",
                "ffn_gate.weight" => "mlp.gate_proj.weight",
                "ffn_up.weight" => "mlp.up_proj.weight",
                "ffn_down.weight" => "mlp.down_proj.weight",
                "attn_norm.weight" => "input_layernorm.weight",
                "ffn_norm.weight" => "post_attention_layernorm.weight",
                _ => bail!("the name is not one of a Llama model"),
            };
            format!("model.layers.{layer}.{part}")
        }
    })
}

/// Undoes the row order of the conversion.
///
/// The conversion views the rows of each head as two halves and interleaves them: row `i` of half `j` went to row
/// `2 * i + j`.
fn restore_rows(values: &[f32], shape: &[usize], heads: usize) -> Result<Vec<f32>> {
    let &[rows, cols] = shape else {
        bail!("a projection has shape {shape:?}, not two dimensions");
    };
    ensure!(heads > 0 && rows.is_multiple_of(heads), "{rows} rows do not divide into {heads} heads");
    let head_rows = rows / heads;
    ensure!(head_rows.is_multiple_of(2), "heads of {head_rows} rows do not halve");
    ensure!(values.len() == rows * cols, "{} values for shape {shape:?}", values.len());
    let mut restored = Vec::with_capacity(values.len());
    for row in 0..rows {
        let (head, within) = (row / head_rows, row % head_rows);
        let (half, i) = (within / (head_rows / 2), within % (head_rows / 2));
        let from = (head * head_rows + 2 * i + half) * cols;
        restored.extend_from_slice(&values[from..from + cols]);
    }
    Ok(restored)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Values;
    use crate::gguf::testing::Builder;

    /// The conversion's own permutation, `reshape(heads, 2, half, cols).swapaxes(1, 2)`, written as its definition.
    fn permute(values: &[f32], rows: usize, cols: usize, heads: usize) -> Vec<f32> {
        let half = rows / heads / 2;
        let mut out = Vec::new();
        for head in 0..heads {
            for i in 0..half {
                for j in 0..2 {
                    let from = (head * 2 * half + j * half + i) * cols;
                    out.extend_from_slice(&values[from..from + cols]);
                }
            }
        }
        out
    }

    #[test]
    fn the_row_order_is_restored() {
        for (rows, cols, heads) in [(8, 3, 1), (12, 2, 3), (4, 1, 2), (576, 2, 9)] {
            let original: Vec<f32> = (0..rows * cols).map(|n| n as f32).collect();
            let stored = permute(&original, rows, cols, heads);
            assert_eq!(restore_rows(&stored, &[rows, cols], heads).expect("restores"), original);
        }
        let by_hand = restore_rows(&[0.0, 2.0, 1.0, 3.0], &[4, 1], 1).expect("restores");
        assert_eq!(by_hand, [0.0, 1.0, 2.0, 3.0]);
    }

    #[test]
    fn impossible_heads_are_refused() {
        assert!(restore_rows(&[0.0; 4], &[4, 1], 0).is_err());
        assert!(restore_rows(&[0.0; 4], &[4, 1], 3).is_err());
        assert!(restore_rows(&[0.0; 4], &[4, 1], 4).is_err());
        assert!(restore_rows(&[0.0; 4], &[4], 1).is_err());
        assert!(restore_rows(&[0.0; 3], &[4, 1], 1).is_err());
    }

    fn model() -> Builder {
        Builder::default()
            .string("general.architecture", "llama")
            .number("llama.attention.head_count", 2)
            .number("llama.attention.head_count_kv", 1)
            .floats("token_embd.weight", &[1, 2], &[9.0, 8.0])
            .floats("blk.0.attn_q.weight", &[1, 8], &[0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0])
            .floats("blk.0.attn_k.weight", &[1, 4], &[0.0, 2.0, 1.0, 3.0])
            .floats("blk.0.attn_v.weight", &[1, 4], &[0.0, 2.0, 1.0, 3.0])
            .floats("output_norm.weight", &[1], &[1.0])
    }

    #[test]
    fn a_small_model_converts() {
        let bytes = model().build();
        let source = to_source(&Gguf::parse(&bytes).expect("parses")).expect("converts");
        let got: Vec<_> = source.tensors.iter().map(|t| (t.name.as_str(), t.shape.clone(), t.values.clone())).collect();
        let counting = |n: u8| Values::Float((0..n).map(f32::from).collect());
        assert_eq!(
            got,
            [
                ("model.embed_tokens.weight", vec![2, 1], Values::Float(vec![9.0, 8.0])),
                ("model.layers.0.self_attn.k_proj.weight", vec![4, 1], counting(4)),
                ("model.layers.0.self_attn.q_proj.weight", vec![8, 1], counting(8)),
                ("model.layers.0.self_attn.v_proj.weight", vec![4, 1], Values::Float(vec![0.0, 2.0, 1.0, 3.0])),
                ("model.norm.weight", vec![1], Values::Float(vec![1.0])),
            ]
        );
        assert_eq!(source.metadata.expect("there")["format"], "pt");
    }

    #[test]
    fn every_part_has_a_name_and_nothing_else_does() {
        let parts = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down", "attn_norm", "ffn_norm"];
        for part in parts {
            let name = hugging_face_name(&format!("blk.12.{part}.weight")).expect("known");
            assert!(name.starts_with("model.layers.12."), "{name}");
        }
        assert_eq!(hugging_face_name("output.weight").expect("known"), "lm_head.weight");
        for wrong in ["rope_freqs.weight", "blk.x.attn_q.weight", "blk.1.attn_q.bias", "blk.", ""] {
            assert!(hugging_face_name(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn other_models_are_refused() {
        let refused = |builder: Builder| to_source(&Gguf::parse(&builder.build()).expect("parses")).is_err();
        assert!(refused(Builder::default().string("general.architecture", "gpt2")));
        assert!(refused(Builder::default().string("general.architecture", "llama")));
        assert!(refused(model().floats("rope_freqs.weight", &[1], &[1.0])));
        assert!(refused(model().floats("output.weight", &[1], &[f32::NAN])));
    }
}
