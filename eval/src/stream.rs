//! The residual stream of a model on a text: what goes into each layer, and what comes out of the last.

use crate::activations::{Activations, WINDOW};
use crate::layer::{Layer, Positions};
use crate::{Config, Result, Weights};
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use std::collections::HashMap;

pub(crate) const EMBEDDING: &str = "model.embed_tokens.weight";

/// A model's residual stream on a text's whole windows of 256 tokens. In memory is one layer; the stream is in temporary files, of 4 bytes for each layer, token and element.
pub struct Stream {
    /// Those that were read.
    pub(crate) tokens: Vec<u32>,
    /// Before each layer, and after the last.
    before: Vec<Activations>,
}

impl Stream {
    /// Takes a text of `tokens` through the model of `weights`. `progress` hears how much of the work is done, from 0 to 1, and may stop it by answering `false`.
    ///
    /// # Errors
    /// Too few tokens; tokens that the model does not have; weights that are not the configuration's; weights and temporary files that cannot be read.
    pub fn new(weights: &dyn Weights, config: &Config, tokens: &[u32], progress: &(dyn Fn(f64) -> bool + Sync)) -> Result<Self> {
        if tokens.len() < WINDOW {
            return Err(format!("a text of {} tokens: at least {WINDOW} are needed to follow a model by", tokens.len()).into());
        }
        if let Some(token) = tokens.iter().find(|&&token| token as usize >= config.vocab_size) {
            return Err(format!("the text has token {token}, the model {} tokens", config.vocab_size).into());
        }
        let shapes = config.tensors().into_iter().filter_map(|(name, _)| weights.shape(&name).map(|shape| (name, shape)));
        let shapes: HashMap<_, _> = shapes.collect();
        config.check(|name| shapes.get(name).map(Vec::as_slice))?;
        let tokens = tokens[..tokens.len() / WINDOW * WINDOW].to_vec();
        let (hidden, layers, windows) = (config.hidden_size, config.num_hidden_layers, tokens.len() / WINDOW);
        let positions = Positions::new(config, WINDOW)?;
        let mut before = vec![embedded(weights, config, &tokens)?];
        for number in 0..layers {
            let layer = Layer::read(weights, config, number)?;
            let (x, y) = (&before[number], Activations::new(WINDOW * hidden)?);
            (0..windows).into_par_iter().try_for_each(|w| y.put(w, &layer.forward(&x.get(w, hidden)?, &positions)?))?;
            before.push(y);
            if !progress((number + 1) as f64 / layers as f64) {
                return Err("interrupted".into());
            }
        }
        Ok(Self { tokens, before })
    }

    pub(crate) fn windows(&self) -> usize {
        self.tokens.len() / WINDOW
    }

    /// What goes into layer `number`, or comes out of the last if there are so many.
    pub(crate) fn before(&self, number: usize) -> &Activations {
        &self.before[number]
    }
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
