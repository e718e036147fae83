//! The tokenizer of a GGUF as the `tokenizer.json` and `tokenizer_config.json` of a Hugging Face directory.
//!
//! Both formats hold the same byte-level byte-pair encoding: the tokens, spelled with a printable character for each
//! byte, and the merges in order of rank. What differs is the split of the text before merging: the GGUF has only a name
//! for it, and a name that is not known here is refused, as a guess would tokenize most text right and some of it wrong.

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;
use serde_json::{Value, json};

use super::config;
use super::file::Gguf;

/// The kind of a token that is ordinary text, in the file's numbering.
const NORMAL: i128 = 1;
/// The kind of a token that stands for no text, such as the end of a turn.
const CONTROL: i128 = 3;

/// `tokenizer.json`, the fields in the order in which the `tokenizers` crate writes them.
#[derive(Debug, Serialize)]
struct Tokenizer<'a> {
    version: &'static str,
    truncation: Option<()>,
    padding: Option<()>,
    added_tokens: Vec<AddedToken<'a>>,
    normalizer: Option<()>,
    pre_tokenizer: Value,
    post_processor: Option<()>,
    decoder: Value,
    model: Model<'a>,
}

/// A token that is looked for in the text itself, before it is split.
#[derive(Debug, Serialize)]
struct AddedToken<'a> {
    id: usize,
    content: &'a str,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
    normalized: bool,
    special: bool,
}

/// The byte-pair encoding.
#[derive(Debug, Serialize)]
struct Model<'a> {
    r#type: &'static str,
    dropout: Option<f32>,
    unk_token: Option<&'a str>,
    continuing_subword_prefix: Option<&'a str>,
    end_of_word_suffix: Option<&'a str>,
    fuse_unk: bool,
    byte_fallback: bool,
    ignore_merges: bool,
    vocab: Vocabulary<'a>,
    merges: Vec<[&'a str; 2]>,
}

/// Tokens by id, written as a map from token to id in the order of the ids.
#[derive(Debug)]
struct Vocabulary<'a>(Vec<&'a str>);

impl Serialize for Vocabulary<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().zip(0u32..))
    }
}

/// The `tokenizer.json` of a file.
pub(crate) fn to_tokenizer(file: &Gguf<'_>) -> Result<Vec<u8>> {
    let model = file.string("tokenizer.ggml.model")?;
    ensure!(model == "gpt2", "the tokenizer is {model:?}, not a byte-level byte-pair encoding");
    let tokens = file.strings("tokenizer.ggml.tokens")?;
    let merges = file
        .strings("tokenizer.ggml.merges")?
        .into_iter()
        .map(|merge| {
            // No token holds a space: its byte is spelled with another character.
            let (left, right) = merge.split_once(' ').with_context(|| format!("{merge:?} is not a merge of two tokens"))?;
            ensure!(!right.contains(' '), "{merge:?} is not a merge of two tokens");
            Ok([left, right])
        })
        .collect::<Result<_>>()?;
    config::json(&Tokenizer {
        version: "1.0",
        truncation: None,
        padding: None,
        added_tokens: added_tokens(file, &tokens)?,
        normalizer: None,
        pre_tokenizer: split(file.string("tokenizer.ggml.pre")?)?,
        post_processor: None,
        decoder: byte_level(),
        model: Model {
            r#type: "BPE",
            dropout: None,
            unk_token: None,
            continuing_subword_prefix: None,
            end_of_word_suffix: None,
            fuse_unk: false,
            byte_fallback: false,
            ignore_merges: false,
            vocab: Vocabulary(tokens),
            merges,
        },
    })
}

/// The tokens that stand for no text.
fn added_tokens<'a>(file: &Gguf<'a>, tokens: &[&'a str]) -> Result<Vec<AddedToken<'a>>> {
    let kinds = file.integers("tokenizer.ggml.token_type")?;
    ensure!(kinds.len() == tokens.len(), "{} tokens have {} kinds", tokens.len(), kinds.len());
    let mut added = Vec::new();
    for (id, (&content, kind)) in tokens.iter().zip(kinds).enumerate() {
        match kind {
            NORMAL => {}
            CONTROL => added.push(AddedToken {
                id,
                content,
                single_word: false,
                lstrip: false,
                rstrip: false,
                normalized: false,
                special: true,
            }),
            _ => bail!("token {content:?} is of kind {kind}, which is not handled"),
        }
    }
    Ok(added)
}

/// How text is split before merging, by the name that llama.cpp has for it.
fn split(name: &str) -> Result<Value> {
    match name {
        // Each digit by itself, then GPT-2's words.
        "smollm" => {
            let digits = json!({"type": "Digits", "individual_digits": true});
            Ok(json!({"type": "Sequence", "pretokenizers": [digits, byte_level()]}))
        }
        "gpt-2" => Ok(byte_level()),
        _ => bail!("the split of text named {name:?} is not known"),
    }
}

/// Bytes spelled as characters.
fn byte_level() -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true})
}

/// The `tokenizer_config.json`: the tokens by their roles and the template that makes a prompt of a conversation.
pub(crate) fn to_tokenizer_config(file: &Gguf<'_>) -> Result<Vec<u8>> {
    let tokens = file.strings("tokenizer.ggml.tokens")?;
    let role = |name: &str| -> Result<Option<&str>> {
        let id = file.integer(&format!("tokenizer.ggml.{name}_token_id"))?;
        id.map(|id| tokens.get(id).copied().with_context(|| format!("token {id} is not there"))).transpose()
    };
    config::json(&json!({
        "add_prefix_space": false,
        "bos_token": role("bos")?,
        "chat_template": file.string("tokenizer.chat_template")?,
        "clean_up_tokenization_spaces": false,
        "eos_token": role("eos")?,
        "model_max_length": file.integer("llama.context_length")?,
        "pad_token": role("padding")?,
        "tokenizer_class": "GPT2Tokenizer",
        "unk_token": role("unknown")?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::testing::Builder;

    fn model() -> Builder {
        base("smollm", &["a b", "Ġ ab"], &[3, 1, 1, 1, 1, 1])
    }

    fn base(split: &str, merges: &[&str], kinds: &[i32]) -> Builder {
        Builder::default()
            .string("tokenizer.ggml.model", "gpt2")
            .string("tokenizer.ggml.pre", split)
            .strings("tokenizer.ggml.tokens", &["<end>", "b", "a", "Ġ", "ab", "Ġab"])
            .numbers("tokenizer.ggml.token_type", kinds)
            .strings("tokenizer.ggml.merges", merges)
            .number("tokenizer.ggml.eos_token_id", 0)
            .string("tokenizer.chat_template", "{{ x }}")
    }

    fn convert(builder: Builder, to: fn(&Gguf<'_>) -> Result<Vec<u8>>) -> Result<String> {
        let bytes = builder.build();
        Ok(String::from_utf8(to(&Gguf::parse(&bytes)?)?)?)
    }

    #[test]
    fn a_tokenizer_converts() {
        let text = convert(model(), to_tokenizer).expect("converts");
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value["model"]["merges"], json!([["a", "b"], ["Ġ", "ab"]]));
        assert_eq!(value["model"]["vocab"]["Ġab"], 5);
        assert_eq!(value["added_tokens"].as_array().expect("an array").len(), 1);
        assert_eq!((&value["added_tokens"][0]["content"], &value["added_tokens"][0]["id"]), (&"<end>".into(), &0.into()));
        assert_eq!(value["pre_tokenizer"]["pretokenizers"][0]["type"], "Digits");
        // A parsed map is sorted; the text must have the tokens by id.
        assert!(text.find("\"b\": 1") < text.find("\"a\": 2"), "{text}");
    }

    #[test]
    fn the_roles_are_tokens() {
        let text = convert(model(), to_tokenizer_config).expect("converts");
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((&value["eos_token"], &value["bos_token"]), (&"<end>".into(), &Value::Null));
        assert_eq!(value["chat_template"], "{{ x }}");
        assert!(convert(model().number("tokenizer.ggml.bos_token_id", 6), to_tokenizer_config).is_err());
    }

    #[test]
    fn what_is_not_known_is_refused() {
        let kinds = [3, 1, 1, 1, 1, 1];
        for builder in [
            Builder::default().string("tokenizer.ggml.model", "llama"),
            base("tekken", &["a b"], &kinds),
            base("smollm", &["ab"], &kinds),
            base("smollm", &["a b c"], &kinds),
            base("smollm", &["a b"], &kinds[1..]),
            base("smollm", &["a b"], &[3, 1, 1, 1, 1, 6]),
        ] {
            assert!(convert(builder, to_tokenizer).is_err());
        }
    }
}
