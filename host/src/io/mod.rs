//! Reads that go on while the program does something else, into memory that the caller owns.
//!
//! ```text
//! buffer       page-aligned memory that a read fills
//! uring        Linux: one ring, one thread, past the page cache where the file system allows
//! threads      threads that each wait for one read: for every system
//! mmap         the page cache in place, for those who ask for it
//! residency    whether a file is
//! object       objects of a bucket, by range requests (feature `object-store`)
//! faulty       for tests: a disk that fails by plan
//! ```
//!
//! Whatever the back end, a request that was submitted comes back exactly once, with its buffer, by `on_done`; dropping the back end waits
//! for the reads that have begun and returns the others as errors. A file counts as long as it was when it was opened.

mod buffer;
#[cfg(test)]
pub(crate) mod faulty;
mod mmap;
#[cfg(feature = "object-store")]
pub(crate) mod object;
#[cfg(target_os = "linux")]
mod residency;
#[cfg(test)]
mod tests;
mod threads;
#[cfg(target_os = "linux")]
mod uring;

pub(crate) use buffer::{Buffer, Memory};

use crate::error::{Error, Result};
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A read: `buffer[..len]` from `offset` on.
pub(crate) struct Request {
    /// Comes back in the completion.
    pub(crate) id: u64,
    pub(crate) offset: u64,
    pub(crate) len: usize,
    /// At least `len` bytes. It belongs to the back end until the completion.
    pub(crate) buffer: Buffer,
}

/// What became of a [`Request`].
pub(crate) struct Completion {
    pub(crate) id: u64,
    /// The request's buffer. After an error its contents are anything.
    pub(crate) buffer: Buffer,
    pub(crate) result: io::Result<()>,
    /// When the read was started: later than it was submitted if others had to be waited for.
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
}

/// Called on a thread of the back end. It must not block: other reads wait for that thread.
pub(crate) type OnDone = Box<dyn Fn(Completion) + Send + Sync>;

/// Reads of one file or object, many in flight at once.
pub(crate) trait Reads: Send + Sync {
    /// For reports.
    fn name(&self) -> &'static str;

    /// Length of the file in bytes, as it was opened.
    fn size(&self) -> u64;

    /// Starts a read, now or when another is done. Errors arrive as completions, too. What the system delivers short is continued; past
    /// the end of the file it is [`io::ErrorKind::UnexpectedEof`].
    fn submit(&self, request: Request);

    /// What offset and length of a request must be multiples of (buffers always are). Where that is more than 1, the last block of the
    /// file may be requested whole: the bytes past the end are left as they are or filled with anything.
    fn alignment(&self) -> u64 {
        1
    }

    /// Threads that copy what is read, where they do; 0 where a device brings it.
    fn threads(&self) -> usize {
        0
    }

    /// The bytes in place, where they are in memory.
    fn view(&self, range: Range<u64>) -> Option<&[u8]> {
        let _ = range;
        None
    }
}

/// By which means files are read: `auto`, `uring`, `threads`, `mmap`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IoChoice {
    /// The page cache in place where most of the file is in it, else io_uring where the system has it, else threads.
    #[default]
    Auto,
    /// io_uring, past the page cache if the file system allows; an error where the system lacks or forbids it.
    Uring,
    /// Threads that read by system call.
    Threads,
    /// The file mapped into memory. Nobody may shorten it meanwhile: see [`MappedFile`](crate::MappedFile).
    Mmap,
}

impl FromStr for IoChoice {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self> {
        Ok(match s {
            "auto" => Self::Auto,
            "uring" => Self::Uring,
            "threads" => Self::Threads,
            "mmap" => Self::Mmap,
            _ => return Err(Error::argument(format!("'{}' is none of auto, uring, threads, mmap", s.escape_debug()))),
        })
    }
}

/// The share of a file in the page cache from which on it is read there. The rest comes by page faults, which wait for the disk one
/// after the other, so it must be small; but a cached byte costs a disk access if the cache is passed by.
const MOSTLY_CACHED: f64 = 0.75;

/// Reads at once of a file that is cached.
const CACHED_DEPTH: usize = 2;

/// Opens a file for at most `depth` reads at once (at least one).
pub(crate) fn open(path: &Path, choice: IoChoice, depth: usize, on_done: OnDone) -> io::Result<Arc<dyn Reads>> {
    open_by(path, choice, depth, on_done, open_uring)
}

/// How [`open_uring`] is called: a test puts a kernel without io_uring in its place.
type OpenUring = fn(&Path, bool, usize, Done) -> io::Result<Arc<dyn Reads>>;

/// [`OnDone`], shared by the threads of a back end, or by one that could not be opened and the next.
type Done = Arc<OnDone>;

fn open_by(path: &Path, choice: IoChoice, depth: usize, on_done: OnDone, uring: OpenUring) -> io::Result<Arc<dyn Reads>> {
    // Before anything is opened: to open a pipe is to wait for whoever writes to it.
    let metadata = std::fs::metadata(path)?;
    if metadata.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a directory"));
    }
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "is no regular file"));
    }
    let done: Done = Arc::new(on_done);
    let depth = depth.max(1);
    // O_DIRECT is up to the file system: if it refuses, through the page cache.
    let any_uring = |done: &Done| {
        uring(path, true, depth, done.clone()).or_else(|e| {
            tracing::debug!(target: "wcodec::load", "no direct reads of {}: {e}", path.display());
            uring(path, false, depth, done.clone())
        })
    };
    let opened = match choice {
        IoChoice::Threads => threads::open(path, depth, done),
        IoChoice::Mmap => mmap::open(path, depth, done),
        IoChoice::Uring => any_uring(&done),
        IoChoice::Auto => {
            if is_cached(path) {
                // Copied rather than mapped: a map saves nothing where decoding is what takes the time, and a file that somebody
                // shortens would be a signal, not an error. More copying threads would only be in the decoders' way.
                threads::open(path, depth.min(CACHED_DEPTH), done)
            } else {
                any_uring(&done).or_else(|e| {
                    tracing::debug!(target: "wcodec::load", "no io_uring for {}: {e}", path.display());
                    threads::open(path, depth, done)
                })
            }
        }
    }?;
    tracing::debug!(target: "wcodec::load", "{} is read by {}", path.display(), opened.name());
    Ok(opened)
}

#[cfg(target_os = "linux")]
fn open_uring(path: &Path, direct: bool, depth: usize, done: Done) -> io::Result<Arc<dyn Reads>> {
    uring::open(path, direct, depth, done)
}

#[cfg(not(target_os = "linux"))]
fn open_uring(_: &Path, _: bool, _: usize, _: Done) -> io::Result<Arc<dyn Reads>> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "io_uring is of Linux"))
}

/// Whether most of a file is in the page cache, so that a map of it is memory: what [`IoChoice::Auto`] asks. No where nobody can tell.
pub fn is_cached(path: &Path) -> bool {
    cached_share(path) >= MOSTLY_CACHED
}

/// Drops a file from the page cache, so that the next load is a cold one; for measurements. Says whether the system keeps none of it any more
/// (never where nobody can tell).
pub fn forget(path: &Path) -> io::Result<bool> {
    #[cfg(target_os = "linux")]
    {
        residency::forget(&std::fs::File::open(path)?)?;
        Ok(residency::share(path)? < 0.01)
    }
    #[cfg(not(target_os = "linux"))]
    {
        std::fs::File::open(path)?;
        Ok(false)
    }
}

/// Has the system hold `bytes` of free memory (half of what is free, at most) that it need not get from elsewhere: for those who measure. A
/// virtual machine may have given its free memory back to its host, and to get it again takes ten times as long as a page fault does.
///
/// # Errors
/// Whatever the system says of the memory.
pub fn back_memory(bytes: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    residency::back_memory(usize::try_from(bytes.min(residency::free_memory() / 2)).unwrap_or(usize::MAX))?;
    #[cfg(not(target_os = "linux"))]
    let _ = bytes;
    Ok(())
}

/// How much of the file is in the page cache: 0 where nobody can tell.
fn cached_share(path: &Path) -> f64 {
    #[cfg(target_os = "linux")]
    return residency::share(path).unwrap_or_else(|e| {
        tracing::debug!(target: "wcodec::load", "what is cached of {} is unknown: {e}", path.display());
        0.0
    });
    #[cfg(not(target_os = "linux"))]
    {
        let _ = path;
        0.0
    }
}

impl Request {
    /// Checks a request against a file of `size` bytes. Returns how many bytes must arrive: all but those past the end in the last block.
    fn check(&self, size: u64, alignment: u64) -> io::Result<usize> {
        let invalid = |message: String| Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        if self.len > self.buffer.len() {
            return invalid(format!("a read of {} bytes into a buffer of {}", self.len, self.buffer.len()));
        }
        if !self.offset.is_multiple_of(alignment) || !(self.len as u64).is_multiple_of(alignment) {
            return invalid(format!("a read of {} bytes at {}, which is not on blocks of {alignment}", self.len, self.offset));
        }
        let end = self.offset.checked_add(self.len as u64).ok_or_else(past_end)?;
        if end > size.checked_next_multiple_of(alignment).unwrap_or(u64::MAX) {
            return Err(past_end());
        }
        // At most `len`, a usize.
        Ok(end.min(size).saturating_sub(self.offset) as usize)
    }

    /// Gives the request back to whoever made it.
    fn complete(self, done: &OnDone, began: Instant, result: io::Result<()>) {
        let completion = Completion { id: self.id, buffer: self.buffer, result, began, ended: Instant::now() };
        // A panic in there must not take the thread along: others wait for it, and the kernel may be writing to buffers that it holds.
        if catch_unwind(AssertUnwindSafe(|| done(completion))).is_err() {
            tracing::error!(target: "wcodec::load", "what was to be done after read {} panicked", self.id);
        }
    }
}

fn past_end() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "read past the end of the file")
}

/// What a request gets that has not begun when its back end is dropped.
fn closed() -> io::Error {
    io::Error::other("the file was closed before this read began")
}

/// Nothing that these locks guard is left half-changed by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for a thread of a back end, unless that very thread is dropping it.
fn join(thread: std::thread::JoinHandle<()>) {
    if thread.thread().id() != std::thread::current().id() {
        // It panicked, if at all, after it had said so.
        let _ = thread.join();
    }
}
