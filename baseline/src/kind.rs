//! What a tensor is for, by the names that Hugging Face's checkpoints have.

use serde::Serialize;
use std::fmt;

/// The part of a layer that a tensor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A row for each token.
    Embedding,
    /// The query projection.
    Query,
    /// The key projection.
    Key,
    /// The value projection.
    Value,
    /// What attention's result goes through.
    AttentionOutput,
    /// The gate of a gated MLP.
    Gate,
    /// The first matrix of an MLP, beside the gate if there is one.
    Up,
    /// The last matrix of an MLP.
    Down,
    /// What chooses experts.
    Router,
    /// Factors of a normalization.
    Norm,
    /// Addends, and attention sinks.
    Bias,
    /// From the last layer to tokens.
    Head,
    /// Anything else.
    Other,
}

impl Kind {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 13] = [
        Self::Embedding,
        Self::Query,
        Self::Key,
        Self::Value,
        Self::AttentionOutput,
        Self::Gate,
        Self::Up,
        Self::Down,
        Self::Router,
        Self::Norm,
        Self::Bias,
        Self::Head,
        Self::Other,
    ];

    /// The kind that a name tells, as Llama, Mixtral, gpt-oss and BERT name their tensors.
    pub fn of(name: &str) -> Self {
        let lower = name.to_ascii_lowercase();
        let has = |words: &[&str]| words.iter().any(|w| lower.contains(w));
        if has(&["norm", "ln_", ".ln1.", ".ln2."]) {
            Self::Norm
        } else if lower.ends_with("bias") || lower.ends_with("sinks") {
            Self::Bias
        } else if has(&["lm_head", "output.weight"]) && !has(&["attention.output", "attn_output", "layer."]) {
            Self::Head
        } else if has(&["embed", "wte", "wpe"]) {
            Self::Embedding
        } else if has(&["router", "moe.gate.", "mlp.gate."]) {
            Self::Router
        } else if has(&["q_proj", "query", "attn_q"]) {
            Self::Query
        } else if has(&["k_proj", ".key", "attn_k"]) {
            Self::Key
        } else if has(&["v_proj", ".value", "attn_v"]) {
            Self::Value
        } else if has(&["o_proj", "attention.output", "attn_output", "out_proj"]) {
            Self::AttentionOutput
        } else if has(&["gate_up_proj", "up_proj", ".w3.", "intermediate", "ffn_up", "fc1", "c_fc"]) {
            Self::Up
        } else if has(&["gate_proj", ".w1.", "ffn_gate"]) {
            Self::Gate
        } else if has(&["down_proj", ".w2.", "output.dense", "ffn_down", "fc2"]) {
            Self::Down
        } else {
            Self::Other
        }
    }

    /// Whether quantized checkpoints as they are shipped quantize it: embeddings, the head, routers and vectors stay BF16.
    pub fn is_quantized(self) -> bool {
        !matches!(self, Self::Embedding | Self::Head | Self::Router | Self::Norm | Self::Bias)
    }

    /// As reports call it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Embedding => "embedding",
            Self::Query => "query",
            Self::Key => "key",
            Self::Value => "value",
            Self::AttentionOutput => "attn. output",
            Self::Gate => "MLP gate",
            Self::Up => "MLP up",
            Self::Down => "MLP down",
            Self::Router => "router",
            Self::Norm => "norm",
            Self::Bias => "bias",
            Self::Head => "head",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// The layer that a name tells: the first part that is a number.
pub(crate) fn layer_of(name: &str) -> Option<u32> {
    name.split('.').find_map(|part| part.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_kind_and_layer() {
        let cases = [
            ("model.embed_tokens.weight", Kind::Embedding, None),
            ("model.layers.3.self_attn.q_proj.weight", Kind::Query, Some(3)),
            ("model.layers.3.self_attn.o_proj.weight", Kind::AttentionOutput, Some(3)),
            ("model.layers.31.mlp.gate_proj.weight", Kind::Gate, Some(31)),
            ("model.layers.0.block_sparse_moe.gate.weight", Kind::Router, Some(0)),
            ("model.layers.0.block_sparse_moe.experts.7.w2.weight", Kind::Down, Some(0)),
            ("model.layers.5.mlp.experts.gate_up_proj", Kind::Up, Some(5)),
            ("model.layers.5.mlp.experts.down_proj_bias", Kind::Bias, Some(5)),
            ("model.layers.5.self_attn.sinks", Kind::Bias, Some(5)),
            ("model.norm.weight", Kind::Norm, None),
            ("lm_head.weight", Kind::Head, None),
            ("encoder.layer.2.attention.output.dense.weight", Kind::AttentionOutput, Some(2)),
            ("encoder.layer.2.output.dense.weight", Kind::Down, Some(2)),
            ("encoder.layer.2.intermediate.dense.weight", Kind::Up, Some(2)),
            ("encoder.layer.2.attention.self.key.weight", Kind::Key, Some(2)),
            ("embeddings.LayerNorm.weight", Kind::Norm, None),
            ("pooler.dense.weight", Kind::Other, None),
        ];
        for (name, kind, layer) in cases {
            assert_eq!((Kind::of(name), layer_of(name)), (kind, layer), "{name}");
        }
    }
}
