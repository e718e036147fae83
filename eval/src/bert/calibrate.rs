//! Statistics of a sentence encoder's matrices and tables: as those of a language model (`../calibrate.rs`), but that the loss is how far sentences' vectors turn.
//!
//! One less the cosine between a vector and what it becomes is half the square of what its direction moves, to second order. Its curvature is that of the
//! direction's products with signs that are drawn for each sentence: on average their gradients' products are the sum over all elements of the direction
//! (Hutchinson: *A Stochastic Estimator of the Trace of the Influence Matrix*, 1989). In memory are the model, the sums of all its matrices (75 MB of
//! MiniLM), and what the way back needs.

use super::Bert;
use super::pass::Traced;
use crate::activations::in_order;
use crate::calibrate::{LEAST_TOKENS, lookups};
use crate::random::SplitMix64;
use crate::rows::{self, Lookups};
use crate::sentences::batches;
use crate::sums::Sums;
use crate::{Calibration, Result, Stock};
use candle_core::{D, Device, Tensor};
use rayon::prelude::*;

/// The matrices of a layer, as they come.
const PARTS: [&str; 6] = [
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
];

/// Tokens side by side: for each, what a way back needs of the way there is in memory (half a megabyte of MiniLM), once for each thread.
const TOGETHER: usize = 256;

/// What is measured of some sentences of one length.
struct Batch {
    /// Of each matrix, in the order in which they come, what goes in and the gradients in what comes out.
    matrices: Vec<(Tensor, Tensor)>,
    /// By the token, sentence after sentence, the mean square of the gradient in an element of what is looked up; and those gradients' products.
    lookups: (Vec<f32>, Vec<f32>),
    /// Over sentences, the sum of the squares of an element of all their tokens' gradients together, in what is looked up: all of a sentence is of one kind.
    as_one: f32,
    /// Sentences.
    count: usize,
}

/// Over sentences of one length, the squares of what all their tokens make of a matrix's gradient together: Σ (gₜ · gᵤ)(xₜ · xᵤ) over two tokens t, u of a sentence. Tokens
/// apart would be the diagonal of that; what a matrix does wrong it does wrong at all of them.
fn together(inputs: &Tensor, gradients: &Tensor, count: usize) -> Result<f64> {
    let products = |x: &Tensor| -> Result<Tensor> {
        let x = x.reshape((count, x.dim(0)? / count, x.dim(1)?))?;
        Ok(x.matmul(&x.t()?.contiguous()?)?)
    };
    Ok((products(inputs)? * products(gradients)?)?.sum_all()?.to_scalar::<f32>()?.max(0.0).into())
}

/// Measures the BERT that a checkpoint holds on `sentences`, each by its tokens. `progress` hears how much of the work is done, from 0 to 1, and may stop it by answering `false`.
///
/// # Errors
/// Too few tokens; a sentence of none, or longer than the model has positions, or with a token that it does not have; temporary files that cannot be written; vectors that
/// are not numbers; that `progress` said so.
pub fn calibrate_sentences(
    stock: &Stock,
    model: &Bert,
    sentences: &[Vec<u32>],
    progress: &(dyn Fn(f64) -> bool + Sync),
) -> Result<Calibration> {
    let tokens = sentences.concat();
    if tokens.len() < LEAST_TOKENS {
        let (found, count) = (tokens.len(), sentences.len());
        return Err(format!(
            "the calibration text has {found} tokens in {count} sentences: at least {LEAST_TOKENS} are needed to measure anything by"
        )
        .into());
    }
    let batches = batches(sentences, TOGETHER);
    let measure = |number: usize| -> Result<Batch> {
        let texts: Vec<&[u32]> = batches[number].iter().map(|&i| &sentences[i][..]).collect();
        let mut pass = Traced::default();
        let vectors = model.pass(&texts, &mut pass)?;
        let directions = vectors.broadcast_div(&vectors.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?)?;
        let loss = (directions * signs(number as u64, vectors.dims2()?)?)?.sum_all()?;
        if !loss.to_scalar::<f32>()?.is_finite() {
            return Err("a sentence's vector is not numbers: the weights are damaged, or not this model's".into());
        }
        let gradients = loss.backward()?;
        let of = |zeros: &Tensor| -> Result<Tensor> { Ok(gradients.get(zeros).ok_or("a gradient is missing")?.clone()) };
        let matrices = pass.matrices.iter().map(|(inputs, zeros)| Ok((inputs.clone(), of(zeros)?)));
        let table = pass.looked_up.as_ref().ok_or("nothing was looked up")?;
        let (table, count) = (of(table)?, texts.len());
        let sentence = table.reshape((count, texts[0].len(), table.dim(1)?))?.sum(1)?;
        let as_one = sentence.sqr()?.mean(1)?.sum_all()?.to_scalar::<f32>()?;
        Ok(Batch { matrices: matrices.collect::<Result<_>>()?, lookups: lookups(&table)?, as_one, count })
    };
    let mut sums: Vec<Option<Sums>> = (0..PARTS.len() * model.layers.len()).map(|_| None).collect();
    let mut products = vec![0f32; model.words.dim(1)?.pow(2)];
    let mut words = vec![Lookups::default(); model.words.dim(0)?];
    let mut places = vec![0f32; model.places.dim(0)?];
    let (mut number, mut as_one) = (0, 0.0);
    in_order(batches.len(), measure, |batch| {
        // A matrix's at a time and thread, as all of them are as large as the sums.
        sums.par_iter_mut().zip(&batch.matrices).try_for_each(|(sums, (inputs, gradients))| -> Result<()> {
            let mut found = Sums::of(inputs, gradients)?;
            found.both = together(inputs, gradients, batch.count)?;
            match sums {
                Some(sums) => sums.add(&found),
                none => *none = Some(found),
            }
            Ok(())
        })?;
        products.iter_mut().zip(batch.lookups.1).for_each(|(sum, p)| *sum += p);
        let placed = batches[number].iter().flat_map(|&i| sentences[i].iter().enumerate());
        for ((place, &token), square) in placed.zip(batch.lookups.0) {
            words[token as usize].add(square);
            places[place] += square;
        }
        number += 1;
        as_one += batch.as_one;
        if progress(number as f64 / batches.len() as f64) { Ok(()) } else { Err("interrupted".into()) }
    })?;

    let mut found = Calibration::new()?;
    let (prefix, count) = (stock.bert_prefix(), sentences.len() as f32);
    for (number, sums) in sums.into_iter().flatten().enumerate() {
        let (layer, part) = (number / PARTS.len(), PARTS[number % PARTS.len()]);
        found.keep(sums.means(count), &format!("{prefix}encoder.layer.{layer}.{part}.weight"))?;
    }
    // A sentence has so many tokens, each of which is a word at a place.
    let (unseen, each) = (rows::unseen(&tokens, words.len()), tokens.len() as f32 / count);
    let mut chances = rows::counted(&words);
    rows::elsewhere(&mut chances, &words, unseen);
    let words = rows::expected(&words, &chances, tokens.len() as f32, unseen);
    let tables = [
        ("word", words.into_iter().map(|w| w * each).collect()),
        ("position", places.into_iter().map(|sum| sum / count).collect()),
        ("token_type", (0..model.kinds).map(|k| if k == 0 { as_one / count } else { 0.0 }).collect()),
    ];
    let names = tables.map(|(part, lookups): (_, Vec<f32>)| (format!("{prefix}embeddings.{part}_embeddings.weight"), lookups));
    found.keep_tables(&products, names)?;
    Ok(found)
}

/// Signs, drawn for each element of so many vectors.
fn signs(seed: u64, (count, elements): (usize, usize)) -> Result<Tensor> {
    let mut numbers = SplitMix64(SplitMix64(seed).next());
    let signs: Vec<f32> = (0..count * elements).map(|_| if numbers.next() >> 63 == 0 { 1.0 } else { -1.0 }).collect();
    Ok(Tensor::from_vec(signs, (count, elements), &Device::Cpu)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sentences::{Likeness, compare};
    use crate::synthetic::write;
    use crate::{BertConfig, SyntheticBert, Tensors};
    use std::sync::Mutex;
    use wcodec::quantize::Statistics;

    /// What errors in every third row of a tensor cost is what is found: the mean of one less the cosine.
    fn losses_are_as_predicted(prefix: &str) {
        let held = tempfile::tempdir().expect("a directory");
        let json = SyntheticBert::SMALL.config();
        let config = BertConfig::from_json(json.as_bytes()).expect("reads");
        let named = config.tensors().into_iter().map(|(name, shape)| (format!("{prefix}{name}"), shape)).collect();
        write(held.path(), &json, named, 7).expect("written");
        let stock = Stock::open(held.path(), None).expect("opens");
        let sentences: Vec<Vec<u32>> =
            (0..300).map(|s| (0..3 + s % 11).map(|t| (s * s * 7 + t * 91 + s * 13) % 256).collect()).collect();
        let (model, _) = stock.bert().expect("reads");
        let heard = Mutex::new(Vec::new());
        let found = calibrate_sentences(&stock, &model, &sentences, &|share| {
            heard.lock().expect("unpoisoned").push(share);
            true
        });
        let (found, heard) = (found.expect("measured"), heard.into_inner().expect("unpoisoned"));
        assert!(heard.windows(2).all(|two| two[0] < two[1]) && heard.last() == Some(&1.0), "{heard:?}");

        let tensor = |name: &str| stock.weights.tensor(&format!("{prefix}{name}")).expect("reads");
        let tensors: Tensors = config.tensors().into_iter().map(|(name, _)| (name.clone(), tensor(&name))).collect();
        let matrices = config.tensors().into_iter().filter(|(_, shape)| shape.len() == 2);
        let mut seen = 0;
        for (name, shape) in matrices {
            let known = found.of(&format!("{prefix}{name}")).expect("reads").expect("measured");
            let (rows, columns) = (shape[0], shape[1]);
            assert_eq!((known.outputs.len(), known.inputs.len()), (rows, columns * columns));
            let values = tensors[&name].flatten_all().and_then(|t| t.to_vec1::<f32>()).expect("numbers");
            let rms = (values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32).sqrt();
            let mut numbers = SplitMix64(5);
            let mut error = |i: usize| {
                let drawn = (numbers.next() >> 40) as f32 / (1 << 23) as f32 - 1.0;
                if (i / columns).is_multiple_of(3) { 0.03 * rms * drawn } else { 0.0 }
            };
            let errors: Vec<f32> = (0..values.len()).map(&mut error).collect();
            let form = |e: &[f32], moments: &[f32]| -> f32 {
                (0..columns).map(|j| e[j] * (0..columns).map(|k| moments[j * columns + k] * e[k]).sum::<f32>()).sum()
            };
            let trace = |m: &[f32]| m.iter().step_by(columns + 1).sum::<f32>() / columns as f32;
            let of_row = |(row, e): (usize, &[f32])| {
                let gradients = known.gradients.as_ref().map_or(0.0, |g| form(e, g) / trace(g));
                0.5 * known.outputs[row] * form(e, &known.inputs) + 0.5 * known.lookups.get(row).unwrap_or(&0.0) * gradients
            };
            let predicted: f32 = errors.chunks(columns).enumerate().map(of_row).sum();
            let moved: Vec<f32> = values.iter().zip(&errors).map(|(v, e)| v + e).collect();
            let mut other = tensors.clone();
            other.insert(name.clone(), Tensor::from_vec(moved, (rows, columns), &Device::Cpu).expect("a tensor"));
            let other = Bert::from_tensors(&config, other).expect("builds");
            let cosines = compare(&model, &[&other], &sentences, &|_| true).expect("compared");
            let ratio = (1.0 - Likeness::of(&cosines[0]).mean_cosine) as f32 / predicted;
            assert!((0.5..2.0).contains(&ratio), "{name}: {ratio} of {predicted:.3e}");
            seen += 1;
        }
        assert_eq!(seen, 3 + 2 * 6);
    }

    #[test]
    fn losses_of_an_encoder_are_as_predicted() {
        losses_are_as_predicted("");
    }

    #[test]
    fn losses_of_an_encoder_in_a_larger_model_are_as_predicted() {
        losses_are_as_predicted("bert.");
    }

    #[test]
    fn what_cannot_be_measured_is_refused() {
        let held = tempfile::tempdir().expect("a directory");
        SyntheticBert::SMALL.write(held.path()).expect("written");
        let stock = Stock::open(held.path(), None).expect("opens");
        let (model, _) = stock.bert().expect("reads");
        let refused = |sentence: &[u32], count: usize, go_on: bool| -> String {
            let sentences = vec![sentence.to_vec(); count];
            calibrate_sentences(&stock, &model, &sentences, &|_| go_on).err().expect("refused").to_string()
        };
        assert!(refused(&[1, 2, 3], 4, true).contains("12 tokens in 4 sentences"));
        assert_eq!(refused(&[1, 2, 3, 4], 512, false), "interrupted");
        assert!(refused(&[1, 2, 3, 256], 512, true).contains("256"));
        assert!(refused(&[7; 129], 16, true).contains("129"));
    }
}
