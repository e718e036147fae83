//! Statistics of a model's matrices on a text: second moments of what goes in, and how much the loss depends on what comes out.
//!
//! A layer at a time, back along the text's stream. What lies between layers goes to temporary files, and so do the moments; in memory are the weights and the moments
//! of one layer. The loss is that of labels drawn from the model's own predictions, so that its curvature is that of the divergence from the model as it is.

use crate::Result;
use crate::activations::{Activations, WINDOW, in_order};
use crate::gram::gram;
use crate::layer::{Layer, norm, norm_back, times};
use crate::random::SplitMix64;
use crate::rows::{self, Lookups};
use crate::stream::{EMBEDDING, Stream};
use crate::sums::Sums;
use candle_core::{Device, Tensor};
use candle_nn::ops;
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex};
use wcodec::quantize::{Statistics, TensorStatistics};

/// Fewest tokens that say anything.
pub const LEAST_TOKENS: usize = 2048;

/// Statistics of a model's matrices. Second moments are read from a temporary file.
pub struct Calibration {
    moments: Mutex<Moments>,
    tensors: HashMap<String, Known>,
}

/// What is known of a tensor.
struct Known {
    /// The number of its inputs' moments.
    inputs: usize,
    outputs: Vec<f32>,
    lookups: Vec<f32>,
    /// Where the moments of gradients in what is looked up are.
    gradients: Option<usize>,
}

/// Second moments, in a file.
struct Moments {
    file: File,
    /// Where each begins, and its elements.
    places: Vec<(u64, usize)>,
    end: u64,
}

impl Moments {
    fn add(&mut self, matrix: &[f32]) -> Result<usize> {
        self.file.seek(SeekFrom::Start(self.end))?;
        self.file.write_all(bytemuck::cast_slice(matrix))?;
        self.places.push((self.end, matrix.len()));
        self.end += 4 * matrix.len() as u64;
        Ok(self.places.len() - 1)
    }

    fn get(&mut self, number: usize) -> std::io::Result<Arc<[f32]>> {
        let (at, elements) = self.places[number];
        let mut matrix = vec![0f32; elements];
        self.file.seek(SeekFrom::Start(at))?;
        self.file.read_exact(bytemuck::cast_slice_mut(&mut matrix))?;
        Ok(matrix.into())
    }
}

impl Statistics for Calibration {
    fn of(&self, tensor: &str) -> wcodec::Result<Option<TensorStatistics>> {
        let Some(known) = self.tensors.get(tensor) else { return Ok(None) };
        let mut moments = self.moments.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let mut get = |number| {
            moments.get(number).map_err(|e| {
                let why = format!("reading moments from the temporary file: {e}");
                wcodec::Error::new(wcodec::ErrorKind::Io, why).with_tensor(tensor)
            })
        };
        let (inputs, gradients) = (get(known.inputs)?, known.gradients.map(&mut get).transpose()?);
        Ok(Some(TensorStatistics { inputs, outputs: known.outputs.clone(), lookups: known.lookups.clone(), gradients }))
    }
}

/// Measures a Llama on the text that its stream is on. What is found is in a temporary file, which is where the system has such (`TMPDIR`). `progress` hears how much of
/// the work is done, from 0 to 1, and may stop it by answering `false`.
///
/// # Errors
/// Too few tokens; weights and temporary files that cannot be read.
pub fn calibrate(stream: &Stream<'_>, progress: &(dyn Fn(f64) -> bool + Sync)) -> Result<Calibration> {
    let (config, weights, tokens) = (&stream.config, stream.weights, stream.tokens.len());
    if tokens < LEAST_TOKENS {
        return Err(format!(
            "the calibration text has {tokens} tokens: at least {LEAST_TOKENS} are needed to measure anything by"
        )
        .into());
    }
    let (hidden, layers) = (config.hidden_size, config.num_hidden_layers);
    // The head is as much as four layers, about.
    let total = (3 * layers + 4) as f64;
    let mut done = 0.0;
    let mut step = |by: f64| -> Result<()> {
        done += by;
        if progress(done / total) { Ok(()) } else { Err("interrupted".into()) }
    };
    let (windows, count) = (stream.windows(), tokens as f32);
    let mut found = Calibration::new()?;
    let head = if config.tie_word_embeddings { EMBEDDING } else { "lm_head.weight" };
    // In what comes out of the layer that the way back is at.
    let gradients = Activations::new(WINDOW * hidden)?;
    found.keep(head_back(stream, &weights.tensor(head)?, &gradients)?, head)?;
    step(4.0)?;
    for number in (0..layers).rev() {
        let layer = Layer::read(weights, config, number)?;
        let x = stream.ahead_of(number);
        let mut sums: Option<[Sums; 7]> = None;
        let back = |w: usize| -> Result<[Sums; 7]> {
            let (inputs, g) = layer.back(&x.get(w, hidden)?, &gradients.get(w, hidden)?, &stream.positions)?;
            gradients.put(w, &g.input)?;
            Ok([
                Sums::of(&inputs.attention, &g.q)?,
                Sums::of(&inputs.attention, &g.k)?,
                Sums::of(&inputs.attention, &g.v)?,
                Sums::of(&inputs.o, &g.o)?,
                Sums::of(&inputs.inner, &g.gate)?,
                Sums::of(&inputs.inner, &g.up)?,
                Sums::of(&inputs.down, &g.down)?,
            ])
        };
        in_order(windows, back, |window| {
            match &mut sums {
                Some(sums) => sums.iter_mut().zip(&window).for_each(|(a, b)| a.add(b)),
                none => *none = Some(window),
            }
            Ok(())
        })?;
        const PARTS: [&str; 7] = [
            "self_attn.q_proj",
            "self_attn.k_proj",
            "self_attn.v_proj",
            "self_attn.o_proj",
            "mlp.gate_proj",
            "mlp.up_proj",
            "mlp.down_proj",
        ];
        for (sums, part) in sums.into_iter().flatten().zip(PARTS) {
            found.keep(sums.means(count), &format!("model.layers.{number}.{part}.weight"))?;
        }
        step(3.0)?;
    }
    let mut rows = vec![Lookups::default(); config.vocab_size];
    let mut products = vec![0f32; hidden * hidden];
    let mut read = stream.tokens.iter();
    in_order(
        windows,
        |w| lookups(&gradients.get(w, hidden)?),
        |(squares, product)| {
            products.iter_mut().zip(product).for_each(|(sum, p)| *sum += p);
            squares.iter().zip(&mut read).for_each(|(square, &token)| rows[token as usize].add(*square));
            Ok(())
        },
    )?;
    let unseen = rows::unseen(&stream.tokens, config.vocab_size);
    found.look_up(&rows, &products, head, count, unseen)?;
    Ok(found)
}

/// Of the gradients in what is looked up (tokens × columns), by the token the mean square of an element; and their products, in which tokens count by the length of
/// their gradients, as elsewhere: [`Sums`].
pub(crate) fn lookups(gradients: &Tensor) -> Result<(Vec<f32>, Vec<f32>)> {
    let squares = gradients.sqr()?.sum_keepdim(1)?;
    let weighted = gradients.broadcast_div(&squares.affine(1.0, f64::from(f32::MIN_POSITIVE))?.sqrt()?)?;
    let products = weighted.t()?.matmul(gradients)?.flatten_all()?.to_vec1()?;
    let mut squares = squares.flatten_all()?.to_vec1::<f32>()?;
    squares.iter_mut().for_each(|square| *square /= gradients.dim(1).unwrap_or(1) as f32);
    Ok((squares, products))
}

/// From the last layer's outputs to the means of what the head has of them, all tokens alike; `gradients` become those in the outputs.
fn head_back(stream: &Stream<'_>, head: &Tensor, gradients: &Activations) -> Result<(Vec<f32>, Vec<f32>)> {
    let (hidden, layers, eps) = (stream.config.hidden_size, stream.config.num_hidden_layers, stream.config.rms_norm_eps);
    let scale = stream.weights.tensor("model.norm.weight")?;
    let mut sums: Option<Sums> = None;
    let back = |w: usize| -> Result<Sums> {
        let x = stream.ahead_of(layers).get(w, hidden)?;
        let normed = norm(&x, &scale, eps)?;
        let chances = ops::softmax_last_dim(&times(&normed, head)?)?;
        // What the mean square of p - label is for labels drawn from p, whatever is drawn.
        let flat = chances.flatten_all()?.to_vec1::<f32>()?;
        let mut outputs = vec![0f32; head.dim(0)?];
        for row in flat.chunks_exact(outputs.len()) {
            outputs.iter_mut().zip(row).for_each(|(sum, p)| *sum += p * (1.0 - p));
        }
        let drawn = draw(&flat, outputs.len(), w as u64)?;
        let gradient = (chances.matmul(head)? - head.index_select(&drawn, 0)?)?;
        gradients.put(w, &norm_back(gradient, &x, &scale, eps)?)?;
        Ok(Sums { moments: gram(&normed)?, outputs, both: 0.0 })
    };
    in_order(stream.windows(), back, |window| {
        match &mut sums {
            Some(sums) => sums.add(&window),
            none => *none = Some(window),
        }
        Ok(())
    })?;
    let Sums { mut moments, mut outputs, .. } = sums.ok_or("the calibration text has no window")?;
    let count = stream.tokens.len() as f32;
    moments.iter_mut().chain(&mut outputs).for_each(|sum| *sum /= count);
    Ok((moments, outputs))
}

/// A label for each row of `columns` probabilities, drawn by them; the same ones for the same seed.
fn draw(chances: &[f32], columns: usize, seed: u64) -> Result<Tensor> {
    let mut numbers = SplitMix64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1));
    let mut random = || (numbers.next() >> 40) as f32 / (1u64 << 24) as f32;
    let label = |row: &[f32]| -> u32 {
        let mut left = random();
        for (i, p) in row.iter().enumerate() {
            left -= p;
            if left < 0.0 {
                return i as u32;
            }
        }
        columns as u32 - 1
    };
    let labels: Vec<u32> = chances.chunks_exact(columns).map(label).collect();
    Ok(Tensor::new(labels, &Device::Cpu)?)
}

impl Calibration {
    pub(crate) fn new() -> Result<Self> {
        let moments = Moments { file: tempfile::tempfile()?, places: Vec::new(), end: 0 };
        Ok(Self { moments: Mutex::new(moments), tensors: HashMap::new() })
    }

    /// Keeps the moments of a matrix's inputs and the mean squares of the gradients in its outputs.
    pub(crate) fn keep(&mut self, (inputs, outputs): (Vec<f32>, Vec<f32>), name: &str) -> Result<()> {
        let moments = self.moments.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner());
        let inputs = moments.add(&inputs)?;
        self.tensors.insert(name.to_owned(), Known { inputs, outputs, lookups: Vec::new(), gradients: None });
        Ok(())
    }

    /// Keeps what is looked up of tables, and is summed up: `products` are those of gradients there. A table may be a matrix that was measured.
    pub(crate) fn keep_tables(&mut self, products: &[f32], tables: impl IntoIterator<Item = (String, Vec<f32>)>) -> Result<()> {
        let moments = self.moments.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner());
        let gradients = moments.add(products)?;
        for (name, lookups) in tables {
            let rows = lookups.len();
            let new = || Known { inputs: gradients, outputs: vec![0.0; rows], lookups: Vec::new(), gradients: None };
            let known = self.tensors.entry(name).or_insert_with(new);
            (known.lookups, known.gradients) = (lookups, Some(gradients));
        }
        Ok(())
    }

    /// What is looked up of the embedding, which may be the head as well; `products` are those of gradients there.
    fn look_up(&mut self, lookups: &[Lookups], products: &[f32], head: &str, count: f32, unseen: f32) -> Result<()> {
        let head = self.tensors.get_mut(head).ok_or("the head was not measured")?;
        // How likely a token is, less its square.
        rows::elsewhere(&mut head.outputs, lookups, unseen);
        let lookups = rows::expected(lookups, &head.outputs, count, unseen);
        self.keep_tables(products, [(EMBEDDING.to_owned(), lookups)])
    }
}
