//! A run: one thread makes tensors, quantizes them and takes their entropies, this one measures coders on them, and no more than two
//! tensors are in memory.

use crate::architectures::{Architecture, SourceTensor};
use crate::bounds::{Plane, bounds, planes};
use crate::distribution::Synthetic;
use crate::error::{Error, ErrorKind, Result};
use crate::input::Checkpoint;
use crate::kind::{Kind, layer_of};
use crate::output::Output;
use crate::peers::{self, Coder, Outcome, Piece};
use crate::quantize::{Layout, Quant};
use crate::report::{self, Builder, Report, Row};
use crate::size::Size;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

/// What is measured.
#[derive(Clone, Debug)]
pub enum Source {
    /// A checkpoint of an architecture's shapes.
    Synthetic(&'static Architecture, Size),
    /// A safetensors file.
    File(PathBuf),
}

/// A run's settings.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is measured.
    pub source: Source,
    /// How it is quantized; a file may stay as it is.
    pub quant: Option<Quant>,
    /// The directory of the reports.
    pub output: PathBuf,
    /// How often short measurements are repeated.
    pub runs: u32,
    /// Whether the checkpoint is kept beside the reports.
    pub keep: bool,
    /// Whether reports that are there are replaced.
    pub force: bool,
    /// The coders, by the first word of their names; all that are there if it is empty.
    pub only: Vec<String>,
    /// What random numbers begin with.
    pub seed: u64,
}

/// What a run came to.
#[derive(Debug)]
pub struct Finished {
    /// The numbers.
    pub report: Report,
    /// The files: JSON, CSV, the page, the checkpoint if it is kept.
    pub files: Vec<PathBuf>,
}

/// A tensor as it is stored, on its way to the coders.
struct Item {
    layout: Layout,
    data: Vec<u8>,
    kind: Kind,
    layer: Option<u32>,
    /// Weights that it stands for; none for scales.
    weights: u64,
    planes: Vec<Plane>,
}

/// Where tensors come from.
enum Plan {
    Synthetic { tensors: Vec<SourceTensor>, quant: Quant, seed: u64 },
    File { checkpoint: Checkpoint, quant: Option<Quant> },
}

impl Plan {
    fn of(options: &Options) -> Result<Self> {
        Ok(match &options.source {
            Source::Synthetic(architecture, size) => Self::Synthetic {
                tensors: architecture.tensors(*size),
                quant: options.quant.unwrap_or(Quant::Bf16),
                seed: options.seed,
            },
            Source::File(path) => Self::File { checkpoint: Checkpoint::open(path)?, quant: options.quant },
        })
    }

    fn len(&self) -> usize {
        match self {
            Self::Synthetic { tensors, .. } => tensors.len(),
            Self::File { checkpoint, .. } => checkpoint.len(),
        }
    }

    /// What stands for a source tensor.
    fn layouts(&self, index: usize) -> Vec<Layout> {
        match self {
            Self::Synthetic { tensors, quant, .. } => quant.layouts(&tensors[index]),
            Self::File { checkpoint, quant } => {
                let layout = checkpoint.layout(index);
                match (quant, source_of(layout)) {
                    (Some(quant), Some(source)) => quant.layouts(&source),
                    _ => vec![layout.clone()],
                }
            }
        }
    }

    /// Makes them.
    fn make(&self, index: usize) -> Result<Vec<Item>> {
        let layouts = self.layouts(index);
        let (data, weights) = match self {
            Self::Synthetic { tensors, quant, seed } => {
                let tensor = &tensors[index];
                (quant.apply(tensor, &Synthetic::new(tensor, *seed))?, tensor.weights())
            }
            Self::File { checkpoint, quant } => {
                let input = checkpoint.read(index)?;
                let weights = input.layout.shape.iter().product();
                match (quant, input.source()) {
                    (Some(quant), Some(source)) => (quant.apply(&source, &input)?, weights),
                    _ => (vec![input.data], weights),
                }
            }
        };
        let name = match self {
            Self::Synthetic { tensors, .. } => tensors[index].name.clone(),
            Self::File { checkpoint, .. } => checkpoint.layout(index).name.clone(),
        };
        let items = layouts.into_iter().zip(data).enumerate().map(|(n, (layout, data))| Item {
            planes: planes(&data, layout.dtype.bits().unwrap_or(8) as usize / 8),
            layout,
            data,
            kind: Kind::of(&name),
            layer: layer_of(&name),
            weights: if n == 0 { weights } else { 0 },
        });
        Ok(items.collect())
    }

    /// The name of this run's files.
    fn stem(&self, options: &Options) -> String {
        match &options.source {
            Source::Synthetic(architecture, size) => {
                format!("{}-{}-{}", architecture.id, options.quant.unwrap_or(Quant::Bf16), size)
            }
            Source::File(path) => {
                let stem = path.file_stem().map_or_else(|| "checkpoint".into(), |s| s.to_string_lossy());
                options.quant.map_or_else(|| stem.to_string(), |quant| format!("{stem}-{quant}"))
            }
        }
    }
}

/// The tensor that a layout is, if floats.
fn source_of(layout: &Layout) -> Option<SourceTensor> {
    use wcodec::Dtype::{BF16, F16, F32};
    matches!(layout.dtype, BF16 | F16 | F32).then(|| SourceTensor::new(&layout.name, layout.shape.clone()))
}

/// Measures and writes the reports. `progress` hears of bytes done and bytes in all, and may stop the run.
pub fn run(options: &Options, progress: &dyn Fn(u64, u64) -> ControlFlow<()>) -> Result<Finished> {
    let start = Instant::now();
    let plan = Plan::of(options)?;
    let (mut coders, absent) = peers::all(&options.only)?;
    let stem = plan.stem(options);
    let mut names: Vec<_> = ["json", "csv", "html"].map(|extension| format!("{stem}.{extension}")).into();
    if options.keep {
        names.push(format!("{stem}.safetensors"));
    }
    let mut output = Output::begin(&options.output, &names, options.force)?;
    let layouts: Vec<Layout> = (0..plan.len()).flat_map(|index| plan.layouts(index)).collect();
    if options.keep {
        output.write(3, &header(&layouts))?;
    }
    let total: u64 = layouts.iter().map(|l| l.bytes() as u64).sum();
    let labels = coders.iter().map(|c| c.label().to_owned()).collect();
    let mut builder = Builder::new(report::Subject::of(options), labels, absent);
    let mut done = 0;
    std::thread::scope(|scope| {
        let (sender, made) = sync_channel(0);
        let plan = &plan;
        scope.spawn(move || {
            for index in 0..plan.len() {
                let items = plan.make(index);
                let failed = items.is_err();
                // Nobody listens any more if the run was stopped.
                if sender.send(items).is_err() || failed {
                    return;
                }
            }
        });
        for items in made {
            for item in items? {
                if options.keep {
                    output.write(3, &item.data)?;
                }
                let row = measure(&mut coders, &item, options.runs, &|share| {
                    progress(done + (share * item.data.len() as f64) as u64, total)
                })?;
                done += item.data.len() as u64;
                builder.add(row, &item.planes);
            }
        }
        Ok(())
    })?;
    let report = builder.finish(start.elapsed().as_secs_f64());
    output.write(0, report::json::write(&report)?.as_bytes())?;
    output.write(1, report::csv::write(&report).as_bytes())?;
    output.write(2, report::html::write(&report).as_bytes())?;
    Ok(Finished { report, files: output.commit()? })
}

/// All coders on one tensor.
fn measure(coders: &mut [Box<dyn Coder>], item: &Item, runs: u32, progress: &dyn Fn(f64) -> ControlFlow<()>) -> Result<Row> {
    let count = coders.len() as f64;
    let mut outcomes: Vec<Outcome> = Vec::with_capacity(coders.len());
    for (n, coder) in coders.iter_mut().enumerate() {
        if progress(n as f64 / count).is_break() {
            return Err(Error::new(ErrorKind::Cancelled, "interrupted"));
        }
        let whole = Piece { name: &item.layout.name, dtype: item.layout.dtype, shape: &item.layout.shape, data: &item.data };
        let (shape, data) = middle(&item.layout, &item.data, coder.limit());
        outcomes.push(coder.measure(&Piece { shape: &shape, data, ..whole }, runs)?);
    }
    Ok(Row {
        name: item.layout.name.clone(),
        layer: item.layer,
        kind: item.kind,
        dtype: item.layout.dtype.name().unwrap_or("other").to_owned(),
        shape: item.layout.shape.clone(),
        weights: item.weights,
        bytes: item.data.len() as u64,
        bounds: bounds(&item.planes),
        outcomes,
    })
}

/// No more bytes of a tensor than that, from its middle: rows where one fits, elements otherwise.
fn middle<'a>(layout: &Layout, data: &'a [u8], limit: usize) -> (Vec<u64>, &'a [u8]) {
    if data.len() <= limit {
        return (layout.shape.clone(), data);
    }
    let bits = u64::from(layout.dtype.bits().unwrap_or(8));
    let columns = layout.shape.last().copied().unwrap_or(1);
    let row = (columns * bits / 8) as usize;
    let rows = if layout.shape.len() >= 2 && columns * bits % 8 == 0 { limit / row.max(1) } else { 0 };
    if rows > 0 {
        let from = (data.len() / row - rows) / 2 * row;
        return (vec![rows as u64, columns], &data[from..][..rows * row]);
    }
    let from = (data.len() - limit) / 2 / 64 * 64;
    let len = limit / 64 * 64;
    (vec![len as u64 * 8 / bits], &data[from..][..len])
}

/// The header of a safetensors file of these tensors, one after the other.
fn header(layouts: &[Layout]) -> Vec<u8> {
    let mut end = 0;
    let entries = layouts.iter().map(|layout| {
        let begin = end;
        end += layout.bytes();
        let info = serde_json::json!({
            "dtype": layout.dtype.name().unwrap_or("U8"),
            "shape": layout.shape,
            "data_offsets": [begin, end],
        });
        (layout.name.clone(), info)
    });
    let mut text = serde_json::Value::Object(entries.collect()).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    [&(text.len() as u64).to_le_bytes()[..], &text].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wcodec::Dtype;

    #[test]
    fn a_part_is_whole_rows_from_the_middle() {
        let data: Vec<u8> = (0..=255).collect();
        let layout = |shape: &[u64]| Layout { name: "w".into(), dtype: Dtype::BF16, shape: shape.to_vec() };
        assert_eq!(middle(&layout(&[8, 16]), &data, 256), (vec![8, 16], &data[..]));
        assert_eq!(middle(&layout(&[8, 16]), &data, 100), (vec![3, 16], &data[64..160]));
        assert_eq!(middle(&layout(&[128]), &data, 100), (vec![32], &data[64..128]));
        assert_eq!(middle(&layout(&[1, 128]), &data, 100), (vec![32], &data[64..128]));
    }

    #[test]
    fn a_header_lists_tensors_one_after_the_other() {
        let layout = |name: &str, shape: &[u64]| Layout { name: name.into(), dtype: Dtype::BF16, shape: shape.to_vec() };
        let bytes = header(&[layout("b", &[2, 3]), layout("a", &[4])]);
        let (len, text) = bytes.split_first_chunk().expect("a length");
        assert_eq!((u64::from_le_bytes(*len) as usize, bytes.len() % 8), (text.len(), 0));
        let json: serde_json::Value = serde_json::from_slice(text).expect("JSON");
        assert_eq!(json["a"]["data_offsets"], serde_json::json!([12, 20]));
    }
}
