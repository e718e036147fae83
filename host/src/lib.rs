//! Bit-exact compression of model weights that loads faster than raw.
//!
//! | to do this | use |
//! |---|---|
//! | make an archive of a safetensors file, or of tensors in memory | [`Encoder`] |
//! | open an archive, list and look up tensors | [`Archive`], [`Tensor`] |
//! | decode a tensor, a row and column range, everything in parallel | [`Tensor::decode_into`], [`Tensor::decode_slice`], [`Archive::decode_many`] |
//! | get the source file back, byte for byte | [`Archive::write_source`], [`Archive::decompress_file`] |
//! | check an archive without writing | [`Archive::verify`] |
//! | see what a load spent its time on | [`observe::Timeline`], [`gpu_facts`] |
//!
//! All parallel work runs on the current rayon pool.
//!
//! ```no_run
//! let archive = wcodec::Archive::open("model.wcodec")?;
//! let embedding = archive.tensor("model.embed_tokens.weight")?;
//! let bytes = embedding.decode()?;
//! let row = embedding.decode_slice(42..43, 0..embedding.columns())?;
//! # Ok::<(), wcodec::Error>(())
//! ```

mod archive;
mod bitplanes;
#[cfg(feature = "candle")]
pub mod candle;
mod container;
mod cpu;
mod directory;
pub mod dlpack;
mod dtype;
mod encode;
mod error;
mod filter;
mod gpu;
mod io;
mod load;
pub mod observe;
mod output;
mod progress;
pub mod quantize;
#[doc(hidden)]
pub mod schedule;
mod source;
mod torch;

pub use archive::{Archive, Backing, Base, Level, PlaneReport, Tensor, TensorReport, VerifyReport};
pub use cpu::Backend;
pub use directory::{ArchiveDirectory, Directory, DirectoryReport, FileRecord, ShardRecord, SingleDirectory};
pub use dtype::Dtype;
pub use encode::{EncodeReport, Encoder, Profile, TensorInput};
pub use error::{Error, ErrorKind, Result};
pub use gpu::{Device, DeviceChoice, DeviceTensor, EMULATOR_NAME, Gpu, GpuFacts, emulator_path, gpu_facts};
pub use io::{IoChoice, back_memory, forget, is_cached};
#[doc(hidden)]
pub use load::{Alone, Probe};
pub use load::{Data, HostMemory, HostTensor, Load, LoadProgress, Loaded, Loader, Shard, Split, TensorInfo, VecMemory};
pub use progress::Flow;
pub use source::{FileReader, MappedFile, ReadAt};
pub use torch::TorchFile;

/// CRC-32C, as the container uses it (about twice as fast as the `crc32c` crate where the CPU multiplies carry-less vectors).
fn checksum(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
