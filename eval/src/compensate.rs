//! A Llama beside itself quantized, half a layer at a time: what the residual stream lost so far, and what the next matrix that adds to it can tell of that.

use crate::activations::{Activations, WINDOW};
use crate::gram::gram;
use crate::layer::{Layer, Positions, times};
use crate::{Config, Result, Weights};
use candle_core::{Device, Tensor};
use rayon::prelude::*;
use std::collections::HashMap;
use wcodec::quantize::{Compensation, Following, Lost};

/// Windows whose products are summed up together.
const GROUP: usize = 8;
const EMBEDDING: &str = "model.embed_tokens.weight";

/// The residual streams of a model and of what it becomes, on a text.
///
/// Tokens count by the inverse of their stream's mean square: what comes after a norm sees them so, and where a model keeps a few activations that are a thousand
/// times the others', these would be all that is looked at. In memory are two layers and a group of windows; the streams are in temporary files.
pub struct Compensator<'a> {
    weights: &'a dyn Weights,
    config: Config,
    tokens: Vec<u32>,
    positions: Positions,
}

/// A model on its way.
struct Way<'a> {
    of: &'a Compensator<'a>,
    /// The half layers whose last matrices become integers.
    asked: Vec<usize>,
    /// The embedding, and tensors of the layer that the streams are before, as they became.
    tensors: HashMap<String, Vec<f32>>,
    streams: Option<Streams>,
}

/// How far it was followed.
struct Streams {
    /// Half layers that both went through: attention, then what comes after it.
    at: usize,
    /// The streams before the next half, of the model as it was and as it became.
    was: Activations,
    became: Activations,
    /// What goes into the next half's last matrix as the model became, where that is known; `was` then stands after that half.
    inputs: Option<Activations>,
}

/// A model some of whose tensors became others.
struct Replaced<'a> {
    weights: &'a dyn Weights,
    tensors: &'a HashMap<String, Vec<f32>>,
}

impl Weights for Replaced<'_> {
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.weights.shape(name)
    }

    fn read(&self, name: &str) -> Result<Vec<f32>> {
        self.tensors.get(name).map_or_else(|| self.weights.read(name), |values| Ok(values.clone()))
    }
}

/// The matrix that ends half a layer.
fn last_of(half: usize) -> String {
    let part = if half.is_multiple_of(2) { "self_attn.o_proj" } else { "mlp.down_proj" };
    format!("model.layers.{}.{part}.weight", half / 2)
}

impl<'a> Compensator<'a> {
    /// For a model of `weights`, on a text of `tokens`, of which all whole windows of 256 are read.
    ///
    /// # Errors
    /// Too few tokens; tokens that the model does not have.
    pub fn new(weights: &'a dyn Weights, config: Config, tokens: &[u32]) -> Result<Self> {
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
        let positions = Positions::new(&config, WINDOW)?;
        Ok(Self { weights, config, tokens, positions })
    }

    /// The layer of a tensor, and its name within.
    fn in_layer<'t>(&self, tensor: &'t str) -> Option<(usize, &'t str)> {
        let (digits, part) = tensor.strip_prefix("model.layers.")?.split_once('.')?;
        let number: usize = digits.parse().ok()?;
        // Not one that is written otherwise, and would be the same.
        (number < self.config.num_hidden_layers && number.to_string() == digits).then_some((number, part))
    }

    /// The half layer that a matrix ends.
    fn half(&self, tensor: &str) -> Option<usize> {
        match self.in_layer(tensor)? {
            (layer, "self_attn.o_proj.weight") => Some(2 * layer),
            (layer, "mlp.down_proj.weight") => Some(2 * layer + 1),
            _ => None,
        }
    }

    fn windows(&self) -> usize {
        self.tokens.len() / WINDOW
    }

    /// Both streams before the first layer.
    fn start(&self, tensors: &HashMap<String, Vec<f32>>) -> Result<Streams> {
        let stream = |weights: &dyn Weights| -> Result<Activations> {
            let embedding = weights.tensor(EMBEDDING)?;
            let stream = Activations::new(WINDOW * self.config.hidden_size)?;
            for (number, window) in self.tokens.chunks_exact(WINDOW).enumerate() {
                stream.put(number, &embedding.index_select(&Tensor::new(window, &Device::Cpu)?, 0)?)?;
            }
            Ok(stream)
        };
        let was = stream(self.weights)?;
        let became = stream(&Replaced { weights: self.weights, tensors })?;
        Ok(Streams { at: 0, was, became, inputs: None })
    }

    /// What goes into the last matrix of the half layer that comes next.
    fn inputs(&self, half: usize, layer: &Layer, x: &Tensor) -> Result<Tensor> {
        if half.is_multiple_of(2) { layer.attend(x, &self.positions) } else { layer.activate(x) }
    }

    /// Takes both streams through the next half layer.
    fn advance(&self, streams: &mut Streams, tensors: &mut HashMap<String, Vec<f32>>) -> Result<()> {
        let (half, hidden) = (streams.at, self.config.hidden_size);
        let replaced = Replaced { weights: self.weights, tensors };
        let name = last_of(half);
        let matrix = (&replaced as &dyn Weights).tensor(&name)?;
        let (was, became) = (&streams.was, &streams.became);
        if let Some(inputs) = &streams.inputs {
            (0..self.windows()).into_par_iter().try_for_each(|w| {
                let added = times(&inputs.get(w, matrix.dim(1)?)?, &matrix)?;
                became.put(w, &(became.get(w, hidden)? + added)?)
            })?;
        } else {
            let of = |weights: &dyn Weights, matrix: &Tensor, stream: &Activations| -> Result<()> {
                let layer = Layer::read(weights, &self.config, half / 2)?;
                (0..self.windows()).into_par_iter().try_for_each(|w| {
                    let x = stream.get(w, hidden)?;
                    let added = times(&self.inputs(half, &layer, &x)?, matrix)?;
                    stream.put(w, &(x + added)?)
                })
            };
            of(self.weights, &self.weights.tensor(&name)?, was)?;
            of(&replaced, &matrix, became)?;
        }
        streams.at += 1;
        streams.inputs = None;
        if streams.at.is_multiple_of(2) {
            tensors.retain(|tensor, _| self.in_layer(tensor).is_some_and(|(layer, _)| layer > half / 2));
        }
        Ok(())
    }

    /// What half a layer's last matrix can make good.
    fn measure(&self, streams: &mut Streams, tensors: &HashMap<String, Vec<f32>>) -> Result<Lost> {
        let (half, hidden) = (streams.at, self.config.hidden_size);
        let replaced = Replaced { weights: self.weights, tensors };
        let (before, after) =
            (Layer::read(self.weights, &self.config, half / 2)?, Layer::read(&replaced, &self.config, half / 2)?);
        let matrix = self.weights.tensor(&last_of(half))?;
        let columns = matrix.dim(1)?;
        let kept = Activations::new(WINDOW * columns)?;
        let of = |w: usize| -> Result<[Tensor; 2]> {
            let (x, y) = (streams.was.get(w, hidden)?, streams.became.get(w, hidden)?);
            let inputs = self.inputs(half, &after, &y)?;
            let sum = (times(&self.inputs(half, &before, &x)?, &matrix)? + x)?;
            let missing = ((&sum - y)? - times(&inputs, &matrix)?)?;
            streams.was.put(w, &sum)?;
            kept.put(w, &inputs)?;
            let scale = sum.sqr()?.mean_keepdim(1)?.affine(1.0, f64::from(f32::MIN_POSITIVE))?.sqrt()?.recip()?;
            Ok([inputs.broadcast_mul(&scale)?, missing.broadcast_mul(&scale)?])
        };
        let mut sums = [vec![0f32; columns * columns], vec![0f32; hidden * columns]];
        for first in (0..self.windows()).step_by(GROUP) {
            let group = first..self.windows().min(first + GROUP);
            let found = group.into_par_iter().map(of).collect::<Result<Vec<_>>>()?;
            let join = |which: usize| Tensor::cat(&found.iter().map(|pair| &pair[which]).collect::<Vec<_>>(), 0);
            let (inputs, missing) = (join(0)?, join(1)?);
            let products = [gram(&inputs)?, missing.t()?.matmul(&inputs)?.flatten_all()?.to_vec1::<f32>()?];
            for (sums, product) in sums.iter_mut().zip(products) {
                sums.iter_mut().zip(product).for_each(|(sum, v)| *sum += v);
            }
        }
        let [inputs, products] = sums;
        streams.inputs = Some(kept);
        Ok(Lost { inputs, products, tokens: self.tokens.len() })
    }
}

impl Way<'_> {
    /// Takes the streams to before half a layer, unless they are there or farther.
    fn go_to(&mut self, half: usize) -> Result<&mut Streams> {
        let streams = match &mut self.streams {
            Some(streams) => streams,
            none => none.insert(self.of.start(&self.tensors)?),
        };
        while streams.at < half {
            self.of.advance(streams, &mut self.tensors)?;
        }
        Ok(streams)
    }

    fn find(&mut self, tensor: &str) -> Result<Option<Lost>> {
        let Some(half) = self.of.half(tensor) else { return Ok(None) };
        let of = self.of;
        self.go_to(half)?;
        match &mut self.streams {
            Some(streams) if streams.at == half && streams.inputs.is_none() => of.measure(streams, &self.tensors).map(Some),
            _ => Ok(None),
        }
    }

    fn keep(&mut self, tensor: &str, weights: Vec<f32>) -> Result<()> {
        match self.of.in_layer(tensor) {
            Some((layer, _)) if self.asked.iter().any(|half| half / 2 >= layer) => {
                // No more than a layer's are kept, whatever is asked for.
                self.go_to(2 * layer)?;
            }
            None if tensor == EMBEDDING && !self.asked.is_empty() => {}
            _ => return Ok(()),
        }
        self.tensors.insert(tensor.to_owned(), weights);
        Ok(())
    }
}

/// An error of the library's.
fn failed(e: impl std::fmt::Display, tensor: &str) -> wcodec::Error {
    let why = format!("following the model as it is quantized: {e}");
    wcodec::Error::new(wcodec::ErrorKind::Io, why).with_tensor(tensor)
}

impl Compensation for Compensator<'_> {
    fn place(&self, tensor: &str) -> usize {
        if tensor == EMBEDDING {
            return 0;
        }
        match self.in_layer(tensor) {
            Some((layer, "self_attn.o_proj.weight")) => 4 * layer + 2,
            Some((layer, "mlp.down_proj.weight")) => 4 * layer + 4,
            Some((layer, part)) => 4 * layer + if part.starts_with("self_attn") { 1 } else { 3 },
            None => usize::MAX,
        }
    }

    fn begin(&self, quantized: &dyn Fn(&str) -> bool) -> wcodec::Result<Box<dyn Following + '_>> {
        let asked = (0..2 * self.config.num_hidden_layers).filter(|&half| quantized(&last_of(half))).collect();
        Ok(Box::new(Way { of: self, asked, tensors: HashMap::new(), streams: None }))
    }
}

impl Following for Way<'_> {
    fn lost(&mut self, tensor: &str) -> wcodec::Result<Option<Lost>> {
        self.find(tensor).map_err(|e| failed(e, tensor))
    }

    fn became(&mut self, tensor: &str, weights: Vec<f32>) -> wcodec::Result<()> {
        self.keep(tensor, weights).map_err(|e| failed(e, tensor))
    }
}

#[cfg(test)]
mod tests;
