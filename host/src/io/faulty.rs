//! A back end that fails by plan: a disk that returns errors, delivers too little, is slow, and answers out of order.

use super::{Done, OnDone, Reads, Request, closed, join, lock, past_end};
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// What goes wrong, and how often. Which reads fail depends on `seed` and their ids alone, not on time or order.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// The share of reads, 0 to 1, that end in EIO.
    pub(crate) errors: f64,
    /// The share of the others of which only a part arrives.
    pub(crate) short: f64,
    /// A read takes up to this long.
    pub(crate) delay: Duration,
    /// The next read to be done is any of this many (0 and 1: the first).
    pub(crate) reorder: usize,
}

/// What a plan has for a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Error,
    Short,
}

impl Plan {
    /// What becomes of the read of this id.
    pub(crate) fn fault(&self, id: u64) -> Option<Fault> {
        let mut random = Random(self.seed ^ id.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        if random.share() < self.errors {
            Some(Fault::Error)
        } else if random.share() < self.short {
            Some(Fault::Short)
        } else {
            None
        }
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

pub(crate) struct Faulty {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    bytes: Arc<[u8]>,
    plan: Plan,
    done: Done,
    /// The requests, and whether to close.
    queue: Mutex<(VecDeque<Request>, bool)>,
    change: Condvar,
}

impl Faulty {
    pub(crate) fn new(bytes: Arc<[u8]>, plan: Plan, on_done: OnDone) -> Arc<Self> {
        let shared = Arc::new(Shared { bytes, plan, done: Arc::new(on_done), queue: Mutex::default(), change: Condvar::new() });
        let thread = thread::spawn({
            let shared = shared.clone();
            move || shared.work()
        });
        Arc::new(Self { shared, thread: Some(thread) })
    }
}

impl Shared {
    fn work(&self) {
        let mut random = Random(self.plan.seed);
        let mut queue = lock(&self.queue);
        loop {
            let any = random.below(self.plan.reorder.clamp(1, queue.0.len().max(1)));
            let Some(request) = queue.0.remove(any) else {
                if queue.1 {
                    return;
                }
                queue = self.change.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let closing = queue.1;
            drop(queue);
            let began = Instant::now();
            if closing {
                request.complete(&self.done, began, Err(closed()));
            } else {
                thread::sleep(Duration::from_nanos(random.below(self.plan.delay.as_nanos() as usize + 1) as u64));
                self.read(request, began);
            }
            queue = lock(&self.queue);
        }
    }

    fn read(&self, mut request: Request, began: Instant) {
        let result = request.check(self.bytes.len() as u64, 1).and_then(|len| {
            let start = request.offset as usize;
            let source = &self.bytes[start..start + len];
            match self.plan.fault(request.id) {
                None => {
                    request.buffer[..len].copy_from_slice(source);
                    Ok(())
                }
                // EIO, by its number on every Unix.
                Some(Fault::Error) => Err(io::Error::from_raw_os_error(5)),
                Some(Fault::Short) => {
                    request.buffer[..len / 2].copy_from_slice(&source[..len / 2]);
                    // What is missing must not look like what was there.
                    request.buffer[len / 2..len].fill(0xA5);
                    Err(past_end())
                }
            }
        });
        request.complete(&self.done, began, result);
    }
}

impl Reads for Faulty {
    fn name(&self) -> &'static str {
        "faulty"
    }

    fn size(&self) -> u64 {
        self.shared.bytes.len() as u64
    }

    fn submit(&self, request: Request) {
        lock(&self.shared.queue).0.push_back(request);
        self.shared.change.notify_one();
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        lock(&self.shared.queue).1 = true;
        self.shared.change.notify_one();
        self.thread.take().into_iter().for_each(join);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{SIZE, boxed_done, file, next, request};
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn faults_come_as_planned() {
        let (_, bytes) = file(SIZE);
        let plan = Plan { seed: 3, errors: 0.2, short: 0.2, delay: Duration::from_micros(100), reorder: 6 };
        let mut runs = Vec::new();
        for _ in 0..2 {
            let (done, receiver) = boxed_done();
            let reads = Faulty::new(bytes.clone().into(), plan, done);
            for id in 0..200 {
                reads.submit(request(id, id * 10_000, 10_000));
            }
            let mut order = Vec::new();
            let mut faults = HashMap::new();
            for _ in 0..200 {
                let completion = next(&receiver);
                let start = completion.id as usize * 10_000;
                let whole = completion.buffer[..] == bytes[start..start + 10_000];
                let fault =
                    completion.result.err().map(|e| if e.raw_os_error() == Some(5) { Fault::Error } else { Fault::Short });
                assert_eq!(whole, fault.is_none());
                assert_eq!(fault, plan.fault(completion.id));
                order.push(completion.id);
                faults.insert(completion.id, fault);
            }
            assert!(!order.is_sorted());
            runs.push(faults);
        }
        assert_eq!(runs[0], runs[1]);
        for fault in [None, Some(Fault::Error), Some(Fault::Short)] {
            assert!(runs[0].values().filter(|f| **f == fault).count() > 10, "{fault:?}");
        }
    }
}
