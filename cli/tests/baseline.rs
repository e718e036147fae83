//! `wcodec baseline`: what it writes, and what it refuses.
#![cfg(feature = "baseline")]

mod support;

use serde_json::Value;
use std::fs;
use support::{Place, failure, success, wcodec};

fn tiny(place: &Place, directory: &str) -> std::process::Command {
    let mut command = wcodec(["baseline", "--model", "llama3-8b", "--quant", "int8", "--size", "tiny", "--coders", "wcodec,lz4"]);
    command.arg("--output").arg(place.path(directory));
    command
}

#[test]
fn reports_and_checkpoint_are_written() {
    let place = Place::new();
    let summary: Value = serde_json::from_str(&success(tiny(&place, "out").args(["--keep", "--json"]))).unwrap();
    assert_eq!(summary["files"].as_array().unwrap().len(), 4);
    assert_eq!(summary["subject"]["synthetic"], true);
    let coders = summary["total"]["coders"].as_array().unwrap();
    assert_eq!(coders.iter().map(|c| c["coder"].as_str().unwrap()).collect::<Vec<_>>(), ["wcodec default", "wcodec max", "lz4"]);
    let ratio = coders[0]["ratio"].as_f64().unwrap();
    assert!((0.6..0.95).contains(&ratio), "{ratio}");

    let mut names: Vec<_> =
        fs::read_dir(place.path("out")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let stem = "out/llama3-8b-int8-tiny";
    assert_eq!(names, ["csv", "html", "json", "safetensors"].map(|e| format!("llama3-8b-int8-tiny.{e}")));
    let read = |extension: &str| fs::read_to_string(place.path(&format!("{stem}.{extension}"))).unwrap();
    let json: Value = serde_json::from_str(&read("json")).unwrap();
    let tensors = json["tensors"].as_array().unwrap();
    assert_eq!(read("csv").lines().count(), 1 + 3 * tensors.len());
    assert!(read("html").ends_with("</html>\n"));

    // The checkpoint is one, and is measured as itself with the same sizes.
    let checkpoint = place.path(&format!("{stem}.safetensors"));
    success(wcodec(["compress", "-q"]).args([&checkpoint, &place.path("model.wcodec")]));
    let mut again = wcodec(["baseline", "--coders", "wcodec", "--json", "--input"]);
    let again: Value = serde_json::from_str(&success(again.arg(&checkpoint).arg("--output").arg(place.path("again")))).unwrap();
    assert_eq!(again["total"]["bytes"], summary["total"]["bytes"]);
    assert_eq!(again["total"]["coders"][0]["ratio"], summary["total"]["coders"][0]["ratio"]);
}

#[test]
fn reports_that_are_there_stay_unless_forced() {
    let place = Place::new();
    success(tiny(&place, "out").arg("-q"));
    let e = failure(7, &mut tiny(&place, "out"));
    assert!(e.contains("exists") && e.contains("--force"), "{e}");
    success(tiny(&place, "out").args(["-q", "--force"]));
}

#[test]
fn bad_input_is_refused_and_leaves_nothing() {
    let place = Place::new();
    let out = place.path("out");
    let e = wcodec(["baseline", "--model", "gpt-5", "--output", "x"]).output().unwrap();
    assert_eq!(e.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&e.stderr).contains("llama3-8b"));
    let e = failure(2, tiny(&place, "out").args(["--coders", "gzip"]));
    assert!(e.contains("gzip") && e.contains("zstd"), "{e}");

    fs::write(place.path("text"), "no checkpoint at all, but text that is long enough").unwrap();
    fs::write(place.path("empty"), "").unwrap();
    for name in ["text", "empty"] {
        let e = failure(4, wcodec(["baseline", "--input"]).arg(place.path(name)).arg("--output").arg(&out));
        assert!(e.contains(name) && e.contains("no safetensors checkpoint"), "{e}");
    }
    failure(3, wcodec(["baseline", "--input"]).arg(place.path("missing")).arg("--output").arg(&out));
    // Where the directory should be there is a file, or a file is a part of its path.
    failure(7, &mut tiny(&place, "text"));
    failure(3, &mut tiny(&place, "text/out"));
    assert_eq!(place.files(), ["empty", "text"]);
}

#[test]
fn tensors_of_next_to_nothing_are_measured() {
    let place = Place::new();
    let header = r#"{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"b":{"dtype":"BF16","shape":[0,4],"data_offsets":[4,4]},
        "layers.0.up_proj.weight":{"dtype":"BF16","shape":[1,1],"data_offsets":[4,6]},"<c&'\",":{"dtype":"NEW","shape":[3],"data_offsets":[6,9]}}"#;
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[0, 0, 128, 63, 1, 2, 3, 4, 5]].concat();
    fs::write(place.path("small.safetensors"), bytes).unwrap();
    for quant in [&[][..], &["--quant", "int4"], &["--quant", "int8"]] {
        let mut command = wcodec(["baseline", "--force", "--coders", "wcodec,zstd,lz4,pco,xz", "--input"]);
        success(command.arg(place.path("small.safetensors")).arg("--output").arg(place.path("out")).args(quant));
    }
    let page = fs::read_to_string(place.path("out/small.html")).unwrap();
    assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    assert!(place.files().contains(&"out".to_owned()));
}
