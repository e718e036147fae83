//! Shapes and names of real models, as their `config.json` and their checkpoints on Hugging Face have them.

use crate::kind::{Kind, layer_of};
use crate::size::Size;

/// A decoder-only model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Architecture {
    /// Its name on the command line.
    pub id: &'static str,
    /// The model whose shapes these are.
    pub title: &'static str,
    hidden: u64,
    intermediate: u64,
    layers: u32,
    heads: u64,
    kv_heads: u64,
    head_dim: u64,
    vocabulary: u64,
    mlp: Mlp,
    biases: Biases,
}

/// How a layer's MLP is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mlp {
    /// `mlp.gate_proj`, `mlp.up_proj`, `mlp.down_proj`.
    Dense,
    /// Mixtral: `block_sparse_moe.experts.N.w1`, `w2`, `w3`, a tensor for each expert.
    Separate(u64),
    /// gpt-oss: `mlp.experts.gate_up_proj` and `down_proj`, all experts in one tensor.
    Fused(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Biases {
    None,
    /// Qwen 2.5: query, key, value.
    Qkv,
    /// gpt-oss: all projections, and attention sinks.
    All,
}

/// A tensor of the model before quantization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceTensor {
    /// Its name in the checkpoint.
    pub name: String,
    /// The layer it is of.
    pub layer: Option<u32>,
    /// What it is for.
    pub kind: Kind,
    /// Its shape; the last dimension is contiguous, and what a matrix multiplies its input with.
    pub shape: Vec<u64>,
}

impl SourceTensor {
    /// A tensor whose name tells its layer and its kind.
    pub fn new(name: impl Into<String>, shape: Vec<u64>) -> Self {
        let name = name.into();
        Self { layer: layer_of(&name), kind: Kind::of(&name), name, shape }
    }

    /// Elements of a row.
    pub fn columns(&self) -> usize {
        self.shape.last().map_or(1, |&n| n as usize)
    }

    /// Rows, of all matrices if there are many.
    pub fn rows(&self) -> usize {
        self.shape.split_last().map_or(1, |(_, rest)| rest.iter().product::<u64>() as usize)
    }

    /// Elements.
    pub fn weights(&self) -> u64 {
        self.shape.iter().product()
    }

    /// Whether it is a matrix that a quantized checkpoint quantizes.
    pub fn is_quantized(&self) -> bool {
        self.shape.len() >= 2 && self.kind.is_quantized()
    }
}

const LLAMA3_8B: Architecture = Architecture {
    id: "llama3-8b",
    title: "Llama 3 8B",
    hidden: 4096,
    intermediate: 14336,
    layers: 32,
    heads: 32,
    kv_heads: 8,
    head_dim: 128,
    vocabulary: 128_256,
    mlp: Mlp::Dense,
    biases: Biases::None,
};

/// The models that are known.
pub const ARCHITECTURES: [Architecture; 6] = [
    LLAMA3_8B,
    Architecture {
        id: "llama3-70b",
        title: "Llama 3 70B",
        hidden: 8192,
        intermediate: 28672,
        layers: 80,
        heads: 64,
        ..LLAMA3_8B
    },
    Architecture { id: "mistral", title: "Mistral 7B v0.3", vocabulary: 32_768, ..LLAMA3_8B },
    Architecture {
        id: "qwen",
        title: "Qwen 2.5 7B",
        hidden: 3584,
        intermediate: 18944,
        layers: 28,
        heads: 28,
        kv_heads: 4,
        vocabulary: 152_064,
        biases: Biases::Qkv,
        ..LLAMA3_8B
    },
    Architecture {
        id: "gpt-oss",
        title: "gpt-oss 20B",
        hidden: 2880,
        intermediate: 2880,
        layers: 24,
        heads: 64,
        kv_heads: 8,
        head_dim: 64,
        vocabulary: 201_088,
        mlp: Mlp::Fused(32),
        biases: Biases::All,
    },
    Architecture { id: "mixtral", title: "Mixtral 8x7B", vocabulary: 32_000, mlp: Mlp::Separate(8), ..LLAMA3_8B },
];

impl Architecture {
    /// The one of that name.
    pub fn find(id: &str) -> Option<&'static Self> {
        ARCHITECTURES.iter().find(|a| a.id == id)
    }

    /// All tensors of a checkpoint of that size, in a checkpoint's order.
    pub fn tensors(&self, size: Size) -> Vec<SourceTensor> {
        let hidden = size.width(self.hidden);
        let vocabulary = size.vocabulary(self.vocabulary);
        let layer_weights = self.layer(0, size).iter().map(SourceTensor::weights).sum();
        let mut all = vec![SourceTensor::new("model.embed_tokens.weight", vec![vocabulary, hidden])];
        (0..size.layers(self.layers, layer_weights)).for_each(|n| all.extend(self.layer(n, size)));
        all.push(SourceTensor::new("model.norm.weight", vec![hidden]));
        all.push(SourceTensor::new("lm_head.weight", vec![vocabulary, hidden]));
        all
    }

    fn layer(&self, n: u32, size: Size) -> Vec<SourceTensor> {
        let [hidden, inner, queries, keys] =
            [self.hidden, self.intermediate, self.heads * self.head_dim, self.kv_heads * self.head_dim].map(|w| size.width(w));
        let mut all = Vec::new();
        let mut add = |name: String, shape: &[u64]| {
            all.push(SourceTensor::new(format!("model.layers.{n}.{name}"), shape.to_vec()));
        };
        add("input_layernorm.weight".into(), &[hidden]);
        for (name, rows, columns) in [("q", queries, hidden), ("k", keys, hidden), ("v", keys, hidden), ("o", hidden, queries)] {
            add(format!("self_attn.{name}_proj.weight"), &[rows, columns]);
            if self.biases == Biases::All || (self.biases == Biases::Qkv && name != "o") {
                add(format!("self_attn.{name}_proj.bias"), &[rows]);
            }
        }
        if self.biases == Biases::All {
            add("self_attn.sinks".into(), &[self.heads]);
        }
        add("post_attention_layernorm.weight".into(), &[hidden]);
        match self.mlp {
            Mlp::Dense => {
                add("mlp.gate_proj.weight".into(), &[inner, hidden]);
                add("mlp.up_proj.weight".into(), &[inner, hidden]);
                add("mlp.down_proj.weight".into(), &[hidden, inner]);
            }
            Mlp::Separate(experts) => {
                let experts = size.experts(experts);
                add("block_sparse_moe.gate.weight".into(), &[experts, hidden]);
                for e in 0..experts {
                    add(format!("block_sparse_moe.experts.{e}.w1.weight"), &[inner, hidden]);
                    add(format!("block_sparse_moe.experts.{e}.w2.weight"), &[hidden, inner]);
                    add(format!("block_sparse_moe.experts.{e}.w3.weight"), &[inner, hidden]);
                }
            }
            Mlp::Fused(experts) => {
                let experts = size.experts(experts);
                add("mlp.router.weight".into(), &[experts, hidden]);
                add("mlp.router.bias".into(), &[experts]);
                add("mlp.experts.gate_up_proj".into(), &[experts, 2 * inner, hidden]);
                add("mlp.experts.gate_up_proj_bias".into(), &[experts, 2 * inner]);
                add("mlp.experts.down_proj".into(), &[experts, hidden, inner]);
                add("mlp.experts.down_proj_bias".into(), &[experts, hidden]);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_models_have_the_weights_that_they_are_known_for() {
        // From the models' pages: parameters in units of 1e9.
        let known = [8.03, 70.55, 7.25, 7.62, 20.91, 46.70];
        for (architecture, billions) in ARCHITECTURES.iter().zip(known) {
            let weights: u64 = architecture.tensors(Size::Full).iter().map(SourceTensor::weights).sum();
            assert!((weights as f64 / 1e9 - billions).abs() < 0.01, "{}: {weights}", architecture.id);
        }
    }

    #[test]
    fn every_tensor_has_a_kind_and_a_name_of_its_own() {
        for architecture in ARCHITECTURES {
            for size in Size::ALL {
                let tensors = architecture.tensors(size);
                let names: std::collections::HashSet<_> = tensors.iter().map(|t| &t.name).collect();
                assert_eq!(names.len(), tensors.len());
                let odd = tensors.iter().find(|t| t.kind == Kind::Other || t.weights() == 0);
                assert_eq!(odd, None, "{} {size}", architecture.id);
            }
        }
    }
}
