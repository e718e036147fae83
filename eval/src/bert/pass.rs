//! The parts of a forward pass that are computed one way where only what comes out is asked for, and another where a way back is to follow.

use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::{LayerNorm, Linear, Module, ops};

/// A pass through a model.
pub(crate) trait Pass {
    /// What is looked up, tokens × hidden.
    fn looked_up(&mut self, x: Tensor) -> Result<Tensor>;
    /// A matrix: tokens × columns to tokens × rows.
    fn linear(&mut self, linear: &Linear, x: &Tensor) -> Result<Tensor>;
    fn norm(&mut self, norm: &LayerNorm, x: &Tensor) -> Result<Tensor>;
    fn softmax(&mut self, scores: &Tensor) -> Result<Tensor>;
}

/// There, and nothing is kept.
pub(crate) struct There;

impl Pass for There {
    fn looked_up(&mut self, x: Tensor) -> Result<Tensor> {
        Ok(x)
    }

    fn linear(&mut self, linear: &Linear, x: &Tensor) -> Result<Tensor> {
        linear.forward(x)
    }

    fn norm(&mut self, norm: &LayerNorm, x: &Tensor) -> Result<Tensor> {
        norm.forward(x)
    }

    fn softmax(&mut self, scores: &Tensor) -> Result<Tensor> {
        ops::softmax_last_dim(scores)
    }
}

/// There and back: to what comes out zeros are added, whose gradients are those in it.
#[derive(Default)]
pub(crate) struct Traced {
    /// Those of what is looked up.
    pub looked_up: Option<Var>,
    /// Of each matrix, in the order in which they come, what went in, and the zeros.
    pub matrices: Vec<(Tensor, Var)>,
}

/// `x` with zeros of its own.
fn marked(x: &Tensor) -> Result<(Tensor, Var)> {
    let zeros = Var::zeros(x.shape(), DType::F32, &Device::Cpu)?;
    Ok(((x + zeros.as_tensor())?, zeros))
}

impl Pass for Traced {
    fn looked_up(&mut self, x: Tensor) -> Result<Tensor> {
        let (x, zeros) = marked(&x)?;
        self.looked_up = Some(zeros);
        Ok(x)
    }

    fn linear(&mut self, linear: &Linear, x: &Tensor) -> Result<Tensor> {
        let (y, zeros) = marked(&linear.forward(x)?)?;
        self.matrices.push((x.detach(), zeros));
        Ok(y)
    }

    /// The library's own has no way back.
    fn norm(&mut self, norm: &LayerNorm, x: &Tensor) -> Result<Tensor> {
        match norm.bias() {
            Some(bias) => ops::layer_norm_slow(x, norm.weight(), bias, norm.eps() as f32),
            None => norm.forward(x),
        }
    }

    /// Nor has that.
    fn softmax(&mut self, scores: &Tensor) -> Result<Tensor> {
        ops::softmax(scores, candle_core::D::Minus1)
    }
}
