//! The levels of a small model made from a seed.

#![allow(missing_docs)]

#[path = "../progressive/levels.rs"]
mod levels;
#[path = "../progressive/quality.rs"]
mod quality;

use quality::agreement;
use wcodec::{Archive, Encoder};
use wcodec_eval::{Checkpoint, SyntheticModel};

#[test]
fn every_plane_halves_the_error() {
    let directory = tempfile::tempdir().expect("a directory");
    let weights = SyntheticModel::SMALL.write(directory.path()).expect("written");
    let archive = weights.with_extension("wcodec");
    Encoder::new().progressive(true).encode_file(&weights, &archive).expect("compressed");
    let checkpoint = Checkpoint::open(directory.path()).expect("opens");
    let tokens: Vec<u32> = (0..300).map(|i| i * 19 % 256).collect();
    let measured = levels::measure(&checkpoint, &mut Archive::open(&archive).expect("opens"), &tokens).expect("measured");
    assert_eq!(measured.len(), 8);
    let exact = &measured[7].reading;
    for (planes, m) in measured.iter().enumerate() {
        assert!(m.level.planes == planes && m.errors.max <= 0.5f64.powi(planes as i32 + 1) && m.errors.mean() <= m.errors.max);
        assert!(m.reading.perplexity.is_finite() && !m.took.is_zero());
    }
    assert!(measured.is_sorted_by(|a, b| a.errors.mean() > b.errors.mean()));
    assert!(measured[7].errors.max == 0.0 && agreement(exact, exact) == 1.0 && agreement(&measured[6].reading, exact) > 0.8);
}
