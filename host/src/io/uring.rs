//! io_uring: one ring, and one thread that hands requests to the kernel and takes completions from it.
//!
//! ```text
//! submit       request → queue; if that was empty: wake
//! the thread   arm a poll of the wake
//!              loop  queue → free slots → submission entries
//!                    enter the kernel; sleep until something completes, be it only the poll
//!                    each completion: done, or the rest of a short read is pushed again
//! drop         closing; wake; join: the thread leaves when no slot is taken
//! ```
//!
//! The wake is an eventfd polled by the ring itself, so a new request never waits for a read that is under way.
//!
//! `unsafe`: the kernel writes to memory that it was told the address of, unseen by the compiler. The invariant is that of [`Slots`].
#![allow(unsafe_code)]

use super::buffer::BLOCK;
use super::{Buffer, Done, Reads, Request, closed, join, lock, past_end};
use io_uring::{IoUring, Probe, opcode, squeue, types};
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Marks the completion of the poll.
const WAKE: u64 = u64::MAX;

/// More reads at once than this no device has queues for; it also keeps the ring within what kernels allow (32768).
const DEEPEST: usize = 4096;

/// One entry reads this much at most: its length is a 32-bit number, and the kernel stops a page short of 2 GiB.
const LONGEST: usize = 1 << 30;

/// Opens a file for reads by io_uring: past the page cache with `direct`, which file systems may refuse.
pub(super) fn open(path: &Path, direct: bool, depth: usize, done: Done) -> io::Result<Arc<dyn Reads>> {
    Ok(Arc::new(Uring::new(path, direct, depth, LONGEST, done)?))
}

pub(super) struct Uring {
    shared: Arc<Shared>,
    size: u64,
    direct: bool,
    thread: Option<JoinHandle<()>>,
}

/// Between those who submit and the thread.
struct Shared {
    queue: Mutex<Queue>,
    /// An eventfd.
    wake: File,
}

#[derive(Default)]
struct Queue {
    requests: VecDeque<Request>,
    closing: bool,
}

impl Uring {
    /// `longest`: what one entry reads at most, a multiple of the block size.
    pub(super) fn new(path: &Path, direct: bool, depth: usize, longest: usize, done: Done) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true);
        if direct {
            options.custom_flags(libc::O_DIRECT);
        }
        let file = options.open(path)?;
        if direct {
            // Some file systems refuse not the flag but the read, or want larger blocks.
            file.read_at(&mut Buffer::new(BLOCK)?, 0)?;
        }
        let size = file.metadata()?.len();
        let depth = depth.clamp(1, DEEPEST);
        // An entry for every slot, and the poll.
        let ring = IoUring::new((depth as u32 + 1).next_power_of_two())?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        if !probe.is_supported(opcode::Read::CODE) || !probe.is_supported(opcode::PollAdd::CODE) {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "this kernel's io_uring cannot read into plain buffers"));
        }
        let shared = Arc::new(Shared { queue: Mutex::default(), wake: eventfd()? });
        let engine = Engine {
            ring,
            file,
            size,
            direct,
            longest,
            shared: shared.clone(),
            done,
            slots: Slots((0..depth).map(|_| None).collect()),
            free: (0..depth).rev().collect(),
            waiting: VecDeque::new(),
            pushed: 0,
            broken: None,
        };
        let thread = thread::Builder::new().name("wcodec-io-ring".into()).spawn(move || engine.run())?;
        Ok(Self { shared, size, direct, thread: Some(thread) })
    }
}

fn eventfd() -> io::Result<File> {
    // SAFETY: no memory.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    Ok(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

impl Shared {
    fn wake(&self) {
        // It can fail only by being full, and then the thread is as good as woken.
        let _ = (&self.wake).write(&1_u64.to_ne_bytes());
    }
}

impl Reads for Uring {
    fn name(&self) -> &'static str {
        if self.direct { "io_uring direct" } else { "io_uring" }
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn submit(&self, request: Request) {
        let mut queue = lock(&self.shared.queue);
        let first = queue.requests.is_empty();
        queue.requests.push_back(request);
        drop(queue);
        // The thread takes all there is: whoever found the queue not empty comes after one who wakes it.
        if first {
            self.shared.wake();
        }
    }

    fn alignment(&self) -> u64 {
        if self.direct { BLOCK as u64 } else { 1 }
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        lock(&self.shared.queue).closing = true;
        self.shared.wake();
        if let Some(thread) = self.thread.take() {
            join(thread);
        }
    }
}

/// A read that the kernel has been told of.
struct Flight {
    request: Request,
    /// Bytes that must arrive, and that have.
    required: usize,
    filled: usize,
    began: Instant,
    /// The number of its entry, counted from the ring's first.
    entry: u64,
    /// To be done by a thread of the kernel that may sleep.
    sleeps: bool,
}

/// The reads in flight. Their buffers are the kernel's: a flight is taken out only when its completion has arrived, or when the kernel
/// has never seen its entry.
struct Slots(Vec<Option<Flight>>);

impl Drop for Slots {
    fn drop(&mut self) {
        // Empty, unless the thread panicked. Then better lost than written to by the kernel when it is somebody else's.
        self.0.drain(..).for_each(std::mem::forget);
    }
}

/// What the thread has.
struct Engine {
    ring: IoUring,
    file: File,
    size: u64,
    direct: bool,
    longest: usize,
    shared: Arc<Shared>,
    done: Done,
    slots: Slots,
    /// Numbers of empty slots.
    free: Vec<usize>,
    /// Requests that have no slot yet.
    waiting: VecDeque<Request>,
    /// Entries pushed so far.
    pushed: u64,
    /// Why the ring is not entered any more.
    broken: Option<i32>,
}

impl Engine {
    fn run(mut self) {
        let mut completions = Vec::new();
        self.arm();
        loop {
            let closing = {
                let mut queue = lock(&self.shared.queue);
                self.waiting.append(&mut queue.requests);
                queue.closing
            };
            if closing {
                while let Some(request) = self.waiting.pop_front() {
                    request.complete(&self.done, Instant::now(), Err(closed()));
                }
                if self.free.len() == self.slots.0.len() {
                    return;
                }
            }
            while let Some(slot) = self.free.pop() {
                let Some(request) = self.waiting.pop_front() else {
                    self.free.push(slot);
                    break;
                };
                self.start(slot, request);
            }
            self.wait();
            completions.extend(self.ring.completion().map(|c| (c.user_data(), c.result())));
            for (what, result) in completions.drain(..) {
                if what == WAKE { self.woken(result) } else { self.arrived(what as usize, result) }
            }
        }
    }

    /// Has the ring watch the wake. A poll serves once.
    fn arm(&mut self) {
        let poll = opcode::PollAdd::new(types::Fd(self.shared.wake.as_raw_fd()), libc::POLLIN as u32).build().user_data(WAKE);
        // SAFETY: a poll names no memory; the descriptor is open as long as `self`.
        if let Err(code) = unsafe { self.push(&poll) } {
            self.give_up(code);
        }
    }

    fn woken(&mut self, result: i32) {
        // Only to reset it. What it tells is in the queue, which is looked at afterwards.
        let _ = (&self.shared.wake).read(&mut [0; 8]);
        match -result {
            code if code > 0 && code != libc::EINTR && code != libc::EAGAIN => self.give_up(code),
            _ => self.arm(),
        }
    }

    fn start(&mut self, slot: usize, request: Request) {
        let began = Instant::now();
        match request.check(self.size, if self.direct { BLOCK as u64 } else { 1 }) {
            Ok(required) if required > 0 => {
                // What the page cache has is copied while entries are taken, one by one: that is not for this thread.
                let sleeps = !self.direct;
                self.read(slot, Flight { request, required, filled: 0, began, entry: 0, sleeps });
            }
            result => {
                self.free.push(slot);
                request.complete(&self.done, began, result.map(drop));
            }
        }
    }

    /// Tells the kernel to read the rest of `flight`.
    fn read(&mut self, slot: usize, mut flight: Flight) {
        let Request { offset, len, buffer, .. } = &mut flight.request;
        let rest = &mut buffer[flight.filled..*len];
        let count = rest.len().min(self.longest) as u32;
        let read =
            opcode::Read::new(types::Fd(self.file.as_raw_fd()), rest.as_mut_ptr(), count).offset(*offset + flight.filled as u64);
        let flags = if flight.sleeps { squeue::Flags::ASYNC } else { squeue::Flags::empty() };
        flight.entry = self.pushed;
        // SAFETY: the entry's bytes are in the buffer, which does not move, goes into `slots` and stays there until the completion; the
        // file is open as long as `self`, which outlives every flight.
        match unsafe { self.push(&read.build().flags(flags).user_data(slot as u64)) } {
            Ok(()) => self.slots.0[slot] = Some(flight),
            Err(code) => self.land(slot, flight, Err(io::Error::from_raw_os_error(code))),
        }
    }

    /// # Safety
    ///
    /// What the entry points to must be valid until its completion.
    unsafe fn push(&mut self, entry: &squeue::Entry) -> Result<(), i32> {
        if let Some(code) = self.broken {
            return Err(code);
        }
        // There is an entry for every slot and the poll, so it is never full.
        // SAFETY: as promised by the caller.
        unsafe { self.ring.submission().push(entry) }.map_err(|_| libc::EBUSY)?;
        self.pushed += 1;
        Ok(())
    }

    /// Enters the kernel until something completes.
    fn wait(&mut self) {
        const PAUSE: Duration = Duration::from_millis(1);
        if self.broken.is_some() {
            // The kernel goes on with what it has, and completes it in memory: that can be looked at without its help.
            return thread::sleep(PAUSE);
        }
        if let Err(e) = self.ring.submit_and_wait(1) {
            match e.raw_os_error() {
                Some(libc::EINTR) => {}
                // Short of memory, or completions are to be taken first.
                Some(libc::EAGAIN | libc::EBUSY) => thread::sleep(PAUSE),
                code => self.give_up(code.unwrap_or(libc::EIO)),
            }
        }
    }

    /// The kernel refuses to be entered. What it has not taken yet, and all that comes, is an error.
    fn give_up(&mut self, code: i32) {
        self.broken = Some(code);
        // Entries are taken in order: these are the last ones.
        let taken = self.pushed - self.ring.submission().len() as u64;
        for slot in 0..self.slots.0.len() {
            if let Some(flight) = self.slots.0[slot].take_if(|flight| flight.entry >= taken) {
                self.land(slot, flight, Err(io::Error::from_raw_os_error(code)));
            }
        }
    }

    /// A completion of a read.
    fn arrived(&mut self, slot: usize, result: i32) {
        let Some(mut flight) = self.slots.0.get_mut(slot).and_then(Option::take) else { return };
        let Ok(count) = usize::try_from(result) else {
            return match -result {
                libc::EINTR | libc::EAGAIN => {
                    flight.sleeps = true;
                    self.read(slot, flight);
                }
                code => self.land(slot, flight, Err(io::Error::from_raw_os_error(code))),
            };
        };
        let reached = flight.filled + count;
        if reached >= flight.required {
            return self.land(slot, flight, Ok(()));
        }
        // A direct read can go on only at a block. One that ends within a block is the end of a file that was shortened; if it was not,
        // the block is read again and arrives whole.
        let filled = if self.direct { reached - reached % BLOCK } else { reached };
        if filled == flight.filled {
            return self.land(slot, flight, Err(past_end()));
        }
        flight.filled = filled;
        self.read(slot, flight);
    }

    fn land(&mut self, slot: usize, flight: Flight, result: io::Result<()>) {
        self.free.push(slot);
        flight.request.complete(&self.done, flight.began, result);
    }
}
