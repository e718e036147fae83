//! What would be several passes over memory as candle's operations, in one pass and in place, on the thread that asks. Scores and gates are the largest that a layer
//! makes: on the CPU such passes took longer than the products between them. And candle's own passes divide among threads that wait for each other: where
//! windows go side by side already, or the machine has other work, that took most of the time.

use candle_core::{CpuStorage, InplaceOp1, InplaceOp2, InplaceOp3, Layout, Result, bail};

/// Attention's weights from its scores: softmax of the scores times `scale` over the keys that a query may see, zeros for those after it.
///
/// Of tensors heads × queries × keys, where the last query sees all keys, the one before it all but one.
pub(crate) struct CausalSoftmax {
    pub(crate) scale: f32,
    pub(crate) queries: usize,
}

impl InplaceOp1 for CausalSoftmax {
    fn name(&self) -> &'static str {
        "causal-softmax"
    }

    fn cpu_fwd(&self, scores: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let keys = *layout.dims().last().unwrap_or(&0);
        let (queries, scale) = (self.queries, self.scale);
        if queries == 0 || keys < queries || !layout.shape().elem_count().is_multiple_of(queries * keys) {
            bail!("scores of shape {:?} are not those of {queries} queries", layout.dims());
        }
        for (row, scores) in floats(scores, layout)?.chunks_exact_mut(keys).enumerate() {
            let (seen, hidden) = scores.split_at_mut(keys - queries + row % queries + 1);
            let most = seen.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            seen.iter_mut().for_each(|x| *x = exp(scale * (*x - most)));
            let sum = sum(seen);
            seen.iter_mut().for_each(|x| *x /= sum);
            hidden.fill(0.0);
        }
        Ok(())
    }
}

/// Gates times what they let through: `x · σ(x) · y` in the place of `x`.
pub(crate) struct Gated;

impl InplaceOp2 for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }

    fn cpu_fwd(&self, gate: &mut CpuStorage, gate_layout: &Layout, up: &CpuStorage, up_layout: &Layout) -> Result<()> {
        for (x, y) in floats(gate, gate_layout)?.iter_mut().zip(seen(up, up_layout)?) {
            *x *= sigmoid(*x) * y;
        }
        Ok(())
    }
}

/// The gradient in gates, in the place of that in what they let through: of tensors of the gradient in `x · σ(x) · y`, of x and of y.
pub(crate) struct GatedBack;

impl InplaceOp3 for GatedBack {
    fn name(&self) -> &'static str {
        "gated-back"
    }

    fn cpu_fwd(
        &self,
        gradient: &mut CpuStorage,
        gradient_layout: &Layout,
        gate: &CpuStorage,
        gate_layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<()> {
        let others = seen(gate, gate_layout)?.iter().zip(seen(up, up_layout)?);
        for (g, (&x, y)) in floats(gradient, gradient_layout)?.iter_mut().zip(others) {
            let open = sigmoid(x);
            // The slope of x σ(x) is σ (1 + x (1 - σ)).
            *g *= y * (open * (1.0 + x * (1.0 - open)));
        }
        Ok(())
    }
}

/// The gradient in scores, in the place of that in attention's weights, which are the second tensor: [`CausalSoftmax`]'s way back.
pub(crate) struct SoftmaxBack {
    pub(crate) scale: f32,
}

impl InplaceOp2 for SoftmaxBack {
    fn name(&self) -> &'static str {
        "softmax-back"
    }

    fn cpu_fwd(&self, gradient: &mut CpuStorage, layout: &Layout, weights: &CpuStorage, weights_layout: &Layout) -> Result<()> {
        let keys = (*layout.dims().last().unwrap_or(&0)).max(1);
        let rows = floats(gradient, layout)?.chunks_exact_mut(keys).zip(seen(weights, weights_layout)?.chunks_exact(keys));
        for (gradient, weights) in rows {
            let along = dot(gradient, weights);
            gradient.iter_mut().zip(weights).for_each(|(g, w)| *g = self.scale * w * (*g - along));
        }
        Ok(())
    }
}

/// The gradient in `x`, in the place of that in `x · scale / rms(x)`, row by row: of tensors of the gradient, of x and of the scale.
pub(crate) struct NormBack {
    pub(crate) eps: f32,
}

impl InplaceOp3 for NormBack {
    fn name(&self) -> &'static str {
        "norm-back"
    }

    fn cpu_fwd(
        &self,
        gradient: &mut CpuStorage,
        gradient_layout: &Layout,
        x: &CpuStorage,
        x_layout: &Layout,
        scale: &CpuStorage,
        scale_layout: &Layout,
    ) -> Result<()> {
        let scale = seen(scale, scale_layout)?;
        let columns = scale.len().max(1);
        let rows = floats(gradient, gradient_layout)?.chunks_exact_mut(columns).zip(seen(x, x_layout)?.chunks_exact(columns));
        for (gradient, x) in rows {
            let inverse = (dot(x, x) / columns as f32 + self.eps).sqrt().recip();
            gradient.iter_mut().zip(scale).for_each(|(g, s)| *g *= s);
            let along = dot(gradient, x) / columns as f32 * inverse.powi(3);
            gradient.iter_mut().zip(x).for_each(|(g, x)| *g = *g * inverse - along * x);
        }
        Ok(())
    }
}

/// Adds the second tensor to the first.
pub(crate) struct Add;

impl InplaceOp2 for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(&self, to: &mut CpuStorage, to_layout: &Layout, what: &CpuStorage, what_layout: &Layout) -> Result<()> {
        floats(to, to_layout)?.iter_mut().zip(seen(what, what_layout)?).for_each(|(to, what)| *to += what);
        Ok(())
    }
}

/// σ(x).
#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    // Where `exp` ends the gate is shut to within what a number can tell.
    let shut = if x < -88.0 { 88.0 } else { -x };
    1.0 / (1.0 + exp(shut))
}

/// The numbers of a tensor.
fn floats<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((from, to))) => Ok(&mut values[from..to]),
        _ => bail!("only contiguous numbers of 32 bits are handled"),
    }
}

/// The same, to be read.
fn seen<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((from, to))) => Ok(&values[from..to]),
        _ => bail!("only contiguous numbers of 32 bits are handled"),
    }
}

/// The sum of products, in an order in which as many can be added at once as the CPU can.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    let mut sums = [0f32; 16];
    for (a, b) in a.iter().zip(b) {
        (0..16).for_each(|i| sums[i] += a[i] * b[i]);
    }
    sums.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

/// The sum, in an order in which as many can be added at once as the CPU can.
pub(crate) fn sum(values: &[f32]) -> f32 {
    let (sixteens, rest) = values.as_chunks::<16>();
    let mut sums = [0f32; 16];
    for sixteen in sixteens {
        sums.iter_mut().zip(sixteen).for_each(|(sum, x)| *sum += x);
    }
    sums.iter().chain(rest).sum()
}

/// `e` to the `x`, of numbers that are not above 88, to seven digits: plain operations, so that it works on as many at once as the CPU can.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // e^x = 2^n · e^r with |r| at most half of ln 2.
    const ROUND: f32 = 12_582_912.0;
    // Not `max`: what is not a number shall stay so, and damage be seen.
    let x = if x < -87.0 { -87.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    // ln 2 in two parts, the first exact in few bits.
    let r = (x - n * 0.693_359_4) - n * -2.121_944_4e-4;
    let series = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0))))));
    // The lowest bits of `shifted` are n.
    series * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{D, Device, Tensor};
    use candle_nn::ops;

    fn tensor(shape: (usize, usize, usize), seed: usize) -> Tensor {
        let count = shape.0 * shape.1 * shape.2;
        let values: Vec<f32> = (0..count).map(|i| ((i * seed) % 97) as f32 / 9.0 - 5.0).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).expect("a tensor")
    }

    fn apart(a: &Tensor, b: &Tensor) -> f32 {
        (a - b).and_then(|d| d.abs()?.flatten_all()?.max(D::Minus1)?.to_scalar()).expect("numbers")
    }

    #[test]
    fn exponentials_to_seven_digits() {
        for i in -8700..8800 {
            let x = i as f32 / 100.0;
            let exact = (x as f64).exp();
            assert!((exp(x) as f64 / exact - 1.0).abs() < 3e-6, "{x}");
        }
        assert!(exp(-1000.0) < 2e-38 && exp(f32::NAN).is_nan());
    }

    #[test]
    fn weights_are_candles_softmax_of_masked_scores() {
        for (queries, keys) in [(5, 5), (3, 40), (1, 17)] {
            let scores = tensor((4, queries, keys), 31);
            let row = |query: usize| (0..keys).map(move |key| if key > keys - queries + query { f32::NEG_INFINITY } else { 0.0 });
            let mask: Vec<f32> = (0..queries).flat_map(row).collect();
            let mask = Tensor::from_vec(mask, (queries, keys), &Device::Cpu).expect("a mask");
            let expected = (&scores * 0.3).and_then(|s| ops::softmax(&s.broadcast_add(&mask)?, D::Minus1)).expect("runs");
            scores.inplace_op1(&CausalSoftmax { scale: 0.3, queries }).expect("runs");
            assert!(apart(&scores, &expected) < 1e-6, "{queries} {keys}");
        }
        assert!(tensor((1, 3, 2), 5).inplace_op1(&CausalSoftmax { scale: 1.0, queries: 3 }).is_err());
    }

    #[test]
    fn gates_are_candles() {
        let (gate, up) = (tensor((2, 3, 50), 7), tensor((2, 3, 50), 11));
        let expected = gate.silu().and_then(|g| g * &up).expect("runs");
        gate.inplace_op2(&up, &Gated).expect("runs");
        assert!(apart(&gate, &expected) < 1e-5);
        let far = Tensor::new(&[-1000f32, 1000.0], &Device::Cpu).expect("numbers");
        far.inplace_op2(&far.ones_like().expect("ones"), &Gated).expect("runs");
        let far = far.to_vec1::<f32>().expect("numbers");
        assert!(far[0].abs() < 1e-30 && far[1] == 1000.0, "{far:?}");
    }
}
