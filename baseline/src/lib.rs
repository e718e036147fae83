//! wcodec and its peers measured on checkpoints, synthetic ones of real architectures' shapes or real ones, and a report of it.
//!
//! A stage a file: [`architectures`] and [`Size`] say which tensors there are, [`Distribution`] what is in them, [`Quant`] how they are
//! stored; [`peers`] and [`bounds`] say what becomes of each, [`run`] streams them through all that, [`Report`] adds up and is written as
//! JSON, CSV and a page.

pub mod architectures;
pub mod bounds;
mod distribution;
mod error;
mod fit;
mod input;
mod kind;
mod measure;
mod output;
pub mod peers;
pub mod quantize;
mod random;
pub mod report;
mod size;

pub use architectures::{ARCHITECTURES, Architecture, SourceTensor};
pub use distribution::{Distribution, Synthetic};
pub use error::{Error, ErrorKind, Result};
pub use fit::fit;
pub use input::{Checkpoint, InputTensor};
pub use kind::Kind;
pub use measure::{Finished, Options, Source, run};
pub use quantize::{Quant, Rows};
pub use report::Report;
pub use size::Size;
