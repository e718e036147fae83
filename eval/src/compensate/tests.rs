//! What is lost, beside an independent reading in loops.

use super::*;
use crate::{Config, Stock, SyntheticModel, Tensors, raw};
use candle_core::{DType, Device};

struct Case {
    _held: tempfile::TempDir,
    stock: Stock,
    config: Config,
    tokens: Vec<u32>,
    path: std::path::PathBuf,
}

fn case() -> Case {
    let held = tempfile::tempdir().expect("a directory");
    let path = SyntheticModel::SMALL.write(held.path()).expect("written");
    let stock = Stock::open(held.path(), None).expect("opens");
    let config = stock.llama().expect("a Llama");
    // Two windows and a part that is left out.
    let tokens = (0..600).map(|i| (i * i * 7 + i * 3 + i / 256 * 11) % 256).collect();
    Case { _held: held, stock, config, tokens, path }
}

/// A tensor's weights, each off by some hundredths of their root mean square.
fn disturbed(case: &Case, name: &str) -> Vec<f32> {
    let mut values = case.stock.weights.read(name).expect("reads");
    let rms = (values.iter().map(|v| v * v).sum::<f32>() / values.len() as f32).sqrt();
    values.iter_mut().enumerate().for_each(|(i, v)| *v += 0.05 * rms * ((i * 37 % 11) as f32 - 5.0) / 3.0);
    values
}

fn compensator(case: &Case) -> Compensator<'_> {
    Compensator::new(Stream::new(&*case.stock.weights, case.config.clone(), &case.tokens, &|_| true).expect("followed"))
}

fn o(layer: usize) -> String {
    last_of(2 * layer)
}

/// What the first half layers make of a window, and what goes into the last one's last matrix, by the token; attention and all in loops.
fn naive(config: &Config, tensors: &Tensors, window: &[u32], halves: usize) -> (Vec<Vec<f32>>, Vec<Vec<f32>>) {
    let get = |name: &str| -> Vec<Vec<f32>> {
        let tensor = tensors[name].to_dtype(DType::F32).expect("f32");
        if tensor.rank() == 2 { tensor.to_vec2().expect("rows") } else { vec![tensor.to_vec1().expect("numbers")] }
    };
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let product = |matrix: &[Vec<f32>], x: &[f32]| -> Vec<f32> { matrix.iter().map(|row| dot(row, x)).collect() };
    let norm = |scale: &[f32], x: &[f32]| -> Vec<f32> {
        let rms = (dot(x, x) / x.len() as f32 + config.rms_norm_eps as f32).sqrt();
        x.iter().zip(scale).map(|(x, s)| x / rms * s).collect()
    };
    let (heads, group, dim) = (config.num_attention_heads, config.num_attention_heads / config.kv_heads(), config.head_dim());
    let rotations = config.rotations();
    let rotate = |x: &mut Vec<f32>, at: usize| {
        for head in x.chunks_exact_mut(dim) {
            let (a, b) = head.split_at_mut(dim / 2);
            for ((a, b), rotation) in a.iter_mut().zip(b).zip(&rotations) {
                let (sin, cos) = (at as f32 * rotation).sin_cos();
                (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
            }
        }
    };
    let embedding = get(EMBEDDING);
    let mut stream: Vec<Vec<f32>> = window.iter().map(|&t| embedding[t as usize].clone()).collect();
    let mut inputs = Vec::new();
    for layer in 0..halves.div_ceil(2) {
        let get = |part: &str| get(&format!("model.layers.{layer}.{part}.weight"));
        let add = |x: &mut Vec<f32>, y: Vec<f32>| x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
        let scale = &get("input_layernorm")[0];
        let normed: Vec<Vec<f32>> = stream.iter().map(|x| norm(scale, x)).collect();
        let of = |part: &str| -> Vec<Vec<f32>> { normed.iter().map(|x| product(&get(part), x)).collect() };
        let (mut q, mut k, v) = (of("self_attn.q_proj"), of("self_attn.k_proj"), of("self_attn.v_proj"));
        q.iter_mut().enumerate().for_each(|(at, x)| rotate(x, at));
        k.iter_mut().enumerate().for_each(|(at, x)| rotate(x, at));
        let o = get("self_attn.o_proj");
        inputs.clear();
        for (at, x) in stream.iter_mut().enumerate() {
            let mut seen = vec![0.0; heads * dim];
            for head in 0..heads {
                let other = head / group * dim..(head / group + 1) * dim;
                let scores: Vec<f32> = (0..=at)
                    .map(|s| (dot(&q[at][head * dim..][..dim], &k[s][other.clone()]) / (dim as f32).sqrt()).exp())
                    .collect();
                let sum: f32 = scores.iter().sum();
                for (score, v) in scores.iter().zip(&v) {
                    seen[head * dim..][..dim].iter_mut().zip(&v[other.clone()]).for_each(|(s, v)| *s += score / sum * v);
                }
            }
            add(x, product(&o, &seen));
            inputs.push(seen);
        }
        if 2 * layer + 1 == halves {
            break;
        }
        let (scale, gate, up, down) =
            (&get("post_attention_layernorm")[0], get("mlp.gate_proj"), get("mlp.up_proj"), get("mlp.down_proj"));
        inputs.clear();
        for x in &mut stream {
            let normed = norm(scale, x);
            let gated = |(g, u): (f32, f32)| g / (1.0 + (-g).exp()) * u;
            let inner: Vec<f32> = product(&gate, &normed).into_iter().zip(product(&up, &normed)).map(gated).collect();
            add(x, product(&down, &inner));
            inputs.push(inner);
        }
    }
    (stream, inputs)
}

/// Of a model that became what it was nothing was lost.
#[test]
fn nothing_is_lost_where_nothing_changed() {
    let case = case();
    let compensator = compensator(&case);
    let mut way = compensator.begin(&|_| true).expect("begins");
    for half in 0..4 {
        let lost = way.lost(&last_of(half)).expect("measured").expect("something");
        assert_eq!(lost.tokens, 512);
        assert!(lost.products.iter().all(|&p| p.abs() < 1e-3), "{half}");
        assert!(lost.inputs.iter().step_by(if half % 2 == 0 { 65 } else { 97 }).all(|&m| m > 0.0));
    }
    for other in [
        "model.embed_tokens.weight",
        "model.layers.0.mlp.up_proj.weight",
        "lm_head.weight",
        "model.layers.7.mlp.down_proj.weight",
    ] {
        assert!(way.lost(other).expect("answers").is_none(), "{other}");
    }
    // What it went through already.
    assert!(way.lost(&o(1)).expect("answers").is_none());
}

/// An independent reading: what the residual stream lacks before the last two half layers is what two whole models differ by there, and the matrix's own inputs are
/// those of the model that became another. All tensors but the last matrix change, some are never asked for.
#[test]
fn what_is_lost_is_the_difference_of_two_models() {
    let case = case();
    let compensator = compensator(&case);
    let mut way = compensator.begin(&|_| true).expect("begins");
    let mut tensors = raw::load(std::slice::from_ref(&case.path), |_, _, _| {}).expect("loads");
    let before = tensors.clone();
    let mut names: Vec<String> =
        case.config.tensors().into_iter().map(|(name, _)| name).filter(|n| n.ends_with("weight")).collect();
    names.retain(|name| compensator.in_layer(name).map_or(name == EMBEDDING, |(_, part)| part.contains("proj")));
    names.sort_by_key(|name| compensator.place(name));
    let last = last_of(3);
    assert_eq!((names[0].as_str(), names.last()), (EMBEDDING, Some(&last)));
    for name in names.iter().filter(|name| **name != last) {
        // That of the first layer's down stays, as one that is kept does.
        if *name == last_of(1) {
            continue;
        }
        if *name == o(1) {
            check(&case, 2, &way.lost(name).expect("measured").expect("something"), [&before, &tensors]);
        }
        let values = disturbed(&case, name);
        let shape = case.stock.weights.shape(name).expect("a shape");
        tensors.insert(name.clone(), Tensor::from_vec(values.clone(), shape, &Device::Cpu).expect("a tensor"));
        way.became(name, values).expect("kept");
    }
    check(&case, 3, &way.lost(&last).expect("measured").expect("something"), [&before, &tensors]);
}

/// Whether what is lost before the end of half a layer is the difference there of two models.
fn check(case: &Case, half: usize, lost: &Lost, [before, after]: [&Tensors; 2]) {
    let hidden = case.config.hidden_size;
    let columns = case.stock.weights.shape(&last_of(half)).expect("a shape")[1];
    let mut expected = (vec![0f64; columns * columns], vec![0f64; hidden * columns]);
    for window in case.tokens.chunks_exact(WINDOW) {
        let (was, _) = naive(&case.config, before, window, half + 1);
        let (became, inputs) = naive(&case.config, after, window, half + 1);
        for ((was, became), x) in was.iter().zip(&became).zip(&inputs) {
            let weight = 1.0 / (was.iter().map(|v| v * v).sum::<f32>() / hidden as f32);
            for i in 0..columns {
                (0..columns).for_each(|j| expected.0[i * columns + j] += (weight * x[i] * x[j]) as f64);
                (0..hidden).for_each(|r| expected.1[r * columns + i] += (weight * (was[r] - became[r]) * x[i]) as f64);
            }
        }
    }
    let near = |got: &[f32], expected: &[f64]| {
        let largest = expected.iter().fold(0f64, |most, v| most.max(v.abs()));
        let off = got.iter().zip(expected).map(|(g, e)| (*g as f64 - e).abs()).fold(0.0, f64::max);
        assert!(off < 1e-3 * largest, "{half}: {off} {largest}");
    };
    near(&lost.inputs, &expected.0);
    near(&lost.products, &expected.1);
}

/// Each way begins with the model as it was, whatever another one is at.
#[test]
fn ways_know_nothing_of_each_other() {
    let case = case();
    let compensator = compensator(&case);
    let go = |way: &mut dyn Following| {
        let name = "model.layers.0.self_attn.v_proj.weight";
        way.became(name, disturbed(&case, name)).expect("kept");
        let lost = way.lost(&o(0)).expect("measured").expect("something");
        (lost.inputs, lost.products)
    };
    let mut first = compensator.begin(&|_| true).expect("begins");
    let found = go(&mut *first);
    let mut second = compensator.begin(&|_| true).expect("begins");
    assert!(first.lost(&last_of(1)).expect("measured").is_some());
    assert!(go(&mut *second) == found);
    assert!(found.1.iter().any(|&p| p.abs() > 1e-3));
}

/// No more than a layer's tensors are kept, and none that nothing is asked for after.
#[test]
fn what_is_past_is_not_kept() {
    let case = case();
    let compensator = compensator(&case);
    let last = last_of(3);
    for (asked, most) in [(true, 7), (false, 0)] {
        let asked = (0..4).filter(|&half| asked && last_of(half) == last).collect();
        let mut way = Way { of: &compensator, asked, tensors: HashMap::new(), became: None };
        let mut names: Vec<String> =
            case.config.tensors().into_iter().map(|(name, _)| name).filter(|n| n.contains("proj")).collect();
        names.sort_by_key(|name| compensator.place(name));
        for name in &names {
            way.keep(name, disturbed(&case, name)).expect("kept");
            assert!(way.tensors.len() <= most, "{name}: {}", way.tensors.len());
        }
        assert_eq!(way.became.is_some(), most > 0);
    }
}

#[test]
fn names_that_are_written_otherwise_are_no_layers() {
    let case = case();
    let compensator = compensator(&case);
    for (name, layer) in [("1", Some(1)), ("01", None), ("+1", None), ("2", None), ("99999999999999999999", None), ("", None)] {
        let name = format!("model.layers.{name}.mlp.down_proj.weight");
        assert_eq!(compensator.in_layer(&name).map(|(layer, _)| layer), layer, "{name}");
    }
}
