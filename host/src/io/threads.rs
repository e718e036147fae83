//! Threads that each wait for one read at a time: what every system can do.

use super::{Done, Reads, Request, closed, join, lock};
use crate::source::{FileReader, ReadAt};
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Opens a file for `pread` by `depth` threads.
pub(super) fn open(path: &Path, depth: usize, done: Done) -> io::Result<Arc<dyn Reads>> {
    Ok(Arc::new(Pool::new("threads", FileReader::open(path)?, depth, done)?))
}

/// Threads that serve requests from `source`.
pub(super) struct Pool<S> {
    name: &'static str,
    shared: Arc<Shared<S>>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared<S> {
    source: S,
    done: Done,
    queue: Mutex<Queue>,
    /// Signalled when the queue gets longer, and when the pool closes.
    change: Condvar,
}

#[derive(Default)]
struct Queue {
    requests: VecDeque<Request>,
    closing: bool,
}

impl<S: ReadAt + 'static> Pool<S> {
    pub(super) fn new(name: &'static str, source: S, depth: usize, done: Done) -> io::Result<Self> {
        let shared = Arc::new(Shared { source, done, queue: Mutex::default(), change: Condvar::new() });
        let mut pool = Self { name, shared, threads: Vec::new() };
        for i in 0..depth {
            let shared = pool.shared.clone();
            match thread::Builder::new().name(format!("wcodec-io-{i}")).spawn(move || shared.work()) {
                Ok(thread) => pool.threads.push(thread),
                // Fewer threads than asked for are slower, not wrong.
                Err(_) if i > 0 => break,
                Err(e) => return Err(e),
            }
        }
        Ok(pool)
    }

    pub(super) fn source(&self) -> &S {
        &self.shared.source
    }
}

impl<S: ReadAt> Shared<S> {
    /// What a thread does.
    fn work(&self) {
        while let Some((request, closing)) = self.take() {
            let began = Instant::now();
            let mut request = request;
            let result = if closing { Err(closed()) } else { self.read(&mut request) };
            request.complete(&self.done, began, result);
        }
    }

    /// The next request, and whether it is too late to read it; `None` when there will be none any more.
    fn take(&self) -> Option<(Request, bool)> {
        let mut queue = lock(&self.queue);
        loop {
            if let Some(request) = queue.requests.pop_front() {
                return Some((request, queue.closing));
            }
            if queue.closing {
                return None;
            }
            queue = self.change.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn read(&self, request: &mut Request) -> io::Result<()> {
        let required = request.check(self.source.size(), 1)?;
        let target = &mut request.buffer[..required];
        let mut pause = Duration::from_micros(50);
        loop {
            match self.source.read_exact_at(request.offset, target) {
                // No disk says so, but file systems in user space do. (Interrupted reads go on in `read_exact_at`.)
                Err(e) if e.kind() == io::ErrorKind::WouldBlock && pause < PATIENCE => {
                    thread::sleep(pause);
                    pause *= 2;
                }
                result => return result,
            }
        }
    }
}

/// A read that the system defers longer than this, all in all, has failed.
const PATIENCE: Duration = Duration::from_secs(2);

impl<S: ReadAt + 'static> Reads for Pool<S> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn size(&self) -> u64 {
        self.shared.source.size()
    }

    fn threads(&self) -> usize {
        self.threads.len()
    }

    fn submit(&self, request: Request) {
        lock(&self.shared.queue).requests.push_back(request);
        self.shared.change.notify_one();
    }
}

impl<S> Drop for Pool<S> {
    fn drop(&mut self) {
        lock(&self.shared.queue).closing = true;
        self.shared.change.notify_all();
        self.threads.drain(..).for_each(join);
    }
}
