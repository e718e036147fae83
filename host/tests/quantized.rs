//! Quantized checkpoints as they are found: packed integers, scales and zeros, blocks of FP4. Each comes back byte for byte, and takes no more than
//! its bytes' zero-order entropies, plane by plane, and one percent.
#![allow(missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use support::{header_entry, raw_safetensors, restored};
use wcodec::{Archive, Encoder};

/// Name, dtype, shape, bytes.
type Tensor = (String, &'static str, Vec<u64>, Vec<u8>);

/// Name, rows (output features), columns, numbers.
type Matrix = (String, usize, usize, Vec<f32>);

/// Matrices of SmolLM2.
fn matrices() -> Option<Vec<Matrix>> {
    let here = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../models");
    let path = std::env::var_os("WCODEC_MODELS").map_or_else(here, PathBuf::from).join("smollm2-bf16.safetensors");
    let Ok(bytes) = std::fs::read(path) else {
        eprintln!("skipped: run `cargo xtask models`");
        return None;
    };
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let wanted = |name: &str| (3..6).any(|i| name.contains(&format!("layers.{i}."))) && name.ends_with("proj.weight");
    let mut out: Vec<_> = file
        .tensors()
        .into_iter()
        .filter(|(name, _)| wanted(name))
        .map(|(name, view)| {
            let numbers = view.data().as_chunks::<2>().0.iter().map(|b| half::bf16::from_le_bytes(*b).to_f32()).collect();
            (name.replace(".weight", ""), view.shape()[0], view.shape()[1], numbers)
        })
        .collect();
    out.sort_by(|a, b| a.0.cmp(&b.0));
    Some(out)
}

fn entropy(bytes: impl Iterator<Item = u8>) -> f64 {
    let mut counts = BTreeMap::<u8, u64>::new();
    bytes.for_each(|b| *counts.entry(b).or_default() += 1);
    let total = counts.values().sum::<u64>() as f64;
    counts.values().map(|&n| n as f64 * (total / n as f64).log2()).sum::<f64>() / 8.0
}

/// Bytes that a tensor takes at its planes' zero-order entropies: those of its elements, or all bytes as one where that is less.
fn planes_entropy((_, dtype, _, bytes): &Tensor) -> f64 {
    let size = match *dtype {
        "F16" | "BF16" => 2,
        "I32" | "F32" => 4,
        _ => 1,
    };
    let apart: f64 = (0..size).map(|p| entropy(bytes.iter().skip(p).step_by(size).copied())).sum();
    apart.min(entropy(bytes.iter().copied()))
}

fn check(scheme: &str, tensors: &[Tensor]) {
    let (mut entries, mut data) = (Vec::new(), Vec::new());
    for (name, dtype, shape, bytes) in tensors {
        let at = data.len() as u64;
        entries.push(header_entry(name, dtype, shape, at, at + bytes.len() as u64));
        data.extend(bytes);
    }
    let source = raw_safetensors(&format!("{{{}}}", entries.join(",")), &data);
    let mut out = std::io::Cursor::new(Vec::new());
    Encoder::new().encode_source(&source, &mut out).unwrap();
    let archive = Archive::from_bytes(out.into_inner()).unwrap();
    assert!(restored(&archive).unwrap() == source, "{scheme}");
    let header = (source.len() - data.len()) as u64;
    let bound: f64 = tensors.iter().map(planes_entropy).sum();
    let coded = archive.archive_bytes() - header;
    let over = coded as f64 / bound - 1.0;
    println!(
        "{scheme}: {:.4} of the file, {:+.2} % over its planes' entropies",
        archive.archive_bytes() as f64 / source.len() as f64,
        100.0 * over
    );
    assert!(over <= 0.01, "{scheme}: {coded} bytes, its planes' entropies are {bound:.0}");
}

fn absmax(x: &[f32]) -> f32 {
    x.iter().fold(0.0f32, |m, v| m.max(v.abs()))
}

fn halves(x: &[f32]) -> Vec<u8> {
    x.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect()
}

fn floats(x: &[f32]) -> Vec<u8> {
    x.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// Nibbles to 32-bit words, the first lowest, in this order of eight.
fn words(nibbles: &[u8], order: [usize; 8]) -> Vec<u8> {
    let word = |eight: &[u8]| order.iter().enumerate().fold(0u32, |w, (i, &o)| w | u32::from(eight[o]) << (4 * i));
    nibbles.chunks(8).flat_map(|eight| word(eight).to_le_bytes()).collect()
}

const STRAIGHT: [usize; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

/// Asymmetric 4-bit groups of 128 along a row: ranks, steps, zeros.
fn groups(rows: usize, columns: usize, w: &[f32]) -> (Vec<u8>, Vec<f32>, Vec<u8>) {
    let (mut ranks, mut steps, mut zeros) = (vec![0; rows * columns], Vec::new(), Vec::new());
    for (row, w) in w.chunks(columns).enumerate() {
        for (g, group) in w.chunks(128).enumerate() {
            let (low, high) = group.iter().fold((0f32, 0f32), |(l, h), &v| (l.min(v), h.max(v)));
            let step = ((high - low) / 15.0).max(1e-8);
            let zero = (-low / step).round().clamp(0.0, 15.0);
            for (i, v) in group.iter().enumerate() {
                ranks[row * columns + g * 128 + i] = (v / step + zero).round().clamp(0.0, 15.0) as u8;
            }
            steps.push(step);
            zeros.push(zero as u8);
        }
    }
    (ranks, steps, zeros)
}

fn transposed<T: Copy>(x: &[T], columns: usize) -> Vec<T> {
    (0..columns).flat_map(|c| x.iter().skip(c).step_by(columns).copied().collect::<Vec<_>>()).collect()
}

/// `qweight` packs eight inputs to a word, `qzeros` eight outputs; zeros are stored less one; `g_idx` names each input's group.
#[test]
fn gptq() {
    let Some(matrices) = matrices() else { return };
    let mut tensors: Vec<Tensor> = Vec::new();
    for (name, rows, columns, w) in matrices {
        let (ranks, steps, zeros) = groups(rows, columns, &w);
        let count = columns.div_ceil(128);
        // Words run along the inputs, and lie output by output.
        let by_output = words(&ranks, STRAIGHT);
        let by_word: Vec<[u8; 4]> = by_output.as_chunks::<4>().0.to_vec();
        let qweight = transposed(&by_word, columns / 8).concat();
        let qzeros = words(&transposed(&zeros, count).iter().map(|z| z.wrapping_sub(1) & 15).collect::<Vec<_>>(), STRAIGHT);
        let (r, c, g) = (rows as u64, columns as u64, count as u64);
        tensors.push((format!("{name}.qweight"), "I32", vec![c / 8, r], qweight));
        tensors.push((format!("{name}.qzeros"), "I32", vec![g, r / 8], qzeros));
        tensors.push((format!("{name}.scales"), "F16", vec![g, r], halves(&transposed(&steps, count))));
        let index = (0..columns as u32).flat_map(|i| (i / 128).to_le_bytes()).collect();
        tensors.push((format!("{name}.g_idx"), "I32", vec![c], index));
    }
    check("GPTQ", &tensors);
}

/// `qweight` packs eight outputs to a word, in an order of its own.
#[test]
fn awq() {
    let Some(matrices) = matrices() else { return };
    let order = [0, 2, 4, 6, 1, 3, 5, 7];
    let mut tensors: Vec<Tensor> = Vec::new();
    for (name, rows, columns, w) in matrices {
        let (ranks, steps, zeros) = groups(rows, columns, &w);
        let count = columns.div_ceil(128);
        let (r, c, g) = (rows as u64, columns as u64, count as u64);
        tensors.push((format!("{name}.qweight"), "I32", vec![c, r / 8], words(&transposed(&ranks, columns), order)));
        tensors.push((format!("{name}.qzeros"), "I32", vec![g, r / 8], words(&transposed(&zeros, count), order)));
        tensors.push((format!("{name}.scales"), "F16", vec![g, r], halves(&transposed(&steps, count))));
    }
    check("AWQ", &tensors);
}

/// compressed-tensors: symmetric groups packed along the input (`pack-quantized`), and INT8 by channel (`int-quantized`).
#[test]
fn compressed_tensors() {
    let Some(matrices) = matrices() else { return };
    let (mut four, mut eight): (Vec<Tensor>, Vec<Tensor>) = (Vec::new(), Vec::new());
    for (name, rows, columns, w) in matrices {
        let (r, c) = (rows as u64, columns as u64);
        let group = if columns % 128 == 0 { 128 } else { 64 };
        let scales: Vec<f32> = w.chunks(group).map(|g| absmax(g) / 7.5).collect();
        let ranks: Vec<u8> = w
            .chunks(group)
            .zip(&scales)
            .flat_map(|(g, s)| g.iter().map(move |v| ((v / s).round().clamp(-8.0, 7.0) + 8.0) as u8))
            .collect();
        let bf16 = |x: &[f32]| x.iter().flat_map(|&v| half::bf16::from_f32(v).to_le_bytes()).collect::<Vec<u8>>();
        four.push((format!("{name}.weight_packed"), "I32", vec![r, c / 8], words(&ranks, STRAIGHT)));
        four.push((format!("{name}.weight_scale"), "BF16", vec![r, c / group as u64], bf16(&scales)));
        let steps: Vec<f32> = w.chunks(columns).map(|row| absmax(row) / 127.0).collect();
        let ranks = w.chunks(columns).zip(&steps).flat_map(|(row, s)| row.iter().map(move |v| (v / s).round() as i8 as u8));
        eight.push((format!("{name}.weight"), "I8", vec![r, c], ranks.collect()));
        eight.push((format!("{name}.weight_scale"), "BF16", vec![r, 1], bf16(&steps)));
    }
    check("compressed-tensors INT4", &four);
    check("compressed-tensors INT8", &eight);
}

/// bitsandbytes: NF4 in blocks of 64, two to a byte, the first in the upper half, with its code book; and INT8 by row with `SCB`.
#[test]
fn bitsandbytes() {
    const NF4: [f32; 16] = [
        -1.0,
        -0.6961928,
        -0.5250731,
        -0.394_917_5,
        -0.28444138,
        -0.18477343,
        -0.09105004,
        0.0,
        0.0795803,
        0.1609302,
        0.246_112_3,
        0.33791524,
        0.44070983,
        0.562_617,
        0.722_956_84,
        1.0,
    ];
    let Some(matrices) = matrices() else { return };
    let (mut four, mut eight): (Vec<Tensor>, Vec<Tensor>) = (Vec::new(), Vec::new());
    for (name, rows, columns, w) in matrices {
        let scales: Vec<f32> = w.chunks(64).map(absmax).collect();
        let nearest =
            |x: f32| (0..16u8).min_by(|&a, &b| (NF4[a as usize] - x).abs().total_cmp(&(NF4[b as usize] - x).abs())).unwrap();
        let codes: Vec<u8> = w.chunks(64).zip(&scales).flat_map(|(b, s)| b.iter().map(move |v| nearest(v / s))).collect();
        let packed: Vec<u8> = codes.chunks(2).map(|p| p[0] << 4 | p[1]).collect();
        four.push((format!("{name}.weight"), "U8", vec![packed.len() as u64, 1], packed));
        four.push((format!("{name}.weight.absmax"), "F32", vec![scales.len() as u64], floats(&scales)));
        let steps: Vec<f32> = w.chunks(columns).map(absmax).collect();
        let ranks =
            w.chunks(columns).zip(&steps).flat_map(|(row, s)| row.iter().map(move |v| (v * 127.0 / s).round() as i8 as u8));
        eight.push((format!("{name}.weight"), "I8", vec![rows as u64, columns as u64], ranks.collect()));
        eight.push((format!("{name}.SCB"), "F32", vec![rows as u64], floats(&steps)));
    }
    four.push(("quant_map".into(), "F32", vec![16], floats(&NF4)));
    check("bitsandbytes NF4", &four);
    check("bitsandbytes INT8", &eight);
}

/// E4M3, rounded to the nearest of its finite values.
fn e4m3(x: f32) -> u8 {
    let value = |b: u8| {
        let (e, m) = (i32::from(b >> 3 & 15), f32::from(b & 7));
        if e == 0 { m / 8.0 * 2f32.powi(-6) } else { (1.0 + m / 8.0) * 2f32.powi(e - 7) }
    };
    let magnitude = x.abs();
    let above = (0..0x7f).find(|&b| value(b) >= magnitude).unwrap_or(0x7e);
    let nearest = if above > 0 && magnitude - value(above - 1) < value(above) - magnitude { above - 1 } else { above };
    nearest | u8::from(x < 0.0) << 7
}

/// As DeepSeek's: E4M3 with an F32 scale for each block of 128 by 128.
#[test]
fn fp8_blocks() {
    let Some(matrices) = matrices() else { return };
    let mut tensors: Vec<Tensor> = Vec::new();
    for (name, rows, columns, w) in matrices {
        let (down, across) = (rows.div_ceil(128), columns.div_ceil(128));
        let mut scales = vec![0f32; down * across];
        for (i, v) in w.iter().enumerate() {
            let scale = &mut scales[i / columns / 128 * across + i % columns / 128];
            *scale = scale.max(v.abs() / 448.0);
        }
        let codes = w.iter().enumerate().map(|(i, v)| e4m3(v / scales[i / columns / 128 * across + i % columns / 128]));
        tensors.push((format!("{name}.weight"), "F8_E4M3", vec![rows as u64, columns as u64], codes.collect()));
        tensors.push((format!("{name}.weight_scale_inv"), "F32", vec![down as u64, across as u64], floats(&scales)));
    }
    check("FP8, blocks of 128 x 128", &tensors);
}

/// FP4 (E2M1), two to a byte, in blocks: MXFP4 with a power of two for 32, NVFP4 with an E4M3 scale for 16.
#[test]
fn fp4_blocks() {
    const E2M1: [f32; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
    let fp4 = |x: f32| {
        let nearest = (0..8u8).min_by(|&a, &b| (E2M1[a as usize] - x.abs()).abs().total_cmp(&(E2M1[b as usize] - x.abs()).abs()));
        nearest.unwrap() | u8::from(x < 0.0) << 3
    };
    let pack = |codes: Vec<u8>| codes.chunks(2).map(|p| p[0] | p[1] << 4).collect::<Vec<u8>>();
    let Some(matrices) = matrices() else { return };
    let (mut mx, mut nv): (Vec<Tensor>, Vec<Tensor>) = (Vec::new(), Vec::new());
    for (name, rows, columns, w) in matrices {
        let (r, c) = (rows as u64, columns as u64);
        let exponents: Vec<i32> = w.chunks(32).map(|b| absmax(b).max(1e-30).log2().floor() as i32 - 2).collect();
        let codes = w.chunks(32).zip(&exponents).flat_map(|(b, &e)| b.iter().map(move |v| fp4(v * 2f32.powi(-e)))).collect();
        mx.push((format!("{name}_blocks"), "U8", vec![r, c / 32, 16], pack(codes)));
        mx.push((format!("{name}_scales"), "U8", vec![r, c / 32], exponents.iter().map(|e| (e + 127) as u8).collect()));
        let global = absmax(&w) / (448.0 * 6.0);
        let scales: Vec<u8> = w.chunks(16).map(|b| e4m3(absmax(b) / 6.0 / global)).collect();
        let codes = w.chunks(16).flat_map(|b| b.iter().map(move |v| fp4(v * 6.0 / absmax(b).max(1e-30)))).collect();
        nv.push((format!("{name}.weight"), "U8", vec![r, c / 2], pack(codes)));
        nv.push((format!("{name}.weight_scale"), "F8_E4M3", vec![r, c / 16], scales));
        nv.push((format!("{name}.weight_scale_2"), "F32", vec![], floats(&[global])));
    }
    check("MXFP4", &mx);
    check("NVFP4", &nv);
}
