//! Compress, verify, decompress; what is said meanwhile.

mod support;

use support::{Place, read, run, success, wcodec};

#[test]
fn compress_verify_decompress() {
    let place = Place::new();
    let (model, archive) = (place.model("model.safetensors", 300_000), place.path("model.wcodec"));
    for profile in ["default", "max"] {
        let said = success(wcodec(["compress", "--force", "--profile", profile]).args([&model, &archive]));
        assert!(said.contains("model.safetensors → ") && said.contains(" kB → ") && said.contains(" %), "), "{said}");
        assert_eq!(said.lines().count(), 1);
        assert!(archive.metadata().unwrap().len() < model.metadata().unwrap().len() * 8 / 10);

        let said = success(wcodec(["verify"]).args([&model, &archive]));
        assert!(said.contains("bit-exact") && said.contains("5 tensors"), "{said}");
        let said = success(wcodec(["verify"]).arg(&archive));
        assert!(said.contains("SHA-256"), "{said}");

        let back = place.path("back.safetensors");
        let said = success(wcodec(["decompress", "--force"]).args([&archive, &back]));
        assert_eq!(said.lines().count(), 1);
        assert!(read(&back) == read(&model), "profile {profile}");
    }
    assert_eq!(place.files(), ["back.safetensors", "model.safetensors", "model.wcodec"]);
}

#[test]
fn threads_do_not_change_the_archive() {
    let place = Place::new();
    let (model, archive) = place.archived();
    for threads in ["0", "1", "3"] {
        let other = place.path(threads);
        success(wcodec(["--threads", threads, "compress", "-q"]).args([&model, &other]));
        assert!(read(&other) == read(&archive), "{threads} threads");
        success(wcodec(["verify", "-q", "--threads", threads]).args([&model, &other]));
    }
    assert_eq!(run(wcodec(["verify", "--threads", "many"]).arg(&archive)).0, 2);
}

#[test]
fn quiet_says_nothing() {
    let place = Place::new();
    let (model, archive) = (place.model("m", 100_000), place.path("a"));
    assert_eq!(success(wcodec(["-q", "compress"]).args([&model, &archive])), "");
    assert_eq!(success(wcodec(["verify", "--quiet"]).args([&model, &archive])), "");
    assert_eq!(success(wcodec(["verify", "--quiet"]).arg(&archive)), "");
    assert_eq!(success(wcodec(["decompress", "-q"]).args([&archive, &place.path("b")])), "");
}

#[test]
fn model_without_tensors() {
    let place = Place::new();
    let (model, archive, back) = (place.path("m"), place.path("a"), place.path("b"));
    std::fs::write(&model, b"\x02\0\0\0\0\0\0\0{}").unwrap();
    success(wcodec(["compress"]).args([&model, &archive]));
    success(wcodec(["verify"]).args([&model, &archive]));
    success(wcodec(["inspect"]).arg(&archive));
    success(wcodec(["bench", "--runs", "1"]).arg(&model));
    success(wcodec(["decompress"]).args([&archive, &back]));
    assert_eq!(read(&back), read(&model));
}
