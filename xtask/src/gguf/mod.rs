//! A reader for the GGUF files llama.cpp publishes, as far as the shipped model needs one.
//!
//! Written from the public layout: a header of typed key-value pairs, a table of tensors, and a data section of
//! quantized blocks. It exists to turn a model that is small enough to fetch back into an ordinary checkpoint.
//! Everything it reads is untrusted: each count and offset is checked and a malformed file is an error, not a panic.

mod blocks;
mod config;
mod cursor;
mod file;
mod llama;
#[cfg(test)]
mod testing;
mod tokenizer;

pub(crate) use config::{to_config, to_generation_config};
pub(crate) use file::Gguf;
pub(crate) use llama::to_source;
pub(crate) use tokenizer::{to_tokenizer, to_tokenizer_config};
