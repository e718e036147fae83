//! Reading archives.
//!
//! Opening reads the superblock and the index. A tensor's tile directory and tiles are read when it is decoded, and nothing else.
//! Nothing in the file is believed: every position is checked before it is used, every tile's checksum before it is decoded.

mod base;
mod bitplanes;
mod decode;
mod levels;
mod rebuild;
mod report;
mod restore;
mod tiles;

pub use base::Base;
pub(crate) use base::{BaseBytes, BaseTensor};
pub(crate) use bitplanes::{Buffers, Part, Payloads};
pub use decode::Tensor;
pub(crate) use decode::{Directory, EMPTY_PLANE};
pub use levels::Level;
pub use report::{PlaneReport, TensorReport};
pub use restore::VerifyReport;

use crate::checksum;
use crate::container::index::{Index, is_progressive, read_index};
use crate::cpu::Backend;
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::Device;
use crate::source::{FileReader, MappedFile, ReadAt};
use std::mem::size_of;
use std::path::{Path, PathBuf};
use wcodec_device::layout::{MAGIC, SUPERBLOCK_BYTES, Superblock, VERSION_MAJOR, feature, source_kind};

/// How an archive's bytes are reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Backing {
    /// Mapped into memory: no copies. The file must not be shortened meanwhile (see [`MappedFile`]).
    #[default]
    Map,
    /// Positioned reads: memory is bounded by what is being decoded, and a file that changes gives errors.
    Read,
}

impl Backing {
    fn open(self, path: &Path) -> std::io::Result<Box<dyn ReadAt>> {
        match self {
            Self::Map => MappedFile::open(path).map(|d| Box::new(d) as _),
            Self::Read => FileReader::open(path).map(|d| Box::new(d) as _),
        }
    }
}

/// An open `.wcodec` archive.
pub struct Archive {
    data: Box<dyn ReadAt>,
    path: Option<PathBuf>,
    superblock: Superblock,
    pub(crate) index: Index,
    backend: Backend,
    pub(crate) device: Device,
    base: Option<Base>,
    /// Planes of refinement that are decoded, at most.
    detail: usize,
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive").field("path", &self.path).field("tensors", &self.index.by_name.len()).finish_non_exhaustive()
    }
}

impl Archive {
    /// Opens a file, mapped into memory: nobody may shorten it meanwhile. [`open_with`](Self::open_with) [`Backing::Read`] has no
    /// such condition.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, Backing::default())
    }

    /// Opens a file.
    pub fn open_with(path: impl AsRef<Path>, backing: Backing) -> Result<Self> {
        let path = path.as_ref();
        let data = backing.open(path).map_err(|e| Error::io("opening", e).with_path(path))?;
        let mut archive = Self::from_reader(data).map_err(|e| e.with_path(path))?;
        archive.path = Some(path.to_owned());
        Ok(archive)
    }

    /// Opens an archive that `data` holds.
    pub fn from_reader(data: Box<dyn ReadAt>) -> Result<Self> {
        let superblock = read_superblock(&*data)?;
        let reading = |e| Error::io("reading the index", e).at(superblock.index_off);
        let bytes = data.fetch(superblock.index_off, superblock.index_len as usize).map_err(reading)?;
        if checksum(&bytes) != superblock.index_crc {
            return Err(Error::corrupt("the index is damaged: its checksum differs").at(superblock.index_off));
        }
        let index = read_index(&bytes, &superblock)?;
        drop(bytes);
        let (backend, device) = (Backend::best(), Device::Cpu);
        let archive = Self { data, path: None, superblock, index, backend, device, base: None, detail: usize::MAX };
        archive.need_level(0)?;
        Ok(archive)
    }

    /// Opens an archive in memory.
    pub fn from_bytes(bytes: impl Into<std::sync::Arc<[u8]>>) -> Result<Self> {
        Self::from_reader(Box::new(bytes.into()))
    }

    /// Gives the archive a name for its errors.
    pub(crate) fn named(mut self, name: PathBuf) -> Self {
        self.path = Some(name);
        self
    }

    /// Decodes with `backend` from now on. It must be one of [`Backend::available`]; any other falls back to the portable one.
    pub fn set_backend(&mut self, backend: Backend) {
        self.backend = backend;
    }

    pub(crate) fn backend(&self) -> Backend {
        self.backend
    }

    /// Decodes on `device` from now on, wherever bytes go. (Tensors that are to stay on a GPU: [`Gpu::decode`](crate::Gpu::decode).)
    pub fn set_device(&mut self, device: Device) {
        self.device = device;
    }

    /// All tensors, in the order of the source file.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = Tensor<'_>> + Clone {
        self.index.tensors.iter().map(|&i| self.entry_tensor(i))
    }

    /// The tensor (or blob) of this number in the index.
    pub(crate) fn entry_tensor(&self, number: u32) -> Tensor<'_> {
        Tensor { archive: self, entry: &self.index.entries[number as usize] }
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Result<Tensor<'_>> {
        match self.index.by_name.get(name) {
            Some(&i) => Ok(Tensor { archive: self, entry: &self.index.entries[i as usize] }),
            None => Err(self.place(Error::new(ErrorKind::NotFound, "no tensor of this name").with_tensor(name))),
        }
    }

    /// Bytes of the archive.
    pub fn archive_bytes(&self) -> u64 {
        self.superblock.file_len
    }

    /// Bytes of what is open: fewer where a progressive archive is cut short.
    pub(crate) fn size(&self) -> u64 {
        self.data.size()
    }

    /// Bytes of the source file, or of all tensors where there was none.
    pub fn source_bytes(&self) -> u64 {
        self.index.entries[..self.index.whole].iter().map(|e| e.grid.bytes()).sum()
    }

    /// SHA-256 of the source file; `None` where the archive was made of tensors in memory.
    pub fn source_sha256(&self) -> Option<[u8; 32]> {
        (self.superblock.source_kind != source_kind::TENSORS).then_some(self.superblock.source_sha256)
    }

    /// What comes before the first tensor of the source file, its header; `None` where there was no file.
    ///
    /// # Errors
    /// [`Corrupt`](ErrorKind::Corrupt), as of a tensor.
    pub fn source_header(&self) -> Result<Option<Vec<u8>>> {
        if self.superblock.source_kind == source_kind::TENSORS || self.index.entries.is_empty() {
            return Ok(None);
        }
        self.entry_tensor(0).decode().map(Some)
    }

    /// Whether the source was a GGUF file.
    pub fn is_gguf(&self) -> bool {
        self.superblock.source_kind == source_kind::GGUF
    }

    /// Format version, major and minor.
    pub fn version(&self) -> (u16, u16) {
        (self.superblock.major, self.superblock.minor)
    }

    /// Number of frequency tables.
    pub fn tables(&self) -> usize {
        self.index.tables.freqs().len()
    }

    /// Names this archive's file in an error.
    pub(crate) fn place(&self, e: Error) -> Error {
        match &self.path {
            Some(path) => e.with_path(path),
            None => e,
        }
    }
}

/// Reads the superblock and checks it against itself, its copy at the end, and the file's length.
fn read_superblock(data: &dyn ReadAt) -> Result<Superblock> {
    const LEN: usize = size_of::<Superblock>();
    let size = data.size();
    let mut head = [0; LEN];
    let have = size.min(LEN as u64) as usize;
    data.read_exact_at(0, &mut head[..have]).map_err(|e| Error::io("reading the superblock", e))?;
    if have < MAGIC.len() || head[..MAGIC.len()] != MAGIC {
        return Err(Error::corrupt("this is no .wcodec archive: it does not begin with 'WCODEC'").at(0));
    }
    let sb: Superblock = bytemuck::pod_read_unaligned(&head);
    // The version comes before the checksum: a newer major version may well have another superblock.
    if have >= 12 && sb.major != VERSION_MAJOR {
        let why =
            format!("format version {}.{} needs a newer wcodec: this one reads version {VERSION_MAJOR}.x", sb.major, sb.minor);
        return Err(Error::new(ErrorKind::Unsupported, why));
    }
    if size < SUPERBLOCK_BYTES + LEN as u64 {
        return Err(Error::corrupt(format!("the archive is cut short: {size} bytes are not even a superblock and its copy")));
    }
    if checksum(&head[..LEN - 4]) != sb.crc {
        return Err(Error::corrupt("the superblock is damaged: its checksum differs").at(0));
    }
    // The first bytes of a progressive archive are of use by themselves.
    let partial = is_progressive(&sb) && size < sb.file_len;
    if sb.file_len != size && !partial {
        let what = if size < sb.file_len { "cut short" } else { "too long" };
        return Err(Error::corrupt(format!("the archive is {what}: {size} bytes where {} were written", sb.file_len)));
    }
    let unknown = sb.required & !feature::KNOWN_REQUIRED;
    if unknown != 0 {
        let bits = (0..64).map(|bit| unknown & 1 << bit).filter(|&bit| bit != 0);
        let names: Vec<String> =
            bits.map(|bit| feature::name(bit).map_or(format!("{bit:#x}"), |name| format!("{name}, {bit:#x}"))).collect();
        let names = names.join("; ");
        let why = format!("the archive requires features that this version does not know ({names}): a newer wcodec reads it");
        return Err(Error::new(ErrorKind::Unsupported, why));
    }
    if sb.source_kind > source_kind::GGUF {
        return Err(Error::new(ErrorKind::Unsupported, format!("unknown kind of source {}", sb.source_kind)));
    }
    let copy_at = sb.file_len.saturating_sub(LEN as u64);
    if !partial {
        let mut copy = [0; LEN];
        data.read_exact_at(copy_at, &mut copy).map_err(|e| Error::io("reading the superblock's copy", e).at(copy_at))?;
        if copy != head {
            return Err(Error::corrupt("the superblock's copy at the end differs from it").at(copy_at));
        }
    }
    let index_end = sb.index_off.checked_add(sb.index_len).filter(|&end| end <= copy_at);
    let placed = match is_progressive(&sb) {
        true => sb.directory_off == SUPERBLOCK_BYTES && index_end.is_some(),
        false => sb.directory_off >= SUPERBLOCK_BYTES && index_end == Some(copy_at),
    };
    if !placed || sb.directory_off > sb.index_off {
        return Err(Error::corrupt("the index lies outside the file").at(0));
    }
    if index_end.is_none_or(|end| end > size) {
        return Err(Error::corrupt(format!("the archive is cut short: {size} bytes end before its index does")));
    }
    Ok(sb)
}
