//! `wcodec quantize` and `wcodec eval`, on a model made from a seed.
#![cfg(feature = "eval")]

mod support;

use std::path::Path;
use std::process::Command;
use support::run;
use wcodec_eval::{SyntheticBert, SyntheticModel};

/// The command in a directory.
fn wcodec(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = support::wcodec(arguments);
    command.current_dir(directory);
    command
}

/// Runs the command, which must fail with a code and say so.
fn fails(directory: &Path, arguments: &[&str], code: i32, words: &str) {
    let (got, _, said) = run(&mut wcodec(directory, arguments));
    assert!(got == code && said.contains(words), "{arguments:?}: {got} {said}");
}

/// A directory with a model, and a text of as many tokens as it has bytes.
fn model() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    SyntheticModel::SMALL.write(&directory.path().join("model")).expect("written");
    let words: String = (0..900).map(|i| ["some ", "words ", "in ", "no ", "order. "][i * i % 5]).collect();
    std::fs::write(directory.path().join("text"), words).expect("written");
    directory
}

fn json(mut command: Command) -> serde_json::Value {
    let (code, said, error) = run(&mut command);
    assert_eq!(code, 0, "{error}");
    serde_json::from_str(&said).expect("JSON")
}

#[test]
fn a_model_is_itself_and_its_quantized_form_nearly() {
    let directory = model();
    let at = directory.path();
    let report = json(wcodec(at, &["quantize", "model", "out.wcodec", "--target-bpw", "6", "--calibration", "text", "--json"]));
    assert_eq!(report["calibrated"], true);
    let errors: Vec<f64> =
        report["tensors"].as_array().expect("tensors").iter().map(|t| t["largest_error"].as_f64().expect("a number")).collect();
    assert!(errors.len() > 7 && errors.iter().all(|&e| e > 0.0));
    let report =
        json(wcodec(at, &["eval", "model", "out.wcodec", "--reference", "model", "--text", "text", "--window", "64", "--json"]));
    let [same, coarse] = [0, 1].map(|i| report["models"][i]["comparison"].clone());
    assert_eq!((&same["agreement"], &same["divergence"], &same["accuracy_gain"][0]), (&1.0.into(), &0.0.into(), &0.0.into()));
    assert_eq!(report["models"][0]["perplexity"], report["reference"]["perplexity"]);
    let divergence = coarse["divergence"].as_f64().expect("a number");
    assert!(divergence > 0.0 && divergence < 0.05, "{divergence}");
    // The archive has what goes with the weights: it is a model wherever it lies.
    std::fs::remove_dir_all(at.join("model")).expect("removed");
    let alone = json(wcodec(at, &["eval", "out.wcodec", "--text", "text", "--window", "64", "--json"]));
    assert_eq!(alone["models"][0]["perplexity"], report["models"][1]["perplexity"]);
}

#[test]
fn a_model_is_measured_by_its_own_text_where_there_is_none() {
    let directory = model();
    let at = directory.path();
    let quantize = |output: &str, more: &[&str]| {
        let mut arguments = vec!["quantize", "model", output, "--lambda", "1e-3", "--calibration-tokens", "2048", "--json"];
        arguments.extend(more);
        json(wcodec(at, &arguments))
    };
    assert_eq!(quantize("own.wcodec", &[])["calibrated"], true);
    assert_eq!(quantize("again.wcodec", &[])["calibrated"], true);
    let read = |name: &str| std::fs::read(at.join(name)).expect("written");
    assert!(read("own.wcodec") == read("again.wcodec"), "the same each time");
    assert_eq!(quantize("none.wcodec", &["--uncalibrated"])["calibrated"], false);
    fails(at, &["quantize", "model", "a.wcodec", "--uncalibrated", "--calibration", "text"], 2, "cannot be used with");
    fails(at, &["quantize", "model", "a.wcodec", "--calibration-tokens", "100"], 2, "at least 2048");
    // What is quantized already is refused before it is measured.
    let (code, _, error) = run(&mut wcodec(at, &["decompress", "own.wcodec", "quantized"]));
    assert_eq!(code, 0, "{error}");
    fails(at, &["quantize", "quantized", "a.wcodec"], 4, "quantized already");
}

#[test]
fn perplexity_stays_within_a_limit() {
    let directory = model();
    let at = directory.path();
    let text = ["--calibration", "text", "--calibration-tokens", "2048"];
    let quantize = |most: &str| {
        let arguments = ["quantize", "model", "out.wcodec", "--force", "--json", "--max-ppl-increase", most];
        json(wcodec(at, &[&arguments[..], &text].concat()))
    };
    let number = |report: &serde_json::Value, name: &str| report[name].as_f64().expect("a number");
    let [fine, coarse] = ["0.2", "5"].map(|most| {
        let report = quantize(most);
        let increase = report["perplexity_increase"][0].as_f64().expect("a number");
        assert!(100.0 * increase <= most.parse().expect("a number"), "{most}: {increase}");
        assert_eq!(number(&report, "archive_bytes"), at.join("out.wcodec").metadata().expect("written").len() as f64);
        report
    });
    assert!(number(&fine, "archive_bytes") > number(&coarse, "archive_bytes"));
    let fails = |arguments: &[&str], code, words| {
        fails(at, &[&["quantize", "model", "a.wcodec", "--max-ppl-increase"], arguments].concat(), code, words);
        assert!(!at.join("a.wcodec").exists());
    };
    fails(&["0.1"], 2, "--calibration");
    fails(&["0", "--calibration", "text"], 2, "above 0");
    fails(&["0.1", "--calibration", "text"], 4, "at least 2048 are needed");
    fails(&[&["1e-9", "--format", "int4-g128"], &text[..]].concat(), 2, "the nearest that can");
    let left = std::fs::read_dir(at)
        .expect("reads")
        .filter(|e| e.as_ref().expect("an entry").file_name().to_string_lossy().starts_with('.'));
    assert_eq!(left.count(), 0);
}

#[test]
fn bad_input_is_told() {
    let directory = model();
    let at = directory.path();
    let fails = |arguments: &[&str], code, words| fails(at, arguments, code, words);
    std::fs::write(at.join("short"), "too short").expect("written");
    std::fs::write(at.join("binary"), [0xff, 0xfe, 0x80]).expect("written");
    fails(&["quantize", "model", "a.wcodec", "--calibration", "short"], 4, "9 tokens");
    fails(&["quantize", "model", "a.wcodec", "--target-bpw", "20"], 2, "nearest that can");
    fails(&["quantize", "model", "a.wcodec", "--target-bpw", "5", "--lambda", "1"], 2, "cannot be used with");
    fails(&["quantize", "model", "a.wcodec", "--rule", "*=int3"], 2, "int3");
    fails(&["quantize", "absent", "a.wcodec"], 3, "absent");
    fails(&["quantize", "model", "a.wcodec", "--target-ratio", "nan"], 2, "above 0");
    fails(&["eval", "model", "--text", "short", "--tokens", "100"], 4, "9 tokens");
    fails(&["eval", "model", "--text", "binary"], 4, "binary");
    fails(&["eval", "model", "--text", "absent"], 3, "absent");
    assert!(!at.join("a.wcodec").exists());
    // Another architecture cannot be measured, but quantized.
    let config = std::fs::read_to_string(at.join("model/config.json")).expect("there");
    std::fs::write(at.join("model/config.json"), config.replace("\"llama\"", "\"mamba\"")).expect("written");
    fails(&["eval", "model", "--text", "text"], 4, "mamba");
    fails(&["quantize", "model", "a.wcodec", "--calibration", "text"], 4, "with --uncalibrated");
    let (code, _, error) = run(&mut wcodec(at, &["quantize", "model", "a.wcodec"]));
    assert_eq!(code, 0, "{error}");
    assert!(error.contains("not measured") && error.contains("mamba"), "{error}");
    fails(&["quantize", "model", "a.wcodec"], 7, "--force");
}

/// A weight that is no number is told of with its place before anything is measured, also where the tensor would stay as it is.
#[test]
fn what_is_no_number_is_not_measured() {
    let directory = model();
    let at = directory.path();
    let path = at.join("model/model.safetensors");
    let mut file = std::fs::read(&path).expect("there");
    let data = 8 + u64::from_le_bytes(*file.first_chunk().expect("a length")) as usize;
    let header: serde_json::Value = serde_json::from_slice(&file[8..data]).expect("JSON");
    let [first, end] = [0, 1].map(|i| header["model.norm.weight"]["data_offsets"][i].as_u64().expect("an offset") as usize);
    // All ones: no number in any type of floats.
    file[data + first..data + end].fill(0xff);
    std::fs::write(&path, file).expect("written");
    for more in [&[][..], &["--calibration", "text", "--calibration-tokens", "2048"]] {
        let arguments = [&["quantize", "model", "a.wcodec", "--lambda", "1e-3"], more].concat();
        let (code, _, said) = run(&mut wcodec(at, &arguments));
        let told = ["model.norm.weight", "model.safetensors", "NaN", "--uncalibrated"].iter().all(|words| said.contains(words));
        assert!(code == 4 && told && !said.contains("writing"), "{said}");
        assert!(!at.join("a.wcodec").exists());
    }
    let (code, _, said) = run(&mut wcodec(at, &["quantize", "model", "a.wcodec", "--lambda", "1e-3", "--uncalibrated"]));
    assert_eq!(code, 0, "{said}");
}

/// A calibration text is never left unread without a word.
#[test]
fn what_cannot_be_read_for_measuring_is_told() {
    let directory = model();
    let at = directory.path();
    std::fs::remove_file(at.join("model/config.json")).expect("removed");
    fails(at, &["quantize", "model", "a.wcodec", "--calibration", "text"], 4, "config.json");
    assert!(!at.join("a.wcodec").exists());
    let (code, _, said) = run(&mut wcodec(at, &["quantize", "model", "a.wcodec", "--lambda", "1e-3"]));
    assert!(code == 0 && said.contains("not measured") && said.contains("config.json"), "{said}");
}

#[test]
fn sentence_encoders_are_measured_by_sentences() {
    let directory = model();
    let at = directory.path();
    SyntheticBert::SMALL.write(&at.join("encoder")).expect("written");
    let words = ["walls", "of", "old", "houses", "stood", "where", "grass", "grew", "by", "rivers", "that", "nobody", "named"];
    let sentence = |s: usize| -> String {
        let word = |w: usize| words[(s * s + 5 * w * s + w * w * 3) % words.len()];
        (0..4 + s % 5).map(word).collect::<Vec<_>>().join(" ") + ".\n"
    };
    std::fs::write(at.join("text"), (0..200).map(sentence).collect::<String>()).expect("written");
    std::fs::write(at.join("others"), (300..360).map(sentence).collect::<String>()).expect("written");
    let cosine = |measured: &[&str]| -> f64 {
        let arguments = [&["quantize", "encoder", "e.wcodec", "--target-bpw", "6", "-f", "--json"], measured].concat();
        let report = json(wcodec(at, &arguments));
        assert_eq!(report["calibrated"], measured.contains(&"--calibration"));
        let report = json(wcodec(at, &["eval", "e.wcodec", "--reference", "encoder", "--text", "others", "--json"]));
        report["models"][0]["mean_cosine"].as_f64().expect("a number")
    };
    let [alone, unasked, measured] = [&["--uncalibrated"][..], &[], &["--calibration", "text"]].map(cosine);
    cosine(&["--calibration", "text", "--calibration-tokens", "2048"]);
    assert!(alone == unasked && 1.0 - measured < 0.7 * (1.0 - alone), "{alone} {measured}");
    let fails = |arguments: &[&str], code, words| {
        fails(at, &[&["quantize", "encoder", "a.wcodec", "--calibration"], arguments].concat(), code, words);
        assert!(!at.join("a.wcodec").exists());
    };
    std::fs::write(at.join("short"), sentence(1)).expect("written");
    fails(&["short"], 4, "tokens in 1 sentences: at least 2048");
    fails(&["text", "--max-ppl-increase", "1"], 2, "has no perplexity");
    fails(&["missing"], 3, "missing");
}

#[test]
fn sentence_encoders_are_compared_by_their_vectors() {
    let directory = model();
    let at = directory.path();
    for (name, seed) in [("encoder", 1), ("other", 2)] {
        SyntheticBert { seed, ..SyntheticBert::SMALL }.write(&at.join(name)).expect("written");
    }
    let words = ["A sentence of some words. ", "Another one that says no more? ", "And a last one, to make it three.\n"];
    std::fs::write(at.join("sentences"), words.concat()).expect("written");
    // Weights alone, with what goes with them elsewhere.
    std::fs::create_dir(at.join("alone")).expect("made");
    std::fs::copy(at.join("encoder/model.safetensors"), at.join("alone/a.safetensors")).expect("copied");
    let arguments = [
        "eval",
        "alone/a.safetensors",
        "other",
        "--config",
        "encoder",
        "--reference",
        "encoder",
        "--text",
        "sentences",
        "--json",
    ];
    let report = json(wcodec(at, &arguments));
    assert_eq!((&report["sentences"], &report["tokens"]), (&3.into(), &(25 + 30 + 33).into()));
    let cosine = |model: usize, what: &str| report["models"][model][what].as_f64().expect("a number");
    assert!((cosine(0, "least_cosine") - 1.0).abs() < 1e-9);
    assert!(cosine(1, "least_cosine") <= cosine(1, "mean_cosine") && cosine(1, "mean_cosine") < 0.9);
    let fails = |arguments: &[&str], code, words| fails(at, arguments, code, words);
    fails(&["eval", "encoder", "--text", "sentences"], 2, "--reference");
    fails(&["eval", "model", "--reference", "encoder", "--text", "sentences"], 4, "not a bert");
    fails(&["eval", "encoder", "--reference", "model", "--text", "sentences"], 4, "\"bert\"");
    fails(
        &["eval", "encoder", "--reference", "encoder", "--text", "sentences", "--tokens", "1000"],
        4,
        "88 tokens in 3 sentences",
    );
    std::fs::write(at.join("empty"), "\n").expect("written");
    fails(&["eval", "encoder", "--reference", "encoder", "--text", "empty"], 4, "no sentence");
    // A tensor that is not there.
    let config = std::fs::read_to_string(at.join("other/config.json")).expect("there");
    std::fs::write(at.join("other/config.json"), config.replace("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3"))
        .expect("written");
    fails(&["eval", "other", "--reference", "encoder", "--text", "sentences"], 4, "encoder.layer.2");
}
