//! A stream: a queue of work done first in, first out by a thread of its own.
//!
//! ```text
//! push:    seq = ++enqueued; queue (waits, touches, work); demanded = seq unless lazy
//! worker:  take the front once seq <= demanded; wait for its tickets; do it; completed = seq
//! ticket:  (stream, seq): done when completed >= seq; waiting for it raises demanded
//! ```
//!
//! Everything that orders work is a ticket: events, the default stream's barriers, synchronisation. A ticket is taken from
//! work already queued, so waits never form a cycle.

use std::collections::VecDeque;
use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Condvar, Mutex};

use super::handle::Handle;
use super::settings::settings;
use super::sync::{lock, wait};

/// Addresses a piece of work will read or write, device or pinned host.
pub(crate) type Touches = Vec<Range<u64>>;

type Work = Box<dyn FnOnce() + Send>;

struct Entry {
    seq: u64,
    waits: Vec<Ticket>,
    touches: Touches,
    work: Work,
}

#[derive(Default)]
struct Queue {
    entries: VecDeque<Entry>,
    /// What the work under way touches.
    running: Option<Touches>,
    enqueued: u64,
    demanded: u64,
    completed: u64,
    closed: bool,
}

pub(crate) struct Stream {
    pub handle: Handle,
    /// The handle of the context it belongs to.
    pub context: Handle,
    /// Whether it is ordered with the legacy default stream.
    pub blocking: bool,
    queue: Mutex<Queue>,
    changed: Condvar,
}

/// A point in a stream's work.
#[derive(Clone)]
pub(crate) struct Ticket {
    stream: Arc<Stream>,
    seq: u64,
}

impl Ticket {
    /// Whether the work up to here is done. Asking counts as wanting it done: a poller must see it happen.
    pub(crate) fn poll(&self) -> bool {
        self.stream.demand(self.seq);
        self.is_done()
    }

    pub(crate) fn is_done(&self) -> bool {
        lock(&self.stream.queue).completed >= self.seq
    }

    /// Blocks until the work up to here is done.
    pub(crate) fn wait(&self) {
        self.stream.demand(self.seq);
        let mut queue = lock(&self.stream.queue);
        while queue.completed < self.seq {
            queue = wait(&self.stream.changed, queue);
        }
    }
}

impl Stream {
    /// Starts a stream and its thread; the error is the operating system's.
    pub(crate) fn start(handle: Handle, context: Handle, blocking: bool) -> std::io::Result<Arc<Stream>> {
        let stream = Arc::new(Stream { handle, context, blocking, queue: Mutex::default(), changed: Condvar::new() });
        let worker = stream.clone();
        std::thread::Builder::new().name(format!("stream {handle:#x}")).spawn(move || worker.run())?;
        Ok(stream)
    }

    /// Queues `work` to run when all before it and `waits` are done.
    pub(crate) fn push(self: &Arc<Self>, waits: Vec<Ticket>, touches: Touches, work: impl FnOnce() + Send + 'static) -> Ticket {
        let lazy = settings().lazy;
        let mut queue = lock(&self.queue);
        if queue.closed {
            // Destroyed while the caller was on its way here: dropped, since nobody is left to do it.
            return Ticket { stream: self.clone(), seq: queue.enqueued };
        }
        queue.enqueued += 1;
        let seq = queue.enqueued;
        queue.entries.push_back(Entry { seq, waits, touches, work: Box::new(work) });
        if !lazy {
            queue.demanded = queue.demanded.max(seq);
        }
        self.changed.notify_all();
        Ticket { stream: self.clone(), seq }
    }

    /// The end of all work queued so far.
    pub(crate) fn last(self: &Arc<Self>) -> Ticket {
        Ticket { stream: self.clone(), seq: lock(&self.queue).enqueued }
    }

    pub(crate) fn is_idle(&self) -> bool {
        let queue = lock(&self.queue);
        queue.completed == queue.enqueued
    }

    /// Whether it is closed and all its work done.
    pub(crate) fn is_over(&self) -> bool {
        let queue = lock(&self.queue);
        queue.closed && queue.completed == queue.enqueued
    }

    /// Whether work not yet done refers to any of `range`.
    pub(crate) fn touches(&self, range: &Range<u64>) -> bool {
        let overlaps = |touched: &Range<u64>| touched.start < range.end && range.start < touched.end;
        let queue = lock(&self.queue);
        queue.entries.iter().map(|entry| &entry.touches).chain(&queue.running).flatten().any(overlaps)
    }

    /// Takes no more work; the thread does what is queued and ends.
    pub(crate) fn close(&self) {
        let mut queue = lock(&self.queue);
        queue.closed = true;
        queue.demanded = u64::MAX;
        self.changed.notify_all();
    }

    fn demand(&self, seq: u64) {
        let mut queue = lock(&self.queue);
        if queue.demanded < seq {
            queue.demanded = seq;
            self.changed.notify_all();
        }
    }

    fn run(&self) {
        while let Some(Entry { seq, waits, work, .. }) = self.next() {
            waits.iter().for_each(Ticket::wait);
            drop(waits);
            // A panic in one piece of work has been reported by the hook; the stream must go on or waiters hang.
            let _ = std::panic::catch_unwind(AssertUnwindSafe(work));
            let mut queue = lock(&self.queue);
            queue.running = None;
            queue.completed = seq;
            self.changed.notify_all();
        }
    }

    /// Takes the front entry once somebody wants it; `None` when closed and empty.
    fn next(&self) -> Option<Entry> {
        let mut queue = lock(&self.queue);
        loop {
            match queue.entries.front() {
                Some(front) if front.seq <= queue.demanded => break,
                None if queue.closed => return None,
                _ => queue = wait(&self.changed, queue),
            }
        }
        let mut entry = queue.entries.pop_front()?;
        queue.running = Some(std::mem::take(&mut entry.touches));
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn stream() -> Arc<Stream> {
        Stream::start(super::super::handle::fresh(), 0, true).unwrap()
    }

    #[test]
    fn work_is_done_in_order_and_only_after_its_waits() {
        let (first, second) = (stream(), stream());
        let (gate, opened) = mpsc::channel::<()>();
        let (log, entries) = mpsc::channel();
        let say = |text: &'static str| {
            let log = log.clone();
            move || log.send(text).unwrap()
        };
        let gated = first.push(vec![], vec![0..8, 1000..1001], {
            let say = say("gate");
            move || {
                opened.recv().unwrap();
                say();
            }
        });
        first.push(vec![], vec![], say("after gate"));
        let other = second.push(vec![first.last()], vec![8..16, 2000..2001], say("other stream"));
        assert!(!gated.poll() && !other.poll());
        assert!(first.touches(&(7..8)) && !first.touches(&(8..9)) && second.touches(&(0..100)));
        gate.send(()).unwrap();
        other.wait();
        assert_eq!(entries.try_iter().collect::<Vec<_>>(), ["gate", "after gate", "other stream"]);
        assert!(first.is_idle() && second.is_idle() && !second.touches(&(0..100)));
        first.close();
        second.close();
    }

    #[test]
    fn a_panicking_piece_of_work_does_not_stop_the_stream() {
        let stream = stream();
        stream.push(vec![], vec![], || panic!("planted"));
        stream.push(vec![], vec![], || ()).wait();
        stream.close();
    }

    #[test]
    fn a_closed_stream_finishes_and_takes_no_more() {
        let stream = stream();
        let (done, count) = mpsc::channel();
        let again = done.clone();
        stream.push(vec![], vec![], move || done.send(()).unwrap());
        stream.close();
        stream.push(vec![], vec![], move || again.send(()).unwrap()).wait();
        assert!(stream.is_over());
        assert_eq!(count.iter().count(), 1);
    }
}
