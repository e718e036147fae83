//! `--device`: the emulator gives the same bytes, and every way in which a GPU can fail is told apart and harms no file.
#![allow(unsafe_code)] // to look for a driver

mod support;

use std::process::Command;
use support::{Place, read, run, success, wcodec};

/// The command, with the emulator that was built beside this test.
fn on_emulator(args: &[&str], fail: &str) -> Command {
    let exe = std::env::current_exe().unwrap();
    let library = exe.ancestors().skip(1).take(2).map(|d| d.join("libwcodec_emulator.so")).find(|p| p.exists());
    let mut command = wcodec(args);
    command.args(["--device", "emulator"]).env("WCODEC_EMULATOR", library.expect("the emulator's library"));
    command.env("WCODEC_EMULATOR_FAIL", fail);
    command
}

/// Stderr of a run that must end with `code` and an error; the emulator's own reports may stand before it.
fn refused(code: i32, command: &mut Command) -> String {
    let (got, stdout, stderr) = run(command);
    assert_eq!((got, stdout.as_str()), (code, ""), "{command:?}: {stderr}");
    assert_eq!(stderr.lines().filter(|l| l.starts_with("error: ")).count(), 1, "{stderr}");
    stderr
}

#[test]
fn the_emulator_gives_the_same_bytes() {
    let place = Place::new();
    let (model, archive) = place.archived();
    success(on_emulator(&["verify"], "").args([&model, &archive]));
    success(on_emulator(&["verify"], "").arg(&archive));
    let out = place.path("out");
    success(on_emulator(&["decompress"], "").args([&archive, &out]));
    assert!(read(&out) == read(&model));
    let said = success(on_emulator(&["bench", "--json", "--runs", "1"], "").arg(&model));
    assert!(said.contains("\"device\": \"wcodec emulator\"") && said.contains("\"exact\": true"), "{said}");
    // Half of the memory at a time is enough; none is an error.
    let again = place.path("again");
    success(on_emulator(&["decompress"], "alloc:1,alloc:3").args([&archive, &again]));
    assert!(read(&again) == read(&model));
}

#[test]
fn nobody_gets_the_emulator_without_asking() {
    let place = Place::new();
    let (model, _) = place.archived();
    // It lies beside the program and in the environment, and could be opened; `auto` wants a real GPU.
    let device = |command: &mut Command| {
        let said = success(command.args(["--json", "--runs", "1"]).arg(&model));
        said.lines().find(|l| l.contains("\"device\"")).map(str::to_owned).expect("a device")
    };
    let mut plain = wcodec(["bench"]);
    assert!(device(plain.env_remove("WCODEC_DEVICE")).contains("cpu"));
    let exe = std::env::current_exe().unwrap();
    let library = exe.ancestors().skip(1).take(2).map(|d| d.join("libwcodec_emulator.so")).find(|p| p.exists());
    let mut auto = wcodec(["bench", "--device", "auto"]);
    let said = device(auto.env_remove("WCODEC_DEVICE").env("WCODEC_EMULATOR", library.as_ref().unwrap()));
    assert!(!said.contains("emulator"), "{said}");
    // What is asked for on the command line counts, whatever the environment says.
    let mut auto = wcodec(["bench", "--device", "auto"]);
    let said = device(auto.env("WCODEC_DEVICE", "emulator").env("WCODEC_EMULATOR", library.as_ref().unwrap()));
    assert!(!said.contains("emulator"), "{said}");
    let mut asked = wcodec(["bench"]);
    let said = device(asked.env("WCODEC_DEVICE", "emulator").env("WCODEC_EMULATOR", library.as_ref().unwrap()));
    assert!(said.contains("wcodec emulator"), "{said}");
}

#[test]
fn failures_are_9_and_say_what_to_do() {
    let place = Place::new();
    let (model, archive) = place.archived();
    let before = read(&archive);
    let out = place.path("out");
    for (fail, expected) in [
        ("init", "no such GPU"),
        ("driver-old", "update NVIDIA's driver"),
        ("module", "update NVIDIA's driver"),
        ("alloc", "free device memory"),
        ("launch", "lost to this process"),
        ("device-lost", "lost to this process"),
    ] {
        let said = refused(9, on_emulator(&["decompress"], fail).args([&archive, &out]));
        assert!(said.contains(expected), "{fail}: {said}");
        assert!(!out.exists(), "{fail}");
        refused(9, on_emulator(&["verify"], fail).args([&model, &archive]));
    }
    refused(9, on_emulator(&["verify"], "copy:2").args([&model, &archive]));
    refused(9, on_emulator(&["verify"], "submit").args([&model, &archive]));
    assert!(read(&archive) == before);
    success(wcodec(["verify"]).args([&model, &archive]));
}

#[test]
fn a_device_that_is_not_there_is_9() {
    let place = Place::new();
    let (_, archive) = place.archived();
    let said = refused(9, wcodec(["verify", "--device", "emulator"]).arg(&archive).env("WCODEC_EMULATOR", place.path("none")));
    assert!(said.contains("WCODEC_EMULATOR"), "{said}");
    let said = refused(2, wcodec(["verify", "--device", "abacus"]).arg(&archive));
    assert!(said.contains("abacus"), "{said}");
    let said = refused(2, wcodec(["verify"]).arg(&archive).env("WCODEC_DEVICE", "emulater"));
    assert!(said.contains("emulater"), "{said}");
    if driver_present() {
        eprintln!("skipped: there is a CUDA driver, so nothing says that there is none");
        return;
    }
    for device in ["cuda", "cuda:1"] {
        let said = refused(9, wcodec(["verify", "--device", device]).arg(&archive));
        assert!(said.contains("no CUDA driver") && said.contains("--device cpu"), "{said}");
    }
}

/// Whether the loader finds NVIDIA's driver.
fn driver_present() -> bool {
    ["libcuda.so", "libcuda.so.1"].iter().any(|name| {
        // SAFETY: loads what the program itself would load, and calls nothing of it.
        unsafe { libloading::Library::new(*name) }.is_ok()
    })
}

/// The loader's copies and kernels, on several streams: what fails in the middle ends in one error, and what does not leaves its trace.
#[test]
fn loads_end_in_an_error_or_in_a_trace() {
    let place = Place::new();
    let model = place.model("model.safetensors", 300_000);
    let (trace, picture) = (place.path("trace.json"), place.path("load.svg"));
    let mut load = on_emulator(&["bench", "--load", "--json", "--runs", "1"], "");
    let said = success(load.arg("--trace").arg(&trace).arg("--picture").arg(&picture).arg(&model));
    assert!(said.contains("\"device\": \"wcodec emulator\"") && said.contains("\"cache\": \"warm\""), "{said}");
    let events: serde_json::Value = serde_json::from_slice(&read(&trace)).unwrap();
    let stages = ["read", "copy", "decode"].map(|stage| events.to_string().contains(&format!("\"{stage}")));
    assert_eq!(stages, [true; 3]);
    assert!(read(&picture).starts_with(b"<"));
    for fail in ["alloc", "host-alloc", "copy", "launch", "submit", "device-lost", "alloc:5", "copy:3", "launch:2", "submit:3"] {
        refused(9, on_emulator(&["bench", "--load", "--runs", "1"], fail).arg(&model));
    }
    assert_eq!(place.files(), ["load.svg", "model.safetensors", "trace.json"], "temporary archives are gone");
}
