//! Positioned reads, by system call, by mapping, from memory.

use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// Bytes that can be read at any position from any thread.
pub trait ReadAt: Send + Sync {
    /// Length in bytes.
    fn size(&self) -> u64;

    /// Fills `buffer` from `offset`, or fails: a short read is an error.
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// The bytes in place, where they are in memory.
    fn view(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let _ = (offset, len);
        None
    }
}

impl dyn ReadAt + '_ {
    /// The bytes, in place if they are in memory, else read into a new buffer. The caller has checked that the range lies inside.
    pub(crate) fn fetch(&self, offset: u64, len: usize) -> io::Result<Cow<'_, [u8]>> {
        if let Some(bytes) = self.view(offset, len) {
            return Ok(Cow::Borrowed(bytes));
        }
        let mut buffer = zeroed(len)?;
        self.read_exact_at(offset, &mut buffer)?;
        Ok(Cow::Owned(buffer))
    }
}

/// A buffer of zeros, or an error where memory is short: lengths come from files, and a sparse one may claim anything.
pub(crate) fn zeroed(len: usize) -> io::Result<Vec<u8>> {
    let mut probe = Vec::<u8>::new();
    probe
        .try_reserve_exact(len)
        .map_err(|_| io::Error::new(io::ErrorKind::OutOfMemory, format!("{len} bytes do not fit into memory")))?;
    drop(probe);
    // Zeroed by the system, page by page as they are used.
    Ok(vec![0; len])
}

/// The part of `bytes` that a read names.
fn part(bytes: &[u8], offset: u64, len: usize) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    bytes.get(start..start.checked_add(len)?)
}

fn past_end() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "read past the end")
}

macro_rules! read_at_memory {
    ($($t:ty),*) => {$(
        impl ReadAt for $t {
            fn size(&self) -> u64 {
                self.len() as u64
            }
            fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
                buffer.copy_from_slice(part(self, offset, buffer.len()).ok_or_else(past_end)?);
                Ok(())
            }
            fn view(&self, offset: u64, len: usize) -> Option<&[u8]> {
                part(self, offset, len)
            }
        }
    )*};
}

read_at_memory!([u8], &[u8], Vec<u8>, Arc<[u8]>);

fn open(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a directory"));
    }
    Ok(file)
}

/// A file read with `pread`. Safe whatever happens to the file; memory is what the caller holds.
pub struct FileReader {
    file: File,
    size: u64,
}

impl FileReader {
    /// Opens `path` for reading.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = open(path)?;
        Ok(Self { size: file.metadata()?.len(), file })
    }
}

impl ReadAt for FileReader {
    fn size(&self) -> u64 {
        self.size
    }

    #[cfg(unix)]
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, buffer, offset)
    }

    #[cfg(windows)]
    fn read_exact_at(&self, mut offset: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            let n = std::os::windows::fs::FileExt::seek_read(&self.file, buffer, offset)?;
            if n == 0 {
                return Err(past_end());
            }
            buffer = &mut buffer[n..];
            offset += n as u64;
        }
        Ok(())
    }
}

/// A file mapped into memory: no copy, and the page cache serves as buffer.
///
/// Whoever maps a file relies on nobody shortening it meanwhile: the operating system then kills the process at the next access.
/// [`FileReader`] returns an error instead.
pub struct MappedFile(memmap2::Mmap);

impl MappedFile {
    /// Maps `path`.
    #[allow(unsafe_code)]
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = open(path)?;
        // SAFETY: the map is only read, as bytes that are checked like any untrusted input; that nobody truncates the file
        // meanwhile is the documented condition of this type.
        Ok(Self(unsafe { memmap2::Mmap::map(&file)? }))
    }
}

impl ReadAt for MappedFile {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0[..].read_exact_at(offset, buffer)
    }

    fn view(&self, offset: u64, len: usize) -> Option<&[u8]> {
        part(&self.0, offset, len)
    }
}
