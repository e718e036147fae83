//! Greedy generation: the likeliest token, again and again, so that the same weights give the same text.

use crate::{Cache, Config, Llama, Result, Tokenizer};
use std::time::{Duration, Instant};

/// A generated text.
#[derive(Clone, Debug, PartialEq)]
pub struct Generation {
    /// The tokens after the prompt's.
    pub tokens: Vec<u32>,
    /// Their text.
    pub text: String,
    /// The logits from which the first token was chosen: weights that differ in a bit show here even where the tokens
    /// are the same.
    pub logits: Vec<f32>,
    /// How long the first token took, whose forward pass reads the whole prompt.
    pub first: Duration,
    /// How long each of the others took.
    pub rest: Vec<Duration>,
}

impl Generation {
    /// Whether two generations have the same tokens and, bit for bit, the same logits.
    pub fn same(&self, other: &Self) -> bool {
        let bits = |g: &Self| g.logits.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        self.tokens == other.tokens && bits(self) == bits(other)
    }

    /// How long a token after the first takes on average; nothing where there is none.
    pub fn per_token(&self) -> Option<Duration> {
        let count = u32::try_from(self.rest.len()).ok().filter(|&count| count > 0)?;
        Some(self.rest.iter().sum::<Duration>() / count)
    }
}

/// Continues a prompt by up to `limit` tokens.
pub fn generate(model: &Llama, config: &Config, tokenizer: &Tokenizer, prompt: &str, limit: usize) -> Result<Generation> {
    let prompt = tokenizer.encode(prompt)?;
    if prompt.is_empty() {
        return Err("the prompt is empty".into());
    }
    let limit = limit.min(config.max_position_embeddings.saturating_sub(prompt.len()));
    if limit == 0 {
        return Err(format!("no room for a token: the prompt has {} tokens", prompt.len()).into());
    }
    let (mut cache, mut start) = (Cache::default(), Instant::now());
    let logits: Vec<f32> = model.forward(&prompt, &mut cache)?.to_vec1()?;
    let mut tokens = vec![likeliest(&logits)?];
    let (first, mut rest) = (start.elapsed(), Vec::new());
    while let Some(&last) = tokens.last().filter(|&&last| tokens.len() < limit && !config.is_end(last)) {
        start = Instant::now();
        tokens.push(likeliest(&model.forward(&[last], &mut cache)?.to_vec1()?)?);
        rest.push(start.elapsed());
    }
    Ok(Generation { text: tokenizer.decode(&tokens)?, tokens, logits, first, rest })
}

/// The token with the greatest logit, the first of equals.
fn likeliest(logits: &[f32]) -> Result<u32> {
    // A model of damaged weights gives NaN, from which nothing can be chosen.
    if logits.iter().any(|x| x.is_nan()) {
        return Err("the logits are not numbers: the weights are damaged, or not this model's".into());
    }
    let best = logits.iter().enumerate().rev().max_by(|a, b| a.1.total_cmp(b.1));
    Ok(u32::try_from(best.ok_or("the model has no tokens")?.0)?)
}
