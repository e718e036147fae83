//! Text to tokens and back.

use crate::Result;
use std::path::Path;

/// A tokenizer.
#[derive(Debug)]
pub enum Tokenizer {
    /// A model's own, and how many tokens the model knows.
    Own(Box<tokenizers::Tokenizer>, usize),
    /// A token a byte, for a model that has none of its own because it was made from a seed.
    Bytes,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`, of a model that knows so many tokens.
    pub fn from_file(path: &Path, vocabulary: usize) -> Result<Self> {
        let own = tokenizers::Tokenizer::from_file(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        Ok(Self::Own(Box::new(own), vocabulary))
    }

    /// Reads the contents of a `tokenizer.json`, of a model that knows so many tokens.
    pub fn from_bytes(json: &[u8], vocabulary: usize) -> Result<Self> {
        Ok(Self::Own(Box::new(tokenizers::Tokenizer::from_bytes(json)?), vocabulary))
    }

    /// For sentences one by one: none is padded, and what is longer than `longest` tokens is cut.
    ///
    /// # Errors
    /// Fewer tokens than those that go around every text.
    pub fn of_sentences(self, longest: usize) -> Result<Self> {
        Ok(match self {
            Self::Own(mut own, vocabulary) => {
                let cut = tokenizers::TruncationParams { max_length: longest, ..Default::default() };
                own.with_padding(None).with_truncation(Some(cut))?;
                Self::Own(own, vocabulary)
            }
            Self::Bytes => Self::Bytes,
        })
    }

    /// The tokens of a text, with those around it that the tokenizer adds.
    ///
    /// # Errors
    /// What the tokenizer fails at; a token that the model does not know.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        match self {
            Self::Own(own, vocabulary) => {
                let tokens = own.encode_fast(text, true)?.get_ids().to_vec();
                match tokens.iter().find(|&&token| token as usize >= *vocabulary) {
                    Some(token) => Err(format!("the tokenizer has token {token}, the model only {vocabulary} tokens").into()),
                    None => Ok(tokens),
                }
            }
            Self::Bytes => Ok(text.bytes().map(u32::from).collect()),
        }
    }

    /// The text of some tokens, without those that stand for no text. What is not UTF-8, be it that the text ends within
    /// a character, reads as U+FFFD.
    pub fn decode(&self, tokens: &[u32]) -> Result<String> {
        match self {
            Self::Own(own, _) => own.decode(tokens, true),
            Self::Bytes => {
                let bytes: Vec<u8> = tokens.iter().filter_map(|&token| u8::try_from(token).ok()).collect();
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_the_model_does_not_know_are_refused() {
        let json = br#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],"normalizer":null,"pre_tokenizer":{"type":"Whitespace"},
            "post_processor":null,"decoder":null,"model":{"type":"WordLevel","vocab":{"a":0,"b":7},"unk_token":"a"}}"#;
        let encode = |vocabulary, text| Tokenizer::from_bytes(json, vocabulary).and_then(|t| t.encode(text));
        assert_eq!(encode(8, "a b").expect("known"), [0, 7]);
        assert_eq!(encode(7, "a a").expect("known"), [0, 0]);
        let error = encode(7, "a b").expect_err("unknown").to_string();
        assert!(error.contains("token 7") && error.contains("7 tokens"), "{error}");
    }
}
