//! The whole job on a small model made from a seed, on the CPU and through the emulated driver.

#![allow(missing_docs)]

// Tests of a package's own folder, unlike those inside of an example, lie where the emulator's library is put for them. What
// only the command line uses is dead here.
#[allow(dead_code)]
#[path = "../load_llama/measure.rs"]
mod measure;
#[allow(dead_code)]
#[path = "../load_llama/sources.rs"]
mod sources;

use measure::Task;
use sources::{Loading, load_archives, load_raw};
use std::path::PathBuf;
use wcodec::observe::Timeline;
use wcodec::{Device, Encoder};
use wcodec_eval::{Checkpoint, SyntheticModel};

const ON_CPU: Loading<'_> = Loading { device: &Device::Cpu, budget: None, timeline: None };

/// A model and its archive.
fn small() -> (tempfile::TempDir, Checkpoint, Vec<PathBuf>) {
    let directory = tempfile::tempdir().expect("a directory");
    let weights = SyntheticModel::SMALL.write(directory.path()).expect("written");
    let archive = weights.with_extension("wcodec");
    Encoder::new().encode_file(&weights, &archive).expect("compressed");
    let checkpoint = Checkpoint::open(directory.path()).expect("opens");
    (directory, checkpoint, vec![archive])
}

fn same_text_on(device: &Device) {
    let (_held, checkpoint, archives) = small();
    let task = Task { checkpoint: &checkpoint, prompt: "abc", tokens: 6 };
    let raw = task.run(|| load_raw(&checkpoint)).expect("runs");
    let timeline = Timeline::new();
    let decoded = task
        .run(|| load_archives(&checkpoint, &archives, &Loading { device, budget: Some(8 << 20), timeline: Some(&timeline) }))
        .expect("runs");
    assert!(raw.generation.same(&decoded.generation), "{:?} {:?}", raw.generation, decoded.generation);
    for run in [&raw, &decoded] {
        let times = [run.load.open, run.load.first_layer, run.load.all, run.built, run.first_token];
        assert!(times.is_sorted() && !times[0].is_zero(), "{times:?}");
    }
    assert!(!timeline.spans().is_empty());
}

#[test]
fn the_cpu_gives_the_same_text() {
    same_text_on(&Device::Cpu);
}

#[test]
fn the_emulated_gpu_gives_the_same_text() {
    same_text_on(&Device::open("emulator".parse().expect("a device")).expect("the emulator is built with this test"));
}

#[test]
fn a_damaged_or_missing_archive_is_an_error_and_no_text() {
    let (_held, checkpoint, archives) = small();
    let load = || load_archives(&checkpoint, &archives, &ON_CPU);
    let mut bytes = std::fs::read(&archives[0]).expect("reads");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&archives[0], bytes).expect("written");
    assert!(load().is_err());
    std::fs::remove_file(&archives[0]).expect("removed");
    assert!(load().is_err());
}

#[test]
fn an_archive_without_a_tensor_is_refused_by_its_name() {
    let (held, checkpoint, _) = small();
    let bytes = std::fs::read(&checkpoint.weights[0]).expect("reads");
    let file = safetensors::SafeTensors::deserialize(&bytes).expect("reads");
    let fewer = file.iter().filter(|(name, _)| *name != "model.layers.1.mlp.up_proj.weight");
    let weights = held.path().join("fewer.safetensors");
    safetensors::serialize_to_file(fewer, None, &weights).expect("written");
    let archive = weights.with_extension("wcodec");
    Encoder::new().encode_file(&weights, &archive).expect("compressed");
    let task = Task { checkpoint: &checkpoint, prompt: "abc", tokens: 1 };
    let refused = task.run(|| load_archives(&checkpoint, &[archive], &ON_CPU)).err().expect("refused");
    assert!(refused.to_string().contains("model.layers.1.mlp.up_proj.weight"), "{refused}");
}
