//! A model, tensor after tensor; and the λ at which it has the size that was asked for.

use super::allot::{Sample, lambda_for, total_bits};
use super::checkpoint::Checkpoint;
use super::compensation::Compensation;
use super::feedback::Feedbacks;
use super::matrix::Matrix;
use super::output::Output;
use super::rate::Contexts;
use super::report::{QuantizeReport, TensorQuantization};
use super::rules::{Rule, Rules};
use super::search::Search;
use super::statistics::{Sensitivity, Statistics};
use crate::dtype::Dtype;
use crate::encode::{Encoder, TensorInput};
use crate::error::{Error, Result};
use crate::output::{directory_of, put_in_place, refuse_existing};
use crate::progress::Flow;
use std::borrow::Cow;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempPath;

/// What a quantization aims at.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Target {
    /// A price: the loss that a bit for each weight of the model may cost, in what these are (nats a token) with statistics, else as a share of the model's
    /// squared weights. At zero every integer is the nearest.
    Lambda(f64),
    /// Bits of the archive for each weight of the model, everything included.
    BitsPerWeight(f64),
    /// The archive's size as a share of the quantized checkpoint's.
    Ratio(f64),
}

/// How near to its target a size comes, and how often that is tried.
const NEAR: f64 = 0.006;
/// An archive above its target by more than this is none that was asked for.
const MISSED: f64 = 1.02;
/// Bytes of a tensor that stays as it is, below which it is taken to be coded in as many.
const SMALL: u64 = 1 << 16;
const TRIES: usize = 6;
/// How often with what follows the model.
const TRIES_FOLLOWED: usize = 3;

type Progress = Arc<dyn Fn(&str, u64, u64) -> Flow + Send + Sync>;

/// Quantizes models.
#[derive(Clone)]
pub struct Quantizer<'a> {
    rules: Rules,
    encoder: Encoder,
    statistics: Option<&'a dyn Statistics>,
    compensation: Option<&'a dyn Compensation>,
    progress: Option<Progress>,
}

/// What is known of a tensor before it is quantized.
struct Plan {
    rules: Vec<Rule>,
    samples: Vec<Sample>,
    weights: u64,
    /// Bytes of the checkpoint.
    flat_bytes: u64,
    /// Bits of what is kept, about.
    kept_bits: f64,
}

impl<'a> Quantizer<'a> {
    /// A quantizer by rules.
    pub fn new(rules: Rules) -> Self {
        Self { rules, encoder: Encoder::new(), statistics: None, compensation: None, progress: None }
    }

    /// Sets what is known of the tensors' inputs and outputs (default: nothing).
    pub fn statistics(mut self, statistics: &'a dyn Statistics) -> Self {
        self.statistics = Some(statistics);
        self
    }

    /// Sets what follows the model as it is quantized, so that matrices make good what was lost before them (default: nothing). Where a size is aimed at, that is done
    /// once its λ is known.
    pub fn compensation(mut self, compensation: &'a dyn Compensation) -> Self {
        self.compensation = Some(compensation);
        self
    }

    /// Sets how the checkpoint is archived, and whether an existing archive is replaced.
    pub fn encoder(mut self, encoder: Encoder) -> Self {
        self.encoder = encoder;
        self
    }

    /// Calls `f(what, done, total)` from time to time, with what is being done and how far that is, in weights; it may stop the quantization.
    pub fn on_progress<F: Into<Flow>>(mut self, f: impl Fn(&str, u64, u64) -> F + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(move |what, done, total| f(what, done, total).into()));
        self
    }

    /// Quantizes a checkpoint and archives it. The archive of a file restores a file, that of a directory a directory with the same files beside its model. It
    /// appears under its name only when it is complete and on disk.
    ///
    /// # Errors
    /// Weights that are no finite numbers; an exception that asks for what cannot be; a target that cannot be reached, with the nearest that can; whatever
    /// fails in reading and writing.
    pub fn run(&self, source: &Checkpoint, target: Target, output: impl AsRef<Path>) -> Result<QuantizeReport> {
        let output = output.as_ref();
        refuse_existing(output, self.encoder.options.overwrite)?;
        let plan = self.plan(source, target)?;
        let bits = |bits_per_weight: f64| bits_per_weight * plan.weights as f64;
        let wanted = match target {
            Target::Lambda(lambda) if lambda.is_finite() && lambda >= 0.0 => {
                let lambda = (lambda / plan.weights.max(1) as f64) as f32;
                return self.once(source, &plan, lambda, self.compensation, output)?.persist(output);
            }
            Target::BitsPerWeight(b) if b.is_finite() && b > 0.0 => bits(b),
            Target::Ratio(r) if r.is_finite() && r > 0.0 => r * 8.0 * plan.flat_bytes as f64,
            _ => return Err(Error::argument(format!("{target:?} is no target: it must be a positive number"))),
        };
        let integers = wanted - plan.kept_bits;
        let (finest, coarsest) = (total_bits(&plan.samples, 0.0), total_bits(&plan.samples, 1e30));
        let unreachable = |nearest: f64| {
            let bytes = (nearest + plan.kept_bits) / 8.0;
            let per_weight = 8.0 * bytes / plan.weights.max(1) as f64;
            let ratio = bytes / plan.flat_bytes.max(1) as f64;
            Error::argument(format!(
                "the target of {:.2} bits a weight cannot be reached: the nearest that can is about {per_weight:.2} bits a weight, a ratio of {ratio:.3}",
                wanted / plan.weights.max(1) as f64
            ))
        };
        if integers > 1.01 * finest {
            return Err(unreachable(finest));
        }
        if integers < coarsest {
            return Err(unreachable(coarsest));
        }
        let lambda = lambda_for(&plan.samples, integers);
        let elements: f64 = plan.samples.iter().map(|s| s.elements as f64).sum();
        // A little below.
        let mut search = Search::new(wanted * (1.0 - 0.4 * NEAR), elements);
        let mut best = self.nearest(source, &plan, &mut search, (lambda, wanted), None, TRIES, output)?;
        if self.compensation.is_some() {
            // What follows the model takes its time: first without. With it a size is another by a per mille.
            let lambda = search.restart((best.report.lambda / plan.weights.max(1) as f64) as f32, best.bits());
            let aim = (lambda, wanted);
            let followed = self.nearest(source, &plan, &mut search, aim, self.compensation, TRIES_FOLLOWED, output)?;
            if followed.bits() <= MISSED * wanted || followed.bits() <= best.bits() {
                best = followed;
            }
        }
        if best.bits() > MISSED * wanted { Err(unreachable(best.bits() - plan.kept_bits)) } else { best.persist(output) }
    }

    /// Searches for the λ whose archive has the bits that are wanted, from a λ on: of those tried the largest archive that has no more, or else the smallest.
    #[allow(clippy::too_many_arguments)]
    fn nearest(
        &self,
        source: &Checkpoint,
        plan: &Plan,
        search: &mut Search,
        (mut lambda, wanted): (f32, f64),
        compensation: Option<&dyn Compensation>,
        tries: usize,
        output: &Path,
    ) -> Result<Archived> {
        // Below the target, the larger; above it, the smaller.
        let key = |archive: &Archived| {
            let got = archive.bits();
            if got <= wanted { (0, wanted - got) } else { (1, got - wanted) }
        };
        let mut best = self.once(source, plan, lambda, compensation, output)?;
        let mut got = best.bits();
        for _ in 1..tries {
            if (-NEAR..=0.0).contains(&((got - wanted) / wanted)) {
                break;
            }
            lambda = search.next(lambda, got);
            let archive = self.once(source, plan, lambda, compensation, output)?;
            let before = std::mem::replace(&mut got, archive.bits());
            if key(&archive) < key(&best) {
                best = archive;
            }
            if got == before {
                break;
            }
        }
        Ok(best)
    }

    /// Looks at all tensors: rules, and a sample of each where a size is aimed at.
    fn plan(&self, source: &Checkpoint, target: Target) -> Result<Plan> {
        let mut plan = Plan { rules: Vec::new(), samples: Vec::new(), weights: 0, flat_bytes: 0, kept_bits: 0.0 };
        for (name, dtype, shape) in source.tensors() {
            plan.rules.push(self.rules.of(name, dtype, shape).map_err(|e| e.with_path(source.path()))?);
            plan.weights += shape.iter().product::<u64>();
        }
        if !plan.rules.iter().any(|rule| matches!(rule, Rule::Quantize(_))) {
            let integers = |(name, dtype, _): (&str, Dtype, &[u64])| dtype == Dtype::I8 || name.ends_with(".weight_packed");
            let why = match source.tensors().any(integers) {
                true => "it has no floats to quantize, but integers: it is quantized already",
                false => "it has no tensor to quantize: only matrices of BF16, FP16 or FP32 named '….weight' can be",
            };
            return Err(Error::bad_source(why).with_path(source.path()));
        }
        let mut done = 0;
        for number in 0..plan.rules.len() {
            let entry = source.entry(number);
            let Rule::Quantize(format) = plan.rules[number] else {
                plan.flat_bytes += entry.len;
                plan.kept_bits += 8.0 * self.kept(source, number)? as f64;
                continue;
            };
            let (rows, columns) = (entry.shape[0], entry.shape[1]);
            plan.flat_bytes += format.flat_bytes(rows, columns);
            let groups = columns / format.group(columns as usize).unwrap_or(1) as u64;
            plan.kept_bits += 16.0 * (rows * groups) as f64;
            if !matches!(target, Target::Lambda(_)) {
                let values = source.read_finite(number)?;
                let (sensitivity, feedback) = self.sensitivity(source, number, &values, plan.weights)?;
                let prices = feedback.prices(0, &sensitivity.rows);
                plan.samples.push(Sample::of(&values, columns as usize, format, self.trellis(), &prices));
                done += values.len() as u64;
                self.report("looking", done, plan.weights)?;
            }
        }
        Ok(plan)
    }

    /// Bytes that a tensor takes which stays as it is.
    fn kept(&self, source: &Checkpoint, number: usize) -> Result<u64> {
        let entry = source.entry(number);
        if entry.len < SMALL {
            return Ok(entry.len);
        }
        let data = source.read(number)?;
        let tensor = TensorInput { name: &entry.name, dtype: entry.dtype, shape: &entry.shape, data: &data };
        let mut archive = std::io::Cursor::new(Vec::new());
        match self.encoder.encode_tensors(&[tensor], &mut archive) {
            Ok(_) => Ok(archive.get_ref().len() as u64),
            // Types that only files have.
            Err(_) => Ok(entry.len),
        }
    }

    /// What a tensor's errors cost, and what can be made good.
    fn sensitivity(&self, source: &Checkpoint, number: usize, values: &[f32], weights: u64) -> Result<(Sensitivity, Feedbacks)> {
        let entry = source.entry(number);
        let (rows, columns) = (entry.shape[0] as usize, entry.shape[1] as usize);
        let known = match self.statistics {
            Some(statistics) => statistics.of(&entry.name)?,
            None => None,
        };
        let sensitivity = match known {
            Some(known) => {
                let fits = known.inputs.len() == columns * columns
                    && known.outputs.len() == rows
                    && (known.lookups.is_empty() || known.lookups.len() == rows)
                    && known.gradients.as_ref().is_none_or(|g| g.len() == columns * columns);
                if !fits {
                    let why = format!("the statistics are not those of {rows} × {columns} weights");
                    return Err(Error::argument(why).with_tensor(&entry.name));
                }
                Sensitivity::measured(&known, columns)
            }
            None => {
                let square = values.iter().map(|&w| w as f64 * w as f64).sum::<f64>() / values.len().max(1) as f64;
                Sensitivity::relative(rows, square, weights)
            }
        };
        let feedback = Feedbacks::new(&sensitivity, columns);
        Ok((sensitivity, feedback))
    }

    /// Quantizes everything at a λ and archives it beside the output.
    fn once(
        &self,
        source: &Checkpoint,
        plan: &Plan,
        lambda: f32,
        compensation: Option<&dyn Compensation>,
        output: &Path,
    ) -> Result<Archived> {
        let temporary = tempfile::Builder::new().prefix(".wcodec-").suffix(".tmp").tempdir_in(directory_of(output));
        let temporary = temporary.map_err(|e| Error::io("creating a directory beside the output", e).with_path(output))?;
        let model = temporary.path().join("model");
        std::fs::create_dir(&model).map_err(|e| Error::io("creating", e).with_path(&model))?;
        let mut checkpoint = Output::begin(&model, source, &plan.rules)?;
        let mut report = QuantizeReport {
            tensors: Vec::new(),
            kept: 0,
            weights: plan.weights,
            source_bytes: source.bytes(),
            flat_bytes: checkpoint.bytes,
            archive_bytes: 0,
            lambda: lambda as f64 * plan.weights as f64,
            loss: 0.0,
            calibrated: self.statistics.is_some(),
        };
        let mut order: Vec<usize> = (0..plan.rules.len()).collect();
        let mut following = None;
        if let Some(compensation) = compensation {
            order.sort_by_key(|&number| compensation.place(&source.entry(number).name));
            let quantized = order.iter().filter(|&&number| matches!(plan.rules[number], Rule::Quantize(_)));
            let quantized: HashSet<&str> = quantized.map(|&number| source.entry(number).name.as_str()).collect();
            following = Some(compensation.begin(&|tensor| quantized.contains(tensor))?);
        }
        let (mut done, mut tensors) = (0, Vec::new());
        for &number in &order {
            let entry = source.entry(number);
            done += entry.shape.iter().product::<u64>();
            let Rule::Quantize(format) = plan.rules[number] else {
                report.kept += 1;
                checkpoint.keep(number, &source.read(number)?)?;
                continue;
            };
            let values = source.read_finite(number)?;
            let columns = entry.shape[1] as usize;
            let group = format.group(columns).unwrap_or(columns);
            let mut aims = Cow::Borrowed(&values);
            if let Some(lost) = following.as_mut().map_or(Ok(None), |f| f.lost(&entry.name))? {
                if !lost.fits(values.len(), columns) {
                    let why = format!("what was lost before it is not that of {} × {columns} weights", entry.shape[0]);
                    return Err(Error::argument(why).with_tensor(&entry.name));
                }
                lost.compensate(aims.to_mut(), columns);
            }
            let (sensitivity, feedback) = self.sensitivity(source, number, &values, plan.weights)?;
            let mut quantized = Matrix {
                values: &aims,
                columns,
                format,
                group,
                rows: &sensitivity.rows,
                feedback: &feedback,
                first: 0,
                lambda,
                contexts: if self.encoder.options.effort.units().is_empty() { Contexts::Tiles } else { Contexts::Classes },
                trellis: self.trellis(),
            }
            .quantize();
            if let Some(following) = &mut following {
                let became = quantized.weights(group);
                quantized.measure_errors(&values, &became);
                following.became(&entry.name, became)?;
            }
            checkpoint.add(number, &entry.shape, format, &quantized)?;
            let tensor = TensorQuantization::of(&entry.name, &entry.shape, format, &values, &quantized);
            report.loss += tensor.loss;
            tensors.push((number, tensor));
            self.report("quantizing", done, plan.weights)?;
        }
        drop(following);
        tensors.sort_by_key(|(number, _)| *number);
        report.tensors = tensors.into_iter().map(|(_, tensor)| tensor).collect();
        let file = checkpoint.finish()?;
        let archive = temporary.path().join("archive.wcodec");
        if source.directory().is_some() {
            self.encoder.encode_directory_single(&model, &archive)?;
        } else {
            self.encoder.encode_file(&file, &archive)?;
        }
        std::fs::remove_dir_all(&model).map_err(|e| Error::io("removing", e).with_path(&model))?;
        let size = archive.metadata().map_err(|e| Error::io("looking at", e).with_path(&archive))?.len();
        report.archive_bytes = size;
        Ok(Archived { report, directory: temporary, overwrite: self.encoder.options.overwrite })
    }

    /// Whether integers may be a trellis's: archives have those beside no tool but contexts.
    fn trellis(&self) -> bool {
        !self.encoder.options.progressive && self.encoder.options.base.is_none()
    }

    fn report(&self, what: &str, done: u64, total: u64) -> Result<()> {
        self.progress.as_ref().map_or(Ok(()), |progress| progress(what, done, total).check())
    }
}

/// An archive that has no name yet.
struct Archived {
    report: QuantizeReport,
    directory: tempfile::TempDir,
    overwrite: bool,
}

impl Archived {
    /// Bits of the archive, everything included.
    fn bits(&self) -> f64 {
        8.0 * self.report.archive_bytes as f64
    }

    fn persist(self, output: &Path) -> Result<QuantizeReport> {
        let archive = TempPath::try_from_path(self.directory.path().join("archive.wcodec"))
            .map_err(|e| Error::io("renaming the output", e).with_path(output))?;
        put_in_place(archive, output, self.overwrite)?;
        Ok(self.report)
    }
}
