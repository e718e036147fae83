//! The residual stream of a model on a text: what goes into each layer, and what comes out of the last.

use crate::activations::{Activations, WINDOW};
use crate::layer::{Layer, Positions};
use crate::{Config, Result, Weights, weights};
use candle_core::{Device, Tensor};
use rayon::prelude::*;

pub(crate) const EMBEDDING: &str = "model.embed_tokens.weight";

/// A model and its residual stream on a text's whole windows of 256 tokens, read ([`new`](Self::new)) or written ([`sample`](crate::sample)). It is in temporary files,
/// with 4 bytes for each token and element before each layer and after the last.
pub struct Stream<'a> {
    pub(crate) weights: &'a dyn Weights,
    pub(crate) config: Config,
    pub(crate) positions: Positions,
    /// Those of whole windows.
    pub(crate) tokens: Vec<u32>,
    layers: Vec<Activations>,
}

impl<'a> Stream<'a> {
    /// Takes a text of `tokens` through the model of `weights`, of which one layer is in memory. `progress` hears how much of the work is done, from 0 to 1, and may stop it by
    /// answering `false`.
    ///
    /// # Errors
    /// Too few tokens; tokens that the model does not have; weights that are not the configuration's; weights and temporary files that cannot be read.
    pub fn new(
        weights: &'a dyn Weights,
        config: Config,
        tokens: &[u32],
        progress: &(dyn Fn(f64) -> bool + Sync),
    ) -> Result<Self> {
        check(weights, &config, tokens.len())?;
        if let Some(token) = tokens.iter().find(|&&token| token as usize >= config.vocab_size) {
            return Err(format!("the text has token {token}, the model {} tokens", config.vocab_size).into());
        }
        let tokens = tokens[..tokens.len() / WINDOW * WINDOW].to_vec();
        let (hidden, layers, windows) = (config.hidden_size, config.num_hidden_layers, tokens.len() / WINDOW);
        let positions = Positions::new(&config, WINDOW)?;
        let mut found = vec![embedded(weights, &config, &tokens)?];
        for number in 0..layers {
            let layer = Layer::read(weights, &config, number)?;
            let (x, y) = (&found[number], Activations::new(WINDOW * hidden)?);
            (0..windows).into_par_iter().try_for_each(|w| y.put(w, &layer.forward(&x.get(w, hidden)?, &positions)?))?;
            found.push(y);
            if !progress((number + 1) as f64 / layers as f64) {
                return Err("interrupted".into());
            }
        }
        Ok(Self { weights, config, positions, tokens, layers: found })
    }

    /// Of a text of whole windows that went through the model already: `layers` are what went into each, and what came out of the last.
    pub(crate) fn known(weights: &'a dyn Weights, config: Config, tokens: Vec<u32>, layers: Vec<Activations>) -> Result<Self> {
        let positions = Positions::new(&config, WINDOW)?;
        Ok(Self { weights, config, positions, tokens, layers })
    }

    pub(crate) fn windows(&self) -> usize {
        self.tokens.len() / WINDOW
    }

    /// What goes into layer `number`; with as many as there are, what comes out of the last.
    pub(crate) fn ahead_of(&self, number: usize) -> &Activations {
        &self.layers[number]
    }
}

/// Refuses a text without a whole window, and weights that are not the configuration's.
pub(crate) fn check(weights: &dyn Weights, config: &Config, tokens: usize) -> Result<()> {
    if tokens < WINDOW {
        return Err(format!("a text of {tokens} tokens: at least {WINDOW} are needed to follow a model by").into());
    }
    weights::check(weights, config)
}

/// What a text's whole windows are looked up as.
pub(crate) fn embedded(weights: &dyn Weights, config: &Config, tokens: &[u32]) -> Result<Activations> {
    let embedding = weights.tensor(EMBEDDING)?;
    let found = Activations::new(WINDOW * config.hidden_size)?;
    for (number, window) in tokens.chunks_exact(WINDOW).enumerate() {
        found.put(number, &embedding.index_select(&Tensor::new(window, &Device::Cpu)?, 0)?)?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Stock, SyntheticModel, calibrate, sample};
    use std::sync::Mutex;

    type Hear<'a> = &'a (dyn Fn(f64) -> bool + Sync);

    struct Case {
        _held: tempfile::TempDir,
        stock: Stock,
        config: Config,
        tokens: Vec<u32>,
    }

    fn case() -> Case {
        let held = tempfile::tempdir().expect("a directory");
        SyntheticModel::SMALL.write(held.path()).expect("written");
        let stock = Stock::open(held.path(), None).expect("opens");
        let config = stock.llama().expect("a Llama");
        // Eight windows and a part that is left out.
        let tokens = (0..2100).map(|i| (i * i * 7 + i * 3 + i / 256 * 11) % 256).collect();
        Case { _held: held, stock, config, tokens }
    }

    /// What a model is measured by leaves its stream as it was.
    #[test]
    fn measuring_leaves_the_stream_alone() {
        let Case { stock, config, tokens, .. } = &case();
        let follow = |progress: Hear<'_>| Stream::new(&*stock.weights, config.clone(), tokens, progress);
        let alone = follow(&|_| true).expect("followed");
        let measured = follow(&|_| true).expect("followed");
        calibrate(&measured, &|_| true).expect("measured");
        assert_eq!((alone.windows(), measured.windows(), &alone.tokens), (8, 8, &measured.tokens));
        let mut seen = Vec::new();
        for number in 0..=config.num_hidden_layers {
            for w in 0..8 {
                let of = |stream: &Stream<'_>| -> Vec<f32> {
                    let x = stream.ahead_of(number).get(w, config.hidden_size).expect("reads");
                    x.flatten_all().and_then(|x| x.to_vec1()).expect("numbers")
                };
                assert!(of(&alone) == of(&measured), "{number} {w}");
                seen.push(of(&alone));
            }
        }
        // All of it is something, and each its own.
        assert!(seen.iter().enumerate().all(|(i, x)| x.iter().any(|&v| v != 0.0) && seen[..i].iter().all(|y| x != y)));
    }

    #[test]
    fn progress_rises_to_the_end_and_may_stop_it() {
        let Case { stock, config, tokens, .. } = &case();
        type Run<'r> = &'r dyn Fn(Hear<'_>) -> Result<()>;
        let follow = |progress: Hear<'_>| Stream::new(&*stock.weights, config.clone(), tokens, progress);
        let whole = follow(&|_| true).expect("followed");
        let stream: Run<'_> = &|progress| follow(progress).map(|_| ());
        let measure: Run<'_> = &|progress| calibrate(&whole, progress).map(|_| ());
        let write: Run<'_> = &|progress| sample(stock, config, 2048, progress).map(|_| ());
        for run in [stream, measure, write] {
            let heard = Mutex::new(Vec::new());
            run(&|share| {
                heard.lock().expect("unpoisoned").push(share);
                true
            })
            .expect("runs");
            let heard = heard.into_inner().expect("unpoisoned");
            assert!(heard.windows(2).all(|two| two[0] < two[1]) && heard.last() == Some(&1.0), "{heard:?}");
            for &last in heard.iter().step_by(heard.len().div_ceil(12)) {
                let stopped = run(&|share| share < last).expect_err("stopped");
                assert_eq!(stopped.to_string(), "interrupted");
            }
        }
    }

    #[test]
    fn texts_that_cannot_be_followed_are_refused() {
        let Case { stock, config, tokens, .. } = &case();
        let refused = |config: &Config, tokens: &[u32]| -> String {
            Stream::new(&*stock.weights, config.clone(), tokens, &|_| true).err().expect("refused").to_string()
        };
        assert!(refused(config, &tokens[..255]).contains("255 tokens"));
        assert!(refused(config, &[256; 512]).contains("token 256"));
        let mut other = config.clone();
        other.num_hidden_layers = 3;
        assert!(refused(&other, tokens).contains("lacks 9 of"), "{}", refused(&other, tokens));
    }
}
