//! What `inspect`, `bench`, `completions` and `--help` print.

mod support;

use serde_json::Value;
use support::{Place, failure, read, success, wcodec};

#[test]
fn inspect_prints_a_table_and_totals() {
    let place = Place::new();
    let (_, archive) = place.archived();
    let text = success(wcodec(["inspect"]).arg(&archive));
    let mut lines = text.lines();
    let head = lines.next().unwrap();
    assert!(["TENSOR", "DTYPE", "SHAPE", "PLANES", "TABLES", "BITS", "RATIO"].iter().all(|c| head.contains(c)), "{head}");
    let weight = lines.next().unwrap();
    assert!(weight.starts_with("layers.0.weight  BF16") && weight.contains("[586, 256]"), "{weight}");
    assert!(weight.contains("raw") && weight.ends_with(" %"), "{weight}");
    for what in ["source ", "archive ", "ratio ", "tensors  5", "tables ", "format ", "sha-256 "] {
        assert!(text.lines().any(|l| l.starts_with(what)), "{what} in {text}");
    }
}

#[test]
fn inspect_prints_json() {
    let place = Place::new();
    let (model, archive) = place.archived();
    let json: Value = serde_json::from_str(&success(wcodec(["inspect", "--json"]).arg(&archive))).unwrap();
    let totals = &json["archive"];
    assert_eq!(totals["source_bytes"], read(&model).len());
    assert_eq!(totals["archive_bytes"], read(&archive).len());
    assert_eq!(totals["tensors"], 5);
    assert!(totals["tables"].as_u64().unwrap() > 0);
    assert!(totals["format_version"].as_str().unwrap().contains('.'));
    assert!(totals["file"].as_str().unwrap().ends_with("model.wcodec"));
    let ratio = totals["ratio"].as_f64().unwrap();
    assert!((0.3..0.8).contains(&ratio), "{ratio}");
    let sum = totals["source_sha256"].as_str().unwrap();
    assert!(sum.len() == 64 && sum.bytes().all(|b| b.is_ascii_hexdigit()), "{sum}");

    let tensors = json["tensors"].as_array().unwrap();
    let names: Vec<_> = tensors.iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["layers.0.weight", "norm.weight", "codes", "nothing", "scalar"]);
    let weight = &tensors[0];
    assert_eq!(weight["dtype"], "BF16");
    assert_eq!(weight["shape"], serde_json::json!([586, 256]));
    assert_eq!(weight["bytes"], 586 * 512);
    for key in ["coded_bytes", "ratio", "bits_per_weight", "tiles"] {
        assert!(weight[key].as_f64().unwrap() > 0.0, "{key}");
    }
    let planes = weight["planes"].as_array().unwrap();
    assert!(planes.iter().any(|p| !p["tables"].as_array().unwrap().is_empty()));
}

#[test]
fn bench_is_exact() {
    let place = Place::new();
    let model = place.model("model.safetensors", 3_000_000);
    let out = success(wcodec(["bench", "--json", "--runs", "2", "--threads", "2"]).arg(&model));
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["exact"], true);
    assert_eq!(json["threads"], 2);
    assert_eq!(json["runs"], 2);
    assert_eq!(json["bytes"], read(&model).len());
    assert!(json["backend"].is_string() && json["file"].is_string());
    let archive_bytes = json["archive_bytes"].as_u64().unwrap();
    let ratio = json["ratio"].as_f64().unwrap();
    assert!((ratio - archive_bytes as f64 / read(&model).len() as f64).abs() < 1e-9);
    for key in ["encode_gb_s", "encode_tensors_gb_s", "decode_gb_s"] {
        assert!(json[key].as_f64().unwrap() > 0.0, "{key}");
    }
    // The portable backend, by name.
    let out = success(wcodec(["bench", "--json", "--runs", "1"]).arg(&model).env("WCODEC_CPU", "portable"));
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&json["exact"], &json["backend"]), (&true.into(), &"portable".into()));

    let text = success(wcodec(["bench", "--runs", "1"]).arg(&model));
    assert!(text.contains("decode ") && text.contains("exact   yes"), "{text}");
}

#[test]
fn completions_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = success(&mut wcodec(["completions", shell]));
        assert!(script.contains("decompress"), "{shell}");
    }
    assert_eq!(support::run(&mut wcodec(["completions", "tcsh"])).0, 2);
}

#[test]
fn help_has_examples_and_exit_codes() {
    let help = success(&mut wcodec(["--help"]));
    assert!(help.contains("Examples:") && help.contains("Exit codes:") && help.contains("130  interrupted"), "{help}");
    for command in ["compress", "decompress", "verify", "inspect", "bench", "completions"] {
        let help = success(&mut wcodec([command, "--help"]));
        assert!(help.contains(&format!("Examples:\n  wcodec {command} ")), "{help}");
    }
    assert!(success(&mut wcodec(["--version"])).contains(env!("CARGO_PKG_VERSION")));
}

/// A reader that goes away is no failure; a full device is one.
#[cfg(target_os = "linux")]
#[test]
fn standard_output_that_takes_nothing() {
    use std::fs::File;
    use std::process::Stdio;
    let place = Place::new();
    let (_, archive) = place.archived();
    for args in [&["inspect"][..], &["inspect", "--json"], &["verify"]] {
        let mut child = wcodec(args).arg(&archive).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), &output.stderr[..]), (Some(0), &b""[..]), "{args:?}");

        let full = File::options().write(true).open("/dev/full").unwrap();
        let said = failure(3, wcodec(args).arg(&archive).stdout(full));
        assert!(said.contains("standard output"), "{said}");
    }
}
