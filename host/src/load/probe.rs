//! Reading alone and decoding alone, as a load does both together: what the model of a load (`benches/load_model.rs`) is fed. Hidden: no part of
//! the library's interface.
#![allow(unsafe_code)]

use super::Loader;
use super::cpu::{Buffers, Job};
use super::memory::{HostTensor, Target};
use super::run::open_reads;
use crate::error::{Error, Result};
use crate::io::{self, Buffer, Completion, OnDone, Reads, Request};
use crate::schedule::Limits;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The plan of a load on the CPU, and what reads it.
pub struct Probe {
    job: Job,
    lens: Vec<usize>,
    limits: Limits,
    threads: usize,
    slot_bytes: u64,
    reads: Arc<dyn Reads>,
    done: Receiver<Completion>,
}

/// What something alone took.
#[derive(Clone, Debug, Default)]
pub struct Alone {
    /// From the first to the last.
    pub seconds: f64,
    /// Of all cores together (0 where nobody can tell).
    pub cpu_seconds: f64,
    /// Each unit, from its start to its end.
    pub units: Vec<f64>,
}

impl Loader {
    /// Reads as from a disk that brings no more than `gb_s`, one read after the other, whatever this one does.
    #[doc(hidden)]
    pub fn paced(mut self, gb_s: f64) -> Result<Self> {
        let (path, choice) = (self.path.clone(), self.io);
        let bytes: Arc<[u64]> = self.plan()?.0.units.iter().map(|u| u.range.end - u.range.start).collect();
        self.reads = Some(Arc::new(move |depth, on_done: OnDone| {
            let (free_at, bytes) = (Mutex::new(Instant::now()), bytes.clone());
            let paced = move |mut done: Completion| {
                let mut free_at = free_at.lock().unwrap_or_else(PoisonError::into_inner);
                // The lower half of a read's number is its unit's.
                let bytes = bytes[done.id as u32 as usize] as f64;
                *free_at = (*free_at).max(done.began) + Duration::from_secs_f64(bytes / gb_s / 1e9);
                std::thread::sleep(free_at.saturating_duration_since(Instant::now()));
                done.ended = Instant::now();
                on_done(done);
            };
            io::open(&path, choice, depth, Box::new(paced))
        }));
        Ok(self)
    }

    /// Plans a load and opens what reads, and starts neither reading nor decoding.
    #[doc(hidden)]
    pub fn probe(self) -> Result<Probe> {
        if self.members.is_some() {
            return Err(Error::argument("a directory's archives are probed one by one"));
        }
        let (job, infos) = self.plan()?;
        let (sender, done) = channel();
        let reads = open_reads(&self, sender, |completion| completion)?;
        let budget = self.budget_bytes();
        let room = self.room(&job.units, &*reads, budget);
        let limits = room.limits().map_err(|needed| super::too_small(budget, needed))?;
        let lens = infos.iter().map(|i| i.byte_len as usize).collect();
        Ok(Probe { job, lens, limits, threads: room.threads, slot_bytes: room.slot_bytes, reads, done })
    }
}

impl Probe {
    /// As the load would have them.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Threads that decode.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// What reads.
    pub fn reader(&self) -> &'static str {
        self.reads.name()
    }

    /// Threads that copy what is read; 0 where a device brings it.
    pub fn copiers(&self) -> usize {
        self.reads.threads()
    }

    /// How many tensors there are.
    pub fn tensors(&self) -> usize {
        self.lens.len()
    }

    /// Of each unit: bytes read, bytes decoded, tensors.
    pub fn units(&self) -> Vec<(u64, u64, Vec<u32>)> {
        let alignment = self.reads.alignment();
        let read = |u: &super::plan::Unit| u.span(alignment).end - u.span(alignment).start;
        self.job.units.iter().zip(0..).map(|(u, number)| (read(u), self.job.output_bytes(number), u.tensors())).collect()
    }

    /// Reads all units, into as many slots and with as many reads in flight as a load has; what is read is dropped, or kept for
    /// [`decode`](Self::decode).
    fn read_into(&self, mut keep: impl FnMut(u32, &[u8])) -> Result<Alone> {
        let mut alone = Alone { units: vec![0.0; self.job.units.len()], ..Alone::default() };
        let mut free: Vec<Option<Buffer>> = (0..self.limits.slots).map(|_| None).collect();
        let (began, cpu) = (Instant::now(), cpu_seconds());
        let (mut next, mut flying, count) = (0, 0, self.job.units.len());
        while next < count || flying > 0 {
            while next < count && flying < self.limits.reads {
                // First in, first out, as every slot of a load is used in turn.
                let buffer = match free.remove(0) {
                    Some(buffer) => buffer,
                    None => Buffer::new(self.slot_bytes as usize).map_err(|e| Error::io("reserving memory to read into", e))?,
                };
                let span = self.job.units[next].span(self.reads.alignment());
                self.reads.submit(Request { id: next as u64, offset: span.start, len: (span.end - span.start) as usize, buffer });
                (next, flying) = (next + 1, flying + 1);
            }
            let done = self.done.recv().map_err(|_| super::run::panicked())?;
            flying -= 1;
            done.result.map_err(|e| Error::io("reading", e))?;
            alone.units[done.id as usize] = (done.ended - done.began).as_secs_f64();
            keep(done.id as u32, &done.buffer);
            free.push(Some(done.buffer));
        }
        (alone.seconds, alone.cpu_seconds) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        Ok(alone)
    }

    /// Reads everything and decodes nothing.
    pub fn read(&self) -> Result<Alone> {
        self.read_into(|_, _| ())
    }

    /// Decodes everything, from memory into fresh memory of the loader's kind, by as many threads as the load would; reading is not in the time.
    pub fn decode(&self) -> Result<Alone> {
        let mut stored: Vec<Option<Buffer>> = self.job.units.iter().map(|_| None).collect();
        let mut failed = Ok(());
        self.read_into(|unit, bytes| match Buffer::new(bytes.len()) {
            Ok(mut buffer) => {
                buffer.copy_from_slice(bytes);
                stored[unit as usize] = Some(buffer);
            }
            Err(e) => failed = Err(Error::io("reserving memory to read into", e)),
        })?;
        failed?;
        // Each thread takes what is next.
        let count = stored.len();
        let stored = Mutex::new(stored.into_iter().flatten().enumerate());
        let outputs = HostTensor::all(&self.lens)?;
        let targets: Vec<Target> = outputs.iter().map(|o| Target::new(o)).collect();
        let (job, alignment, units) = (&self.job, self.reads.alignment(), Mutex::new(vec![0.0; count]));
        let lane = || -> Result<()> {
            let mut buffers = Buffers::default();
            loop {
                let next = stored.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some((unit, bytes)) = next else { return Ok(()) };
                let began = Instant::now();
                job.decode(unit as u32, job.units[unit].span(alignment).start, &bytes, &targets, &mut buffers)?;
                units.lock().unwrap_or_else(PoisonError::into_inner)[unit] = began.elapsed().as_secs_f64();
            }
        };
        let (began, cpu) = (Instant::now(), cpu_seconds());
        std::thread::scope(|scope| {
            let lanes: Vec<_> = (0..self.threads).map(|_| scope.spawn(lane)).collect();
            lanes.into_iter().try_for_each(|l| l.join().unwrap_or_else(|_| Err(super::run::panicked())))
        })?;
        let (seconds, cpu_seconds) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
        Ok(Alone { seconds, cpu_seconds, units: units.into_inner().unwrap_or_else(PoisonError::into_inner) })
    }
}

/// Seconds that cores have worked for this process, the kernel's work for it included.
fn cpu_seconds() -> f64 {
    #[cfg(target_os = "linux")]
    {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the one thing that is written is `time`.
        match unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) } {
            0 => time.tv_sec as f64 + time.tv_nsec as f64 / 1e9,
            _ => 0.0,
        }
    }
    #[cfg(not(target_os = "linux"))]
    0.0
}
