//! The sentence encoder against plain loops in double precision that share no code with it, and a real one against published numbers.

use std::path::{Path, PathBuf};
use wcodec_eval::sentences::{Likeness, compare, encode, sentences};
use wcodec_eval::{Bert, Stock, SyntheticBert};

const MODEL: SyntheticBert = SyntheticBert::SMALL;

fn open(directory: &Path, seed: u64) -> Stock {
    SyntheticBert { seed, ..MODEL }.write(directory).expect("written");
    Stock::open(directory, None).expect("opens")
}

/// The vector of a sentence, not of length one.
fn oracle(stock: &Stock, tokens: &[u32]) -> Vec<f64> {
    let weights = |name: &str| -> Vec<f64> { stock.weights.read(name).expect("there").into_iter().map(f64::from).collect() };
    let hidden = MODEL.hidden;
    let dim = hidden / MODEL.heads;
    let linear = |name: &str, x: &[f64]| -> Vec<f64> {
        let (matrix, bias) = (weights(&format!("{name}.weight")), weights(&format!("{name}.bias")));
        matrix.chunks(x.len()).zip(bias).map(|(row, bias)| dot(row, x) + bias).collect()
    };
    let norm = |name: &str, x: &[f64]| -> Vec<f64> {
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        let spread = (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / x.len() as f64 + 1e-12).sqrt();
        let (weights, bias) = (weights(&format!("{name}.weight")), weights(&format!("{name}.bias")));
        (0..x.len()).map(|i| (x[i] - mean) / spread * weights[i] + bias[i]).collect()
    };
    let plus = |a: &[f64], b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a + b).collect() };
    let [words, places, kinds] =
        ["word", "position", "token_type"].map(|t| weights(&format!("embeddings.{t}_embeddings.weight")));
    let embedded = |(place, &token): (usize, &u32)| {
        let x = plus(&words[token as usize * hidden..][..hidden], &places[place * hidden..][..hidden]);
        norm("embeddings.LayerNorm", &plus(&x, &kinds[..hidden]))
    };
    let mut x: Vec<Vec<f64>> = tokens.iter().enumerate().map(embedded).collect();
    for layer in 0..MODEL.layers {
        let name = |part: &str| format!("encoder.layer.{layer}.{part}");
        let [q, k, v] = ["query", "key", "value"]
            .map(|part| x.iter().map(|x| linear(&name(&format!("attention.self.{part}")), x)).collect::<Vec<_>>());
        let mixed = |i: usize| -> Vec<f64> {
            let of_head = |head: usize| -> Vec<f64> {
                let own = head * dim..(head + 1) * dim;
                let scores = k.iter().map(|k| (dot(&q[i][own.clone()], &k[own.clone()]) / (dim as f64).sqrt()).exp());
                let scores: Vec<f64> = scores.collect();
                let sum: f64 = scores.iter().sum();
                own.map(|d| scores.iter().zip(&v).map(|(s, v)| s / sum * v[d]).sum()).collect()
            };
            (0..MODEL.heads).flat_map(of_head).collect()
        };
        let attended = |i: usize| {
            let y = linear(&name("attention.output.dense"), &mixed(i));
            norm(&name("attention.output.LayerNorm"), &plus(&x[i], &y))
        };
        let attended: Vec<Vec<f64>> = (0..x.len()).map(attended).collect();
        let fed = |x: &Vec<f64>| {
            let inner: Vec<f64> = linear(&name("intermediate.dense"), x).into_iter().map(gelu).collect();
            norm(&name("output.LayerNorm"), &plus(x, &linear(&name("output.dense"), &inner)))
        };
        x = attended.iter().map(fed).collect();
    }
    (0..hidden).map(|d| x.iter().map(|x| x[d]).sum::<f64>() / x.len() as f64).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn gelu(x: f64) -> f64 {
    0.5 * x * (1.0 + erf(x / 2f64.sqrt()))
}

/// By its series, which converges everywhere and is exact enough below 5.
fn erf(x: f64) -> f64 {
    let mut term = x;
    let mut sum = x;
    for n in 1..200 {
        term *= -x * x / n as f64;
        sum += term / (2 * n + 1) as f64;
    }
    if x.abs() > 5.0 { x.signum() } else { 2.0 / std::f64::consts::PI.sqrt() * sum }
}

#[test]
fn vectors_and_cosines_are_the_oracles() {
    let directories = [tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory")];
    let stocks = [open(directories[0].path(), 1), open(directories[1].path(), 2)];
    let models: [Bert; 2] = stocks.each_ref().map(|s| s.bert().expect("loads").0);
    // Several of a length, in no order.
    let texts: Vec<Vec<u32>> = (0..9u32).map(|i| (0..3 + i % 3 * 8).map(|t| (t * t + 31 * i) % 251).collect()).collect();
    let cosines = compare(&models[0], &[&models[1], &models[0]], &texts, &|_| true).expect("reads");
    for (i, text) in texts.iter().enumerate() {
        let expected = stocks.each_ref().map(|s| oracle(s, text));
        for (model, expected) in models.iter().zip(&expected) {
            let found: Vec<f32> = model.embed(&[text]).expect("runs").squeeze(0).and_then(|v| v.to_vec1()).expect("a vector");
            let apart = found.iter().zip(expected).map(|(a, b)| (*a as f64 - b).abs()).fold(0.0, f64::max);
            assert!(apart < 1e-4, "{i}: {apart}");
        }
        let [a, b] = &expected;
        let cosine = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
        assert!((cosines[0][i] - cosine).abs() < 1e-5 && (cosines[1][i] - 1.0).abs() < 1e-12, "{i}");
    }
    assert!(compare(&models[0], &[&models[1]], &texts, &|_| false).is_err());
    assert!(
        models[0].embed(&[&[1, 2], &[3]]).is_err()
            && models[0].embed(&[&[256]]).is_err()
            && models[0].embed(&[&[0; 129]]).is_err()
    );
}

/// A file or directory of the models, where they are fetched.
fn fetched(name: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let path = std::env::var_os("WCODEC_MODELS").map_or_else(beside, PathBuf::from).join(name);
    if !path.exists() {
        println!("skipped: run `cargo xtask models`");
    }
    path.exists().then_some(path)
}

/// The scores that the documentation of sentence-transformers shows of its example of semantic search, which is of this model.
#[test]
fn minilm_finds_what_it_is_known_to_find() {
    let Some(directory) = fetched("minilm/tokenizer.json") else { return };
    let (model, tokenizer) = Stock::open(directory.parent().expect("a directory"), None).expect("opens").bert().expect("loads");
    let embed = |text: &str| -> Vec<f32> {
        let tokens = tokenizer.encode(text).expect("encodes");
        model.embed(&[&tokens]).expect("runs").squeeze(0).and_then(|v| v.to_vec1()).expect("a vector")
    };
    let cosine = |a: &[f32], b: &[f32]| -> f64 {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a * b) as f64).sum::<f64>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    };
    let asked = embed("A man is eating pasta.");
    for (text, score) in [
        ("A man is eating food.", 0.7035),
        ("A man is eating a piece of bread.", 0.5272),
        ("A man is riding a horse.", 0.1889),
        ("A man is riding a white horse on an enclosed ground.", 0.1047),
        ("A cheetah is running behind its prey.", 0.0980),
    ] {
        let found = cosine(&asked, &embed(text));
        assert!((found - score).abs() < 1e-4, "{text}: {found}");
    }
}

#[test]
fn minilm_in_bf16_is_nearly_itself() {
    let (Some(directory), Some(text)) = (fetched("minilm"), fetched("text/evaluation.txt")) else { return };
    let coarse = Stock::open(&directory.with_file_name("minilm-bf16.safetensors"), Some(&directory)).expect("opens");
    let [(reference, tokenizer), (coarse, _)] =
        [Stock::open(&directory, None).expect("opens"), coarse].map(|s| s.bert().expect("loads"));
    let text = std::fs::read_to_string(text).expect("a text");
    let all = sentences(&text);
    assert!(all.len() >= 2000, "{}", all.len());
    let tokens = encode(&all, &tokenizer, Some(5000)).expect("encodes");
    let found = Likeness::of(&compare(&reference, &[&coarse], &tokens, &|_| true).expect("reads")[0]);
    assert!(found.mean_cosine > 0.9999 && found.least_cosine > 0.999 && found.mean_cosine < 1.0, "{found:?}");
}
