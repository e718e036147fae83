//! What sentence encoders make of a text: how near each sentence's vector is to the reference's.

use crate::{Bert, Result, Tokenizer};
use rayon::prelude::*;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use unicode_segmentation::UnicodeSegmentation;

/// Characters of a sentence that says something: shorter ones are names, numbers and what is left of lists.
const SHORTEST: usize = 20;

/// Tokens side by side: products large enough, scores that stay in a cache.
const TOGETHER: usize = 1024;

/// The sentences of a text, in order, by the rules of Unicode (UAX #29); a line that ends ends a sentence.
pub fn sentences(text: &str) -> Vec<&str> {
    let lines = text.lines().flat_map(UnicodeSegmentation::split_sentence_bounds);
    lines.map(str::trim).filter(|sentence| sentence.chars().count() >= SHORTEST).collect()
}

/// Tokens of sentences, as many of them as the first `tokens` tokens reach, or all.
///
/// # Errors
/// There are fewer tokens; what the tokenizer fails at.
pub fn encode(sentences: &[&str], tokenizer: &Tokenizer, tokens: Option<usize>) -> Result<Vec<Vec<u32>>> {
    let mut all: Vec<Vec<u32>> = sentences.par_iter().map(|s| tokenizer.encode(s)).collect::<Result<_>>()?;
    if let Some(tokens) = tokens {
        let total: usize = all.iter().map(Vec::len).sum();
        if total < tokens {
            let count = all.len();
            return Err(
                format!("the text has {total} tokens in {count} sentences, fewer than the {tokens} that were asked for").into()
            );
        }
        keep_reached(&mut all, tokens);
    }
    Ok(all)
}

/// Keeps as many sentences as the first `tokens` tokens reach.
pub fn keep_reached(sentences: &mut Vec<Vec<u32>>, tokens: usize) {
    let mut before = 0;
    let reached = |sentence: &Vec<u32>| {
        let reached = before < tokens;
        before += sentence.len();
        reached
    };
    let reached = sentences.iter().map(reached).take_while(|&r| r).count();
    sentences.truncate(reached);
}

/// Reads sentences to a reference and to other models: for each of the others, the cosine of the angle between its vector of each sentence and the reference's.
///
/// `progress` hears of tokens done, and may stop the reading by answering `false`.
///
/// # Errors
/// Vectors that are not numbers; what candle fails at; that `progress` said so.
pub fn compare(
    reference: &Bert,
    models: &[&Bert],
    sentences: &[Vec<u32>],
    progress: &(dyn Fn(u64) -> bool + Sync),
) -> Result<Vec<Vec<f64>>> {
    let done = AtomicU64::new(0);
    let embed = |model: &Bert, batch: &[&[u32]]| -> Result<Vec<Vec<f32>>> {
        let vectors = model.embed(batch)?.to_vec2::<f32>()?;
        let tokens = batch.iter().map(|s| s.len() as u64).sum::<u64>();
        let go_on = progress(done.fetch_add(tokens, Ordering::Relaxed) + tokens);
        if go_on { Ok(vectors) } else { Err("interrupted".into()) }
    };
    let each = |batch: &Vec<usize>| -> Result<Vec<Vec<f64>>> {
        let tokens: Vec<&[u32]> = batch.iter().map(|&i| &sentences[i][..]).collect();
        let expected = embed(reference, &tokens)?;
        let near = |model: &&Bert| embed(model, &tokens)?.iter().zip(&expected).map(|(a, b)| cosine(a, b)).collect();
        models.iter().map(near).collect()
    };
    let batches = batches(sentences, TOGETHER);
    let found: Vec<_> = batches.par_iter().map(each).collect::<Result<_>>()?;
    let mut cosines = vec![vec![0.0; sentences.len()]; models.len()];
    for (batch, found) in batches.iter().zip(found) {
        for (all, found) in cosines.iter_mut().zip(found) {
            batch.iter().zip(found).for_each(|(&i, cosine)| all[i] = cosine);
        }
    }
    Ok(cosines)
}

/// Numbers of sentences of equal length, about `tokens` tokens at a time, the longest first.
pub(crate) fn batches(sentences: &[Vec<u32>], tokens: usize) -> Vec<Vec<usize>> {
    let mut lengths: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    sentences.iter().enumerate().for_each(|(i, s)| lengths.entry(s.len()).or_default().push(i));
    let parts = |(length, all): (&usize, &Vec<usize>)| -> Vec<Vec<usize>> {
        all.chunks((tokens / (*length).max(1)).max(1)).map(<[usize]>::to_vec).collect()
    };
    lengths.iter().rev().flat_map(parts).collect()
}

/// # Errors
/// The vectors are not numbers, or one is nothing.
fn cosine(a: &[f32], b: &[f32]) -> Result<f64> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| a as f64 * b as f64).sum::<f64>();
    let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
    if cosine.is_finite() {
        Ok(cosine)
    } else {
        Err("a sentence's vector is not numbers: the weights are damaged, or not this model's".into())
    }
}

/// How near a model's vectors are to the reference's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Likeness {
    /// The mean cosine.
    pub mean_cosine: f64,
    /// The least.
    pub least_cosine: f64,
}

impl Likeness {
    /// Of cosines, of which there is at least one.
    pub fn of(cosines: &[f64]) -> Self {
        let mean_cosine = cosines.iter().sum::<f64>() / cosines.len() as f64;
        Self { mean_cosine, least_cosine: cosines.iter().copied().fold(f64::INFINITY, f64::min) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_its_sentences() {
        let text = "This is the first sentence. Is this one the second? Yes.\nA line that ends without a stop\n\n  Mr. Smith paid 3.50 dollars for it.  \n";
        let found = sentences(text);
        assert_eq!(found[..3], ["This is the first sentence.", "Is this one the second?", "A line that ends without a stop"]);
        assert!(sentences("").is_empty() && sentences("Short. One.").is_empty());
    }

    #[test]
    fn sentences_are_whole_up_to_a_number_of_tokens() {
        let text = ["twenty characters at least", "and another one of them", "a third"];
        let encode = |tokens| encode(&text, &Tokenizer::Bytes, tokens).map(|all| all.len());
        assert_eq!([None, Some(1), Some(26), Some(27), Some(56)].map(|t| encode(t).expect("enough")), [3, 1, 1, 2, 3]);
        assert!(encode(Some(57)).expect_err("too few").to_string().contains("56 tokens in 3 sentences"));
    }

    #[test]
    fn batches_are_of_one_length_and_have_each_sentence_once() {
        let sentences: Vec<Vec<u32>> = (0..500).map(|i| vec![0; 1 + i * 7 % 90 + i / 499 * 3000]).collect();
        let found = batches(&sentences, TOGETHER);
        assert!(found.iter().all(|b| b.iter().all(|&i| sentences[i].len() == sentences[b[0]].len())));
        assert!(found.iter().all(|b| b.len() == 1 || b.len() * sentences[b[0]].len() <= TOGETHER));
        let mut all = found.concat();
        all.sort_unstable();
        assert_eq!(all, (0..500).collect::<Vec<_>>());
    }

    #[test]
    fn cosines_of_small_vectors() {
        assert!((cosine(&[3.0, 4.0], &[4.0, 3.0]).expect("numbers") - 0.96).abs() < 1e-12);
        assert!(cosine(&[0.0, 0.0], &[1.0, 0.0]).is_err() && cosine(&[f32::NAN], &[1.0]).is_err());
        assert_eq!(Likeness::of(&[1.0, 0.5]), Likeness { mean_cosine: 0.75, least_cosine: 0.5 });
    }
}
