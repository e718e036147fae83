//! Every way to fail has its exit code, says why, and leaves files alone.

mod support;

use std::fs;
use support::{Place, failure, read, run, success, wcodec};

#[test]
fn mismatch_is_1() {
    let place = Place::new();
    let (model, archive) = place.archived();
    let mut bytes = read(&model);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let changed = place.path("changed");
    fs::write(&changed, &bytes).unwrap();
    let said = failure(1, wcodec(["verify"]).args([&changed, &archive]));
    assert!(said.contains("layers.0.weight") && said.contains(&format!("at byte {middle}")), "{said}");
    fs::write(&changed, &bytes[1..]).unwrap();
    failure(1, wcodec(["verify"]).args([&changed, &archive]));
    success(wcodec(["verify"]).args([&model, &archive]));
}

#[test]
fn usage_is_2() {
    let place = Place::new();
    let (model, archive) = place.archived();
    for args in [&["frobnicate"][..], &[], &["compress"], &["verify"], &["bench", "--runs", "0", "x"]] {
        assert_eq!(run(&mut wcodec(args)).0, 2, "{args:?}");
    }
    // The output is the input, under whatever name, with and without --force.
    let before = read(&model);
    for force in [&[][..], &["--force"]] {
        let said = failure(2, wcodec(["compress"]).args(force).args([&model, &model]));
        assert!(said.contains("the output is the input"), "{said}");
        failure(2, wcodec(["decompress"]).args(force).args([&archive, &archive]));
    }
    #[cfg(unix)]
    {
        let link = place.path("link");
        std::os::unix::fs::symlink(&model, &link).unwrap();
        failure(2, wcodec(["compress", "--force"]).args([&model, &link]));
    }
    assert!(read(&model) == before);
}

#[test]
fn io_is_3() {
    let place = Place::new();
    let (model, archive) = place.archived();
    let missing = place.path("missing");
    for command in ["verify", "inspect", "bench"] {
        let said = failure(3, wcodec([command]).arg(&missing));
        assert!(said.contains("missing"), "{said}");
    }
    failure(3, wcodec(["verify"]).args([&missing, &archive]));
    failure(3, wcodec(["compress"]).args([&missing, &place.path("out")]));
    failure(3, wcodec(["decompress"]).args([&missing, &place.path("out")]));
    failure(3, wcodec(["compress"]).args([&model, &missing.join("out")]));
    failure(3, wcodec(["decompress"]).args([&archive, &missing.join("out")]));
    assert_eq!(place.files(), ["model.safetensors", "model.wcodec"]);
}

#[test]
fn bad_source_is_4() {
    let place = Place::new();
    let (_, archive) = place.archived();
    let (text, empty, out) = (place.path("text"), place.path("empty"), place.path("out"));
    fs::write(&text, "Once upon a time there was a file that held no tensors.").unwrap();
    fs::write(&empty, "").unwrap();
    for source in [&text, &empty, &archive] {
        failure(4, wcodec(["compress"]).args([source, &out]));
        failure(4, wcodec(["bench"]).arg(source));
    }
    assert!(!out.exists());
}

#[test]
fn corrupt_is_5() {
    let place = Place::new();
    let (model, archive) = place.archived();
    let whole = read(&archive);
    let (broken, out) = (place.path("broken"), place.path("out"));
    for len in [0, 5, 100, whole.len() / 2, whole.len() - 1] {
        fs::write(&broken, &whole[..len]).unwrap();
        for command in ["verify", "inspect"] {
            failure(5, wcodec([command]).arg(&broken));
        }
        failure(5, wcodec(["verify"]).args([&model, &broken]));
        failure(5, wcodec(["decompress"]).args([&broken, &out]));
    }
    let mut damaged = whole.clone();
    damaged[whole.len() / 3] ^= 0x10;
    fs::write(&broken, damaged).unwrap();
    failure(5, wcodec(["verify"]).arg(&broken));
    failure(5, wcodec(["verify"]).args([&model, &broken]));
    failure(5, wcodec(["decompress"]).args([&broken, &out]));
    assert!(!out.exists());

    let said = failure(5, wcodec(["verify"]).args([&archive, &model]));
    assert!(said.contains("the original comes first"), "{said}");
}

#[test]
fn unsupported_is_6() {
    let place = Place::new();
    let (_, archive) = place.archived();
    let mut bytes = read(&archive);
    // The major version follows the 8-byte magic.
    bytes[8] = 99;
    fs::write(&archive, bytes).unwrap();
    for command in ["verify", "inspect"] {
        let said = failure(6, wcodec([command]).arg(&archive));
        assert!(said.contains("version"), "{said}");
    }
    failure(6, wcodec(["decompress"]).args([&archive, &place.path("out")]));
}

#[test]
fn exists_is_7_unless_forced() {
    let place = Place::new();
    let (model, archive) = place.archived();
    let out = place.path("out");
    fs::write(&out, "precious").unwrap();
    for (command, input) in [("compress", &model), ("decompress", &archive)] {
        let said = failure(7, wcodec([command]).args([input, &out]));
        assert!(said.contains("--force"), "{said}");
        assert_eq!(read(&out), b"precious");
        // Not even by force: renaming over it would replace what is no file.
        let directory = place.path(command);
        fs::create_dir(&directory).unwrap();
        failure(7, wcodec([command, "--force"]).args([input, &directory]));
    }
    // A failure leaves the old file even where it was to be replaced.
    failure(4, wcodec(["compress", "--force"]).args([&archive, &out]));
    assert_eq!(read(&out), b"precious");
    success(wcodec(["compress", "--force"]).args([&model, &out]));
    assert!(read(&out) == read(&archive));
    success(wcodec(["decompress", "--force"]).args([&archive, &out]));
    assert!(read(&out) == read(&model));
}

#[test]
fn not_found_is_8() {
    let place = Place::new();
    let (_, archive) = place.archived();
    let said = failure(8, wcodec(["inspect", "--tensor", "no.such.weight"]).arg(&archive));
    assert!(said.contains("no.such.weight"), "{said}");
}
