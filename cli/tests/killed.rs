//! Whatever ends the program early, no half file stands under the output's name.
#![cfg(unix)]

mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use support::{Place, failure, read, run, success, wcodec};

/// Starts a command that writes `output`, lets it begin, ends it by `end`, and returns its exit
/// code.
fn cut_short(command: &mut Command, after: Duration, end: impl FnOnce(&mut std::process::Child)) -> Option<i32> {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("spawn");
    std::thread::sleep(after);
    end(&mut child);
    child.wait().expect("wait").code()
}

/// The output is whole if the program finished before it was ended; otherwise it is not there.
fn whole_or_absent(code: Option<i32>, output: &Path, check: impl FnOnce()) -> bool {
    let finished = code == Some(0);
    if output.exists() {
        check();
    } else {
        assert!(!finished, "succeeded without an output");
    }
    finished
}

#[test]
fn kill_9() {
    let place = Place::new();
    let model = place.model("model.safetensors", 64 << 20);
    let (archive, back) = (place.path("model.wcodec"), place.path("back"));
    for after in [5, 30, 100] {
        let code = cut_short(wcodec(["compress"]).args([&model, &archive]), Duration::from_millis(after), |c| {
            c.kill().expect("kill");
        });
        whole_or_absent(code, &archive, || drop(success(wcodec(["verify"]).args([&model, &archive]))));
        let _ = std::fs::remove_file(&archive);
    }
    success(wcodec(["compress"]).args([&model, &archive]));
    for after in [5, 30] {
        let code = cut_short(wcodec(["decompress"]).args([&archive, &back]), Duration::from_millis(after), |c| {
            c.kill().expect("kill");
        });
        whole_or_absent(code, &back, || assert!(read(&back) == read(&model)));
        let _ = std::fs::remove_file(&back);
    }
}

/// A signal that asks leaves no temporary file either.
#[test]
fn terminated() {
    // The program leaves alone what is ignored, and whoever runs the tests may have signals ignored.
    let defaults = "--default-signal=INT,TERM,HUP";
    let probe = Command::new("env").args([defaults, "true"]).stderr(Stdio::null()).status();
    if !probe.is_ok_and(|s| s.success()) {
        println!("skipped: this system's env does not know {defaults}");
        return;
    }
    let place = Place::new();
    let model = place.model("model.safetensors", 64 << 20);
    let archive = place.path("model.wcodec");
    for (signal, after) in [("-TERM", 60), ("-INT", 150), ("-HUP", 250), ("-INT", 20)] {
        let mut command = Command::new("env");
        // Slowly, so that it lasts.
        command.args([defaults, env!("CARGO_BIN_EXE_wcodec"), "compress", "--threads", "1"]);
        command.args(["--profile", "max"]).args([&model, &archive]);
        let code = cut_short(&mut command, Duration::from_millis(after), |child| {
            let status = Command::new("kill").args([signal, &child.id().to_string()]).status();
            assert!(status.expect("kill").success());
        });
        let finished = whole_or_absent(code, &archive, || drop(success(wcodec(["verify"]).args([&model, &archive]))));
        // No code at all: the signal came before the program had begun to watch for it.
        assert!(finished || code == Some(130) || code.is_none(), "{code:?}");
        let _ = std::fs::remove_file(&archive);
        assert_eq!(place.files(), ["model.safetensors"], "{signal} after {after} ms: {code:?}");
    }
}

/// Files may not grow beyond a few KiB: writing fails as on a full disk.
#[test]
fn no_space() {
    let place = Place::new();
    let (model, archive) = place.archived();
    let out = place.path("out");
    for (command, input) in [("compress", &model), ("decompress", &archive)] {
        let script = "trap '' XFSZ; ulimit -f 16; exec \"$@\"";
        let mut limited = Command::new("sh");
        limited.args(["-c", script, "sh", env!("CARGO_BIN_EXE_wcodec"), command]).args([input, &out]);
        let said = failure(3, &mut limited);
        assert!(said.contains("too large"), "{said}");
        assert_eq!(place.files(), ["model.safetensors", "model.wcodec"]);
        assert_eq!(run(wcodec([command]).args([input, &out])).0, 0);
        std::fs::remove_file(&out).unwrap();
    }
}
