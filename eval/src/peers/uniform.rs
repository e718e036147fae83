//! Plain uniform rounding, and the codec: every matrix to the nearest multiple of one step, which is the same share of its root mean square for all matrices; no choice
//! of integers by their bits, no allotment, nothing handed on. What the quantizer's part in the curve is measured against.

use crate::Result;
use crate::curve::{Original, stored_bytes};
use half::bf16;
use rayon::prelude::*;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use wcodec::Encoder;
use wcodec::quantize::{Format, Rule, Rules, Stored};

/// The step, as a share of the root mean square, at which the integers of normally distributed weights have `bits` bits of entropy, as theory has it for
/// small steps: their differential entropy is ½ log₂ 2πe.
pub(crate) fn relative_step(bits: f64) -> f64 {
    (2.0 * std::f64::consts::PI * std::f64::consts::E).sqrt() * (-bits).exp2()
}

/// Rounds all of a model's matrices and archives them: in compressed-tensors' INT8, a matrix's one scale given for each of its rows. Bytes of the archive.
///
/// # Errors
/// Weights that cannot be read; what cannot be written.
pub(crate) fn archive(original: &Original, relative: f64, encoder: &Encoder, output: &Path) -> Result<u64> {
    let rules = Rules::new(Format::Int8);
    let directory = output.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = tempfile::Builder::new().prefix(".wcodec-").suffix(".safetensors").tempfile_in(directory)?;
    let mut pieces = serde_json::Map::new();
    let mut end = 0;
    let mut place = |name: String, dtype: &str, shape: &[u64], bytes: u64| {
        let (from, to) = (end, end + bytes);
        end = to;
        pieces.insert(name, serde_json::json!({ "dtype": dtype, "shape": shape, "data_offsets": [from, to] }));
    };
    for (name, dtype, shape) in original.checkpoint.tensors() {
        if let Rule::Quantize(_) = rules.of(name, dtype, shape)? {
            place(name.to_owned(), "I8", shape, shape[0] * shape[1]);
            place(format!("{name}_scale"), "BF16", &[shape[0], 1], 2 * shape[0]);
        } else {
            let type_name = dtype.name().ok_or_else(|| format!("{name}: its type is not known"))?;
            place(name.to_owned(), type_name, shape, stored_bytes(name, dtype, shape)?);
        }
    }
    let mut header = serde_json::to_vec(&pieces)?;
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut out = BufWriter::with_capacity(1 << 20, file.as_file());
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    for (name, dtype, shape) in original.checkpoint.tensors() {
        if let Rule::Quantize(_) = rules.of(name, dtype, shape)? {
            let (integers, scale) = round(&original.stock.weights.read(name)?, relative);
            out.write_all(bytemuck::cast_slice(&integers))?;
            out.write_all(&scale.to_le_bytes().repeat(shape[0] as usize))?;
        } else {
            out.write_all(&Stored::read(&original.checkpoint, name)?)?;
        }
    }
    out.flush()?;
    drop(out);
    encoder.encode_file(file.path(), output)?;
    Ok(File::open(output)?.metadata()?.len())
}

/// The integers of a matrix and their scale: its root mean square's share, or more if its largest weight would not be within ±127 steps.
fn round(values: &[f32], relative: f64) -> (Vec<i8>, bf16) {
    let square: f64 = values.iter().map(|&w| w as f64 * w as f64).sum();
    let rms = (square / values.len().max(1) as f64).sqrt();
    let least = super::largest(values) as f64 / 127.0;
    let scale = bf16::from_f64((relative * rms).max(least));
    let scale = if scale > bf16::ZERO { scale } else { bf16::ONE };
    let inverse = scale.to_f32().recip();
    (values.par_iter().map(|w| (w * inverse).round_ties_even().clamp(-127.0, 127.0) as i8).collect(), scale)
}

#[cfg(test)]
mod tests {
    use super::super::testing::normal;
    use super::*;

    #[test]
    fn steps_have_the_entropy_of_theory() {
        let values = normal(1 << 16);
        for bits in [2.5, 4.0, 5.5] {
            let (integers, _) = round(&values, relative_step(bits));
            let mut counts = [0usize; 256];
            integers.iter().for_each(|&q| counts[q as u8 as usize] += 1);
            let share = |n: usize| n as f64 / values.len() as f64;
            let entropy: f64 = counts.iter().filter(|&&n| n > 0).map(|&n| -share(n) * share(n).log2()).sum();
            assert!((entropy - bits).abs() < 0.1, "{entropy} {bits}");
        }
    }

    #[test]
    fn a_large_weight_makes_the_step_larger() {
        let mut values = normal(1 << 12);
        values[5] = 25.4;
        let (integers, scale) = round(&values, 0.1);
        assert_eq!((integers[5], scale), (127, bf16::from_f32(0.2)));
        let (integers, scale) = round(&[0.0; 64], 0.1);
        assert!(integers.iter().all(|&q| q == 0) && scale == bf16::ONE);
    }
}
