//! What was measured, added up.

mod charts;
pub(crate) mod csv;
pub(crate) mod html;
pub(crate) mod json;

use crate::bounds::{Bounds, Plane};
use crate::kind::Kind;
use crate::measure::{Options, Source};
use crate::peers::Outcome;
use crate::quantize::Quant;
use serde::Serialize;
use std::collections::BTreeMap;

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Subject {
    /// The model, or the file's name.
    pub model: String,
    /// Whether it is made of random numbers.
    pub synthetic: bool,
    /// How much of the model was made.
    pub size: Option<&'static str>,
    /// How it was quantized; `None` is as the file has it.
    pub quant: Option<&'static str>,
    /// What random numbers began with.
    pub seed: Option<u64>,
}

impl Subject {
    pub(crate) fn of(options: &Options) -> Self {
        match &options.source {
            Source::Synthetic(architecture, size) => Self {
                model: architecture.title.into(),
                synthetic: true,
                size: Some(size.id()),
                quant: Some(options.quant.unwrap_or(Quant::Bf16).label()),
                seed: Some(options.seed),
            },
            Source::File(path) => Self {
                model: path.file_name().map_or_else(|| path.to_string_lossy(), |n| n.to_string_lossy()).into_owned(),
                synthetic: false,
                size: None,
                quant: options.quant.map(Quant::label),
                seed: None,
            },
        }
    }
}

/// One stored tensor.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Its layer.
    pub layer: Option<u32>,
    /// What it is for; scales are for what their weights are for.
    pub kind: Kind,
    /// Its element type.
    pub dtype: String,
    /// Its shape as it is stored.
    pub shape: Vec<u64>,
    /// Weights that it stands for: none for scales.
    pub weights: u64,
    /// Its bytes.
    pub bytes: u64,
    /// Its entropies.
    pub bounds: Bounds,
    /// What each coder made of it.
    pub outcomes: Vec<Outcome>,
}

impl Row {
    /// Bytes that a coder made, or would have of the whole tensor if it had a part.
    fn coded(&self, coder: usize) -> f64 {
        let Outcome { bytes, coded, .. } = self.outcomes[coder];
        if bytes == 0 { coded as f64 } else { coded as f64 * self.bytes as f64 / bytes as f64 }
    }
}

/// A coder on some tensors.
#[derive(Clone, Debug, Serialize)]
pub struct Total {
    /// The coder.
    pub coder: String,
    /// Bytes that it made.
    pub coded_bytes: f64,
    /// Those over the bytes that it was given.
    pub ratio: f64,
    /// Those in bits over the weights, scales included; `None` where there are none.
    pub bits_per_weight: Option<f64>,
    /// 1e9 uncompressed bytes a second.
    pub encode_gb_s: f64,
    /// 1e9 uncompressed bytes a second.
    pub decode_gb_s: f64,
    /// The share of the bytes that it was really given.
    pub measured: f64,
}

/// Some tensors: all, those of a kind, of a type, of a layer.
#[derive(Clone, Debug, Serialize)]
pub struct Group {
    /// What they have in common.
    pub label: String,
    /// Tensors.
    pub tensors: usize,
    /// Weights.
    pub weights: u64,
    /// Bytes as stored.
    pub bytes: u64,
    /// Their entropies.
    pub bounds: Bounds,
    /// Each coder.
    pub coders: Vec<Total>,
}

/// Weights of a kind in a layer.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// The kind.
    pub kind: Kind,
    /// The layer; `None` is what is outside of layers.
    pub layer: Option<u32>,
    /// Bits per weight that each coder needs, as far as they have weights.
    pub bits_per_weight: Vec<f64>,
}

/// The histogram of a plane over all tensors of a type.
#[derive(Clone, Debug, Serialize)]
pub struct PlaneHistogram {
    /// The element type.
    pub dtype: String,
    /// Which byte of the element, the least significant first.
    pub byte: usize,
    /// How many bytes an element has.
    pub of: usize,
    /// How often each value is there.
    pub counts: Vec<u64>,
    /// Bits a byte by their entropy, tensor by tensor.
    pub order0_bits: f64,
    /// Bits a byte given the byte before, tensor by tensor.
    pub order1_bits: f64,
}

/// All that a run found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What was measured.
    pub subject: Subject,
    /// The version of wcodec.
    pub version: &'static str,
    /// What the CPU decodes with.
    pub backend: &'static str,
    /// The machine's threads; a coder has one.
    pub threads: usize,
    /// How long the run took.
    pub seconds: f64,
    /// Everything.
    pub total: Group,
    /// By what tensors are for.
    pub kinds: Vec<Group>,
    /// By element types.
    pub dtypes: Vec<Group>,
    /// By layers.
    pub layers: Vec<Group>,
    /// By both kind and layer.
    pub cells: Vec<Cell>,
    /// Planes of each type.
    pub planes: Vec<PlaneHistogram>,
    /// Coders that are not there, and why.
    pub absent: Vec<(String, String)>,
    /// Every stored tensor.
    pub tensors: Vec<Row>,
}

/// The share of a checkpoint's bytes under which a group does not matter to a picture.
const UNSEEN: f64 = 5e-4;

impl Report {
    /// Whether a group is enough of the checkpoint to be drawn to scale.
    pub(crate) fn is_seen(&self, group: &Group) -> bool {
        group.bytes as f64 >= UNSEEN * self.total.bytes as f64
    }
}

/// A report in the making.
pub(crate) struct Builder {
    subject: Subject,
    coders: Vec<String>,
    absent: Vec<(String, String)>,
    rows: Vec<Row>,
    planes: BTreeMap<(String, usize), PlaneHistogram>,
}

impl Builder {
    pub(crate) fn new(subject: Subject, coders: Vec<String>, absent: Vec<(String, String)>) -> Self {
        Self { subject, coders, absent, rows: Vec::new(), planes: BTreeMap::new() }
    }

    /// Adds a tensor.
    pub(crate) fn add(&mut self, row: Row, planes: &[Plane]) {
        for (byte, plane) in planes.iter().enumerate() {
            let sum = self.planes.entry((row.dtype.clone(), byte)).or_insert_with(|| PlaneHistogram {
                dtype: row.dtype.clone(),
                byte,
                of: planes.len(),
                counts: vec![0; 256],
                order0_bits: 0.0,
                order1_bits: 0.0,
            });
            sum.counts.iter_mut().zip(plane.counts).for_each(|(sum, n)| *sum += n);
            sum.order0_bits += plane.order0_bits;
            sum.order1_bits += plane.order1_bits;
        }
        self.rows.push(row);
    }

    /// Adds all up.
    pub(crate) fn finish(self, seconds: f64) -> Report {
        let mut planes: Vec<_> = self.planes.into_values().filter(|p| p.counts.iter().any(|&n| n > 0)).collect();
        for plane in &mut planes {
            let n = plane.counts.iter().sum::<u64>() as f64;
            plane.order0_bits /= n;
            plane.order1_bits /= n;
        }
        let rows = self.rows;
        let groups = |key: &dyn Fn(&Row) -> Option<String>| {
            let mut all: BTreeMap<String, Vec<&Row>> = BTreeMap::new();
            rows.iter().filter_map(|row| Some((key(row)?, row))).for_each(|(key, row)| all.entry(key).or_default().push(row));
            all.into_iter().map(|(label, rows)| group(label, &rows, &self.coders)).collect::<Vec<_>>()
        };
        let mut kinds = groups(&|row| Some(row.kind.label().into()));
        kinds.sort_by_key(|g| Kind::ALL.iter().position(|k| k.label() == g.label));
        let mut dtypes = groups(&|row| Some(row.dtype.clone()));
        dtypes.sort_by_key(|g| std::cmp::Reverse(g.bytes));
        let mut layers = groups(&|row| row.layer.map(|n| format!("{n:010}")));
        layers.iter_mut().for_each(|g| g.label = g.label.trim_start_matches('0').parse().unwrap_or_else(|_| "0".to_owned()));
        let mut cells: BTreeMap<(Kind, Option<u32>), Vec<&Row>> = BTreeMap::new();
        rows.iter().for_each(|row| cells.entry((row.kind, row.layer)).or_default().push(row));
        let cell = |((kind, layer), rows): ((Kind, Option<u32>), Vec<&Row>)| {
            let totals = group(String::new(), &rows, &self.coders).coders;
            let bits_per_weight: Option<Vec<f64>> = totals.iter().map(|t| t.bits_per_weight).collect();
            Some(Cell { kind, layer, bits_per_weight: bits_per_weight? })
        };
        Report {
            subject: self.subject,
            version: env!("CARGO_PKG_VERSION"),
            backend: wcodec::Backend::best().name(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            seconds,
            total: group("all".into(), &rows.iter().collect::<Vec<_>>(), &self.coders),
            kinds,
            dtypes,
            layers,
            cells: cells.into_iter().filter_map(cell).collect(),
            planes,
            absent: self.absent,
            tensors: rows,
        }
    }
}

/// Adds up tensors.
fn group(label: String, rows: &[&Row], coders: &[String]) -> Group {
    let (weights, bytes) = (rows.iter().map(|r| r.weights).sum(), rows.iter().map(|r| r.bytes).sum());
    let total = |(n, coder): (usize, &String)| {
        let coded_bytes: f64 = rows.iter().map(|r| r.coded(n)).sum();
        let sum = |of: fn(&Outcome) -> f64| rows.iter().map(|r| of(&r.outcomes[n])).sum::<f64>();
        let given = sum(|o| o.bytes as f64);
        let rate = |seconds: f64| if seconds > 0.0 { given / 1e9 / seconds } else { 0.0 };
        Total {
            coder: coder.clone(),
            coded_bytes,
            ratio: if bytes > 0 { coded_bytes / bytes as f64 } else { 1.0 },
            bits_per_weight: (weights > 0).then(|| 8.0 * coded_bytes / weights as f64),
            encode_gb_s: rate(sum(|o| o.encode_s)),
            decode_gb_s: rate(sum(|o| o.decode_s)),
            measured: if bytes > 0 { given / bytes as f64 } else { 1.0 },
        }
    };
    let bounds = Bounds {
        order0_bytes: rows.iter().map(|r| r.bounds.order0_bytes).sum(),
        order1_bytes: rows.iter().map(|r| r.bounds.order1_bytes).sum(),
    };
    Group { label, tensors: rows.len(), weights, bytes, bounds, coders: coders.iter().enumerate().map(total).collect() }
}
