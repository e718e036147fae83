//! The model of a load: its parameters (`devices.toml`), models' shapes as units, and the comparison of an archive with the raw file.
#![allow(dead_code)] // The bench and the test each use their part of it.

pub(crate) mod simulate;

use serde::{Deserialize, Serialize};
use simulate::{Cpu, Decode, Link, Piece, Pipeline, Times, simulate};
use wcodec::schedule::Limits;

#[derive(Deserialize)]
pub(crate) struct Parameters {
    pub(crate) gpu: Vec<Gpu>,
    pub(crate) transfer: Transfer,
    pub(crate) storage: Vec<Storage>,
    pub(crate) loader: Loader,
    pub(crate) archive: Archive,
    pub(crate) model: Vec<Model>,
}

#[derive(Clone, Deserialize)]
pub(crate) struct Gpu {
    pub(crate) name: String,
    pub(crate) pcie_gb_s: f64,
    pub(crate) decode_gb_s: f64,
    pub(crate) memory_gb: f64,
    pub(crate) source: String,
}

#[derive(Deserialize)]
pub(crate) struct Transfer {
    pub(crate) copy_us: f64,
    pub(crate) launch_us: f64,
    pub(crate) tile_us: f64,
}

#[derive(Deserialize)]
pub(crate) struct Storage {
    pub(crate) name: String,
    pub(crate) gb_s: f64,
    pub(crate) latency_us: f64,
    pub(crate) unit_mib: f64,
    pub(crate) reads: usize,
    pub(crate) slots: usize,
    pub(crate) source: String,
}

#[derive(Deserialize)]
pub(crate) struct Loader {
    pub(crate) stages: usize,
    pub(crate) lanes: usize,
    pub(crate) open_reads: f64,
    pub(crate) raw_open_reads: f64,
    pub(crate) open_ms: f64,
}

#[derive(Deserialize)]
pub(crate) struct Archive {
    pub(crate) ratio: f64,
    pub(crate) tile_kib: u64,
}

#[derive(Deserialize)]
pub(crate) struct Model {
    pub(crate) name: String,
    hidden: u64,
    layers: u64,
    key_value: u64,
    intermediate: u64,
    vocabulary: u64,
}

const BF16: u64 = 2;

impl Parameters {
    pub(crate) fn read() -> Result<Self, toml::de::Error> {
        toml::from_str(include_str!("devices.toml"))
    }
}

impl Gpu {
    /// One whose kernels are slower: how wrong the kernels' model may be.
    pub(crate) fn slowed(&self, factor: f64) -> Self {
        Self { decode_gb_s: self.decode_gb_s / factor, ..self.clone() }
    }
}

impl Model {
    /// Bytes of every tensor, in the order in which the model needs them.
    pub(crate) fn tensors(&self) -> Vec<u64> {
        let (h, kv, ff) = (self.hidden, self.key_value, self.intermediate);
        // Norm, queries, keys, values, output; norm, gate, up, down.
        let layer = [h, h * h, kv * h, kv * h, h * h, h, ff * h, ff * h, h * ff];
        let mut elements = vec![self.vocabulary * h];
        (0..self.layers).for_each(|_| elements.extend(layer));
        elements.extend([h, self.vocabulary * h]);
        elements.iter().map(|n| n * BF16).collect()
    }

    /// How many tensors the first layer needs: the embedding's and its own.
    pub(crate) const FIRST_LAYER: usize = 10;
}

/// Reads of at least `unit` stored bytes (but for the last), made of whole tiles, which is what can be decoded by itself.
pub(crate) fn pieces(tensors: &[u64], tile: u64, unit: f64, ratio: f64) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut open = Piece::default();
    for (number, &bytes) in (0..).zip(tensors) {
        let mut left = bytes;
        while left > 0 {
            if open.tensors.last() != Some(&number) {
                open.tensors.push(number);
            }
            let missing = ((unit - open.stored) / (tile as f64 * ratio)).ceil() as u64;
            let taken = left.min(missing * tile);
            left -= taken;
            open.stored += taken as f64 * ratio;
            open.decoded += taken as f64;
            if open.stored >= unit {
                pieces.push(std::mem::take(&mut open));
            }
        }
    }
    if !open.tensors.is_empty() {
        pieces.push(open);
    }
    pieces
}

/// An archive's load beside the raw file's. All of it modelled.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) model: String,
    pub(crate) gpu: String,
    pub(crate) storage: String,
    pub(crate) raw_gb: f64,
    /// Whether the card's memory holds it.
    pub(crate) fits: bool,
    pub(crate) units: usize,
    pub(crate) raw_ms: f64,
    pub(crate) wcodec_ms: f64,
    pub(crate) ratio: f64,
    /// How much sooner it would be loaded if decoding took no time.
    pub(crate) unhidden_ms: f64,
    pub(crate) raw_first_layer_ms: f64,
    pub(crate) first_layer_ms: f64,
}

fn first_layer(times: &Times) -> f64 {
    times.ready_ms.iter().take(Model::FIRST_LAYER).copied().fold(0.0, f64::max)
}

pub(crate) fn compare(p: &Parameters, model: &Model, gpu: &Gpu, storage: &Storage) -> Result<Row, String> {
    let tensors = model.tensors();
    let count = tensors.len() as u32;
    let (unit, tile) = (storage.unit_mib * 1048576.0, p.archive.tile_kib * 1024);
    let decode = Decode::Gpu { gb_s: gpu.decode_gb_s, launch_us: p.transfer.launch_us, tile_us: p.transfer.tile_us };
    let pipeline = Pipeline {
        disk: Link { gb_s: storage.gb_s, latency_us: storage.latency_us },
        bus: Link { gb_s: gpu.pcie_gb_s, latency_us: p.transfer.copy_us },
        decode,
        cpu: Cpu::FREE,
        disk_shared: false,
        limits: Limits { slots: storage.slots, reads: storage.reads, stages: p.loader.stages, lanes: p.loader.lanes },
        open_us: p.loader.open_reads * storage.latency_us + 1e3 * p.loader.open_ms,
    };
    let raw_pipeline = Pipeline { decode: Decode::Instant, open_us: p.loader.raw_open_reads * storage.latency_us, ..pipeline };
    let raw = simulate(&pieces(&tensors, tile, unit, 1.0), count, &raw_pipeline)?;
    let archive = pieces(&tensors, tile, unit, p.archive.ratio);
    let times = simulate(&archive, count, &pipeline)?;
    let instant = simulate(&archive, count, &Pipeline { decode: Decode::Instant, ..pipeline })?;
    let raw_gb = tensors.iter().sum::<u64>() as f64 / 1e9;
    Ok(Row {
        model: model.name.clone(),
        gpu: gpu.name.clone(),
        storage: storage.name.clone(),
        raw_gb,
        fits: raw_gb <= gpu.memory_gb,
        units: archive.len(),
        raw_ms: raw.total_ms,
        wcodec_ms: times.total_ms,
        ratio: times.total_ms / raw.total_ms,
        unhidden_ms: times.total_ms - instant.total_ms,
        raw_first_layer_ms: first_layer(&raw),
        first_layer_ms: first_layer(&times),
    })
}
