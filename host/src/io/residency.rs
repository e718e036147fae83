//! How much of a file the page cache holds.
//!
//! `unsafe`: the standard library has no word for `mincore`.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// At most this many places of a file are looked at, spread evenly, each [`WINDOW`] pages long: 256 MiB in all, which takes
/// milliseconds. To ask about every page of a file of hundreds of gigabytes would take seconds.
const WINDOWS: u64 = 1024;

/// Pages asked about at once.
const WINDOW: usize = 64;

/// The share of the file's pages, 0 to 1, that are in the page cache, by samples where it is large.
pub(super) fn share(path: &Path) -> io::Result<f64> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.len() == 0 {
        return Ok(0.0);
    }
    // Whoever could not change the file is told by the kernel that all of it is in memory, so that nobody learns what others read.
    // SAFETY: no arguments, no memory.
    let user = unsafe { libc::geteuid() };
    if user != 0 && metadata.uid() != user && !writable(path)? {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "only those who may write a file learn what is cached of it",
        ));
    }
    // SAFETY: nothing is read through this map, so a file that is shortened meanwhile does no harm.
    let map = unsafe { memmap2::Mmap::map(&file)? };
    // SAFETY: no memory.
    let page = match unsafe { libc::sysconf(libc::_SC_PAGESIZE) } {
        size if size > 0 => size as usize,
        _ => return Err(io::Error::last_os_error()),
    };
    let pages = map.len().div_ceil(page);
    let windows = (pages.div_ceil(WINDOW) as u64).min(WINDOWS);
    let (mut seen, mut cached) = (0, 0);
    for i in 0..windows {
        // 128 bits: the product of a file's pages and 1024.
        let first = (u128::from(i) * pages as u128 / u128::from(windows)) as usize;
        let count = WINDOW.min(pages - first);
        let start = first * page;
        let mut flags = [0_u8; WINDOW];
        // SAFETY: the range starts on a page and its last page is the map's last at most; a byte is written for each of `count` pages.
        let answer = unsafe {
            libc::mincore(map.as_ptr().add(start).cast_mut().cast(), (count * page).min(map.len() - start), flags.as_mut_ptr())
        };
        if answer != 0 {
            return Err(io::Error::last_os_error());
        }
        seen += count;
        cached += flags[..count].iter().filter(|f| **f & 1 != 0).count();
    }
    Ok(cached as f64 / seen as f64)
}

fn writable(path: &Path) -> io::Result<bool> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the path ends in a zero, and is only read.
    Ok(unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), libc::W_OK, libc::AT_EACCESS) } == 0)
}

/// Drops a file from the page cache, as far as the system follows such advice. What was written to it goes to the disk before.
pub(super) fn forget(file: &File) -> io::Result<()> {
    file.sync_all()?;
    // SAFETY: advice about a file that is open.
    match unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Writes to this much new memory, in huge pages where there are any, and frees it.
pub(super) fn back_memory(bytes: usize) -> io::Result<()> {
    let mut memory = memmap2::MmapMut::map_anon(bytes)?;
    // Where there are none, small ones do.
    let _ = memory.advise(memmap2::Advice::HugePage);
    memory.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
    Ok(())
}

/// Bytes of memory that nobody uses.
pub(super) fn free_memory() -> u64 {
    // SAFETY: no memory.
    let [pages, page] = [libc::_SC_AVPHYS_PAGES, libc::_SC_PAGESIZE].map(|what| unsafe { libc::sysconf(what) });
    u64::try_from(pages).unwrap_or(0).saturating_mul(u64::try_from(page).unwrap_or(0))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    #[test]
    fn written_is_cached_and_dropped_is_not() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(share(file.path()).unwrap(), 0.0);
        io::Write::write_all(&mut file, &vec![1; 3_000_001]).unwrap();
        assert_eq!(share(file.path()).unwrap(), 1.0);
        forget(file.as_file()).unwrap();
        let left = share(file.path()).unwrap();
        // A file system without a disk below it keeps everything.
        assert!(left == 1.0 || left < 0.5, "{left}");
        assert!(share(Path::new("/no/such/file")).is_err());
    }
}
