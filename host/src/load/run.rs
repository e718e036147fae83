//! The thread that drives a load: asks the scheduler what is next, has reads and workers do it, and tells it what came of it.

use super::cpu::{self, Job, Work};
use super::gpu::{self, Stages};
use super::handle::{Counters, Load, LoadProgress};
use super::limits::DEPTH;
use super::memory::{HostMemory, HostTensor, Target};
use super::pages::Pages;
use super::{Data, Loaded, Loader, TensorInfo, too_small};
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::{Device, DeviceTensor};
use crate::io::{self, Buffer, Completion, OnDone, Reads, Request};
use crate::observe::{Stage, Timeline};
use crate::schedule::{Action, Outcome, Place, Scheduler};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

/// Opens what reads: depth, and what to call with each read that is done.
pub(super) type OpenReads = Arc<dyn Fn(usize, OnDone) -> std::io::Result<Arc<dyn Reads>> + Send + Sync>;

/// What happened.
pub(super) enum Event {
    Read(Completion),
    /// A slot was copied to a stage.
    Copied {
        unit: u32,
        slot: u32,
        buffer: Buffer,
        result: Result<()>,
    },
    /// A unit is decoded; the slot it came from is free again.
    Decoded {
        unit: u32,
        slot: Option<(u32, Buffer)>,
        result: Result<()>,
    },
    Cancel,
}

/// Where a tensor goes.
enum Output {
    Host(Box<dyn HostMemory>),
    Device(DeviceTensor),
    Taken,
}

/// Opens what reads the loader's archive. Each completion goes to `to`, as what `wrap` makes of it.
pub(super) fn open_reads<T: Send + 'static>(
    loader: &Loader,
    to: Sender<T>,
    wrap: impl Fn(Completion) -> T + Send + Sync + 'static,
) -> Result<Arc<dyn Reads>> {
    let to = Mutex::new(to);
    let on_done: OnDone = Box::new(move |completion| {
        // A poisoned lock is none: sending cannot panic half-way.
        let to = to.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let _ = to.send(wrap(completion));
    });
    let opened = match &loader.reads {
        Some(open) => open(DEPTH, on_done),
        None => io::open(&loader.path, loader.io, DEPTH, on_done),
    };
    let reads = opened.map_err(|e| Error::io("opening", e).with_path(&loader.path))?;
    if reads.size() != loader.archive.size() {
        let why = format!("it has {} bytes now, and had {} when it was opened", reads.size(), loader.archive.size());
        return Err(loader.archive.place(Error::corrupt(format!("the file has changed: {why}"))));
    }
    Ok(reads)
}

/// Reserves memory, opens what reads, starts the threads.
pub(super) fn start(loader: Loader, job: Job, infos: Vec<TensorInfo>, budget: u64) -> Result<Load> {
    let (events, inbox) = channel();
    let reads = open_reads(&loader, events.clone(), Event::Read)?;
    let gpu = match &loader.device {
        Device::Gpu(gpu) => Some(gpu.clone()),
        _ => None,
    };
    let room = loader.room(&job.units, &*reads, budget);
    let limits = room.limits().map_err(|needed| loader.archive.place(too_small(budget, needed)))?;
    let tensors = infos.len() as u32;
    let scheduled = job.units.iter().map(|u| crate::schedule::Unit { tensors: u.tensors() }).collect();
    let scheduler =
        Scheduler::new(scheduled, tensors, limits).map_err(|e| loader.archive.place(Error::argument(e.to_string())))?;

    let outputs = outputs(&loader, gpu.as_ref(), &infos)?;
    let totals = LoadProgress {
        to_read: job.units.iter().map(|u| u.range.end - u.range.start).sum(),
        to_decode: infos.iter().map(|i| i.byte_len).sum(),
        tensors: tensors as u64,
        ..LoadProgress::default()
    };
    let counters = Arc::new(Counters::default());
    let (ready, receiver) = async_channel::unbounded();
    let job = Arc::new(job);
    let host = || outputs.iter().filter_map(|o| if let Output::Host(memory) = o { Some(&**memory) } else { None });
    let targets: Arc<[Target]> = host().map(Target::new).collect();
    let pages = Arc::new(Pages::of(host()));
    let timeline = loader.timeline.clone();
    let mut workers = Vec::new();
    let stages = match &gpu {
        Some(gpu) => {
            let addresses = outputs.iter().map(|o| if let Output::Device(d) = o { d.address() } else { 0 }).collect();
            Some(Stages::start(gpu, &job, addresses, limits, room.slot_bytes, &events, timeline.as_ref(), &mut workers)?)
        }
        None => None,
    };
    let (work, given) = async_channel::unbounded();
    if gpu.is_none() {
        (0..room.threads).try_for_each(|lane| {
            cpu::worker(lane, &given, &job, &targets, &pages, &reads, &events, timeline.as_ref(), &mut workers)
        })?;
    }
    let reader = reads.name();
    let driver = Driver {
        scheduler,
        job,
        infos,
        outputs,
        reads,
        slots: (0..limits.slots).map(|_| Slot::Empty).collect(),
        slot_bytes: room.slot_bytes,
        work,
        stages,
        inbox,
        ready,
        counters: counters.clone(),
        timeline,
        error: None,
        gpu,
        workers,
    };
    let driver = std::thread::Builder::new()
        .name("wcodec-load".into())
        .spawn(move || {
            let failed = driver.ready.clone();
            // `tracing` runs code of others here: their panic must not look like the end of a load.
            if catch_unwind(AssertUnwindSafe(|| driver.run())).is_err() {
                let _ = failed.try_send(Err(panicked()));
            }
        })
        .map_err(|e| Error::io("starting a thread", e))?;
    Ok(Load { tensors: Box::pin(receiver), events, counters, totals, reader, driver: Some(driver) })
}

/// Memory for every tensor.
fn outputs(loader: &Loader, gpu: Option<&crate::gpu::Gpu>, infos: &[TensorInfo]) -> Result<Vec<Output>> {
    let fail = |e: Error, info: &TensorInfo| loader.archive.place(e).with_tensor(&info.name);
    if let Some(gpu) = gpu {
        return infos.iter().map(|i| Ok(Output::Device(gpu.memory(i.byte_len).map_err(|e| fail(e, i))?))).collect();
    }
    let lens: Option<Vec<usize>> = infos.iter().map(|i| usize::try_from(i.byte_len).ok()).collect();
    let lens = lens.ok_or_else(|| loader.archive.place(Error::argument("a tensor of more bytes than this system addresses")))?;
    let Some(allocate) = &loader.memory else {
        let tensors = HostTensor::all(&lens).map_err(|e| loader.archive.place(e))?;
        return Ok(tensors.into_iter().map(|t| Output::Host(Box::new(t))).collect());
    };
    let own = |(info, &len): (&TensorInfo, &usize)| {
        let memory = allocate(info).map_err(|e| fail(e, info))?;
        if memory.len() != len {
            let why = format!("its memory has {} bytes, it has {len}", memory.len());
            return Err(fail(Error::argument(why), info));
        }
        Ok(Output::Host(memory))
    };
    infos.iter().zip(&lens).map(own).collect()
}

pub(super) fn panicked() -> Error {
    Error::new(ErrorKind::Io, "a thread of the loader panicked: this is a bug")
}

/// A slot of the ring of buffers.
enum Slot {
    /// No memory yet, or with a reader or a worker.
    Empty,
    Free(Buffer),
    /// Holds the bytes of a unit from this position of the archive on.
    Full(u64, Option<Buffer>),
}

struct Driver {
    scheduler: Scheduler,
    job: Arc<Job>,
    infos: Vec<TensorInfo>,
    outputs: Vec<Output>,
    reads: Arc<dyn Reads>,
    slots: Vec<Slot>,
    slot_bytes: u64,
    /// To the threads that decode, if no GPU does.
    work: async_channel::Sender<Work>,
    stages: Option<Stages>,
    inbox: Receiver<Event>,
    ready: async_channel::Sender<Result<Loaded>>,
    counters: Arc<Counters>,
    timeline: Option<Timeline>,
    error: Option<Error>,
    gpu: Option<crate::gpu::Gpu>,
    workers: Vec<JoinHandle<()>>,
}

/// Whatever ends a load, workers end before the memory that they write to.
impl Drop for Driver {
    fn drop(&mut self) {
        // They end with their inboxes.
        self.work.close();
        self.stages = None;
        self.workers.drain(..).for_each(|w| _ = w.join());
    }
}

impl Driver {
    fn run(mut self) {
        let outcome = 'all: loop {
            while let Some(action) = self.scheduler.next() {
                match action {
                    Action::Read { unit, slot } => self.read(unit, slot),
                    Action::Copy { unit, slot, stage } => self.copy(unit, slot, stage),
                    Action::Decode { unit, from, lane } => self.decode(unit, from, lane),
                    Action::Ready { tensor } => self.ready(tensor),
                    Action::Finished(outcome) => break 'all outcome,
                }
            }
            match self.inbox.recv() {
                Ok(event) => self.event(event),
                // Not while `Load` is there, which holds a sender.
                Err(_) => break Outcome::Cancelled,
            }
        };
        let end = match outcome {
            Outcome::Complete => None,
            Outcome::Cancelled => Some(Error::new(ErrorKind::Cancelled, "the load was cancelled")),
            Outcome::Failed => self.error.take().or_else(|| Some(panicked())),
        };
        if let Some(e) = end {
            let _ = self.ready.try_send(Err(self.job.archive.place(e)));
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Read(done) => self.read_done(done),
            Event::Copied { unit, slot, buffer, result } => {
                self.slots[slot as usize] = Slot::Free(buffer);
                let ok = self.keep(unit, result);
                self.scheduler.copy_done(unit, ok);
            }
            Event::Decoded { unit, slot, result } => {
                if let Some((slot, buffer)) = slot {
                    self.slots[slot as usize] = Slot::Free(buffer);
                }
                let ok = self.keep(unit, result);
                if ok {
                    self.counters.decoded.fetch_add(self.job.output_bytes(unit), Ordering::Relaxed);
                }
                self.scheduler.decode_done(unit, ok);
            }
            Event::Cancel => self.scheduler.cancel(),
        }
    }

    /// Whether a step of a unit went well; the first error is kept, with the unit's place if it names none.
    fn keep(&mut self, unit: u32, result: Result<()>) -> bool {
        let Err(e) = result else { return true };
        let unit = &self.job.units[unit as usize];
        let name = &self.infos[unit.parts[0].tensor as usize].name;
        self.error.get_or_insert(e.with_tensor(name).at(unit.range.start));
        false
    }

    fn read(&mut self, unit: u32, slot: u32) {
        let range = self.job.units[unit as usize].range.clone();
        if self.gpu.is_none() && self.reads.view(range.clone()).is_some() {
            // In place: nothing to wait for.
            self.slots[slot as usize] = Slot::Full(range.start, None);
            self.counters.read.fetch_add(range.end - range.start, Ordering::Relaxed);
            self.scheduler.read_done(unit, true);
            return;
        }
        let span = self.job.units[unit as usize].span(self.reads.alignment());
        let buffer = match std::mem::replace(&mut self.slots[slot as usize], Slot::Empty) {
            Slot::Free(buffer) | Slot::Full(_, Some(buffer)) => Ok(buffer),
            _ => gpu::slot_buffer(self.gpu.as_ref(), self.slot_bytes as usize),
        };
        match buffer {
            Ok(buffer) => {
                let len = (span.end - span.start) as usize;
                // The unit and its slot, as the completion must name both.
                let id = (slot as u64) << 32 | unit as u64;
                self.reads.submit(Request { id, offset: span.start, len, buffer });
            }
            Err(e) => {
                self.keep(unit, Err(e));
                self.scheduler.read_done(unit, false);
            }
        }
    }

    fn read_done(&mut self, done: Completion) {
        let (unit, slot) = (done.id as u32, (done.id >> 32) as usize);
        let range = &self.job.units[unit as usize].range;
        let start = self.job.units[unit as usize].span(self.reads.alignment()).start;
        if let Some(timeline) = &self.timeline {
            timeline.record(Stage::Read, slot as u32, self.job.name(unit), done.began, done.ended, range.end - range.start);
        }
        let bytes = range.end - range.start;
        let result = done.result.map_err(|e| Error::io("reading", e));
        self.slots[slot] = match &result {
            Ok(()) => Slot::Full(start, Some(done.buffer)),
            Err(_) => Slot::Free(done.buffer),
        };
        let ok = self.keep(unit, result);
        if ok {
            self.counters.read.fetch_add(bytes, Ordering::Relaxed);
        }
        self.scheduler.read_done(unit, ok);
    }

    /// Takes a full slot's bytes away to be worked on.
    fn take(&mut self, slot: u32) -> (u64, Option<Buffer>) {
        match std::mem::replace(&mut self.slots[slot as usize], Slot::Empty) {
            Slot::Full(start, buffer) => (start, buffer),
            Slot::Empty | Slot::Free(_) => unreachable!("the scheduler gave a slot that is not full"),
        }
    }

    fn copy(&mut self, unit: u32, slot: u32, stage: u32) {
        let (start, buffer) = self.take(slot);
        if let (Some(stages), Some(buffer)) = (&mut self.stages, buffer) {
            let range = &self.job.units[unit as usize].range;
            let place = (range.start - start) as usize..(range.end - start) as usize;
            if !stages.copy(unit, slot, stage, range.start, place, buffer) {
                self.keep(unit, Err(panicked()));
                self.scheduler.copy_done(unit, false);
            }
        }
    }

    fn decode(&mut self, unit: u32, from: Place, lane: u32) {
        match from {
            Place::Slot(slot) => {
                let (start, buffer) = self.take(slot);
                let work = Work { unit, start, slot: buffer.map(|b| (slot, b)) };
                if self.work.try_send(work).is_err() {
                    self.keep(unit, Err(panicked()));
                    self.scheduler.decode_done(unit, false);
                }
            }
            Place::Stage(stage) => {
                if !self.stages.as_ref().is_some_and(|stages| stages.decode(unit, stage, lane)) {
                    self.keep(unit, Err(panicked()));
                    self.scheduler.decode_done(unit, false);
                }
            }
        }
    }

    fn ready(&mut self, tensor: u32) {
        let output = std::mem::replace(&mut self.outputs[tensor as usize], Output::Taken);
        let data = match output {
            Output::Device(memory) => Data::Device(memory),
            Output::Host(memory) => Data::Host(memory),
            Output::Taken => return,
        };
        let info = self.infos[tensor as usize].clone();
        if let Some(timeline) = &self.timeline {
            let now = Instant::now();
            timeline.record(Stage::Ready, 0, &info.name[..], now, now, info.byte_len);
        }
        self.counters.ready.fetch_add(1, Ordering::Relaxed);
        // Whoever has let go of the load wants no more tensors.
        let _ = self.ready.try_send(Ok(Loaded { info, data }));
    }
}
