//! A Llama beside itself quantized, half a layer at a time: what the residual stream lost so far, and what the next matrix that adds to it can tell of that.

use crate::activations::{Activations, WINDOW};
use crate::gram::gram;
use crate::layer::{Layer, times};
use crate::stream::{EMBEDDING, Stream, embedded};
use crate::{Result, Weights};
use candle_core::Tensor;
use rayon::prelude::*;
use std::collections::HashMap;
use wcodec::quantize::{Compensation, Following, Lost};

/// Windows whose products are summed up together.
const GROUP: usize = 8;

/// The residual streams of a model and of what it becomes, on a text.
///
/// Tokens count by the inverse of their stream's mean square: what comes after a norm sees them so, and where a model keeps a few activations that are a thousand
/// times the others', these would be all that is looked at. In memory are two layers and a group of windows; what the model becomes, and what goes into a matrix of it, is in
/// temporary files.
pub struct Compensator<'a> {
    was: Stream<'a>,
}

/// A model on its way.
struct Way<'a> {
    of: &'a Compensator<'a>,
    /// The half layers whose last matrices become integers.
    asked: Vec<usize>,
    /// The embedding, and tensors of the layer that the stream is before, as they became.
    tensors: HashMap<String, Vec<f32>>,
    became: Option<Became>,
}

/// How far what it becomes was followed.
struct Became {
    /// Half layers that it went through: attention, then what comes after it.
    at: usize,
    /// The stream before the next half.
    stream: Activations,
    /// What goes into the next half's last matrix, where that is known.
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
    /// For a model whose stream this is.
    pub fn new(was: Stream<'a>) -> Self {
        Self { was }
    }

    /// The layer of a tensor, and its name within.
    fn in_layer<'t>(&self, tensor: &'t str) -> Option<(usize, &'t str)> {
        let (digits, part) = tensor.strip_prefix("model.layers.")?.split_once('.')?;
        let number: usize = digits.parse().ok()?;
        // Not one that is written otherwise, and would be the same.
        (number < self.was.config.num_hidden_layers && number.to_string() == digits).then_some((number, part))
    }

    /// The half layer that a matrix ends.
    fn half(&self, tensor: &str) -> Option<usize> {
        match self.in_layer(tensor)? {
            (layer, "self_attn.o_proj.weight") => Some(2 * layer),
            (layer, "mlp.down_proj.weight") => Some(2 * layer + 1),
            _ => None,
        }
    }

    /// What goes into the last matrix of the half layer that comes next.
    fn inputs(&self, half: usize, layer: &Layer, x: &Tensor) -> Result<Tensor> {
        if half.is_multiple_of(2) { layer.attend(x, &self.was.positions) } else { layer.activate(x) }
    }

    /// Takes what the model becomes through the next half layer.
    fn advance(&self, became: &mut Became, tensors: &mut HashMap<String, Vec<f32>>) -> Result<()> {
        let (half, hidden) = (became.at, self.was.config.hidden_size);
        let replaced = Replaced { weights: self.was.weights, tensors };
        let matrix = (&replaced as &dyn Weights).tensor(&last_of(half))?;
        let windows = (0..self.was.windows()).into_par_iter();
        let add = |w: usize, x: Tensor, inputs: &Tensor| became.stream.put(w, &(x + times(inputs, &matrix)?)?);
        if let Some(inputs) = &became.inputs {
            let columns = matrix.dim(1)?;
            windows.try_for_each(|w| add(w, became.stream.get(w, hidden)?, &inputs.get(w, columns)?))?;
        } else {
            let layer = Layer::read(&replaced, &self.was.config, half / 2)?;
            windows.try_for_each(|w| {
                let x = became.stream.get(w, hidden)?;
                let inputs = self.inputs(half, &layer, &x)?;
                add(w, x, &inputs)
            })?;
        }
        became.at += 1;
        became.inputs = None;
        if became.at.is_multiple_of(2) {
            tensors.retain(|tensor, _| self.in_layer(tensor).is_some_and(|(layer, _)| layer > half / 2));
        }
        Ok(())
    }

    /// What half a layer's last matrix can make good.
    fn measure(&self, became: &mut Became, tensors: &HashMap<String, Vec<f32>>) -> Result<Lost> {
        let (half, hidden) = (became.at, self.was.config.hidden_size);
        let replaced = Replaced { weights: self.was.weights, tensors };
        let new = Layer::read(&replaced, &self.was.config, half / 2)?;
        // What the model had between the halves of a layer is not in the stream.
        let old = half.is_multiple_of(2).then(|| Layer::read(self.was.weights, &self.was.config, half / 2)).transpose()?;
        let matrix = self.was.weights.tensor(&last_of(half))?;
        let columns = matrix.dim(1)?;
        let kept = Activations::new(WINDOW * columns)?;
        let of = |w: usize| -> Result<[Tensor; 2]> {
            let y = became.stream.get(w, hidden)?;
            let inputs = self.inputs(half, &new, &y)?;
            let sum = match &old {
                Some(old) => old.middle(&self.was.ahead_of(half / 2).get(w, hidden)?, &self.was.positions)?,
                None => self.was.ahead_of(half / 2 + 1).get(w, hidden)?,
            };
            let missing = ((&sum - y)? - times(&inputs, &matrix)?)?;
            kept.put(w, &inputs)?;
            let scale = sum.sqr()?.mean_keepdim(1)?.affine(1.0, f64::from(f32::MIN_POSITIVE))?.sqrt()?.recip()?;
            Ok([inputs.broadcast_mul(&scale)?, missing.broadcast_mul(&scale)?])
        };
        let mut sums = [vec![0f32; columns * columns], vec![0f32; hidden * columns]];
        for first in (0..self.was.windows()).step_by(GROUP) {
            let group = first..self.was.windows().min(first + GROUP);
            let found = group.into_par_iter().map(of).collect::<Result<Vec<_>>>()?;
            let join = |which: usize| Tensor::cat(&found.iter().map(|pair| &pair[which]).collect::<Vec<_>>(), 0);
            let (inputs, missing) = (join(0)?, join(1)?);
            let products = [gram(&inputs)?, missing.t()?.matmul(&inputs)?.flatten_all()?.to_vec1::<f32>()?];
            for (sums, product) in sums.iter_mut().zip(products) {
                sums.iter_mut().zip(product).for_each(|(sum, v)| *sum += v);
            }
        }
        let [inputs, products] = sums;
        became.inputs = Some(kept);
        Ok(Lost { inputs, products, tokens: self.was.tokens.len() })
    }
}

impl Way<'_> {
    /// Follows what the model becomes to before half a layer, unless it is there or farther.
    fn go_to(&mut self, half: usize) -> Result<()> {
        let of = self.of;
        let became = match &mut self.became {
            Some(became) => became,
            none => {
                let replaced = Replaced { weights: of.was.weights, tensors: &self.tensors };
                none.insert(Became { at: 0, stream: embedded(&replaced, &of.was.config, &of.was.tokens)?, inputs: None })
            }
        };
        while became.at < half {
            of.advance(became, &mut self.tensors)?;
        }
        Ok(())
    }

    fn find(&mut self, tensor: &str) -> Result<Option<Lost>> {
        let Some(half) = self.of.half(tensor) else { return Ok(None) };
        self.go_to(half)?;
        match &mut self.became {
            Some(became) if became.at == half && became.inputs.is_none() => self.of.measure(became, &self.tensors).map(Some),
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
        let asked = (0..2 * self.was.config.num_hidden_layers).filter(|&half| quantized(&last_of(half))).collect();
        Ok(Box::new(Way { of: self, asked, tensors: HashMap::new(), became: None }))
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
