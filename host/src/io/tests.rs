//! One suite for every back end, then what only some of them do.

use super::faulty::{Faulty, Plan, Random};
use super::*;
use std::collections::HashMap;
use std::io::{ErrorKind, Write};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use tempfile::NamedTempFile;

/// How a back end is opened; `None` where this system has no such thing.
type Open = fn(&Path, usize, Done) -> io::Result<Option<Arc<dyn Reads>>>;

macro_rules! suite {
    ($($(#[$attribute:meta])* $name:ident: $open:expr;)*) => {$(
        $(#[$attribute])*
        mod $name {
            use super::*;
            const OPEN: Open = $open;
            #[test] fn whole_file_in_any_order() { super::whole_file_in_any_order(OPEN) }
            #[test] fn the_end_of_the_file() { super::the_end_of_the_file(OPEN) }
            #[test] fn nothing() { super::nothing(OPEN) }
            #[test] fn unfit_requests() { super::unfit_requests(OPEN) }
            #[test] fn one_at_a_time() { super::one_at_a_time(OPEN) }
            #[test] fn dropped_in_flight() { super::dropped_in_flight(OPEN) }
            #[test] fn a_panic_is_survived() { super::a_panic_is_survived(OPEN) }
        }
    )*};
}

suite! {
    by_threads: |path, depth, done| threads::open(path, depth, done).map(Some);
    by_map: |path, depth, done| mmap::open(path, depth, done).map(Some);
    #[cfg(target_os = "linux")]
    by_uring: |path, depth, done| present(uring::open(path, false, depth, done), "io_uring");
    #[cfg(target_os = "linux")]
    by_uring_direct: |path, depth, done| present(uring::open(path, true, depth, done), "io_uring with O_DIRECT");
    #[cfg(target_os = "linux")]
    by_uring_in_pieces: |path, depth, done| present(pieces(path, depth, done), "io_uring with O_DIRECT");
    #[cfg(feature = "object-store")]
    by_object_in_memory: |path, depth, done| object::tests::in_memory(path, depth, done).map(Some);
    #[cfg(feature = "object-store")]
    by_object_on_disk: |path, depth, done| object::tests::on_disk(path, depth, done).map(Some);
    by_faulty_without_faults: |path, _, done| {
        let plan = Plan { seed: 5, reorder: 8, delay: Duration::from_micros(50), ..Plan::default() };
        Ok(Some(Faulty::new(std::fs::read(path)?.into(), plan, Box::new(move |c| done(c)))))
    };
}

/// Entries of two blocks: every longer read is continued.
#[cfg(target_os = "linux")]
fn pieces(path: &Path, depth: usize, done: Done) -> io::Result<Arc<dyn Reads>> {
    Ok(Arc::new(uring::Uring::new(path, true, depth, 8192, done)?))
}

/// Kernels may lack or forbid io_uring, file systems O_DIRECT: such a test says that it tested nothing.
fn present(opened: io::Result<Arc<dyn Reads>>, what: &str) -> io::Result<Option<Arc<dyn Reads>>> {
    opened.map(Some).or_else(|e| {
        eprintln!("skipped: no {what} here: {e}");
        Ok(None)
    })
}

/// Long enough for many blocks, and no multiple of one.
pub(super) const SIZE: usize = 3_000_001;

pub(super) fn file(size: usize) -> (NamedTempFile, Vec<u8>) {
    let mut random = Random(size as u64);
    let bytes: Vec<u8> = (0..size).map(|_| random.next() as u8).collect();
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(&bytes).unwrap();
    (file, bytes)
}

fn channel_done() -> (Done, Receiver<Completion>) {
    let (sender, receiver) = channel();
    // A receiver that is gone has seen what it wanted.
    (Arc::new(Box::new(move |c| drop(sender.send(c)))), receiver)
}

pub(super) fn request(id: u64, offset: u64, len: usize) -> Request {
    let mut buffer = Buffer::new(len).unwrap();
    buffer.fill(0xEE);
    Request { id, offset, len, buffer }
}

pub(super) fn next(receiver: &Receiver<Completion>) -> Completion {
    receiver.recv_timeout(Duration::from_secs(60)).expect("a completion within a minute")
}

pub(super) fn one(reads: &dyn Reads, receiver: &Receiver<Completion>, offset: u64, len: usize) -> (Buffer, io::Result<()>) {
    reads.submit(request(1, offset, len));
    let completion = next(receiver);
    assert_eq!(completion.id, 1);
    assert_eq!(completion.buffer.len(), len);
    assert!(completion.began <= completion.ended);
    (completion.buffer, completion.result)
}

fn opened(open: Open, path: &Path, depth: usize) -> Option<(Arc<dyn Reads>, Receiver<Completion>)> {
    let (done, receiver) = channel_done();
    open(path, depth, done).unwrap().map(|reads| (reads, receiver))
}

fn whole_file_in_any_order(open: Open) {
    let (file, bytes) = file(SIZE);
    let Some((reads, receiver)) = opened(open, file.path(), 16) else { return };
    assert_eq!(reads.size(), SIZE as u64);
    let unit = reads.alignment() as usize;
    let mut random = Random(1);
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < SIZE {
        let end = (at + 1 + random.below(100_000)).next_multiple_of(unit).min(SIZE.next_multiple_of(unit));
        ranges.push(at..end);
        at = end;
    }
    for i in (1..ranges.len()).rev() {
        ranges.swap(i, random.below(i + 1));
    }
    for (id, range) in ranges.iter().enumerate() {
        reads.submit(request(id as u64, range.start as u64, range.len()));
    }
    let mut seen = vec![false; ranges.len()];
    for _ in &ranges {
        let completion = next(&receiver);
        completion.result.unwrap();
        let id = completion.id as usize;
        assert!(!std::mem::replace(&mut seen[id], true), "read {id} came twice");
        let range = ranges[id].start..ranges[id].end.min(SIZE);
        assert!(completion.buffer[..range.len()] == bytes[range.clone()], "bytes {range:?}");
        if let Some(view) = reads.view(range.start as u64..range.end as u64) {
            assert!(view == &bytes[range]);
        }
    }
    assert!(receiver.try_recv().is_err());
}

fn the_end_of_the_file(open: Open) {
    for size in [0, 1, 4095, 4096, 4097, SIZE] {
        let (file, bytes) = file(size);
        let Some((reads, receiver)) = opened(open, file.path(), 2) else { return };
        let unit = reads.alignment() as usize;
        let end = size.next_multiple_of(unit);
        let last = size.saturating_sub(5000) / unit * unit;
        let (buffer, result) = one(&*reads, &receiver, last as u64, end - last);
        result.unwrap();
        assert!(buffer[..size - last] == bytes[last..]);
        for (offset, len) in [(last, end - last + unit), (end, unit), (end + unit, unit), (end + unit, 0), (1 << 60, unit)] {
            let (_, result) = one(&*reads, &receiver, offset as u64, len);
            assert_eq!(result.unwrap_err().kind(), ErrorKind::UnexpectedEof, "{len} at {offset} of {size}");
        }
        assert!(reads.view(0..size as u64 + 1).is_none());
        assert!(reads.view(u64::MAX - 1..u64::MAX).is_none());
    }
}

fn nothing(open: Open) {
    let (file, _) = file(SIZE);
    let Some((reads, receiver)) = opened(open, file.path(), 2) else { return };
    let end = (SIZE as u64).next_multiple_of(reads.alignment());
    for offset in [0, 4096, end] {
        one(&*reads, &receiver, offset, 0).1.unwrap();
    }
    // None at all is fine, too.
    drop(reads);
    assert!(opened(open, file.path(), 1).is_some());
}

fn unfit_requests(open: Open) {
    let (file, _) = file(SIZE);
    let Some((reads, receiver)) = opened(open, file.path(), 2) else { return };
    reads.submit(Request { id: 7, offset: 0, len: 8192, buffer: Buffer::new(8191).unwrap() });
    let completion = next(&receiver);
    assert_eq!((completion.id, completion.buffer.len()), (7, 8191));
    assert_eq!(completion.result.unwrap_err().kind(), ErrorKind::InvalidInput);
    let expected = if reads.alignment() > 1 { ErrorKind::InvalidInput } else { ErrorKind::UnexpectedEof };
    let (_, result) = one(&*reads, &receiver, u64::MAX, 1);
    assert_eq!(result.unwrap_err().kind(), expected);
    if reads.alignment() > 1 {
        for (offset, len) in [(1, 4096), (0, 100), (512, 512)] {
            assert_eq!(one(&*reads, &receiver, offset, len).1.unwrap_err().kind(), ErrorKind::InvalidInput);
        }
    }
    // And it goes on.
    one(&*reads, &receiver, 4096, 4096).1.unwrap();
}

/// With a depth of one, or of none, reads do not overlap, and all are done.
fn one_at_a_time(open: Open) {
    let (file, bytes) = file(SIZE);
    for depth in [0, 1] {
        let Some((reads, receiver)) = opened(open, file.path(), depth.max(1)) else { return };
        for id in 0..50 {
            reads.submit(request(id, id * 40960, 40960));
        }
        let mut times: Vec<_> = (0..50)
            .map(|_| {
                let completion = next(&receiver);
                completion.result.unwrap();
                let start = completion.id as usize * 40960;
                assert!(completion.buffer[..] == bytes[start..start + 40960]);
                (completion.began, completion.ended)
            })
            .collect();
        times.sort();
        assert!(times.windows(2).all(|w| w[0].1 <= w[1].0), "two reads at once");
    }
}

/// Every request has come back when the drop returns: read, or refused.
fn dropped_in_flight(open: Open) {
    let (file, bytes) = file(SIZE);
    for round in 0..20 {
        let Some((reads, receiver)) = opened(open, file.path(), 4) else { return };
        for id in 0..40 {
            reads.submit(request(id, id * 65536, 65536));
        }
        if round % 2 == 1 {
            let first = next(&receiver);
            assert!(first.result.is_ok());
        }
        drop(reads);
        let rest: HashMap<u64, Completion> = receiver.try_iter().map(|c| (c.id, c)).collect();
        assert_eq!(rest.len(), 40 - round % 2);
        for (id, completion) in rest {
            match completion.result {
                Ok(()) => {
                    let start = id as usize * 65536;
                    assert!(completion.buffer[..] == bytes[start..start + 65536]);
                }
                Err(e) => assert_eq!(e.to_string(), closed().to_string()),
            }
        }
    }
}

fn a_panic_is_survived(open: Open) {
    let (file, _) = file(SIZE);
    let (sender, receiver) = channel();
    let done: Done = Arc::new(Box::new(move |c: Completion| {
        // Not `panic!`: that would print a backtrace in the midst of passing tests.
        if c.id == 0 {
            std::panic::resume_unwind(Box::new("planned"));
        }
        sender.send(c).unwrap();
    }));
    let Some(reads) = open(file.path(), 2, done).unwrap() else { return };
    reads.submit(request(0, 0, 4096));
    one(&*reads, &receiver, 0, 4096).1.unwrap();
}

pub(super) fn boxed_done() -> (OnDone, Receiver<Completion>) {
    let (done, receiver) = channel_done();
    (Box::new(move |c| done(c)), receiver)
}

/// Not for maps: there the system kills the process.
#[test]
fn a_file_that_is_cut_short() {
    let mut back_ends: Vec<Open> = vec![|path, depth, done| threads::open(path, depth, done).map(Some)];
    #[cfg(target_os = "linux")]
    {
        back_ends.push(|path, depth, done| present(uring::open(path, false, depth, done), "io_uring"));
        back_ends.push(|path, depth, done| present(uring::open(path, true, depth, done), "io_uring with O_DIRECT"));
        back_ends.push(|path, depth, done| present(pieces(path, depth, done), "io_uring with O_DIRECT"));
    }
    for open in back_ends {
        let (file, bytes) = file(SIZE);
        let Some((reads, receiver)) = opened(open, file.path(), 2) else { continue };
        for cut in [2_000_001, 1_999_872, 1_998_848, 0] {
            file.as_file().set_len(cut).unwrap();
            let (_, result) = one(&*reads, &receiver, cut / 4096 * 4096, 65536);
            assert_eq!(result.unwrap_err().kind(), ErrorKind::UnexpectedEof, "{}, cut at {cut}", reads.name());
            let before = (cut as usize / 4096 * 4096).min(40960);
            let (buffer, result) = one(&*reads, &receiver, 0, before);
            result.unwrap();
            assert!(buffer[..] == bytes[..before]);
        }
    }
}

#[test]
fn what_is_no_file() {
    let directory = tempfile::tempdir().unwrap();
    for choice in [IoChoice::Auto, IoChoice::Uring, IoChoice::Threads, IoChoice::Mmap] {
        for (path, kind) in
            [(directory.path().to_owned(), ErrorKind::IsADirectory), (directory.path().join("none"), ErrorKind::NotFound)]
        {
            assert_eq!(open(&path, choice, 4, boxed_done().0).err().unwrap().kind(), kind, "{choice:?}");
        }
        #[cfg(unix)]
        assert_eq!(open(Path::new("/dev/null"), choice, 4, boxed_done().0).err().unwrap().kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn without_io_uring_the_next_is_taken() {
    let (file, bytes) = file(SIZE);
    uncache(&file);
    for code in [38 /* ENOSYS */, 1 /* EPERM */] {
        let absent: OpenUring = match code {
            38 => |_, _, _, _| Err(io::Error::from_raw_os_error(38)),
            _ => |_, _, _, _| Err(io::Error::from_raw_os_error(1)),
        };
        let (done, receiver) = boxed_done();
        let reads = open_by(file.path(), IoChoice::Auto, 4, done, absent).unwrap();
        // Where the file system is the cache, it cannot be dropped from it.
        assert!(reads.name() == "threads" || cached_share(file.path()) >= MOSTLY_CACHED, "{}", reads.name());
        let (buffer, result) = one(&*reads, &receiver, 0, SIZE);
        result.unwrap();
        assert!(buffer[..] == bytes[..]);
        // Who asks for it by name is told.
        let error = open_by(file.path(), IoChoice::Uring, 4, boxed_done().0, absent).err().unwrap();
        assert_eq!(error.raw_os_error(), Some(code));
        assert_eq!(open_by(file.path(), IoChoice::Threads, 4, boxed_done().0, absent).unwrap().name(), "threads");
    }
}

#[test]
fn without_direct_reads_the_cache_is_read() {
    let (file, bytes) = file(SIZE);
    let indirect: OpenUring = |path, direct, depth, done| match direct {
        true => Err(io::Error::from_raw_os_error(22 /* EINVAL */)),
        false => open_uring(path, direct, depth, done),
    };
    let (done, receiver) = boxed_done();
    let Ok(Some(reads)) = present(open_by(file.path(), IoChoice::Uring, 4, done, indirect), "io_uring") else { return };
    assert_eq!((reads.name(), reads.alignment()), ("io_uring", 1));
    let (buffer, result) = one(&*reads, &receiver, 1, SIZE - 1);
    result.unwrap();
    assert!(buffer[..] == bytes[1..]);
}

/// Drops a file from the page cache, as far as the system follows such advice.
fn uncache(file: &NamedTempFile) {
    forget(file.path()).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn cached_files_are_copied_and_others_read_from_the_disk() {
    let (file, _) = file(SIZE);
    let name = |choice| open(file.path(), choice, 4, boxed_done().0).map(|r| r.name());
    assert_eq!(name(IoChoice::Auto).unwrap(), "threads");
    assert_eq!(name(IoChoice::Mmap).unwrap(), "mmap");
    uncache(&file);
    if cached_share(file.path()) < MOSTLY_CACHED {
        let by = name(IoChoice::Auto).unwrap();
        eprintln!("not cached: {by}");
        assert!(by == "threads" || by.starts_with("io_uring"));
        // The choice did not fill the cache.
        assert!(cached_share(file.path()) < MOSTLY_CACHED);
    } else {
        eprintln!("skipped: this file system keeps everything in memory");
    }
}

#[test]
fn choices_by_name() {
    for (name, choice) in
        [("auto", IoChoice::Auto), ("uring", IoChoice::Uring), ("threads", IoChoice::Threads), ("mmap", IoChoice::Mmap)]
    {
        assert_eq!(name.parse::<IoChoice>().unwrap(), choice);
    }
    assert_eq!("iouring".parse::<IoChoice>().unwrap_err().to_string(), "'iouring' is none of auto, uring, threads, mmap");
}
