//! Decoding units on the CPU: a thread each, from the bytes that a read brought.
#![allow(unsafe_code)]

use super::floats::Floats;
use super::memory::Target;
use super::pages::Pages;
use super::plan::{Part, Unit};
use super::run::{Event, panicked};
use crate::archive::{Archive, Directory};
use crate::container::grid::Piece;
use crate::cpu::tile::Scratch;
use crate::cpu::view::Stores;
use crate::error::{Error, Result};
use crate::io::{Buffer, Reads};
use crate::observe::{Stage, Timeline};
use async_channel::Receiver;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::Instant;

/// What decoding needs to know of a load.
pub(super) struct Job {
    pub archive: Arc<Archive>,
    /// By number of the tensor in the request, as all below.
    pub entries: Vec<u32>,
    pub directories: Vec<Directory<'static>>,
    /// What becomes of integers.
    pub floats: Vec<Option<Floats>>,
    pub units: Vec<Unit>,
    /// Outputs of more than the caches hold are written past them.
    pub stores: Stores,
}

/// Buffers that a thread keeps.
#[derive(Default)]
pub(super) struct Buffers {
    scratch: Scratch,
    tile: Vec<u8>,
    /// Integers that become floats.
    codes: Vec<u8>,
}

impl Job {
    /// What a unit is called in a timeline: its first tensor, and how many more.
    pub(super) fn name(&self, unit: u32) -> String {
        let tensors = self.units[unit as usize].tensors();
        let first = self.archive.entry_tensor(self.entries[tensors[0] as usize]).name();
        if tensors.len() > 1 { format!("{first} and {} more", tensors.len() - 1) } else { first.into() }
    }

    /// Where a part goes in its tensor.
    fn output(&self, part: &Part) -> Range<u64> {
        match &self.floats[part.tensor as usize] {
            Some(floats) => floats.output(&part.output),
            None => part.output.clone(),
        }
    }

    /// Bytes of tensors that a unit is decoded to.
    pub(super) fn output_bytes(&self, unit: u32) -> u64 {
        self.units[unit as usize].parts.iter().map(|part| self.output(part)).map(|output| output.end - output.start).sum()
    }

    /// Asks for huge pages under what a unit is decoded to.
    fn prepare(&self, unit: u32, targets: &[Target], pages: &Pages) {
        for part in &self.units[unit as usize].parts {
            pages.before_writing(targets[part.tensor as usize].addresses(self.output(part)));
        }
    }

    /// Decodes a unit of which `bytes` holds the archive's bytes from `start` on; a fault names tensor, tile and offset.
    pub(super) fn decode(&self, unit: u32, start: u64, bytes: &[u8], targets: &[Target], buffers: &mut Buffers) -> Result<()> {
        for part in &self.units[unit as usize].parts {
            let payload = &bytes[(part.payload.start - start) as usize..(part.payload.end - start) as usize];
            let write = |out: &mut [u8]| match &self.floats[part.tensor as usize] {
                None => self.part(part, payload, out, self.stores, buffers),
                Some(floats) => {
                    let mut codes = std::mem::take(&mut buffers.codes);
                    let len = (part.output.end - part.output.start) as usize;
                    codes.resize(codes.len().max(len), 0);
                    let done = self
                        .part(part, payload, &mut codes[..len], Stores::Cached, buffers)
                        .and_then(|()| floats.expand(&self.archive, part.output.start, &codes[..len], out));
                    buffers.codes = codes;
                    done
                }
            };
            // SAFETY: each part has bytes of its own (of integers, those of their floats), and a unit is decoded once, before its tensors are handed out.
            unsafe { targets[part.tensor as usize].with(self.output(part), write) }?;
        }
        Ok(())
    }

    fn part(&self, part: &Part, payload: &[u8], out: &mut [u8], stores: Stores, buffers: &mut Buffers) -> Result<()> {
        let tensor = self.archive.entry_tensor(self.entries[part.tensor as usize]);
        let directory = &self.directories[part.tensor as usize];
        let Buffers { scratch, tile: whole, .. } = buffers;
        if part.whole {
            let piece = Piece { tiles: part.tiles.clone(), bytes: tensor.entry.grid.span(&part.tiles) };
            return tensor.decode_piece_of(directory, &piece, payload, scratch, out, stores);
        }
        for tile in part.tiles.clone() {
            let own = tensor.payload_range(directory, &(tile..tile + 1))?;
            let from = own.start.checked_sub(part.payload.start);
            let bytes = from.and_then(|from| payload.get(from as usize..)?.get(..(own.end - own.start) as usize));
            let bytes = bytes.ok_or_else(|| tensor.fault(directory, tile, "its payload is out of order".into()))?;
            tensor.decode_tile_slice(directory, tile, bytes, part.rows.clone(), part.columns.clone(), scratch, whole, out)?;
        }
        Ok(())
    }
}

/// A unit for a decoding thread: its bytes, or none where they are in place.
pub(super) struct Work {
    pub unit: u32,
    pub start: u64,
    pub slot: Option<(u32, Buffer)>,
}

/// Starts decoding thread `lane`, which takes what is next in the inbox that all share.
pub(super) fn worker(
    lane: usize,
    inbox: &Receiver<Work>,
    job: &Arc<Job>,
    targets: &Arc<[Target]>,
    pages: &Arc<Pages>,
    reads: &Arc<dyn Reads>,
    events: &Sender<Event>,
    timeline: Option<&Timeline>,
    workers: &mut Vec<JoinHandle<()>>,
) -> Result<()> {
    let (inbox, job, targets, pages, reads, events, timeline) =
        (inbox.clone(), job.clone(), targets.clone(), pages.clone(), reads.clone(), events.clone(), timeline.cloned());
    let run = move || {
        let mut buffers = Buffers::default();
        while let Ok(Work { unit, start, slot }) = inbox.recv_blocking() {
            let began = Instant::now();
            let range = &job.units[unit as usize].range;
            let decode = || {
                job.prepare(unit, &targets, &pages);
                match &slot {
                    Some((_, buffer)) => job.decode(unit, start, buffer, &targets, &mut buffers),
                    None => match reads.view(range.clone()) {
                        Some(bytes) => job.decode(unit, range.start, bytes, &targets, &mut buffers),
                        None => Err(Error::corrupt("the file was cut short while it was loaded").at(range.start)),
                    },
                }
            };
            let result = catch_unwind(AssertUnwindSafe(decode)).unwrap_or_else(|_| Err(panicked()));
            let ended = Instant::now();
            let _ = events.send(Event::Decoded { unit, slot, result });
            if let Some(timeline) = &timeline {
                let bytes = job.output_bytes(unit);
                let record = || timeline.record(Stage::Decode, lane as u32, job.name(unit), began, ended, bytes);
                // Whatever a subscriber of `tracing` does there: the driver waits for what is given to this thread next.
                let _ = catch_unwind(AssertUnwindSafe(record));
            }
        }
    };
    let thread = std::thread::Builder::new().name(format!("wcodec-decode-{lane}")).spawn(run);
    workers.push(thread.map_err(|e| Error::io("starting a thread", e))?);
    Ok(())
}
