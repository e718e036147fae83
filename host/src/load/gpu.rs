//! Decoding units on a GPU: a thread copies slots to stages on a stream of its own, a thread a lane decodes stages on its stream. Each waits
//! for its own stream only, so that copies and kernels of different units run at once.

use super::cpu::Job;
use super::run::{Event, panicked};
use crate::error::{Error, Result};
use crate::gpu::{DeviceTensor, Gpu, StagedPart};
use crate::io::Buffer;
use crate::observe::{Stage, Timeline};
use crate::schedule::Limits;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Instant;

/// A buffer to read into: pinned, if a GPU is to copy from it.
pub(super) fn slot_buffer(gpu: Option<&Gpu>, len: usize) -> Result<Buffer> {
    match gpu {
        Some(gpu) => gpu.pinned(len),
        None => Buffer::new(len).map_err(|e| Error::io("reserving memory to read into", e)),
    }
}

struct Copy {
    unit: u32,
    slot: u32,
    stage: u32,
    /// Where in the buffer the unit's bytes are.
    place: Range<usize>,
    buffer: Buffer,
}

struct Decode {
    unit: u32,
    stage: u32,
    /// Position in the archive of the stage's first byte.
    start: u64,
}

/// The stages, and who works on them.
pub(super) struct Stages {
    copier: Sender<Copy>,
    lanes: Vec<Sender<Decode>>,
    starts: Vec<u64>,
}

impl Stages {
    /// Reserves the stages and starts the threads. `outputs` are the tensors' device addresses.
    pub(super) fn start(
        gpu: &Gpu,
        job: &Arc<Job>,
        outputs: Vec<u64>,
        limits: Limits,
        stage_bytes: u64,
        events: &Sender<Event>,
        timeline: Option<&Timeline>,
        workers: &mut Vec<JoinHandle<()>>,
    ) -> Result<Self> {
        let stages = (0..limits.stages).map(|_| gpu.stage(stage_bytes)).collect::<Result<Vec<_>>>()?;
        let (stages, outputs) = (Arc::new(stages), Arc::new(outputs));
        // The outputs and the stages were reserved on the first stream; all others use them from here on.
        gpu.wait()?;
        let copier = copier(gpu.lane()?, job, &stages, events, timeline, workers)?;
        let lanes = (0..limits.lanes)
            .map(|lane| decoder(lane, gpu.lane()?, job, &stages, &outputs, events, timeline, workers))
            .collect::<Result<_>>()?;
        Ok(Self { copier, lanes, starts: vec![0; limits.stages] })
    }

    /// Copies a unit, whose first byte is the archive's at `start`, from its place in a slot to a stage; whether somebody will. The unit's first
    /// byte is the stage's, wherever reads begin: kernels want payloads on 16 bytes.
    pub(super) fn copy(&mut self, unit: u32, slot: u32, stage: u32, start: u64, place: Range<usize>, buffer: Buffer) -> bool {
        self.starts[stage as usize] = start;
        self.copier.send(Copy { unit, slot, stage, place, buffer }).is_ok()
    }

    /// Decodes a stage; whether somebody will.
    pub(super) fn decode(&self, unit: u32, stage: u32, lane: u32) -> bool {
        self.lanes[lane as usize].send(Decode { unit, stage, start: self.starts[stage as usize] }).is_ok()
    }
}

fn spawn(name: String, run: impl FnOnce() + Send + 'static, workers: &mut Vec<JoinHandle<()>>) -> Result<()> {
    workers.push(std::thread::Builder::new().name(name).spawn(run).map_err(|e| Error::io("starting a thread", e))?);
    Ok(())
}

/// Runs `f`; if it fails half-way, what it queued on the stream is awaited all the same: memory is about to be used for something else.
fn guarded(gpu: &Gpu, f: impl FnOnce() -> Result<()>) -> Result<()> {
    let result = catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|_| Err(panicked()));
    if result.is_err() {
        // A second error tells nothing new.
        let _ = gpu.wait();
    }
    result
}

fn copier(
    gpu: Gpu,
    job: &Arc<Job>,
    stages: &Arc<Vec<DeviceTensor>>,
    events: &Sender<Event>,
    timeline: Option<&Timeline>,
    workers: &mut Vec<JoinHandle<()>>,
) -> Result<Sender<Copy>> {
    let (sender, inbox) = channel::<Copy>();
    let (job, stages, events, timeline) = (job.clone(), stages.clone(), events.clone(), timeline.cloned());
    let run = move || {
        for Copy { unit, slot, stage, place, buffer } in inbox {
            let (began, bytes) = (Instant::now(), place.len() as u64);
            // Behind the unit's bytes kernels may look, never use: a stage has been written to all over.
            let result = guarded(&gpu, || gpu.copy_to_stage(&buffer[place], stages[stage as usize].address()));
            let ended = Instant::now();
            let _ = events.send(Event::Copied { unit, slot, buffer, result });
            if let Some(timeline) = &timeline {
                timeline.record(Stage::Copy, stage, job.name(unit), began, ended, bytes);
            }
        }
    };
    spawn("wcodec-copy".into(), run, workers)?;
    Ok(sender)
}

fn decoder(
    lane: usize,
    gpu: Gpu,
    job: &Arc<Job>,
    stages: &Arc<Vec<DeviceTensor>>,
    outputs: &Arc<Vec<u64>>,
    events: &Sender<Event>,
    timeline: Option<&Timeline>,
    workers: &mut Vec<JoinHandle<()>>,
) -> Result<Sender<Decode>> {
    let (sender, inbox) = channel::<Decode>();
    let (job, stages, outputs) = (job.clone(), stages.clone(), outputs.clone());
    let (events, timeline) = (events.clone(), timeline.cloned());
    let run = move || {
        for Decode { unit, stage, start } in inbox {
            let began = Instant::now();
            let stage = stages[stage as usize].address();
            let result = guarded(&gpu, || gpu.decode_staged(&parts(&job, unit, start, stage, &outputs)));
            let ended = Instant::now();
            let _ = events.send(Event::Decoded { unit, slot: None, result });
            if let Some(timeline) = &timeline {
                let bytes = job.output_bytes(unit);
                timeline.record(Stage::Decode, lane as u32, job.name(unit), began, ended, bytes);
            }
        }
    };
    spawn(format!("wcodec-lane-{lane}"), run, workers)?;
    Ok(sender)
}

/// A unit's parts, of which `stage` holds the archive's bytes from `start` on.
fn parts<'a>(job: &'a Job, unit: u32, start: u64, stage: u64, outputs: &[u64]) -> Vec<StagedPart<'a>> {
    let part = |p: &super::plan::Part| StagedPart {
        tensor: job.archive.entry_tensor(job.entries[p.tensor as usize]),
        directory: &job.directories[p.tensor as usize],
        tiles: p.tiles.clone(),
        payload: stage + p.payload.start - start,
        slice: (!p.whole).then(|| (p.rows.clone(), p.columns.clone())),
        output: outputs[p.tensor as usize] + p.output.start,
    };
    job.units[unit as usize].parts.iter().map(part).collect()
}
