//! The base: the file that tensors may be coded against.

use super::{Archive, Backing, Directory, Tensor};
use crate::container::grid::{Grid, Piece};
use crate::cpu::tile::Scratch;
use crate::cpu::view::Stores;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::source::{ReadAt, safetensors, zeroed};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use wcodec_device::layout::MAGIC;
use xxhash_rust::xxh3::Xxh3;

/// Bytes that are hashed at a time.
const PIECE: u64 = 1 << 20;

/// A model that others are coded against: a safetensors file, or its archive, which stands for the same base.
///
/// Nothing of a tensor is read before it is needed. Clones share what is open.
#[derive(Clone)]
pub struct Base(Arc<Inner>);

struct Inner {
    source: Source,
    path: Option<PathBuf>,
    sha256: OnceLock<[u8; 32]>,
    len: u64,
    states: Vec<State>,
    buffers: Mutex<Vec<Buffers>>,
}

enum Source {
    Archive(Box<Archive>),
    File { data: Box<dyn ReadAt>, tensors: Vec<safetensors::Entry>, by_name: HashMap<String, usize> },
}

/// What is known of a tensor.
#[derive(Default)]
struct State {
    hash: Mutex<Option<[u8; 16]>>,
    directory: OnceLock<Arc<Directory<'static>>>,
}

#[derive(Default)]
struct Buffers {
    scratch: Scratch,
    tile: Vec<u8>,
}

impl std::fmt::Debug for Base {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Base").field("path", &self.0.path).field("tensors", &self.0.states.len()).finish_non_exhaustive()
    }
}

impl Base {
    /// Opens a safetensors file or an archive, mapped into memory (see [`Archive::open`]).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, Backing::default())
    }

    /// Opens a safetensors file or an archive.
    pub fn open_with(path: impl AsRef<Path>, backing: Backing) -> Result<Self> {
        let path = path.as_ref();
        let data = backing.open(path).map_err(|e| Error::io("opening the base", e).with_path(path))?;
        Self::new(data, Some(path.to_owned())).map_err(|e| e.with_path(path))
    }

    /// The base that `data` holds.
    pub fn from_reader(data: Box<dyn ReadAt>) -> Result<Self> {
        Self::new(data, None)
    }

    /// A base in memory.
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Result<Self> {
        Self::from_reader(Box::new(bytes.into()))
    }

    fn new(data: Box<dyn ReadAt>, path: Option<PathBuf>) -> Result<Self> {
        let mut magic = [0; MAGIC.len()];
        let is_archive = data.size() >= MAGIC.len() as u64 && {
            data.read_exact_at(0, &mut magic).map_err(|e| Error::io("reading the base", e))?;
            magic == MAGIC
        };
        let sha256 = OnceLock::new();
        let (source, len, tensors) = if is_archive {
            let archive = Archive::from_reader(data)?;
            let Some(sum) = archive.source_sha256() else {
                return Err(Error::argument("an archive of tensors in memory is no base: it has no source file to be known by"));
            };
            if archive.base_sha256().is_some() {
                return Err(Error::argument("the base has a base itself: decompress it first"));
            }
            // Nobody else can have set it.
            let _ = sha256.set(sum);
            let (len, tensors) = (archive.superblock.source_len, archive.index.entries.len());
            let archive = match &path {
                Some(path) => archive.named(path.clone()),
                None => archive,
            };
            (Source::Archive(Box::new(archive)), len, tensors)
        } else {
            let tensors = safetensors::read_header(&*data)?.tensors;
            let by_name = tensors.iter().enumerate().map(|(i, t)| (t.name.clone(), i)).collect();
            let (len, count) = (data.size(), tensors.len());
            (Source::File { data, tensors, by_name }, len, count)
        };
        let states = (0..tensors).map(|_| State::default()).collect();
        Ok(Self(Arc::new(Inner { source, path, sha256, len, states, buffers: Mutex::default() })))
    }

    /// Length of its safetensors file.
    pub(crate) fn source_len(&self) -> u64 {
        self.0.len
    }

    /// SHA-256 of its safetensors file, if nothing has to be read for it.
    pub(super) fn known_sha256(&self) -> Option<[u8; 32]> {
        self.0.sha256.get().copied()
    }

    /// SHA-256 of its safetensors file, which is read for that unless the base is an archive.
    pub fn sha256(&self) -> Result<[u8; 32]> {
        if let (None, Source::File { data, .. }) = (self.0.sha256.get(), &self.0.source) {
            let mut sha = Sha256::new();
            for at in (0..self.0.len).step_by(PIECE as usize) {
                sha.update(data.fetch(at, PIECE.min(self.0.len - at) as usize).map_err(|e| self.failed(e, at))?);
            }
            let _ = self.0.sha256.set(sha.finalize().into());
        }
        Ok(self.0.sha256.get().copied().unwrap_or_default())
    }

    /// The tensor of this name, type and shape.
    pub(crate) fn find(&self, name: &str, dtype: Dtype, dtype_name: &str, shape: &[u64]) -> Option<BaseTensor<'_>> {
        let number = match &self.0.source {
            Source::Archive(archive) => {
                let number = *archive.index.by_name.get(name)? as usize;
                let e = &archive.index.entries[number];
                ((e.dtype, &e.dtype_name[..], &e.shape[..]) == (dtype, dtype_name, shape)).then_some(number)
            }
            Source::File { tensors, by_name, .. } => {
                let number = *by_name.get(name)?;
                let e = &tensors[number];
                ((e.dtype, &e.dtype_name[..], &e.shape[..]) == (dtype, dtype_name, shape)).then_some(number)
            }
        };
        let tensor = BaseTensor { base: self, number: number? };
        Some(tensor)
    }

    fn failed(&self, e: std::io::Error, at: u64) -> Error {
        self.name(Error::io("reading the base", e).elsewhere().at(at))
    }

    /// Names its file in an error.
    pub(super) fn name(&self, e: Error) -> Error {
        match &self.0.path {
            Some(path) => e.with_path(path),
            None => e,
        }
    }
}

/// A tensor of the base.
#[derive(Clone, Copy)]
pub(crate) struct BaseTensor<'a> {
    pub(super) base: &'a Base,
    number: usize,
}

/// Bytes of the base.
pub(crate) enum BaseBytes<'a> {
    /// As its file has them.
    Read(Cow<'a, [u8]>),
    /// In these tiles of a tensor.
    Tiles(Tensor<'a>, Arc<Directory<'static>>, Piece),
}

/// The fewest tiles whose bytes are consecutive and hold these, of which there is one.
fn covering(grid: &Grid, bytes: &Range<u64>) -> Piece {
    let tiles = if grid.tile_rows == 1 {
        let tile = |byte: u64| byte / grid.row_bytes * grid.columns() + byte % grid.row_bytes / grid.tile_row_bytes;
        tile(bytes.start)..tile(bytes.end - 1) + 1
    } else {
        let band = |byte: u64| byte / (grid.tile_rows * grid.row_bytes) * grid.columns();
        band(bytes.start)..band(bytes.end - 1) + grid.columns()
    };
    Piece { bytes: grid.span(&tiles), tiles }
}

impl<'a> BaseTensor<'a> {
    /// Decoded bytes.
    pub(crate) fn len(self) -> u64 {
        match &self.base.0.source {
            Source::Archive(archive) => archive.index.entries[self.number].grid.bytes(),
            Source::File { tensors, .. } => tensors[self.number].len,
        }
    }

    /// XXH3-128 of its bytes, which are read for that, once, unless it is in an archive, whose record says it.
    pub(crate) fn hash(self) -> Result<[u8; 16]> {
        let (data, tensor) = match &self.base.0.source {
            Source::Archive(archive) => return Ok(archive.index.entries[self.number].record.hash),
            Source::File { data, tensors, .. } => (data, &tensors[self.number]),
        };
        // Nothing in here waits for other threads: who waits for the lock waits for this read only.
        let mut known = self.base.0.states[self.number].hash.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(hash) = *known {
            return Ok(hash);
        }
        let mut hash = Xxh3::new();
        for at in (0..tensor.len).step_by(PIECE as usize) {
            let at = tensor.offset + at;
            let len = PIECE.min(tensor.offset + tensor.len - at) as usize;
            hash.update(&data.fetch(at, len).map_err(|e| self.base.failed(e, at))?);
        }
        Ok(*known.insert(hash.digest128().to_le_bytes()))
    }

    /// Notes the hash, which whoever has read all bytes knows.
    pub(crate) fn set_hash(self, hash: [u8; 16]) {
        *self.base.0.states[self.number].hash.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(hash);
    }

    /// Whether [`hash`](Self::hash) reads nothing.
    pub(crate) fn is_hashed(self) -> bool {
        matches!(self.base.0.source, Source::Archive(_))
    }

    /// These of its bytes.
    pub(crate) fn read(self, bytes: Range<u64>) -> Result<Cow<'a, [u8]>> {
        let len = (bytes.end - bytes.start) as usize;
        if len == 0 {
            return Ok(Cow::Borrowed(&[]));
        }
        let archive = match &self.base.0.source {
            Source::File { data, tensors, .. } => {
                let at = tensors[self.number].offset + bytes.start;
                return data.fetch(at, len).map_err(|e| self.base.failed(e, at));
            }
            Source::Archive(archive) => archive,
        };
        let tensor = archive.entry_tensor(self.number as u32);
        let directory = self.directory(&tensor)?;
        let grid = &tensor.entry.grid;
        let piece = covering(grid, &bytes);
        let mut out = zeroed(piece.len()).map_err(|e| tensor.place(Error::io("decoding the base", e)))?;
        self.with_buffers(|Buffers { scratch, .. }| tensor.decode_piece(&directory, &piece, scratch, &mut out, Stores::Cached))?;
        out.truncate((bytes.end - piece.bytes.start) as usize);
        out.drain(..(bytes.start - piece.bytes.start) as usize);
        Ok(Cow::Owned(out))
    }

    /// Where these of its bytes come from: themselves, or tiles that hold them.
    pub(crate) fn source(self, bytes: Range<u64>) -> Result<BaseBytes<'a>> {
        let Source::Archive(archive) = &self.base.0.source else { return self.read(bytes).map(BaseBytes::Read) };
        let tensor = archive.entry_tensor(self.number as u32);
        let directory = self.directory(&tensor)?;
        Ok(BaseBytes::Tiles(tensor, directory, covering(&tensor.entry.grid, &bytes)))
    }

    /// Byte columns `bytes` of `rows`, of rows of `row_bytes` bytes, without gaps.
    pub(super) fn read_slice(self, rows: Range<u64>, bytes: Range<u64>, row_bytes: u64) -> Result<Cow<'a, [u8]>> {
        if bytes == (0..row_bytes) || rows.end - rows.start <= 1 {
            return self.read(rows.start * row_bytes + bytes.start..(rows.end - 1) * row_bytes + bytes.end);
        }
        let width = (bytes.end - bytes.start) as usize;
        let mut out = zeroed((rows.end - rows.start) as usize * width).map_err(|e| Error::io("reading the base", e))?;
        let archive = match &self.base.0.source {
            Source::File { .. } => {
                for (row, out) in rows.zip(out.chunks_mut(width)) {
                    out.copy_from_slice(&self.read(row * row_bytes + bytes.start..row * row_bytes + bytes.end)?);
                }
                return Ok(Cow::Owned(out));
            }
            Source::Archive(archive) => archive,
        };
        let tensor = archive.entry_tensor(self.number as u32);
        let directory = self.directory(&tensor)?;
        let mut rest = &mut out[..];
        let mut row = rows.start;
        while row < rows.end {
            let end = ((row / tensor.entry.grid.tile_rows + 1) * tensor.entry.grid.tile_rows).min(rows.end);
            let (part, after) = rest.split_at_mut((end - row) as usize * width);
            self.with_buffers(|Buffers { scratch, tile }| {
                tensor.decode_band_slice(&directory, row..end, bytes.clone(), scratch, tile, part)
            })?;
            (rest, row) = (after, end);
        }
        Ok(Cow::Owned(out))
    }

    fn directory(self, tensor: &Tensor<'_>) -> Result<Arc<Directory<'static>>> {
        let known = &self.base.0.states[self.number].directory;
        if let Some(directory) = known.get() {
            return Ok(directory.clone());
        }
        let read = Arc::new(tensor.directory()?.into_owned());
        Ok(known.get_or_init(|| read).clone())
    }

    fn with_buffers<T>(self, f: impl FnOnce(&mut Buffers) -> T) -> T {
        let pool = &self.base.0.buffers;
        let mut buffers = pool.lock().ok().and_then(|mut pool| pool.pop()).unwrap_or_default();
        let done = f(&mut buffers);
        if let Ok(mut pool) = pool.lock() {
            pool.push(buffers);
        }
        done
    }
}
