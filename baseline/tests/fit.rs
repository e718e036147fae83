//! Synthetic weights against those that their constants were fitted to: what a coder meets must be about the same. Skipped, and says so,
//! where `cargo xtask models` has not fetched them.

use std::path::Path;
use wcodec_baseline::bounds::{bounds, planes};
use wcodec_baseline::{Checkpoint, Kind, Quant, Rows, SourceTensor, Synthetic};

/// Bits of entropy an element of the quantized tensor has.
fn bits(tensor: &SourceTensor, rows: &dyn Rows, quant: Quant) -> f64 {
    let data = quant.apply(tensor, rows).expect("quantizes").swap_remove(0);
    let width = if quant == Quant::Bf16 { 2 } else { 1 };
    8.0 * bounds(&planes(&data, width)).order0_bytes / tensor.weights() as f64
}

#[test]
fn synthetic_weights_have_the_entropy_of_real_ones() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/smollm2-bf16.safetensors");
    if !path.exists() {
        println!("skipped: {} is not there", path.display());
        return;
    }
    let checkpoint = Checkpoint::open(&path).expect("opens");
    for (quant, within) in [(Quant::Bf16, 0.1), (Quant::Int8, 0.25), (Quant::Int4G32, 0.1)] {
        for kind in [Kind::Query, Kind::Key, Kind::Value, Kind::AttentionOutput, Kind::Gate, Kind::Up, Kind::Down] {
            let (mut real, mut made, mut count) = (0.0, 0.0, 0.0);
            for index in 0..checkpoint.len() {
                if Kind::of(&checkpoint.layout(index).name) != kind {
                    continue;
                }
                let input = checkpoint.read(index).expect("reads");
                let source = input.source().expect("floats");
                real += bits(&source, &input, quant);
                made += bits(&source, &Synthetic::new(&source, 0), quant);
                count += 1.0;
            }
            let (real, made) = (real / count, made / count);
            println!("{quant} {kind}: {real:.3} bits, synthetic {made:.3}");
            assert!((real - made).abs() < within, "{quant} {kind}: {real:.3} bits, synthetic {made:.3}");
        }
    }
}
