//! The source file again, and checks without writing it.

use super::decode::Directory;
use super::{Archive, Tensor};
use crate::container::grid::Piece;
use crate::cpu::tile::Scratch;
use crate::cpu::view::Stores;
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::{Device, Gpu};
use crate::output::{refuse_existing, replace_file};
use crate::progress::Flow;
use crate::source::{ReadAt, zeroed};
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use wcodec_device::layout::source_kind;
use xxhash_rust::xxh3::Xxh3;

/// What a verification looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyReport {
    /// Tensors whose every tile, and 128-bit hash, is right.
    pub tensors: usize,
    /// Bytes decoded.
    pub bytes: u64,
    /// Whether the SHA-256 of the source file was checked too (it is unless the archive was made of tensors in memory, or is decoded to
    /// less than all planes, whose hashes nobody has).
    pub sha256: bool,
}

/// Bytes decoded at a time on all threads together, and by one thread.
const CHUNK: u64 = 8 << 20;
const PIECE: u64 = 1 << 18;

/// One piece of one entry, decoded.
struct Part<'a> {
    tensor: Tensor<'a>,
    bytes: Vec<u8>,
    at: u64,
}

impl Archive {
    /// Decodes everything in file order and checks every hash; `sink` sees each piece: its entry, its place in it, its bytes.
    fn stream(
        &self,
        progress: &(dyn Fn(u64, u64) -> Flow + Sync),
        mut sink: impl FnMut(&Tensor<'_>, u64, &[u8]) -> Result<()> + Send,
    ) -> Result<VerifyReport> {
        let total = self.source_bytes();
        let from_file = self.superblock.source_kind != source_kind::TENSORS;
        let mut checks = Checks { sha: Sha256::new(), hash: Xxh3::new(), done: 0, from_file };
        let mut entries = self.index.entries[..self.index.whole].iter().map(|entry| Tensor { archive: self, entry });
        // Pieces in order, a directory at a time.
        let mut current = None;
        let mut next_chunk = || -> Result<Vec<_>> {
            let (mut chunk, mut bytes): (Vec<Todo<'_>>, u64) = (Vec::new(), 0);
            while bytes < CHUNK {
                if current.is_none() {
                    let Some(tensor) = entries.next() else { break };
                    let directory = Arc::new(tensor.directory()?);
                    current = Some((tensor, directory, tensor.entry.grid.pieces(PIECE)));
                    if tensor.byte_len() == 0 {
                        chunk.push((tensor, None));
                    }
                }
                let Some((tensor, directory, pieces)) = current.as_mut() else { break };
                match pieces.next() {
                    Some(piece) => {
                        bytes += piece.len() as u64;
                        chunk.push((*tensor, Some((directory.clone(), piece))));
                    }
                    None => current = None,
                }
            }
            Ok(chunk)
        };
        let mut ready = decode_parts(&self.device, next_chunk()?)?;
        while !ready.is_empty() {
            let chunk = next_chunk()?;
            let mut use_it = || {
                ready.iter().try_for_each(|part| {
                    checks.see(part)?;
                    sink(&part.tensor, part.at, &part.bytes)
                })
            };
            let (next, used) = if rayon::current_num_threads() > 1 {
                rayon::join(|| decode_parts(&self.device, chunk), use_it)
            } else {
                let used = use_it();
                (decode_parts(&self.device, chunk), used)
            };
            used?;
            progress(checks.done, total).check()?;
            ready = next?;
        }
        // Coarse values have no hashes.
        let from_file = from_file && self.is_exact();
        if from_file && checks.sha.finalize()[..] != self.superblock.source_sha256 {
            return Err(Error::corrupt("the decoded file's SHA-256 is not the source's"));
        }
        Ok(VerifyReport { tensors: self.index.by_name.len(), bytes: checks.done, sha256: from_file })
    }

    /// Decodes everything and checks every checksum and hash, keeping nothing. `progress(done, total)` counts bytes.
    pub fn verify<F: Into<Flow>>(&self, progress: impl Fn(u64, u64) -> F + Sync) -> Result<VerifyReport> {
        self.stream(&|done, total| progress(done, total).into(), |_, _, _| Ok(())).map_err(|e| self.place_unless_elsewhere(e))
    }

    /// Decodes everything and compares it with the original, byte for byte.
    ///
    /// # Errors
    /// [`Mismatch`](ErrorKind::Mismatch) names the first tensor and byte that differ. An error in reading `original` names no file.
    pub fn verify_against<F: Into<Flow>>(
        &self,
        original: &dyn ReadAt,
        progress: impl Fn(u64, u64) -> F + Sync,
    ) -> Result<VerifyReport> {
        self.need_source()?;
        if original.size() != self.superblock.source_len {
            let why =
                format!("the original has {} bytes, the archive's source had {}", original.size(), self.superblock.source_len);
            return Err(self.place(Error::new(ErrorKind::Mismatch, why)));
        }
        let compare = |tensor: &Tensor<'_>, at: u64, bytes: &[u8]| {
            let start = tensor.entry.source_off + at;
            let theirs =
                original.fetch(start, bytes.len()).map_err(|e| Error::io("reading the original", e).elsewhere().at(start))?;
            if bytes == &theirs[..] {
                return Ok(());
            }
            match bytes.iter().zip(&theirs[..]).position(|(a, b)| a != b) {
                None => Ok(()),
                Some(i) => {
                    let e = Error::new(ErrorKind::Mismatch, "the archive differs from the original").at(start + i as u64);
                    Err(if tensor.entry.is_tensor() { e.with_tensor(tensor.name()) } else { e })
                }
            }
        };
        self.stream(&|done, total| progress(done, total).into(), compare).map_err(|e| self.place_unless_elsewhere(e))
    }

    /// Writes the source file to `out`, byte for byte. Hashes are known to match only when this returns: after an error, what was
    /// written is worth nothing. ([`decompress_file`](Self::decompress_file) leaves no file then.)
    pub fn write_source<F: Into<Flow>>(
        &self,
        mut out: impl Write + Send,
        progress: impl Fn(u64, u64) -> F + Sync,
    ) -> Result<VerifyReport> {
        self.need_source()?;
        let write = |_: &Tensor<'_>, _: u64, bytes: &[u8]| {
            out.write_all(bytes).map_err(|e| Error::io("writing the output", e).elsewhere())
        };
        self.stream(&|done, total| progress(done, total).into(), write).map_err(|e| self.place_unless_elsewhere(e))
    }

    /// Restores the source file at `output`, which appears only when it is complete, checked and on disk.
    pub fn decompress_file<F: Into<Flow>>(
        &self,
        output: impl AsRef<Path>,
        overwrite: bool,
        progress: impl Fn(u64, u64) -> F + Sync,
    ) -> Result<VerifyReport> {
        let output = output.as_ref();
        refuse_existing(output, overwrite)?;
        replace_file(output, overwrite, |file| {
            self.write_source(file, progress).map_err(|e| if e.is_elsewhere() { e.with_path(output) } else { e })
        })
    }

    fn place_unless_elsewhere(&self, e: Error) -> Error {
        if e.is_elsewhere() { e } else { self.place(e) }
    }

    fn need_source(&self) -> Result<()> {
        if self.superblock.source_kind == source_kind::TENSORS {
            let why = "the archive was made of tensors in memory: there is no source file to restore";
            return Err(self.place(Error::argument(why)));
        }
        Ok(())
    }
}

/// One piece of one entry, to be decoded; an entry without bytes has none.
type Todo<'a> = (Tensor<'a>, Option<(Arc<Directory<'a>>, Piece)>);

/// Decodes on a GPU what [`decode_parts`] decodes on the CPU.
fn decode_parts_on<'a>(gpu: &Gpu, chunk: Vec<Todo<'a>>) -> Result<Vec<Part<'a>>> {
    let mut parts = Vec::with_capacity(chunk.len());
    let mut todo = Vec::with_capacity(chunk.len());
    for (tensor, piece) in chunk {
        let (len, at) = piece.as_ref().map_or((0, 0), |(_, p)| (p.len(), p.bytes.start));
        let bytes = zeroed(len).map_err(|e| tensor.place(Error::io("decoding", e)))?;
        parts.push(Part { tensor, bytes, at });
        todo.push(piece);
    }
    let pieces = parts.iter_mut().zip(todo);
    let mut pieces: Vec<_> =
        pieces.filter_map(|(p, todo)| todo.map(|(d, piece)| (p.tensor, d, piece, &mut p.bytes[..]))).collect();
    gpu.decode_pieces(&mut pieces)?;
    drop(pieces);
    Ok(parts)
}

fn decode_parts<'a>(device: &Device, chunk: Vec<Todo<'a>>) -> Result<Vec<Part<'a>>> {
    if let Device::Gpu(gpu) = device {
        // What is no tensor is decoded here, tensors are there; each chunk is of one kind after the other.
        let runs = chunk.chunk_by(|a, b| a.0.on_cpu_only() == b.0.on_cpu_only()).map(<[_]>::to_vec);
        let parts =
            runs.map(|run| if run[0].0.on_cpu_only() { decode_parts(&Device::Cpu, run) } else { decode_parts_on(gpu, run) });
        return Ok(parts.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect());
    }
    let one = |scratch: &mut Scratch, (tensor, piece)| {
        let Some((directory, piece)): Option<(Arc<Directory<'_>>, Piece)> = piece else {
            return Ok(Part { tensor, bytes: Vec::new(), at: 0 });
        };
        let mut bytes = zeroed(piece.len()).map_err(|e| tensor.place(Error::io("decoding", e)))?;
        tensor.decode_piece(&directory, &piece, scratch, &mut bytes, Stores::Cached)?;
        Ok(Part { tensor, bytes, at: piece.bytes.start })
    };
    chunk.into_par_iter().map_init(Scratch::default, one).collect()
}

/// Hashes of what goes by.
struct Checks {
    sha: Sha256,
    hash: Xxh3,
    done: u64,
    from_file: bool,
}

impl Checks {
    fn see(&mut self, part: &Part<'_>) -> Result<()> {
        if self.from_file {
            self.sha.update(&part.bytes);
        }
        if part.at == 0 {
            self.hash.reset();
        }
        self.hash.update(&part.bytes);
        self.done += part.bytes.len() as u64;
        let whole = part.at + part.bytes.len() as u64 == part.tensor.byte_len();
        if whole && part.tensor.is_exact() && self.hash.digest128().to_le_bytes() != part.tensor.entry.record.hash {
            return Err(part.tensor.place(Error::corrupt("the decoded bytes' hash differs from the recorded one")));
        }
        Ok(())
    }
}
