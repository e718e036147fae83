//! Where bytes come from: files and memory behind one trait, and the formats that say which bytes are tensors.

pub(crate) mod gguf;
mod read_at;
pub(crate) mod safetensors;
pub(crate) mod spliced;

pub(crate) use read_at::zeroed;
pub use read_at::{FileReader, MappedFile, ReadAt};
