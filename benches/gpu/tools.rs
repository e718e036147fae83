//! What the tools' kernels execute, counted by the emulator on tensors that are made up: warp instructions of PTX for 32 numbers, no machine
//! instructions and no times.

use crate::common::Random;
use crate::model::{Model, Result};
use std::io::Cursor;
use wcodec::{Archive, Base, Dtype, Encoder, Profile, TensorInput};

const ROWS: u64 = 512;
const COLUMNS: u64 = 1024;

/// Prints a line for each tool and kernel.
pub(crate) fn report(model: &Model) -> Result<()> {
    let smooth = |r: f64, c: f64, noise: f64| (r / 31.0).sin() + (c / 47.0).cos() + 0.01 * noise;
    let weights = |_: f64, _: f64, noise: f64| 0.02 * noise;
    let bf16 = |x: f64| half::bf16::from_f64(x).to_le_bytes();
    let (table, plain): (Vec<u8>, Vec<u8>) =
        (numbers(&smooth).flat_map(bf16).collect(), numbers(&weights).flat_map(bf16).collect());
    // Every third number a unit of the last place up.
    let mut tuned = plain.clone();
    tuned.chunks_exact_mut(6).for_each(|six| six[0] = six[0].saturating_add(1));
    let bytes: Vec<u8> = numbers(&weights).map(|x| (x * 1500.0) as i8 as u8).collect();
    let blocks = blocks();

    let max = || Encoder::new().profile(Profile::Max);
    print(model, "blocks (Q4_1, profile max)", Dtype::Q4_1, &blocks, max(), None)?;
    print(model, "filters (BF16, smooth)", Dtype::BF16, &table, max(), None)?;
    print(model, "base (BF16)", Dtype::BF16, &tuned, Encoder::new(), Some(&plain))?;
    let numbers = on_trellis(&bytes)?;
    print(model, "trellis (INT8)", Dtype::I8, &numbers, Encoder::new(), None)?;
    print(model, "trellis (INT8, profile max)", Dtype::I8, &numbers, max(), None)?;
    print(model, "progressive (BF16)", Dtype::BF16, &plain, Encoder::new().progressive(true), None)?;
    print(model, "progressive (INT8)", Dtype::I8, &bytes, Encoder::new().progressive(true), None)
}

fn print(model: &Model, tool: &str, dtype: Dtype, data: &[u8], encoder: Encoder, base: Option<&[u8]>) -> Result<()> {
    let shape = [ROWS, COLUMNS];
    let input = |data| TensorInput { name: "t", dtype, shape: &shape, data };
    let mut out = Cursor::new(Vec::new());
    let archive = match base {
        None if !tool.starts_with("progressive") => {
            encoder.encode_tensors(&[input(data)], &mut out)?;
            Archive::from_bytes(out.into_inner())?
        }
        None => {
            encoder.encode_source(&safetensors(dtype, data), &mut out)?;
            Archive::from_bytes(out.into_inner())?
        }
        Some(base) => {
            let base = safetensors(dtype, base);
            encoder.base(Base::from_bytes(base.clone())?).encode_source(&safetensors(dtype, data), &mut out)?;
            let mut archive = Archive::from_bytes(out.into_inner())?;
            archive.set_base(Base::from_bytes(base)?)?;
            archive
        }
    };
    let tensors: Vec<_> = archive.tensors().collect();
    let counts = model.counted(|gpu| {
        let there = gpu.decode(&tensors)?;
        if there[0].to_vec()? == data { Ok(()) } else { Err(format!("{tool}: other bytes").into()) }
    })?;
    let per_32 = |n: u64| n as f64 * 32.0 / (ROWS * COLUMNS) as f64;
    for (kernel, n) in counts {
        println!("{tool}: {kernel}: {:.1} warp instructions of PTX for 32 numbers", per_32(n));
    }
    Ok(())
}

/// Standard normal, nearly.
fn normal(random: &mut Random) -> f64 {
    (0..12).map(|_| random.unit()).sum::<f64>() - 6.0
}

/// A matrix of what `of` says of row, column and noise.
fn numbers(of: &dyn Fn(f64, f64, f64) -> f64) -> impl Iterator<Item = f64> {
    let mut random = Random::new(7);
    (0..ROWS * COLUMNS).map(move |i| of((i / COLUMNS) as f64, (i % COLUMNS) as f64, normal(&mut random)))
}

/// Blocks of 32 numbers around zero, with a step and a minimum.
fn blocks() -> Vec<u8> {
    let mut random = Random::new(9);
    let mut out = Vec::new();
    for _ in 0..ROWS * COLUMNS / 32 {
        let step = 0.01 * (0.5 * normal(&mut random)).exp();
        for x in [step, -step * (7.5 + normal(&mut random))] {
            out.extend(half::f16::from_f64(x).to_le_bytes());
        }
        let mut nibble = || (7.5 + 2.0 * normal(&mut random)).clamp(0.0, 15.0) as u8;
        out.extend((0..16).map(|_| nibble() | nibble() << 4));
    }
    out
}

/// What a trellis (`docs/format.md`, section 1.6, with the encoder's taps) makes of what is stored.
fn on_trellis(stored: &[u8]) -> Result<Vec<u8>> {
    // Tiles as high as the encoder cuts them.
    let input = TensorInput { name: "t", dtype: Dtype::I8, shape: &[ROWS, COLUMNS], data: stored };
    let mut out = Cursor::new(Vec::new());
    Encoder::new().encode_tensors(&[input], &mut out)?;
    let high = Archive::from_bytes(out.into_inner())?.report()?[0].tile.0;
    let mut numbers = stored.to_vec();
    for column in 0..COLUMNS {
        let mut state = 0u8;
        for row in 0..ROWS {
            if row % high == 0 {
                state = 0;
            }
            let number = &mut numbers[(row * COLUMNS + column) as usize];
            let (odd, k) = (state & 1, *number);
            *number = k << 1 | odd;
            state = (state >> 1) ^ (24 * odd) ^ (13 * (k & 1));
        }
    }
    Ok(numbers)
}

/// A safetensors file of one tensor.
fn safetensors(dtype: Dtype, data: &[u8]) -> Vec<u8> {
    let name = dtype.name().unwrap_or_default();
    let len = data.len();
    let header = format!(r#"{{"t":{{"dtype":"{name}","shape":[{ROWS},{COLUMNS}],"data_offsets":[0,{len}]}}}}"#);
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}
