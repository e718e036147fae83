//! What the models make of a text, against the same computed by plain loops in double precision that share no code with them.

use std::path::Path;
use wcodec_eval::{Comparison, Evaluation, Llama, Stock, SyntheticModel, read};

const MODEL: SyntheticModel = SyntheticModel::SMALL;
const WINDOW: usize = 40;

/// A model's weights, in double precision.
struct Oracle(Stock);

impl Oracle {
    fn weights(&self, name: &str) -> Vec<f64> {
        self.0.weights.read(name).expect("there").into_iter().map(f64::from).collect()
    }

    /// Logarithms of the probabilities of all tokens after each of `tokens`.
    fn predictions(&self, tokens: &[u32]) -> Vec<Vec<f64>> {
        let (hidden, heads, kv_heads) = (MODEL.hidden, MODEL.heads, MODEL.kv_heads);
        let dim = hidden / heads;
        let embedding = self.weights("model.embed_tokens.weight");
        let mut x: Vec<Vec<f64>> = tokens.iter().map(|&t| embedding[t as usize * hidden..][..hidden].to_vec()).collect();
        for layer in 0..MODEL.layers {
            let weights = |part: &str| self.weights(&format!("model.layers.{layer}.{part}.weight"));
            let norm = weights("input_layernorm");
            let normed: Vec<_> = x.iter().map(|x| rms_norm(x, &norm)).collect();
            let project = |part: &str| -> Vec<Vec<f64>> {
                let matrix = weights(part);
                normed.iter().map(|x| times(&matrix, x)).collect()
            };
            let (mut q, mut k, v) = (project("self_attn.q_proj"), project("self_attn.k_proj"), project("self_attn.v_proj"));
            for (position, vector) in q.iter_mut().enumerate().chain(k.iter_mut().enumerate()) {
                vector.chunks_mut(dim).for_each(|head| rotate(head, position));
            }
            let output = weights("self_attn.o_proj");
            for i in 0..tokens.len() {
                let mut mixed = vec![0.0; hidden];
                for head in 0..heads {
                    let (own, shared) = (head * dim, head / (heads / kv_heads) * dim);
                    let scores = (0..=i).map(|j| dot(&q[i][own..own + dim], &k[j][shared..shared + dim]) / (dim as f64).sqrt());
                    for (j, weight) in log_softmax(&scores.collect::<Vec<_>>()).into_iter().enumerate() {
                        (0..dim).for_each(|d| mixed[own + d] += weight.exp() * v[j][shared + d]);
                    }
                }
                add(&mut x[i], &times(&output, &mixed));
            }
            let (norm, gate, up, down) =
                (weights("post_attention_layernorm"), weights("mlp.gate_proj"), weights("mlp.up_proj"), weights("mlp.down_proj"));
            for x in &mut x {
                let normed = rms_norm(x, &norm);
                let gated = times(&gate, &normed).into_iter().zip(times(&up, &normed)).map(|(g, u)| g / (1.0 + (-g).exp()) * u);
                add(x, &times(&down, &gated.collect::<Vec<_>>()));
            }
        }
        let norm = self.weights("model.norm.weight");
        x.iter().map(|x| log_softmax(&times(&embedding, &rms_norm(x, &norm)))).collect()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(to: &mut [f64], what: &[f64]) {
    to.iter_mut().zip(what).for_each(|(to, what)| *to += what);
}

fn times(matrix: &[f64], x: &[f64]) -> Vec<f64> {
    matrix.chunks(x.len()).map(|row| dot(row, x)).collect()
}

fn rms_norm(x: &[f64], weights: &[f64]) -> Vec<f64> {
    let scale = (dot(x, x) / x.len() as f64 + 1e-5).sqrt().recip();
    x.iter().zip(weights).map(|(x, w)| x * scale * w).collect()
}

/// Turns the i-th element and the one half a head later, the slower the later.
fn rotate(head: &mut [f64], position: usize) {
    let half = head.len() / 2;
    for i in 0..half {
        let (sin, cos) = (position as f64 * 1e5f64.powf(-(i as f64) / half as f64)).sin_cos();
        let (a, b) = (head[i], head[i + half]);
        (head[i], head[i + half]) = (a * cos - b * sin, b * cos + a * sin);
    }
}

fn log_softmax(logits: &[f64]) -> Vec<f64> {
    let sum: f64 = logits.iter().map(|x| x.exp()).sum();
    logits.iter().map(|x| x - sum.ln()).collect()
}

fn likeliest(row: &[f64]) -> usize {
    (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b])).expect("tokens")
}

fn write(directory: &Path, seed: u64) -> Stock {
    SyntheticModel { seed, ..MODEL }.write(directory).expect("written");
    Stock::open(directory, None).expect("opens")
}

fn load(stock: &Stock) -> Llama {
    stock.load(&stock.llama().expect("a Llama")).expect("loads")
}

#[test]
fn perplexity_accuracy_and_divergence_are_the_oracles() {
    let directories = [tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory")];
    let stocks = [write(directories[0].path(), 1), write(directories[1].path(), 2)];
    let models = stocks.each_ref().map(load);
    // The last window is shorter; one token that is left over predicts nothing.
    let tokens: Vec<u32> = (0..3 * WINDOW as u32 + 18).map(|i| i * i % 251).chain([7]).collect();
    let windows = read(&[&models[0], &models[1], &models[0]], &tokens, WINDOW, &|_| true).expect("reads");
    let oracles = stocks.map(Oracle);
    let (mut nats, mut right, mut same, mut divergence, mut count) = ([0.0; 2], [0; 2], 0, 0.0, 0);
    for window in tokens.chunks(WINDOW).filter(|w| w.len() > 1) {
        let rows = oracles.each_ref().map(|o| o.predictions(&window[..window.len() - 1]));
        for (i, &next) in window[1..].iter().enumerate() {
            let [p, q] = [&rows[0][i], &rows[1][i]];
            for (m, row) in [p, q].into_iter().enumerate() {
                nats[m] -= row[next as usize];
                right[m] += usize::from(likeliest(row) == next as usize);
            }
            same += usize::from(likeliest(p) == likeliest(q));
            divergence += p.iter().zip(q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
            count += 1;
        }
    }
    let close = |found: f64, expected: f64| assert!((found / expected - 1.0).abs() < 1e-4, "{found} {expected}");
    let n = count as f64;
    for m in 0..2 {
        let found = Evaluation::of(&windows[m]);
        assert_eq!((found.tokens, found.accuracy), (count, right[m] as f64 / n));
        close(found.perplexity, (nats[m] / n).exp());
    }
    let found = Comparison::of(&windows[1], &windows[0]);
    close(found.divergence, divergence / n);
    close(found.perplexity_increase[0], ((nats[1] - nats[0]) / n).exp() - 1.0);
    assert_eq!(found.agreement, same as f64 / n);
    assert!((found.accuracy_gain[0] - (right[1] as f64 - right[0] as f64) / n).abs() < 1e-12);
    // A model against itself, and the windows whatever else is read beside it.
    let itself = Comparison::of(&windows[2], &windows[0]);
    assert_eq!(
        (itself.agreement, itself.divergence, itself.accuracy_gain[0], itself.perplexity_increase[0]),
        (1.0, 0.0, 0.0, 0.0)
    );
    assert_eq!(
        read(&[&models[1]], &tokens, WINDOW, &|_| true).expect("reads")[0].iter().map(|w| w.nats).sum::<f64>(),
        windows[1].iter().map(|w| w.nats).sum::<f64>()
    );
}

#[test]
fn damaged_weights_are_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let stock = write(directory.path(), 1);
    let path = directory.path().join("model.safetensors");
    let mut bytes = std::fs::read(&path).expect("there");
    // The sign and exponent of a number of the last tensor's: now it is none.
    let end = bytes.len();
    bytes[end - 1] = 0x7f;
    bytes[end - 2] = 0xff;
    std::fs::write(&path, bytes).expect("written");
    let said = read(&[&load(&stock)], &[1, 2, 3], 8, &|_| true).expect_err("refused").to_string();
    assert!(said.contains("not numbers"), "{said}");
}

#[test]
fn reading_stops_when_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let model = load(&write(directory.path(), 1));
    assert!(read(&[&model], &[1; 64], 8, &|_| false).is_err());
}
