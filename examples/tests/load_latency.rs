//! What `load_latency` makes of its samples: percentiles, verdicts, tables, the picture.

#![allow(missing_docs)]

#[path = "../../benches/latency/mod.rs"]
mod latency;

use latency::{Alone, Cache, Decoding, Process, Runs, Spread, Times, layer_of, percentile, plot, tables, verdicts};

fn process(threads: usize, wcodec: f64) -> Process {
    let times = |weights: f64| vec![Times { weights, model: weights + 30.0, token: weights + 80.0 }; 3];
    let runs = |cache, raw| Runs {
        cache,
        raw: times(raw),
        wcodec: times(wcodec),
        decoding: vec![Decoding { wall: 40.0, exposed: 4.0 }; 3],
    };
    Process {
        threads,
        layers: 10,
        raw_bytes: 300,
        archive_bytes: 200,
        caches: vec![runs(Cache::ColdDropped, 200.0), runs(Cache::Warm, 100.0)],
        alone: Alone { model: vec![39.0, 41.0, 40.0], layer: (1..=100).map(f64::from).collect() },
    }
}

#[test]
fn percentiles_are_samples() {
    let samples: Vec<f64> = (1..=100).rev().map(f64::from).collect();
    assert_eq!([0.0, 1.0, 50.0, 95.0, 99.0, 100.0].map(|p| percentile(&samples, p)), [1.0, 1.0, 50.0, 95.0, 99.0, 100.0]);
    assert_eq!(percentile(&[3.0, 1.0, 2.0], 50.0), 2.0);
    assert_eq!(percentile(&[7.0], 99.0), 7.0);
    assert!(percentile(&[], 50.0).is_nan());
    assert_eq!(Spread::of(&[3, 1, 2], f64::from), Spread { median: 2.0, min: 1.0, max: 3.0 });
}

#[test]
fn tensors_are_of_their_layer() {
    assert_eq!(layer_of("model.layers.12.mlp.up_proj.weight"), Some(12));
    assert_eq!([layer_of("model.embed_tokens.weight"), layer_of("layers"), layer_of("model.layers.x.y")], [None; 3]);
}

#[test]
fn claims_hold_or_do_not() {
    let holds = |wcodec| verdicts(&[process(2, wcodec)]).iter().map(|v| v.holds).collect::<Vec<_>>();
    assert_eq!(holds(90.0), [true; 8]);
    // 160 is more than 0.75 of 200 cold, and more than 100 warm.
    assert_eq!(holds(160.0), [true, true, false, true, true, true, false, false]);
    let claims = verdicts(&[process(1, 90.0)]);
    assert_eq!(claims[0].claim, "1 thread, cold: decode during the load 40.0 ms <= warm-up 80.0 ms");
    assert_eq!(claims[2].claim, "1 thread, cold: all weights 90.0 ms <= 0.75 x raw 200.0 ms");
    // What was not measured does not hold.
    let mut nothing = process(1, 90.0);
    nothing.caches[0].raw.clear();
    assert!(verdicts(&[nothing])[..4].iter().all(|v| !v.holds));
}

#[test]
fn tables_have_a_row_for_each_kind() {
    let tables = tables(&[process(1, 90.0), process(2, 50.0)]);
    let rows = |start: &str| tables.lines().filter(|line| line.starts_with(start)).count();
    assert_eq!([rows("| 1 | cold | "), rows("| 2 | warm | "), rows("| 1 | ")], [3, 3, 7]);
    assert!(tables.contains("| 2 | cold | wcodec | 50.0 (50.0 to 50.0) | 0.25 | 80.0"), "{tables}");
    assert!(tables.contains("| 50.00 | 95.00 | 99.00 | 5.00 |"), "{tables}");
}

#[test]
fn the_picture_has_a_bar_for_each_part() {
    let picture = plot::draw("A < B", &[process(1, 90.0), process(2, 50.0)]);
    let count = |what: &str| picture.matches(what).count();
    assert!(picture.starts_with("<svg") && picture.ends_with("</svg>\n") && picture.contains("A &lt; B"));
    // Eight bars of three parts, two of decoding and two of a forward; the ground and seven keys.
    assert_eq!(count("<rect"), 8 * 3 + 2 * 3 + 2 + 1 + 7);
    assert_eq!([count("2 threads, cold"), count("1 thread, warm"), count(">wcodec<")], [1, 1, 4]);
    // The longest bar is as wide as the axis: 280 ms, 200 of them the load.
    assert!(picture.contains(&format!("width=\"{}\"", (200.0 / 280.0 * 660.0 * 100.0f64).round() / 100.0)), "{picture}");
    assert!(!picture.contains("NaN") && !picture.contains("<script"));
    // Nothing measured: still a picture.
    assert!(plot::draw("", &[]).contains("</svg>"));
}
