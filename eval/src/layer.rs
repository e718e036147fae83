//! A layer of a Llama with its way back: what goes into each matrix, and the gradient of a loss in what comes out of it.
//!
//! The same sums as the model's own forward pass (`model.rs`), written out so that nothing is recorded that is not needed: what a general differentiation computes
//! for the weights is most of its work, and weights do not change here.

use crate::fused::{Add, CausalSoftmax, Gated, GatedBack, NormBack, SoftmaxBack};
use crate::{Config, Result, Weights};
use candle_core::{Device, Tensor};
use candle_nn::{ops, rotary_emb};

/// The weights of a layer.
pub(crate) struct Layer {
    attention_norm: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    o: Tensor,
    inner_norm: Tensor,
    gate: Tensor,
    up: Tensor,
    down: Tensor,
    heads: usize,
    kv_heads: usize,
    dim: usize,
    eps: f64,
}

/// What all layers need of a window.
pub(crate) struct Positions {
    cos: Tensor,
    sin: Tensor,
    back: Tensor,
}

impl Positions {
    /// For windows of `length` tokens.
    pub(crate) fn new(config: &Config, length: usize) -> Result<Self> {
        let positions: Vec<f32> = (0..length).map(|p| p as f32).collect();
        let rotations = Tensor::from_vec(config.rotations(), (1, config.head_dim() / 2), &Device::Cpu)?;
        let angles = Tensor::from_vec(positions, (length, 1), &Device::Cpu)?.matmul(&rotations)?;
        Ok(Self { cos: angles.cos()?, sin: angles.sin()?, back: angles.sin()?.neg()? })
    }
}

/// What went into the matrices of a layer, tokens × columns.
pub(crate) struct Inputs {
    /// Of q, k and v.
    pub attention: Tensor,
    pub o: Tensor,
    /// Of gate and up.
    pub inner: Tensor,
    pub down: Tensor,
}

/// The gradient of the loss in what came out of the matrices of a layer, tokens × rows, and in what went into the layer.
pub(crate) struct Gradients {
    pub q: Tensor,
    pub k: Tensor,
    pub v: Tensor,
    pub o: Tensor,
    pub gate: Tensor,
    pub up: Tensor,
    pub down: Tensor,
    pub input: Tensor,
}

/// Attention's parts.
struct Attention {
    normed: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    weights: Tensor,
    o: Tensor,
}

/// What the way back needs of the way there.
struct Trace {
    inputs: Inputs,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    attention: Tensor,
    middle: Tensor,
    gate: Tensor,
    up: Tensor,
    output: Tensor,
}

/// `x · scale / rms(x)`, row by row.
pub(crate) fn norm(x: &Tensor, scale: &Tensor, eps: f64) -> Result<Tensor> {
    Ok(ops::rms_norm(x, scale, eps as f32)?)
}

/// The gradient in `x` of [`norm`], in the place of that in what it makes.
pub(crate) fn norm_back(gradient: Tensor, x: &Tensor, scale: &Tensor, eps: f64) -> Result<Tensor> {
    gradient.inplace_op3(x, scale, &NormBack { eps: eps as f32 })?;
    Ok(gradient)
}

/// `x + y`, in the place of `x`.
fn add(x: Tensor, y: &Tensor) -> Result<Tensor> {
    x.inplace_op2(y, &Add)?;
    Ok(x)
}

/// `gate · σ(gate) · x`.
fn gated(gate: &Tensor, x: &Tensor) -> Result<Tensor> {
    let gate = gate.copy()?;
    gate.inplace_op2(x, &Gated)?;
    Ok(gate)
}

impl Layer {
    /// Reads layer `number`.
    pub(crate) fn read(weights: &dyn Weights, config: &Config, number: usize) -> Result<Self> {
        let tensor = |part: &str| weights.tensor(&format!("model.layers.{number}.{part}.weight"));
        Ok(Self {
            attention_norm: tensor("input_layernorm")?,
            q: tensor("self_attn.q_proj")?,
            k: tensor("self_attn.k_proj")?,
            v: tensor("self_attn.v_proj")?,
            o: tensor("self_attn.o_proj")?,
            inner_norm: tensor("post_attention_layernorm")?,
            gate: tensor("mlp.gate_proj")?,
            up: tensor("mlp.up_proj")?,
            down: tensor("mlp.down_proj")?,
            heads: config.num_attention_heads,
            kv_heads: config.kv_heads(),
            dim: config.head_dim(),
            eps: config.rms_norm_eps,
        })
    }

    /// What the layer makes of `x`, tokens × hidden.
    pub(crate) fn forward(&self, x: &Tensor, positions: &Positions) -> Result<Tensor> {
        Ok(self.trace(x, positions)?.output)
    }

    /// What went into its matrices, and the gradients, given that in the layer's output.
    pub(crate) fn back(&self, x: &Tensor, gradient: &Tensor, positions: &Positions) -> Result<(Inputs, Gradients)> {
        let t = self.trace(x, positions)?;
        let inner = gradient.matmul(&self.down)?;
        let up = gated(&t.gate, &inner)?;
        inner.inplace_op3(&t.gate, &t.up, &GatedBack)?;
        let gate = inner;
        let normed = add(gate.matmul(&self.gate)?, &up.matmul(&self.up)?)?;
        let middle = add(norm_back(normed, &t.middle, &self.inner_norm, self.eps)?, gradient)?;

        let (length, _) = x.dims2()?;
        let (kv_heads, group, dim) = (self.kv_heads, self.heads / self.kv_heads, self.dim);
        let values = self.split(&middle.matmul(&self.o)?, self.heads)?.reshape((kv_heads, group * length, dim))?;
        let weights = &t.attention;
        let v = weights.t()?.contiguous()?.matmul(&values)?;
        let scores = values.matmul(&t.v.t()?.contiguous()?)?;
        scores.inplace_op2(weights, &SoftmaxBack { scale: (dim as f32).sqrt().recip() })?;
        let q = scores.matmul(&t.k)?.reshape((self.heads, length, dim))?;
        let k = scores.t()?.contiguous()?.matmul(&t.q)?;
        let unrotate = |x: &Tensor| rotary_emb::rope(&x.unsqueeze(0)?.contiguous()?, &positions.cos, &positions.back)?.squeeze(0);
        let (q, k, v) = (self.merge(&unrotate(&q)?)?, self.merge(&unrotate(&k)?)?, self.merge(&v)?);
        let normed = add(add(q.matmul(&self.q)?, &k.matmul(&self.k)?)?, &v.matmul(&self.v)?)?;
        let input = add(norm_back(normed, x, &self.attention_norm, self.eps)?, &middle)?;
        Ok((t.inputs, Gradients { q, k, v, o: middle, gate, up, down: gradient.clone(), input }))
    }

    /// What the layer makes of a token of each of several texts, texts × hidden: `attend` is given its queries, keys and values, and says what the heads see.
    pub(crate) fn step(&self, x: &Tensor, attend: impl FnOnce(Tensor, Tensor, Tensor) -> Result<Tensor>) -> Result<Tensor> {
        let normed = norm(x, &self.attention_norm, self.eps)?;
        let seen = attend(times(&normed, &self.q)?, times(&normed, &self.k)?, times(&normed, &self.v)?)?;
        let middle = add(times(&seen, &self.o)?, x)?;
        add(times(&self.activate(&middle)?, &self.down)?, &middle)
    }

    /// What attention makes of `x`, added to it.
    pub(crate) fn middle(&self, x: &Tensor, positions: &Positions) -> Result<Tensor> {
        add(times(&self.attend(x, positions)?, &self.o)?, x)
    }

    /// What goes into o, given what goes into the layer.
    pub(crate) fn attend(&self, x: &Tensor, positions: &Positions) -> Result<Tensor> {
        Ok(self.attention(x, positions)?.o)
    }

    /// What goes into down, given what attention made of `x`.
    pub(crate) fn activate(&self, middle: &Tensor) -> Result<Tensor> {
        let inner = norm(middle, &self.inner_norm, self.eps)?;
        gated(&times(&inner, &self.gate)?, &times(&inner, &self.up)?)
    }

    fn attention(&self, x: &Tensor, positions: &Positions) -> Result<Attention> {
        let (length, _) = x.dims2()?;
        let (kv_heads, group, dim) = (self.kv_heads, self.heads / self.kv_heads, self.dim);
        let normed = norm(x, &self.attention_norm, self.eps)?;
        let rotate = |x: &Tensor| rotary_emb::rope(&x.unsqueeze(0)?, &positions.cos, &positions.sin)?.squeeze(0);
        let q = rotate(&self.split(&times(&normed, &self.q)?, self.heads)?)?.reshape((kv_heads, group * length, dim))?;
        let k = rotate(&self.split(&times(&normed, &self.k)?, kv_heads)?)?;
        let v = self.split(&times(&normed, &self.v)?, kv_heads)?;
        let weights = q.matmul(&k.t()?.contiguous()?)?;
        weights.inplace_op1(&CausalSoftmax { scale: (dim as f32).sqrt().recip(), queries: length })?;
        let o = self.merge(&weights.matmul(&v)?.reshape((self.heads, length, dim))?)?;
        Ok(Attention { normed, q, k, v, weights, o })
    }

    fn trace(&self, x: &Tensor, positions: &Positions) -> Result<Trace> {
        let Attention { normed, q, k, v, weights, o } = self.attention(x, positions)?;
        let middle = add(times(&o, &self.o)?, x)?;
        let inner = norm(&middle, &self.inner_norm, self.eps)?;
        let (gate, up) = (times(&inner, &self.gate)?, times(&inner, &self.up)?);
        let down = gated(&gate, &up)?;
        let output = add(times(&down, &self.down)?, &middle)?;
        Ok(Trace { inputs: Inputs { attention: normed, o, inner, down }, q, k, v, attention: weights, middle, gate, up, output })
    }

    /// tokens × (heads · dim) to heads × tokens × dim.
    fn split(&self, x: &Tensor, heads: usize) -> Result<Tensor> {
        Ok(x.reshape((x.dim(0)?, heads, self.dim))?.transpose(0, 1)?.contiguous()?)
    }

    /// The way back.
    fn merge(&self, x: &Tensor) -> Result<Tensor> {
        let (heads, length, dim) = x.dims3()?;
        Ok(x.transpose(0, 1)?.contiguous()?.reshape((length, heads * dim))?)
    }
}

/// Rows of `x` times a matrix that has a row for each output.
pub(crate) fn times(x: &Tensor, matrix: &Tensor) -> Result<Tensor> {
    Ok(x.matmul(&matrix.t()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Stock, SyntheticModel};

    /// The gradients are the slopes: a small step of an input, or of a weight that adds to an output, changes the loss by what they say.
    #[test]
    fn gradients_are_slopes() {
        let directory = tempfile::tempdir().expect("a directory");
        SyntheticModel::SMALL.write(directory.path()).expect("written");
        let stock = Stock::open(directory.path(), None).expect("opens");
        let config = stock.llama().expect("a Llama");
        let mut layer = Layer::read(&*stock.weights, &config, 0).expect("reads");
        let (length, hidden) = (6, config.hidden_size);
        let positions = Positions::new(&config, length).expect("made");
        let values =
            |seed: usize, n: usize| -> Vec<f32> { (0..n).map(|i| ((i * 37 + seed * 11) % 29) as f32 / 14.0 - 1.0).collect() };
        let tensor = |v: &[f32]| Tensor::from_vec(v.to_vec(), (length, hidden), &Device::Cpu).expect("a tensor");
        let (x, weights) = (values(1, length * hidden), tensor(&values(2, length * hidden)));
        // The loss is a weighted sum of the outputs: its gradient in them is the weights.
        let loss = |layer: &Layer, x: &[f32]| -> f64 {
            let y = layer.forward(&tensor(x), &positions).expect("runs");
            let product = (y * &weights).expect("a product").flatten_all().expect("flat").to_vec1::<f32>().expect("numbers");
            product.iter().map(|&v| v as f64).sum()
        };
        let (inputs, gradients) = layer.back(&tensor(&x), &weights, &positions).expect("runs");
        let flat = |t: &Tensor| t.flatten_all().expect("flat").to_vec1::<f32>().expect("numbers");
        let input = flat(&gradients.input);
        for at in [0, 7, hidden + 3, 5 * hidden + 1] {
            let step = 3e-2;
            let moved = |by: f32| {
                let mut x = x.clone();
                x[at] += by;
                loss(&layer, &x)
            };
            let slope = (moved(step) - moved(-step)) / (2.0 * step as f64);
            assert!((slope - input[at] as f64).abs() < 2e-2 * slope.abs().max(0.3), "{at}: {slope} {}", input[at]);
        }
        // A weight's slope is the sum over tokens of its input times the gradient in its output.
        type Of = fn(&mut Layer) -> &mut Tensor;
        let matrices: [(Of, &Tensor, &Tensor); 7] = [
            (|l| &mut l.q, &inputs.attention, &gradients.q),
            (|l| &mut l.k, &inputs.attention, &gradients.k),
            (|l| &mut l.v, &inputs.attention, &gradients.v),
            (|l| &mut l.o, &inputs.o, &gradients.o),
            (|l| &mut l.gate, &inputs.inner, &gradients.gate),
            (|l| &mut l.up, &inputs.inner, &gradients.up),
            (|l| &mut l.down, &inputs.down, &gradients.down),
        ];
        for (number, (of, inputs, gradients)) in matrices.into_iter().enumerate() {
            let (inputs, gradients) = (inputs.to_vec2::<f32>().expect("rows"), gradients.to_vec2::<f32>().expect("rows"));
            let whole = of(&mut layer).clone();
            let (rows, columns) = whole.dims2().expect("a matrix");
            let (row, column) = (rows / 2, columns / 3);
            let expected: f64 = (0..length).map(|t| inputs[t][column] as f64 * gradients[t][row] as f64).sum();
            let mut moved = |by: f32| {
                let mut values = flat(&whole);
                values[row * columns + column] += by;
                *of(&mut layer) = Tensor::from_vec(values, (rows, columns), &Device::Cpu).expect("a tensor");
                let found = loss(&layer, &x);
                *of(&mut layer) = whole.clone();
                found
            };
            let step = 2e-2;
            let slope = (moved(step) - moved(-step)) / (2.0 * step as f64);
            assert!((slope - expected).abs() < 3e-2 * slope.abs().max(0.3), "matrix {number}: {slope} {expected}");
        }
    }
}
