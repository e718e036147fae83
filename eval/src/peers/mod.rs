//! What models are quantized to elsewhere, rounded here by each format's documented rule and layout: what the quantizer's curve is compared with.
//!
//! A format encodes a block or a row to the very bytes that it is stored in, and the weights that a model then has are decoded from these bytes, so that sizes
//! and values are those of the layout. All of them quantize the same tensors as [`wcodec::quantize::Rules`] do, and keep the rest as it is.
//!
//! ```text
//! q4_0, q5_0, q8_0, q6_k  blocks of llama.cpp
//! int8, int4              rounding to nearest, as compressed-tensors lays it out
//! uniform                 one relative step for all tensors, the integers coded by wcodec
//! ```

mod int4;
mod int8;
mod q4_0;
mod q5_0;
mod q6_k;
mod q8_0;
#[cfg(test)]
mod testing;
pub(crate) mod uniform;

use rayon::prelude::*;
use wcodec::quantize::{Format, Rule, Rules};
use wcodec::{Dtype, Result};

/// A way to quantize a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// llama.cpp: 32 weights with an FP16 scale and 4 bits each, 4.5 bits a weight.
    Q4_0,
    /// llama.cpp: 32 weights with an FP16 scale and 5 bits each, 5.5 bits a weight.
    Q5_0,
    /// llama.cpp: 256 weights with an FP16 scale, a scale of 8 bits for each 16 and 6 bits each, 6.5625 bits a weight. Matrices whose rows do not divide
    /// into 256 are Q8_0, as in llama.cpp.
    Q6K,
    /// llama.cpp: 32 weights with an FP16 scale and 8 bits each, 8.5 bits a weight.
    Q8_0,
    /// INT8 with a BF16 scale a row, rounded to nearest.
    Int8,
    /// INT4 with a BF16 scale for each group of 128 (64 or 32 where rows do not divide), rounded to nearest: embeddings too.
    Int4,
    /// The same, with embeddings and the head in INT8.
    Int4WithInt8,
}

/// A matrix in some format.
#[derive(Clone, Debug, PartialEq)]
pub struct Rounded {
    /// Its weights, as whoever reads the format has them.
    pub values: Vec<f32>,
    /// What it is stored in, scales included.
    pub bytes: u64,
}

/// How the rows of a matrix are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    Q4_0,
    Q5_0,
    Q6K,
    Q8_0,
    Int8,
    Int4 { group: usize },
    Bf16,
}

impl Peer {
    /// All of them.
    pub const ALL: [Self; 7] = [Self::Q4_0, Self::Q5_0, Self::Q6K, Self::Q8_0, Self::Int8, Self::Int4, Self::Int4WithInt8];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q4_0 => "Q4_0",
            Self::Q5_0 => "Q5_0",
            Self::Q6K => "Q6_K",
            Self::Q8_0 => "Q8_0",
            Self::Int8 => "INT8 per channel",
            Self::Int4 => "INT4 g128",
            Self::Int4WithInt8 => "INT4 g128, embedding INT8",
        }
    }

    /// Whose way of rounding it is.
    pub fn method(self) -> &'static str {
        match self {
            Self::Q4_0 | Self::Q5_0 | Self::Q6K | Self::Q8_0 => "llama.cpp",
            Self::Int8 | Self::Int4 | Self::Int4WithInt8 => "round to nearest",
        }
    }

    /// A matrix's layout; `None` for what is kept as it is.
    fn layout(self, name: &str, dtype: Dtype, shape: &[u64]) -> Result<Option<Layout>> {
        let format = if self == Self::Int4WithInt8 { Format::Int4 } else { Format::Int8 };
        let Rule::Quantize(format) = Rules::new(format).of(name, dtype, shape)? else { return Ok(None) };
        let columns = shape[1] as usize;
        let int4 = Format::Int4.group(columns).map_or(Layout::Int8, |group| Layout::Int4 { group });
        Ok(Some(match self {
            // As llama.cpp falls back, from blocks of 256 to those of 32 and from these to floats.
            Self::Q6K if columns.is_multiple_of(q6_k::WEIGHTS) => Layout::Q6K,
            Self::Q4_0 | Self::Q5_0 | Self::Q6K | Self::Q8_0 if !columns.is_multiple_of(q8_0::WEIGHTS) => Layout::Bf16,
            Self::Q4_0 => Layout::Q4_0,
            Self::Q5_0 => Layout::Q5_0,
            Self::Q6K | Self::Q8_0 => Layout::Q8_0,
            Self::Int8 => Layout::Int8,
            Self::Int4 => int4,
            Self::Int4WithInt8 => {
                if format == Format::Int4 {
                    int4
                } else {
                    Layout::Int8
                }
            }
        }))
    }

    /// Rounds the matrix of a name, type and shape; `None` if the peer keeps such a tensor as it is.
    ///
    /// # Errors
    /// None that a name or a shape could cause: those of [`Rules::of`].
    pub fn round(self, name: &str, dtype: Dtype, shape: &[u64], values: &[f32]) -> Result<Option<Rounded>> {
        Ok(self.layout(name, dtype, shape)?.map(|layout| layout.round(values, shape[1] as usize)))
    }
}

impl Layout {
    /// `values` are rows of `columns`, which divide into the layout's blocks.
    fn round(self, values: &[f32], columns: usize) -> Rounded {
        match self {
            Self::Q4_0 => blocks(values, q4_0::encode, q4_0::decode),
            Self::Q5_0 => blocks(values, q5_0::encode, q5_0::decode),
            Self::Q6K => blocks(values, q6_k::encode, q6_k::decode),
            Self::Q8_0 => blocks(values, q8_0::encode, q8_0::decode),
            Self::Int8 => rows(values, columns, 0, int8::encode, int8::decode),
            // The shape is stored too: two numbers of 8 bytes.
            Self::Int4 { group } => {
                rows(values, columns, 16, |row| int4::encode(row, group), |bytes| int4::decode(bytes, columns, group))
            }
            Self::Bf16 => rows(
                values,
                columns,
                0,
                |row| row.iter().flat_map(|&w| half::bf16::from_f32(w).to_le_bytes()).collect(),
                |bytes| bytes.as_chunks().0.iter().map(|&b| half::bf16::from_le_bytes(b).to_f32()).collect(),
            ),
        }
    }
}

/// Blocks of `W` weights, each stored in `B` bytes. Rows divide into them.
fn blocks<const W: usize, const B: usize>(
    values: &[f32],
    encode: impl Fn(&[f32; W]) -> [u8; B] + Sync,
    decode: impl Fn(&[u8; B]) -> [f32; W] + Sync,
) -> Rounded {
    let (blocks, rest) = values.as_chunks::<W>();
    debug_assert!(rest.is_empty());
    let values: Vec<f32> = blocks.par_iter().flat_map_iter(|block| decode(&encode(block))).collect();
    Rounded { values, bytes: (blocks.len() * B) as u64 }
}

/// Rows, each stored in bytes of its own, and `more` bytes of the matrix.
fn rows(
    values: &[f32],
    columns: usize,
    more: u64,
    encode: impl Fn(&[f32]) -> Vec<u8> + Sync,
    decode: impl Fn(&[u8]) -> Vec<f32> + Sync,
) -> Rounded {
    let (values, bytes): (Vec<Vec<f32>>, Vec<u64>) = values
        .par_chunks(columns)
        .map(|row| {
            let bytes = encode(row);
            (decode(&bytes), bytes.len() as u64)
        })
        .unzip();
    Rounded { values: values.concat(), bytes: bytes.iter().sum::<u64>() + more }
}

/// The largest magnitude.
fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most, w| most.max(w.abs()))
}

/// The weight of largest magnitude, the first of equals.
fn extreme(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most: f32, &w| if w.abs() > most.abs() { w } else { most })
}

#[cfg(test)]
mod tests {
    use super::testing::normal;
    use super::*;

    /// Bits a weight of a matrix of a name and shape, and its relative error.
    fn rate_and_error(peer: Peer, name: &str, shape: [u64; 2]) -> (f64, f64) {
        let values = normal((shape[0] * shape[1]) as usize);
        let rounded = peer.round(name, Dtype::BF16, &shape, &values).unwrap().expect("quantized");
        let square = |of: &dyn Fn(usize) -> f32| (0..values.len()).map(|i| of(i) as f64 * of(i) as f64).sum::<f64>();
        let error = square(&|i| rounded.values[i] - values[i]) / square(&|i| values[i]);
        (8.0 * rounded.bytes as f64 / values.len() as f64, error.sqrt())
    }

    #[test]
    fn rates_are_those_of_the_layouts_and_errors_fall_with_them() {
        let of = |peer| rate_and_error(peer, "model.layers.0.mlp.up_proj.weight", [64, 1024]);
        let expected = [
            (Peer::Int4, 4.0 + 16.0 / 128.0 + 128.0 / 65536.0, 0.12),
            (Peer::Int4WithInt8, 4.0 + 16.0 / 128.0 + 128.0 / 65536.0, 0.12),
            (Peer::Q4_0, 4.5, 0.09),
            (Peer::Q5_0, 5.5, 0.045),
            (Peer::Q6K, 6.5625, 0.02),
            (Peer::Int8, 8.0 + 16.0 / 1024.0, 0.011),
            (Peer::Q8_0, 8.5, 0.006),
        ];
        for (peer, rate, error) in expected {
            let got = of(peer);
            assert!((got.0 - rate).abs() < 1e-9, "{peer:?} {got:?}");
            assert!(got.1 < error && got.1 > 0.6 * error, "{peer:?} {got:?}");
        }
    }

    #[test]
    fn embeddings_and_odd_rows_have_the_formats_that_they_should() {
        let layout = |peer: Peer, name, columns| peer.layout(name, Dtype::BF16, &[4096, columns]).unwrap();
        let (embedding, other) = ("model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight");
        assert_eq!(layout(Peer::Int4, embedding, 576), Some(Layout::Int4 { group: 64 }));
        assert_eq!(layout(Peer::Int4WithInt8, embedding, 576), Some(Layout::Int8));
        assert_eq!(layout(Peer::Int4WithInt8, other, 1536), Some(Layout::Int4 { group: 128 }));
        assert_eq!(layout(Peer::Int4, other, 40), Some(Layout::Int8));
        assert_eq!(layout(Peer::Q6K, other, 1536), Some(Layout::Q6K));
        assert_eq!(layout(Peer::Q6K, other, 576), Some(Layout::Q8_0));
        assert_eq!(layout(Peer::Q6K, other, 40), Some(Layout::Bf16));
        assert_eq!(layout(Peer::Q4_0, embedding, 576), Some(Layout::Q4_0));
        for peer in Peer::ALL {
            assert_eq!(peer.layout("model.norm.weight", Dtype::BF16, &[8192]).unwrap(), None);
            assert_eq!(peer.layout("small.weight", Dtype::BF16, &[2, 64]).unwrap(), None);
        }
    }

    /// Zeros have no scale, and stay what they are.
    #[test]
    fn zeros_stay_zeros() {
        for peer in Peer::ALL {
            let rounded = peer.round("a.weight", Dtype::F32, &[64, 256], &[0.0; 64 * 256]).unwrap().expect("quantized");
            assert!(rounded.values.iter().all(|&w| w == 0.0), "{peer:?}");
        }
    }
}
