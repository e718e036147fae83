//! A load in virtual time: the library's scheduler, driven by a queue of events instead of disks and GPUs.
//!
//! - A **link** (disk, PCIe) passes one transfer at a time, in the order in which they were asked for, each at the full rate and no
//!   sooner than the latency after it was asked for. Latencies overlap, so that depth hides them, as it does on a real link.
//! - **The GPU** does the same with batches, and no batch takes less than its slowest warp: small batches leave SMs idle, and lanes hide that.
//! - **Cores** are shared in equal parts by all that computes at a time: lanes that decode, and threads that read, where reading is work (a
//!   copy out of the page cache, what the kernel does for a read of a disk). Nobody has more than one core.
//! - **Wakes** take time where a core was idle: whoever is done is heard of, and whoever is given work begins, a wake later.
//! - A disk may **share** its rate between the reads in flight instead of serving them in turn: then all that begin together end together.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use wcodec::schedule::{Action, Limits, Outcome, Scheduler, Unit};

#[derive(Clone, Copy)]
pub(crate) struct Link {
    pub(crate) gb_s: f64,
    pub(crate) latency_us: f64,
}

#[derive(Clone, Copy)]
pub(crate) enum Decode {
    /// No time: raw files, and what decoding is compared with.
    Instant,
    /// All lanes share the GPU.
    Gpu { gb_s: f64, launch_us: f64, tile_us: f64 },
    /// Each lane is a thread, at this rate while it has a core.
    Core { gb_s: f64 },
    /// The same, at the rate of each piece: [`Piece::decode_us`].
    Piecewise,
}

/// The cores, and what reading takes of them.
#[derive(Clone, Copy)]
pub(crate) struct Cpu {
    pub(crate) cores: f64,
    /// Threads that decode: what a lane is given waits for one.
    pub(crate) decoders: usize,
    /// Threads that read, and what each of them gets done with a core.
    pub(crate) readers: usize,
    pub(crate) read_gb_s: f64,
    /// From one thread's message to another's being awake.
    pub(crate) wake_us: f64,
}

impl Cpu {
    /// A core for everybody, and reads that are no work.
    pub(crate) const FREE: Self =
        Self { cores: f64::INFINITY, decoders: usize::MAX, readers: usize::MAX, read_gb_s: f64::INFINITY, wake_us: 0.0 };
}

#[derive(Clone, Copy)]
pub(crate) struct Pipeline {
    pub(crate) disk: Link,
    /// To the device; unused without stages.
    pub(crate) bus: Link,
    pub(crate) decode: Decode,
    pub(crate) cpu: Cpu,
    /// Whether the disk serves all reads in flight at once.
    pub(crate) disk_shared: bool,
    pub(crate) limits: Limits,
    /// Before the first read.
    pub(crate) open_us: f64,
}

/// One read, and what comes of it.
#[derive(Default)]
pub(crate) struct Piece {
    pub(crate) stored: f64,
    pub(crate) decoded: f64,
    /// On a core, where it was measured for this piece.
    pub(crate) decode_us: f64,
    pub(crate) tensors: Vec<u32>,
}

/// When what was ready, in milliseconds from the start.
pub(crate) struct Times {
    pub(crate) total_ms: f64,
    /// Of each tensor.
    pub(crate) ready_ms: Vec<f64>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The disk has brought a unit.
    Brought(u32),
    /// A thread that decodes hears of a unit, or is done with it; a reader is done.
    Given(u32),
    Done(u32),
    Filled(u32),
    Read(u32),
    Copied(u32),
    Decoded(u32),
}

/// Something that does one thing at a time. Times are whole nanoseconds, so that they can be ordered.
#[derive(Default)]
struct Server {
    free_at: u64,
}

impl Server {
    /// When work that takes `time` is done if it cannot begin before `start`.
    fn serve(&mut self, start: u64, time: u64) -> u64 {
        self.free_at = self.free_at.max(start) + time;
        self.free_at
    }
}

/// Work that shares cores, or a disk. What is left of it is in nanoseconds of one.
struct Shared {
    count: f64,
    now: u64,
    tasks: Vec<(f64, Event)>,
}

impl Shared {
    /// How fast everybody's work goes: at most the speed of one.
    fn speed(&self) -> f64 {
        (self.count / self.tasks.len() as f64).min(1.0)
    }

    fn advance(&mut self, now: u64) {
        let done = (now - self.now) as f64 * self.speed();
        self.tasks.iter_mut().for_each(|(left, _)| *left -= done);
        self.now = now;
    }

    fn start(&mut self, now: u64, work: u64, event: Event) {
        self.advance(now);
        self.tasks.push((work as f64, event));
    }

    /// What is done next if nothing else begins, and when.
    fn next(&self) -> Option<(u64, usize)> {
        let (at, (left, _)) = self.tasks.iter().enumerate().min_by(|a, b| a.1.0.total_cmp(&b.1.0))?;
        Some((self.now + (left.max(0.0) / self.speed()).ceil() as u64, at))
    }

    /// Takes what is done at `now`, if anything is.
    fn finish(&mut self, now: u64) -> Option<Event> {
        let (_, at) = self.next().filter(|next| next.0 == now)?;
        self.advance(now);
        Some(self.tasks.remove(at).1)
    }
}

fn ns(us: f64) -> u64 {
    (us * 1e3).round() as u64
}

/// 1 GB/s is a byte in a nanosecond.
fn transfer(bytes: f64, gb_s: f64) -> u64 {
    (bytes / gb_s).round() as u64
}

/// Loads `pieces`, which are in the order in which they are needed.
pub(crate) fn simulate(pieces: &[Piece], tensors: u32, pipeline: &Pipeline) -> Result<Times, String> {
    let units = pieces.iter().map(|p| Unit { tensors: p.tensors.clone() }).collect();
    let mut scheduler = Scheduler::new(units, tensors, pipeline.limits).map_err(|e| e.to_string())?;
    let (mut disk, mut bus, mut gpu) = (Server::default(), Server::default(), Server::default());
    let shared = |count| Shared { count, now: 0, tasks: Vec::new() };
    let (mut cores, mut platter) = (shared(pipeline.cpu.cores), shared(1.0));
    let wake = ns(pipeline.cpu.wake_us);
    let (mut brought, mut reading) = (VecDeque::new(), 0);
    let (mut given, mut decoding) = (VecDeque::new(), 0);
    let mut events = BinaryHeap::new();
    let mut ready_ms = vec![f64::NAN; tensors as usize];
    let mut now = ns(pipeline.open_us);
    loop {
        while let Some(action) = scheduler.next() {
            match action {
                Action::Read { unit, .. } => {
                    let Link { gb_s, latency_us } = pipeline.disk;
                    let time = transfer(pieces[unit as usize].stored, gb_s);
                    if pipeline.disk_shared {
                        platter.start(now, time, Event::Brought(unit));
                    } else {
                        events.push(Reverse((disk.serve(now + ns(latency_us), time), Event::Brought(unit))));
                    }
                }
                Action::Copy { unit, .. } => {
                    let Link { gb_s, latency_us } = pipeline.bus;
                    let done = bus.serve(now + ns(latency_us), transfer(pieces[unit as usize].stored, gb_s));
                    events.push(Reverse((done, Event::Copied(unit))));
                }
                Action::Decode { unit, .. } => {
                    let bytes = pieces[unit as usize].decoded;
                    let next = match pipeline.decode {
                        Decode::Instant => (now, Event::Decoded(unit)),
                        Decode::Gpu { gb_s, launch_us, tile_us } => {
                            let start = now + ns(launch_us);
                            (gpu.serve(start, transfer(bytes, gb_s)).max(start + ns(tile_us)), Event::Decoded(unit))
                        }
                        Decode::Core { .. } | Decode::Piecewise => (now + wake, Event::Given(unit)),
                    };
                    events.push(Reverse(next));
                }
                Action::Ready { tensor } => ready_ms[tensor as usize] = now as f64 / 1e6,
                Action::Finished(Outcome::Complete) => return Ok(Times { total_ms: now as f64 / 1e6, ready_ms }),
                Action::Finished(outcome) => return Err(format!("the load ended {outcome:?}")),
            }
        }
        let queued = events.peek().map(|e| e.0.0);
        let first = [queued, cores.next().map(|n| n.0), platter.next().map(|n| n.0)].into_iter().flatten().min();
        now = first.ok_or("the scheduler is stuck")?;
        let event = if queued == Some(now) {
            events.pop().map(|e| e.0.1)
        } else {
            [&mut cores, &mut platter].into_iter().find_map(|s| s.finish(now))
        };
        let event = event.ok_or("the scheduler is stuck")?;
        match event {
            Event::Brought(unit) => brought.push_back(unit),
            Event::Given(unit) => given.push_back(unit),
            Event::Done(unit) => {
                decoding -= 1;
                events.push(Reverse((now + wake, Event::Decoded(unit))));
            }
            Event::Filled(unit) => {
                reading -= 1;
                events.push(Reverse((now + wake, Event::Read(unit))));
            }
            Event::Read(unit) => scheduler.read_done(unit, true),
            Event::Copied(unit) => scheduler.copy_done(unit, true),
            Event::Decoded(unit) => scheduler.decode_done(unit, true),
        }
        while decoding < pipeline.cpu.decoders
            && let Some(unit) = given.pop_front()
        {
            decoding += 1;
            let Piece { decoded, decode_us, .. } = pieces[unit as usize];
            let work = if let Decode::Core { gb_s } = pipeline.decode { transfer(decoded, gb_s) } else { ns(decode_us) };
            cores.start(now, work, Event::Done(unit));
        }
        while reading < pipeline.cpu.readers
            && let Some(unit) = brought.pop_front()
        {
            reading += 1;
            cores.start(now, transfer(pieces[unit as usize].stored, pipeline.cpu.read_gb_s), Event::Filled(unit));
        }
    }
}
