//! How real weights are distributed, for each kind of tensor, and tensors that are distributed so.
//!
//! ```text
//! weight[row][column] = deviation · layer · spread_row · spread_column · t
//! ```
//!
//! `t` is Student's with ν degrees of freedom and unit variance (ν is what tails are), the spreads are log-normal factors of rows, of
//! columns and of layers. [`fit`](crate::fit) measures all of it on a real checkpoint; the constants below are what it says of
//! SmolLM2-135M (of MiniLM-L6 for biases, which SmolLM2 has none of). They are those of two small models: what larger ones add, a few
//! columns with very large weights above all, is not in them.

use crate::architectures::SourceTensor;
use crate::error::Result;
use crate::kind::Kind;
use crate::quantize::Rows;
use crate::random::{Random, StudentT, hash};

/// The distribution of a kind of tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Distribution {
    /// The mean: zero but for norms.
    pub mean: f64,
    /// The deviation, in units of one over the square root of the columns (of one for vectors).
    pub deviation: f64,
    /// Degrees of freedom: less is heavier tails.
    pub nu: f64,
    /// The deviation of the logarithm of rows' magnitudes.
    pub rows: f64,
    /// Of columns'.
    pub columns: f64,
    /// Of layers'.
    pub layers: f64,
}

const fn matrix(deviation: f64, nu: f64, rows: f64, columns: f64, layers: f64) -> Distribution {
    Distribution { mean: 0.0, deviation, nu, rows, columns, layers }
}

const fn vector(mean: f64, deviation: f64, nu: f64, layers: f64) -> Distribution {
    Distribution { mean, deviation, nu, rows: 0.0, columns: 0.0, layers }
}

impl Distribution {
    /// The distribution of a kind.
    pub const fn of(kind: Kind) -> Self {
        // `cargo run --release -p wcodec-baseline --example fit -- models/smollm2-bf16.safetensors`
        match kind {
            Kind::Embedding => matrix(3.254, 200.0, 0.153, 0.322, 0.0),
            Kind::Query => matrix(4.719, 34.4, 0.379, 0.126, 0.141),
            Kind::Key => matrix(4.863, 40.3, 0.302, 0.089, 0.241),
            Kind::Value => matrix(4.249, 28.2, 0.101, 0.224, 0.347),
            Kind::AttentionOutput => matrix(4.073, 36.5, 0.157, 0.176, 0.238),
            Kind::Gate => matrix(4.496, 44.4, 0.134, 0.075, 0.038),
            Kind::Up => matrix(4.799, 28.5, 0.105, 0.106, 0.048),
            Kind::Down => matrix(7.488, 25.8, 0.111, 0.100, 0.035),
            Kind::Norm => vector(0.255, 0.063, 9.6, 0.507),
            // SmolLM2's head is its embedding.
            Kind::Head => Self::of(Kind::Embedding),
            // MiniLM's.
            Kind::Bias => vector(0.0, 0.054, 7.6, 1.836),
            // Neither has a router.
            Kind::Router | Kind::Other => Self::of(Kind::Gate),
        }
    }
}

/// A synthetic tensor; the same seed and name give the same weights on every machine.
pub struct Synthetic {
    seed: u64,
    mean: f32,
    deviation: f64,
    row_spread: f64,
    columns: Vec<f32>,
    t: StudentT,
}

impl Synthetic {
    /// A tensor's weights, distributed as its kind's are.
    pub fn new(tensor: &SourceTensor, seed: u64) -> Self {
        Self::with(tensor, &Distribution::of(tensor.kind), seed)
    }

    /// A tensor's weights with a distribution.
    pub fn with(tensor: &SourceTensor, distribution: &Distribution, seed: u64) -> Self {
        let seed = seed ^ hash(&tensor.name);
        let columns = tensor.columns();
        let mut random = Random::at(seed, u64::MAX);
        let layer = log_normal(distribution.layers, &mut random);
        let unit = if tensor.shape.len() < 2 { 1.0 } else { 1.0 / (columns.max(1) as f64).sqrt() };
        Self {
            seed,
            mean: distribution.mean as f32,
            deviation: distribution.deviation * unit * layer,
            row_spread: distribution.rows,
            columns: (0..columns).map(|_| log_normal(distribution.columns, &mut random) as f32).collect(),
            t: StudentT::new(distribution.nu),
        }
    }
}

impl Rows for Synthetic {
    fn fill(&self, row: usize, out: &mut [f32]) -> Result<()> {
        let mut random = Random::at(self.seed, row as u64);
        let scale = (self.deviation * log_normal(self.row_spread, &mut random)) as f32;
        for (pair, columns) in out.chunks_mut(2).zip(self.columns.chunks(2)) {
            let bits = random.next();
            for (half, (v, column)) in pair.iter_mut().zip(columns).enumerate() {
                *v = self.mean + scale * column * self.t.sample((bits >> (32 * half)) as u32);
            }
        }
        Ok(())
    }
}

/// A factor whose logarithm has that deviation, of unit mean square.
fn log_normal(deviation: f64, random: &mut Random) -> f64 {
    // Box and Muller.
    let uniform = |bits: u64| ((bits >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    let (u, v) = (uniform(random.next()), uniform(random.next()));
    let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
    (deviation * normal - deviation * deviation).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_weights() {
        let tensor = SourceTensor::new("layers.0.up_proj.weight", vec![3, 101]);
        let row = |seed, n| {
            let mut out = vec![0.0; 101];
            Synthetic::new(&tensor, seed).fill(n, &mut out).expect("fills");
            out
        };
        assert_eq!(row(1, 2), row(1, 2));
        assert_ne!(row(1, 2), row(2, 2));
        assert_ne!(row(1, 2), row(1, 1));
    }
}
