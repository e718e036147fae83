//! What the kernels ask of a GPU on real weights, as the emulator counts it, and the throughput that the bench's model makes of that: the
//! figures that `docs/performance.md` promises. A process of its own, as counting is the whole emulator's.

#![allow(missing_docs)]

#[path = "../../benches/gpu/model.rs"]
mod model;
mod support;

use model::{CASES, Model};
use std::path::Path;
use support::target::skipped;
use wcodec::Profile;

/// GB/s that are modelled on an RTX 5090 at least.
fn promised(weights: &str) -> f64 {
    match weights {
        "BF16" => 930.0,
        "BF16 max" => 200.0,
        _ => 800.0,
    }
}

#[test]
fn the_kernels_keep_what_is_promised_of_them() {
    let here = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let models = std::env::var_os("WCODEC_MODELS").map_or_else(here, Into::into);
    let model = Model::new().unwrap();
    for case in &CASES {
        let Some(row) = model.measure(case, &models, 4 << 20).unwrap() else {
            skipped(&format!("{} is not there; `cargo xtask models` fetches it", case.1));
            continue;
        };
        let lines = row.lines();
        println!("{}", lines.join("\n"));
        assert!(lines.iter().all(|line| line.contains("modelled")), "{lines:?}");
        assert_eq!(lines.len(), 1 + row.modelled.len());
        let best = row.modelled.iter().find(|m| m.device == "RTX 5090").unwrap();
        assert!(best.gb_s >= promised(row.weights), "{}: {} GB/s", row.weights, best.gb_s);
        if case.4 == Profile::Max {
            // Planes go through scratch memory.
            continue;
        }
        assert!(row.full_stores >= 0.95, "{}: {} of store sectors full", row.weights, row.full_stores);
        assert!(row.read_ratio <= 1.05, "{}: {} x the compressed bytes read", row.weights, row.read_ratio);
        assert_eq!(best.bound_by, "DRAM", "{}", row.weights);
    }
}
