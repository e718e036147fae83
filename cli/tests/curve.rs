//! `wcodec curve`, on a model made from a seed.
#![cfg(feature = "eval")]

mod support;

use std::path::Path;
use support::run;
use wcodec_eval::SyntheticModel;

/// Runs the command in a directory: exit code, and what it said on stdout and stderr.
fn curve(directory: &Path, more: &[&str]) -> (i32, String, String) {
    let mut arguments = vec!["curve", "model", "--text", "text", "--window", "64", "--output", "out"];
    arguments.extend(more);
    run(support::wcodec(&arguments).current_dir(directory))
}

fn model() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    SyntheticModel::SMALL.write(&directory.path().join("model")).expect("written");
    let words: String = (0..900).map(|i| ["some ", "words ", "in ", "no ", "order. "][i * i % 5]).collect();
    std::fs::write(directory.path().join("text"), words).expect("written");
    directory
}

#[test]
fn a_table_and_a_picture_of_all_methods() {
    let directory = model();
    let at = directory.path();
    let more = ["--tokens", "512", "--calibration", "text", "--bpw", "5.5,7", "--format", "int8,int4-g128"];
    let (code, said, error) = curve(at, &more);
    assert_eq!(code, 0, "{error}");
    // What INT4 cannot reach is told and left out.
    assert!(error.contains("left out, INT4") && error.contains("7.00 bits a weight"), "{error}");
    assert!(said.contains("rate_distortion.svg") && said.contains("llama.cpp: Q6_K"), "{said}");
    let table = std::fs::read_to_string(at.join("out/rate_distortion.csv")).expect("written");
    let lines: Vec<&str> = table.lines().collect();
    let names = "name,method,bytes,bits_per_weight,ratio_to_flat_int8,perplexity,perplexity_increase_percent,\
                 perplexity_interval_percent,top1_accuracy_percent,accuracy_difference_pp,accuracy_interval_pp,\
                 same_token_percent,divergence_nats";
    assert_eq!(lines[0], names);
    assert!(lines[1].starts_with("reference,reference,"), "{}", lines[1]);
    let count = |method: &str| lines.iter().filter(|line| line.contains(method)).count();
    let counts = ["wcodec quantize, INT8", "wcodec quantize, INT4 g128", "uniform rounding", "llama.cpp", "round to nearest"];
    assert_eq!(counts.map(count), [2, 1, 2, 4, 3], "{table}");
    let picture = std::fs::read_to_string(at.join("out/rate_distortion.svg")).expect("written");
    assert!(picture.starts_with("<svg") && picture.contains("model: what is lost at which size (504 tokens)"));
    // Archives are left behind only where that is asked for.
    let files = || std::fs::read_dir(at.join("out")).expect("there").count();
    assert_eq!(files(), 2);
    let (code, _, error) = curve(at, &["--tokens", "512", "--bpw", "6"]);
    assert!(code == 7 && error.contains("--force"), "{code} {error}");
    let (code, _, error) = curve(at, &["--tokens", "512", "--bpw", "6", "--force", "--keep"]);
    assert_eq!((code, files()), (0, 4), "{error}");
    assert!(at.join("out/int8-6.wcodec").exists() && at.join("out/uniform-6.wcodec").exists());
}

#[test]
fn what_cannot_be_is_told_before_anything_is_written() {
    let directory = model();
    let at = directory.path();
    let fails = |more: &[&str], code: i32, words: &str| {
        let (got, _, error) = curve(at, more);
        assert!(got == code && error.contains(words), "{more:?}: {got} {error}");
    };
    fails(&["--bpw", "5,none"], 2, "none");
    fails(&["--bpw", "0"], 2, "above 0");
    fails(&["--tokens", "1000000"], 4, "fewer than");
    fails(&["--calibration", "absent"], 3, "absent");
    let config = std::fs::read_to_string(at.join("model/config.json")).expect("there");
    std::fs::write(at.join("model/config.json"), config.replace("\"llama\"", "\"mamba\"")).expect("written");
    fails(&[], 4, "mamba");
    std::fs::remove_dir_all(at.join("model")).expect("removed");
    fails(&[], 3, "model");
    assert!(!at.join("out/rate_distortion.csv").exists());
}
