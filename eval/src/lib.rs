//! Language models on the CPU: a Llama in candle, small enough to read, what it makes of a text, and what a text says of its weights.
//!
//! | to do this | use |
//! |---|---|
//! | find a model: a Hugging Face directory, SmolLM2-135M, or one made from a seed | [`Checkpoint`] |
//! | get its tensors from safetensors, or memory for tensors that come from elsewhere | [`raw::load`], [`Buffer`] |
//! | build the model from tensors in memory | [`Llama::from_tensors`] |
//! | build it from tensors that are still arriving, layer by layer | [`Llama::new`] |
//! | generate | [`generate`] |
//! | open a model whatever its weights are stored as | [`Stock`] |
//! | perplexity, accuracy, divergence from another model | [`read`], [`Evaluation`], [`Comparison`] |
//! | how near a sentence encoder's vectors are to another's | [`Stock::bert`], [`sentences`] |
//! | take a model through a text, or through one that it writes itself | [`Stream::new`], [`sample`] |
//! | statistics on that, by which the model is then quantized | [`calibrate`]; of sentence encoders [`calibrate_sentences`] |
//! | what layers can make good of what those before them lost | [`Compensator`], of the model's [`Stream`] |
//! | what a model loses at which size, by the quantizer and in others' formats | [`curve`], [`Peer`] |
//!
//! The weights are computed with as `f32` whatever they are stored as: on the CPU candle widens BF16 operands for each
//! product anew, which costs more than reading the weights, so they are widened once, when the model is built.

mod activations;
mod bert;
mod buffer;
mod calibrate;
mod checkpoint;
mod compensate;
mod config;
pub mod curve;
mod fused;
mod generate;
mod gram;
mod layer;
mod model;
mod peers;
mod random;
pub mod raw;
mod reading;
mod rows;
mod sample;
mod search;
pub mod sentences;
mod stream;
mod sums;
mod synthetic;
#[cfg(test)]
mod tests;
mod tokenizer;
mod weights;

pub use bert::{Bert, BertConfig, SyntheticBert, calibrate_sentences};
pub use buffer::Buffer;
pub use calibrate::{Calibration, LEAST_TOKENS, calibrate};
pub use checkpoint::{Checkpoint, scratch};
pub use compensate::Compensator;
pub use config::Config;
pub use generate::{Generation, generate};
pub use model::{Cache, Llama};
pub use peers::{Peer, Rounded};
pub use reading::{Comparison, Evaluation, Window, read};
pub use sample::{sample, sample_bytes};
pub use search::coarsest_within;
pub use stream::Stream;
pub use synthetic::SyntheticModel;
pub use tokenizer::Tokenizer;
pub use weights::{Stock, Weights};

/// Anything that goes wrong ends it with a message.
pub type Result<T, E = Box<dyn std::error::Error + Send + Sync>> = std::result::Result<T, E>;

/// Tensors by name.
pub type Tensors = std::collections::HashMap<String, candle_core::Tensor>;
