//! A load in virtual time: the library's scheduler, driven by a queue of events instead of disks and GPUs.
//!
//! - A **link** (disk, PCIe) passes one transfer at a time, in the order in which they were asked for, each at the full rate and no
//!   sooner than the latency after it was asked for. Latencies overlap, so that depth hides them, as it does on a real link.
//! - **The GPU** does the same with batches, and no batch takes less than its slowest warp: small batches leave SMs idle, and lanes hide that.
//! - **Cores** are not shared: each lane decodes at its own rate.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
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
    /// Each lane is a core.
    Core { gb_s: f64 },
}

#[derive(Clone, Copy)]
pub(crate) struct Pipeline {
    pub(crate) disk: Link,
    /// To the device; unused without stages.
    pub(crate) bus: Link,
    pub(crate) decode: Decode,
    pub(crate) limits: Limits,
    /// Before the first read.
    pub(crate) open_us: f64,
}

/// One read, and what comes of it.
pub(crate) struct Piece {
    pub(crate) stored: f64,
    pub(crate) decoded: f64,
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
    let mut events = BinaryHeap::new();
    let mut ready_ms = vec![f64::NAN; tensors as usize];
    let mut now = ns(pipeline.open_us);
    loop {
        while let Some(action) = scheduler.next() {
            match action {
                Action::Read { unit, .. } => {
                    let Link { gb_s, latency_us } = pipeline.disk;
                    let done = disk.serve(now + ns(latency_us), transfer(pieces[unit as usize].stored, gb_s));
                    events.push(Reverse((done, Event::Read(unit))));
                }
                Action::Copy { unit, .. } => {
                    let Link { gb_s, latency_us } = pipeline.bus;
                    let done = bus.serve(now + ns(latency_us), transfer(pieces[unit as usize].stored, gb_s));
                    events.push(Reverse((done, Event::Copied(unit))));
                }
                Action::Decode { unit, .. } => {
                    let bytes = pieces[unit as usize].decoded;
                    let done = match pipeline.decode {
                        Decode::Instant => now,
                        Decode::Gpu { gb_s, launch_us, tile_us } => {
                            let start = now + ns(launch_us);
                            gpu.serve(start, transfer(bytes, gb_s)).max(start + ns(tile_us))
                        }
                        Decode::Core { gb_s } => now + transfer(bytes, gb_s),
                    };
                    events.push(Reverse((done, Event::Decoded(unit))));
                }
                Action::Ready { tensor } => ready_ms[tensor as usize] = now as f64 / 1e6,
                Action::Finished(Outcome::Complete) => return Ok(Times { total_ms: now as f64 / 1e6, ready_ms }),
                Action::Finished(outcome) => return Err(format!("the load ended {outcome:?}")),
            }
        }
        let Some(Reverse((time, event))) = events.pop() else { return Err("the scheduler is stuck".into()) };
        now = time;
        match event {
            Event::Read(unit) => scheduler.read_done(unit, true),
            Event::Copied(unit) => scheduler.copy_done(unit, true),
            Event::Decoded(unit) => scheduler.decode_done(unit, true),
        }
    }
}
