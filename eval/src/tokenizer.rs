//! Text to tokens and back.

use crate::Result;
use std::path::Path;

/// A tokenizer.
#[derive(Debug)]
pub enum Tokenizer {
    /// A model's own.
    Own(Box<tokenizers::Tokenizer>),
    /// A token a byte, for a model that has none of its own because it was made from a seed.
    Bytes,
}

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    pub fn from_file(path: &Path) -> Result<Self> {
        let own = tokenizers::Tokenizer::from_file(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        Ok(Self::Own(Box::new(own)))
    }

    /// Reads the contents of a `tokenizer.json`.
    pub fn from_bytes(json: &[u8]) -> Result<Self> {
        Ok(Self::Own(Box::new(tokenizers::Tokenizer::from_bytes(json)?)))
    }

    /// For sentences one by one: none is padded, and what is longer than `longest` tokens is cut.
    ///
    /// # Errors
    /// Fewer tokens than those that go around every text.
    pub fn of_sentences(self, longest: usize) -> Result<Self> {
        Ok(match self {
            Self::Own(mut own) => {
                let cut = tokenizers::TruncationParams { max_length: longest, ..Default::default() };
                own.with_padding(None).with_truncation(Some(cut))?;
                Self::Own(own)
            }
            Self::Bytes => Self::Bytes,
        })
    }

    /// The tokens of a text, with those around it that the tokenizer adds.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        match self {
            Self::Own(own) => Ok(own.encode_fast(text, true)?.get_ids().to_vec()),
            Self::Bytes => Ok(text.bytes().map(u32::from).collect()),
        }
    }

    /// The text of some tokens, without those that stand for no text. What is not UTF-8, be it that the text ends within
    /// a character, reads as U+FFFD.
    pub fn decode(&self, tokens: &[u32]) -> Result<String> {
        match self {
            Self::Own(own) => own.decode(tokens, true),
            Self::Bytes => {
                let bytes: Vec<u8> = tokens.iter().filter_map(|&token| u8::try_from(token).ok()).collect();
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
        }
    }
}
