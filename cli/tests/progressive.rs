//! `--progressive` and `--planes`.

mod support;

use support::{Place, failure, read, success, wcodec};

fn progressive(place: &Place) -> [std::path::PathBuf; 3] {
    let (model, archive) = (place.model("model.safetensors", 300_000), place.path("model.wcodec"));
    success(wcodec(["compress", "-q", "--progressive"]).args([&model, &archive]));
    [model, archive, place.path("back.safetensors")]
}

/// Data of a safetensors file as 16-bit floats; its header.
fn parts(file: &[u8]) -> (&[u8], Vec<f32>) {
    let (header, data) = file.split_at(8 + u64::from_le_bytes(file[..8].try_into().expect("length")) as usize);
    // The first tensor, of BF16: 256 columns, of which the model has this many rows.
    let first = data[..300_032].chunks(2).map(|b| f32::from_bits(u32::from(u16::from_le_bytes([b[0], b[1]])) << 16));
    (header, first.collect())
}

#[test]
fn compress_verify_decompress() {
    let place = Place::new();
    let [model, archive, back] = progressive(&place);
    let said = success(wcodec(["verify"]).args([&model, &archive]));
    assert!(said.contains("bit-exact"), "{said}");
    success(wcodec(["decompress"]).args([&archive, &back]));
    assert!(read(&back) == read(&model));
    let (plain, split) = (place.path("plain.wcodec"), archive.metadata().expect("archive").len());
    success(wcodec(["compress", "-q"]).args([&model, &plain]));
    assert!(split * 100 < plain.metadata().expect("archive").len() * 102);
    for effort in ["2", "4"] {
        success(wcodec(["compress", "-q", "-f", "--progressive", "--effort", effort]).args([&model, &plain]));
        success(wcodec(["verify"]).args([&model, &plain]));
    }
}

#[test]
fn planes() {
    let place = Place::new();
    let [model, archive, back] = progressive(&place);
    let source = read(&model);
    let (header, exact) = parts(&source);
    let mut error = f32::INFINITY;
    for k in 0..=7 {
        let said = success(wcodec(["decompress", "--force", "--planes", &k.to_string()]).args([&archive, &back]));
        assert_eq!(said.lines().count(), 1);
        assert_eq!(said.contains("coarse") && said.contains("no SHA-256"), k < 7, "{said}");
        let restored = read(&back);
        let (theirs, values) = parts(&restored);
        assert!(theirs == header && restored.len() == source.len());
        // All tensors but the first are too small to be split, and exact.
        assert!(restored[header.len() + 300_032..] == source[header.len() + 300_032..]);
        let worst = values.iter().zip(&exact).map(|(a, b)| (a - b).abs() / b.abs()).fold(0.0, f32::max);
        assert!(worst < error && worst <= 0.5f32.powi(k + 1), "{k}: {worst}");
        error = worst;
    }
    assert!(read(&back) == source);
}

#[test]
fn inspect_lists_levels_and_prefixes_are_enough() {
    let place = Place::new();
    let [_, archive, back] = progressive(&place);
    let json: serde_json::Value = serde_json::from_str(&success(wcodec(["inspect", "--json"]).arg(&archive))).expect("JSON");
    let levels = json["archive"]["levels"].as_array().expect("levels").clone();
    assert_eq!(levels.len(), 8);
    let bytes = read(&archive);
    let number = |level: &serde_json::Value, field: &str| level[field].as_u64().expect("number");
    assert_eq!(levels.iter().map(|l| number(l, "bytes")).sum::<u64>(), bytes.len() as u64);
    assert_eq!(json["tensors"][0]["progressive"], true);
    assert_eq!(json["tensors"][0]["planes"].as_array().expect("planes").len(), 9);
    let text = success(wcodec(["inspect"]).arg(&archive));
    assert!(text.contains("planes   3: ") && text.contains("planes: bytes | raw"), "{text}");

    let end = number(&levels[3], "end") as usize;
    std::fs::write(&archive, &bytes[..end]).expect("write");
    success(wcodec(["decompress", "--planes", "3"]).args([&archive, &back]));
    let text = success(wcodec(["inspect"]).arg(&archive));
    assert!(text.matches("not in this file").count() == 4, "{text}");
    let more = place.path("more.safetensors");
    for args in [&["decompress"][..], &["decompress", "--planes", "4"]] {
        let said = failure(5, wcodec(args).args([&archive, &more]));
        assert!(said.contains("cut short") && said.contains("3 planes of 7"), "{said}");
    }
    assert!(!more.exists());
    failure(5, wcodec(["verify"]).arg(&archive));
}

#[test]
fn refused() {
    let place = Place::new();
    let [model, archive, back] = progressive(&place);
    let said = failure(2, wcodec(["decompress", "--planes", "8"]).args([&archive, &back]));
    assert!(said.contains("8 planes of an archive that has 7"), "{said}");
    let plain = place.path("plain.wcodec");
    success(wcodec(["compress", "-q"]).args([&model, &plain]));
    let said = failure(2, wcodec(["decompress", "--planes", "0"]).args([&plain, &back]));
    assert!(said.contains("not progressive"), "{said}");
    let said = failure(2, wcodec(["compress", "-f", "--progressive", "--profile", "max"]).args([&model, &plain]));
    assert!(said.contains("progressive"), "{said}");
    assert_eq!(support::run(wcodec(["compress", "-f", "--progressive", "--base"]).args([&model, &model, &plain])).0, 2);
    assert_eq!(support::run(wcodec(["decompress", "--planes", "-1"]).args([&archive, &back])).0, 2);
    assert!(!back.exists());
}
