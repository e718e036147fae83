//! The model of a load: what it must show, and that it agrees with what can be worked out by hand.

#[path = "../../benches/load/mod.rs"]
mod load;

use load::simulate::{Cpu, Decode, Link, Piece, Pipeline, simulate};
use load::{Parameters, compare, pieces};
use wcodec::schedule::Limits;

fn parameters() -> Parameters {
    Parameters::read().expect("devices.toml is as the model wants it")
}

#[test]
fn an_archive_loads_in_seven_tenths_of_the_time_and_decoding_is_hidden() {
    let p = parameters();
    for model in &p.model {
        for gpu in &p.gpu {
            for storage in &p.storage {
                let row = compare(&p, model, gpu, storage).expect("it loads");
                let what = format!("{} on {} from {}", row.model, row.gpu, row.storage);
                assert!(row.ratio <= 0.70, "modelled: {what}: {:.3} of raw", row.ratio);
                assert!((0.0..=20.0).contains(&row.unhidden_ms), "modelled: {what}: {:.2} ms of decoding", row.unhidden_ms);
                assert!(row.first_layer_ms < row.raw_first_layer_ms, "modelled: {what}: the first layer is later");
                let disk = 1e3 * row.raw_gb * p.archive.ratio / storage.gb_s;
                assert!(row.wcodec_ms >= disk, "modelled: {what}: faster than its disk");
            }
        }
    }
}

/// What is modelled does not hang on the kernels' model being right, and the model can tell when decoding is not hidden.
#[test]
fn kernels_may_be_far_slower() {
    let p = parameters();
    let with = |slower: f64| compare(&p, &p.model[0], &p.gpu[0].slowed(slower), &p.storage[0]).expect("it loads");
    let slow = with(32.0);
    assert!(slow.ratio <= 0.70 && slow.unhidden_ms <= 20.0, "modelled: {:.3}, {:.2} ms", slow.ratio, slow.unhidden_ms);
    // 15 GB/s, where the disk brings 21: decoding decides.
    let slower = with(64.0);
    let decoding = 1e3 * slower.raw_gb / (p.gpu[0].decode_gb_s / 64.0);
    assert!((slower.wcodec_ms / decoding - 1.0).abs() < 0.01 && slower.unhidden_ms > 100.0);
}

#[test]
fn shapes_are_those_of_the_models() {
    for (model, billions) in parameters().model.iter().zip([8.03, 70.55, 405.85]) {
        let parameters = model.tensors().iter().sum::<u64>() as f64 / 2e9;
        assert!((parameters - billions).abs() < 0.01, "{} has {parameters} billion parameters", model.name);
    }
}

#[test]
fn pieces_hold_every_byte_once() {
    let tensors = [10, 300_000, 70, 0, 5_000_000, 65_536];
    for ratio in [1.0, 0.665] {
        let pieces = pieces(&tensors, 65_536, 1e6, ratio);
        let decoded: f64 = pieces.iter().map(|p| p.decoded).sum();
        let stored: f64 = pieces.iter().map(|p| p.stored).sum();
        assert_eq!(decoded, tensors.iter().sum::<u64>() as f64);
        assert!((stored - decoded * ratio).abs() < 1.0);
        let (last, others) = pieces.split_last().expect("there are some");
        assert!(others.iter().all(|p| p.stored >= 1e6) && last.stored > 0.0);
        let named: std::collections::BTreeSet<u32> = pieces.iter().flat_map(|p| p.tensors.clone()).collect();
        assert_eq!(named, [0, 1, 2, 4, 5].into(), "tensor 3 is empty");
    }
}

const PIPELINE: Pipeline = Pipeline {
    disk: Link { gb_s: 2.0, latency_us: 100.0 },
    bus: Link { gb_s: 10.0, latency_us: 5.0 },
    decode: Decode::Instant,
    cpu: Cpu::FREE,
    disk_shared: false,
    limits: Limits { slots: 8, reads: 4, stages: 0, lanes: 2 },
    open_us: 0.0,
};

/// A hundred units of 1 MB stored, 2 MB decoded.
fn milliseconds(pipeline: Pipeline) -> f64 {
    let pieces: Vec<_> = (0..100).map(|u| Piece { stored: 1e6, decoded: 2e6, tensors: vec![u], ..Piece::default() }).collect();
    simulate(&pieces, 100, &pipeline).expect("it loads").total_ms
}

fn close(modelled: f64, by_hand: f64) {
    assert!((modelled / by_hand - 1.0).abs() < 0.001, "modelled {modelled} ms, by hand {by_hand} ms");
}

#[test]
fn what_is_slowest_decides() {
    let (half, core) = (0.5, 0.1 + 0.5);
    // The disk: 0.5 ms a unit, its latency once.
    close(milliseconds(PIPELINE), 0.1 + 100.0 * half);
    // One read at a time: its latency every time.
    close(milliseconds(Pipeline { limits: Limits { reads: 1, ..PIPELINE.limits }, ..PIPELINE }), 100.0 * (0.1 + half));
    // Two cores of 2 ms a unit: each decodes fifty; the second begins when the second unit is there.
    close(milliseconds(Pipeline { decode: Decode::Core { gb_s: 1.0 }, ..PIPELINE }), core + half + 50.0 * 2.0);
    // The bus: 2 ms a unit.
    let bus = Link { gb_s: 0.5, latency_us: 5.0 };
    let limits = Limits { stages: 2, ..PIPELINE.limits };
    close(milliseconds(Pipeline { bus, limits, ..PIPELINE }), core + 0.005 + 100.0 * 2.0);
    // A GPU that is slower than the disk, and one that is faster: only the last batch is seen.
    let gpu = |gb_s| Decode::Gpu { gb_s, launch_us: 10.0, tile_us: 60.0 };
    let fast = Pipeline { decode: gpu(1000.0), limits, ..PIPELINE };
    close(milliseconds(fast), 0.1 + 100.0 * half + 0.005 + 0.1 + 0.07);
    close(milliseconds(Pipeline { decode: gpu(1.0), ..fast }), core + 0.105 + 0.01 + 100.0 * 2.0);
}

/// Lanes and readers take cores from each other.
#[test]
fn cores_are_shared() {
    let fast = Link { gb_s: f64::INFINITY, latency_us: 0.0 };
    let cpu = |cores, readers| Cpu { cores, decoders: usize::MAX, readers, read_gb_s: 4.0, wake_us: 0.0 };
    let pipeline = Pipeline { disk: fast, decode: Decode::Core { gb_s: 2.0 }, ..PIPELINE };
    // 0.25 ms of reading and 1 ms of decoding a unit, on one core, whoever does it.
    close(milliseconds(Pipeline { cpu: cpu(1.0, 1), ..pipeline }), 125.0);
    close(milliseconds(Pipeline { cpu: cpu(1.0, 2), ..pipeline }), 125.0);
    // A core for each: two lanes of 50 ms, which begin when their first units are there.
    let each = milliseconds(Pipeline { cpu: cpu(8.0, 2), ..pipeline });
    close(each, 0.25 + 50.0);
    // Two cores are never idle but at the ends.
    let two = milliseconds(Pipeline { cpu: cpu(2.0, 2), ..pipeline });
    assert!((62.5..63.5).contains(&two), "{two}");
    // Nobody has more than one core.
    let one_lane = Limits { lanes: 1, ..PIPELINE.limits };
    close(milliseconds(Pipeline { cpu: cpu(8.0, 1), limits: one_lane, ..pipeline }), 0.25 + 100.0);
}

/// A disk that serves all reads at once brings the first of them last, and everything as soon.
#[test]
fn a_shared_disk_is_late_at_first_and_not_in_the_end() {
    let pipeline = Pipeline { disk: Link { gb_s: 2.0, latency_us: 0.0 }, disk_shared: true, ..PIPELINE };
    let pieces: Vec<_> = (0..100).map(|u| Piece { stored: 1e6, decoded: 2e6, tensors: vec![u], ..Piece::default() }).collect();
    let times = simulate(&pieces, 100, &pipeline).expect("it loads");
    close(times.total_ms, 100.0 * 0.5);
    close(times.ready_ms[0], 4.0 * 0.5);
}

/// Of each unit, one lane is told, and tells.
#[test]
fn wakes_are_between_units() {
    let cpu = Cpu { wake_us: 50.0, ..Cpu::FREE };
    let limits = Limits { lanes: 1, ..PIPELINE.limits };
    let pipeline = Pipeline { cpu, limits, decode: Decode::Core { gb_s: 1.0 }, ..PIPELINE };
    close(milliseconds(pipeline), 0.1 + 0.5 + 0.05 + 100.0 * (2.0 + 2.0 * 0.05));
    // A thread that was given two has the second when it is done with the first.
    let cpu = Cpu { decoders: 1, ..cpu };
    close(milliseconds(Pipeline { cpu, limits: PIPELINE.limits, ..pipeline }), 0.1 + 0.5 + 0.05 + 100.0 * 2.0 + 0.05);
}
