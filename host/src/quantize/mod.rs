//! Quantization with the rate in mind: integers that the codec then codes in few bits.
//!
//! Rounding to nearest chooses each integer by its error alone. Here, as in video codecs, it is chosen by *error + λ · bits*, and the same λ says how
//! large each tensor's and each row's step is: at the least of their sum all weights gain the same loss for the next bit. What comes out is an
//! ordinary quantized checkpoint (compressed-tensors' names and configuration), in an archive.
//!
//! ```text
//! checkpoint   the source: float tensors of safetensors files, a tensor at a time
//! rules        what becomes of each tensor
//! scheme       INT8 per row, INT4 in groups: ranges, names, packing
//! statistics   what is known of a tensor's inputs and outputs, and the sensitivities of its rows that follow
//! allot        steps from λ: the same slope of loss against rate everywhere
//! search       the λ of a size
//! step         the step of a row, or the scale of a group, by trial
//! rate         bits of each integer, from frequency tables as the codec makes them
//! feedback     what the columns still to come can make good of an error
//! compensation what a matrix can make good of what was lost before it
//! round        the integers of rows, column by column
//! path         a column's integers on a trellis
//! matrix       a tensor: rounded and counted in turns until tables and integers agree
//! config       the quantization_config that other engines read
//! output       the checkpoint that is then archived, as it grows
//! report       what it came to
//! run          the source, tensor after tensor; λ for a target
//! stored       tensors by name, wherever they are stored
//! layout       which of them are integers, and what it takes to read those
//! expand       the loops that make floats of integers
//! dequantize   a model's tensors, from integers and scales again
//! restore      the checkpoint of plain floats that a quantized one stands for
//! ```

mod allot;
mod checkpoint;
mod compensation;
mod config;
mod dequantize;
mod expand;
mod feedback;
mod layout;
mod matrix;
mod output;
mod path;
mod rate;
mod report;
mod restore;
mod round;
mod rules;
mod run;
mod scheme;
mod search;
mod statistics;
mod step;
mod stored;
#[cfg(test)]
mod testing;

pub use checkpoint::Checkpoint;
pub use compensation::{Compensation, Following, Lost};
pub use dequantize::{Dequantized, Quantized};
pub(crate) use expand::{Scaled, View, float_bytes};
pub use report::{QuantizeReport, TensorQuantization};
pub use restore::decompress;
pub use rules::{Rule, Rules};
pub use run::{Quantizer, Target};
pub use scheme::Format;
pub use statistics::{Statistics, TensorStatistics};
pub use stored::Stored;
