//! `--base`.

mod support;

use support::{Place, failure, read, success, wcodec};

/// Base, fine-tune, archive of the fine-tune against the base.
fn fine_tuned(place: &Place) -> [std::path::PathBuf; 3] {
    let base = place.model("base.safetensors", 300_000);
    let mut bytes = read(&base);
    let data = u64::from_le_bytes(bytes[..8].try_into().expect("length")) as usize + 8;
    bytes[data..data + 100_000].chunks_mut(20).for_each(|x| x[0] = x[0].wrapping_add(1));
    let tuned = place.path("tuned.safetensors");
    std::fs::write(&tuned, bytes).expect("write");
    let archive = place.path("tuned.wcodec");
    success(wcodec(["compress", "-q", "--base"]).args([&base, &tuned, &archive]));
    [base, tuned, archive]
}

#[test]
fn compress_verify_decompress() {
    let place = Place::new();
    let [base, tuned, archive] = fine_tuned(&place);
    let base_archive = place.path("base.wcodec");
    success(wcodec(["compress", "-q"]).args([&base, &base_archive]));
    assert!(archive.metadata().expect("archive").len() * 5 < base_archive.metadata().expect("base").len());
    let again = place.path("again.wcodec");
    success(wcodec(["compress", "-q", "--base"]).args([&base_archive, &tuned, &again]));
    assert!(read(&again) == read(&archive));
    for base in [&base, &base_archive] {
        let said = success(wcodec(["verify", "--base"]).args([base, &tuned, &archive]));
        assert!(said.contains("bit-exact"), "{said}");
        success(wcodec(["verify", "--base"]).args([base, &archive]));
        let back = place.path("back.safetensors");
        success(wcodec(["decompress", "--force", "--base"]).args([base, &archive, &back]));
        assert!(read(&back) == read(&tuned));
    }
}

#[test]
fn inspect_says_how() {
    let place = Place::new();
    let [_, _, archive] = fine_tuned(&place);
    let json: serde_json::Value = serde_json::from_str(&success(wcodec(["inspect", "--json"]).arg(&archive))).expect("JSON");
    assert_eq!(json["tensors"][0]["base"], "subtract");
    assert_eq!(json["tensors"][1]["base"], "same");
    let sum = json["archive"]["base_sha256"].as_str().expect("hash");
    let text = success(wcodec(["inspect"]).arg(&archive));
    assert!(text.contains(&format!("base     {sum}")) && text.contains("subtract: ") && text.contains("same"), "{text}");
}

#[test]
fn refused() {
    let place = Place::new();
    let [base, tuned, archive] = fine_tuned(&place);
    let back = place.path("back.safetensors");
    let said = failure(2, wcodec(["decompress"]).args([&archive, &back]));
    assert!(said.contains("not given") && said.contains("hint: --base"), "{said}");
    failure(2, wcodec(["verify"]).arg(&archive));
    // The fine-tune is as long as its base, and another file.
    let said = failure(2, wcodec(["decompress", "--base"]).args([&tuned, &archive, &back]));
    assert!(said.contains("is another"), "{said}");
    let shorter = place.model("other.safetensors", 100_000);
    let said = failure(2, wcodec(["verify", "--base"]).args([&shorter, &archive]));
    assert!(said.contains("another base"), "{said}");
    let said = failure(2, wcodec(["compress", "--force", "--base"]).args([&base, &tuned, &base]));
    assert!(said.contains("base.safetensors"), "{said}");
    failure(3, wcodec(["verify", "--base"]).args([&place.path("none"), &archive]));
    failure(2, wcodec(["compress", "--base"]).args([&archive, &tuned, &back]));
    assert!(!back.exists());
}
