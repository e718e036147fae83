//! The rate-distortion curve: what a model loses at which size, by the quantizer and by others.
//!
//! ```text
//! original   the model that all others are made of, and compared with
//! measure    candidates loaded and read a text to, as many at a time as memory permits
//! csv, plot  what was found, as a table and as a picture
//! labels     where names go in the picture
//! ```

mod csv;
mod labels;
mod measure;
mod original;
mod plot;

pub use csv::csv;
pub use measure::measure;
pub use original::Original;
pub(crate) use original::stored_bytes;
pub use plot::svg;

use crate::peers::uniform;
use crate::{Comparison, Evaluation, Llama, Peer, Result, Stock};
use std::path::{Path, PathBuf};
use wcodec::Encoder;
use wcodec::quantize::Format;

/// How models of the curve come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// They are not quantized.
    Reference,
    /// By [`wcodec::quantize::Quantizer`].
    Quantized(Format),
    /// Every matrix rounded with the same relative step, and archived.
    Uniform,
    /// In others' formats.
    Peer(Peer),
}

impl Method {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reference => "reference",
            Self::Quantized(Format::Int4) => "wcodec quantize, INT4 g128",
            Self::Quantized(_) => "wcodec quantize, INT8",
            Self::Uniform => "uniform rounding, same coder",
            Self::Peer(peer) => peer.method(),
        }
    }

    /// Whether its models are points of one line.
    fn is_line(self) -> bool {
        matches!(self, Self::Quantized(_) | Self::Uniform)
    }
}

/// A model to be measured.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// What it is called, among those of its method.
    pub name: String,
    /// How it comes about.
    pub method: Method,
    /// Where it is; `None` of a peer, which is made when it is needed.
    archive: Option<PathBuf>,
}

/// A model that was measured.
#[derive(Clone, Debug)]
pub struct Point {
    /// What it is called, among those of its method.
    pub name: String,
    /// How it came about.
    pub method: Method,
    /// Bytes: an archive's are those of the whole file, a peer's and the reference's those of all their tensors, scales included, without a header.
    pub bytes: u64,
    /// These, for each weight of the model.
    pub bits_per_weight: f64,
    /// These, against [`Original::flat_bytes`].
    pub ratio: f64,
    /// What it makes of the text.
    pub evaluation: Evaluation,
    /// The same against the reference.
    pub comparison: Comparison,
}

impl Candidate {
    /// An archive that the quantizer made, with `bits` a weight as its target.
    pub fn quantized(format: Format, bits: f64, archive: &Path) -> Self {
        let (name, method) = (format!("{} at {bits}", format.name()), Method::Quantized(format));
        Self { name, method, archive: Some(archive.to_owned()) }
    }

    /// Rounds uniformly and archives: with the step at which normally distributed weights would have `bits` bits of entropy.
    ///
    /// # Errors
    /// Weights that cannot be read; what cannot be written.
    pub fn uniform(original: &Original, bits: f64, encoder: &Encoder, archive: &Path) -> Result<Self> {
        let step = uniform::relative_step(bits);
        uniform::archive(original, step, encoder, archive)?;
        Ok(Self { name: format!("step {step:.4} rms"), method: Method::Uniform, archive: Some(archive.to_owned()) })
    }

    /// A peer.
    pub fn peer(peer: Peer) -> Self {
        Self { name: peer.name().to_owned(), method: Method::Peer(peer), archive: None }
    }

    /// The model in memory, and its bytes.
    fn load(&self, original: &Original) -> Result<(Llama, u64)> {
        match (self.method, &self.archive) {
            (Method::Peer(peer), _) => original.rounded(peer),
            (_, Some(archive)) => {
                let model = Stock::open(archive, Some(original.directory()))?.load(&original.config)?;
                Ok((model, archive.metadata()?.len()))
            }
            _ => Ok((original.stock.load(&original.config)?, original.bytes())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SyntheticModel;

    #[test]
    fn better_formats_diverge_less_and_batches_change_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let model = directory.path().join("model");
        SyntheticModel::SMALL.write(&model).expect("written");
        let original = Original::open(&model).expect("opens");
        let uniform = |bits: f64| {
            let archive = directory.path().join(format!("{bits}.wcodec"));
            Candidate::uniform(&original, bits, &Encoder::new(), &archive).expect("archived")
        };
        let mut candidates = vec![uniform(3.0), uniform(5.0)];
        candidates.extend(Peer::ALL.map(Candidate::peer));
        let tokens: Vec<u32> = (0..256).map(|i| i * i * 7 % 256).collect();
        let measured = |memory| {
            let heard = std::sync::Mutex::new((0, 0));
            let hear = |done: u64, total: u64| {
                let mut last = heard.lock().expect("not poisoned");
                *last = (last.0.max(done), total);
                true
            };
            let points = measure(&original, &candidates, &tokens, 64, memory, &hear).expect("measured");
            let (done, total) = *heard.lock().expect("not poisoned");
            assert_eq!(done, total);
            points
        };
        let points = measured(8 << 30);
        assert_eq!(points.len(), 10);
        assert_eq!((points[0].method, points[0].comparison.divergence), (Method::Reference, 0.0));
        let divergence = |name: &str| points.iter().find(|p| p.name == name).expect("there").comparison.divergence;
        assert!(points[1].comparison.divergence > points[2].comparison.divergence);
        for (worse, better) in [("Q4_0", "Q5_0"), ("Q5_0", "Q8_0"), ("INT4 g128", "INT8 per channel")] {
            assert!(divergence(worse) > divergence(better), "{worse} {better}");
        }
        // Matrices of 64 and 96 columns, of which none divide into 256.
        assert_eq!(divergence("Q6_K"), divergence("Q8_0"));
        let int8 = points.iter().find(|p| p.name == "INT8 per channel").expect("there");
        assert_eq!((int8.bytes, int8.ratio), (original.flat_bytes(), 1.0));
        assert!((int8.bits_per_weight - 8.0 * int8.bytes as f64 / original.weights() as f64).abs() < 1e-9);
        // One at a time.
        for (a, b) in points.iter().zip(measured(0)) {
            assert_eq!((&a.name, a.bytes, a.comparison, a.evaluation), (&b.name, b.bytes, b.comparison, b.evaluation));
        }
        let stopped = measure(&original, &candidates, &tokens, 64, 0, &|_, _| false);
        assert!(stopped.expect_err("stopped").to_string().contains("interrupted"));
    }

    /// What is archived decodes to what was rounded.
    #[test]
    fn a_uniform_archive_has_one_step_a_matrix() {
        let directory = tempfile::tempdir().expect("a directory");
        let model = directory.path().join("model");
        SyntheticModel::SMALL.write(&model).expect("written");
        let original = Original::open(&model).expect("opens");
        let path = directory.path().join("a.wcodec");
        let candidate = Candidate::uniform(&original, 4.0, &Encoder::new(), &path).expect("archived");
        assert_eq!(candidate.name, "step 0.2583 rms");
        let archived = Stock::open(&path, Some(&model)).expect("opens");
        for (name, shape) in original.config.tensors() {
            let [before, after] = [&original.stock, &archived].map(|s| s.weights.read(&name).expect("reads"));
            // Norms, and what is too small for a scale of its own.
            if shape.iter().product::<usize>() < 4096 {
                assert_eq!(before, after);
                continue;
            }
            let square = before.iter().map(|w| w * w).sum::<f32>();
            let step = 0.2583 * (square / before.len() as f32).sqrt();
            assert!(before.iter().zip(&after).all(|(a, b)| (a - b).abs() < 0.51 * step), "{name}");
            // Multiples of a step that is within a rounding to BF16 of that.
            let least = after.iter().filter(|w| **w != 0.0).fold(f32::MAX, |least, w| least.min(w.abs()));
            assert!((least / step - 1.0).abs() < 0.005, "{name}");
            assert!(after.iter().all(|w| (w / least - (w / least).round()).abs() < 1e-3), "{name}");
        }
    }
}
