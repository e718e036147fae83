//! A file mapped into memory: the bytes of the page cache in place.

use super::threads::Pool;
use super::{Done, Reads, Request};
use crate::source::{MappedFile, ReadAt};
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Maps a file. Threads copy from it for those who want the bytes in a buffer: page faults wait for the disk.
pub(super) fn open(path: &Path, depth: usize, done: Done) -> io::Result<Arc<dyn Reads>> {
    Ok(Arc::new(Mapped(Pool::new("mmap", MappedFile::open(path)?, depth, done)?)))
}

struct Mapped(Pool<MappedFile>);

impl Reads for Mapped {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn size(&self) -> u64 {
        self.0.size()
    }

    fn submit(&self, request: Request) {
        self.0.submit(request);
    }

    fn view(&self, range: Range<u64>) -> Option<&[u8]> {
        let len = range.end.checked_sub(range.start)?;
        self.0.source().view(range.start, usize::try_from(len).ok()?)
    }
}
