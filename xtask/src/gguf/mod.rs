//! A reader for the GGUF files llama.cpp publishes, as far as the shipped model needs one.
//!
//! Written from the public layout: a header of typed key-value pairs, a table of tensors, and a data section of
//! quantized blocks. It exists to turn a model that is small enough to fetch back into an ordinary checkpoint.
//! Everything it reads is untrusted: each count and offset is checked and a malformed file is an error, not a panic.

mod blocks;
mod cursor;
mod file;
mod llama;
#[cfg(test)]
mod testing;

pub(crate) use file::Gguf;
pub(crate) use llama::to_source;
