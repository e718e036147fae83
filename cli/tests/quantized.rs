//! What becomes of quantized archives: `inspect`, `decompress --dequantize`, and the codec's options of `quantize`.

mod support;

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use support::{Place, failure, read, run, success, wcodec};

/// A model of matrices in a directory as Hugging Face has them, from a seed.
fn model(place: &Place) -> PathBuf {
    let directory = place.path("model");
    std::fs::create_dir(&directory).expect("made");
    let tensors = [("model.embed_tokens.weight", 300, 128), ("layers.0.a.weight", 96, 256), ("layers.0.b.weight", 128, 128)];
    let (mut header, mut data, mut x) = (Vec::new(), Vec::new(), 0x9e37_79b9_7f4a_7c15u64);
    let mut number = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        // Nearly normal.
        (0..4).map(|i| f32::from((x >> (16 * i)) as u16) / 65536.0 - 0.5).sum::<f32>() * 0.05
    };
    for (name, rows, columns) in tensors {
        let begin = data.len();
        for _ in 0..rows * columns {
            data.extend_from_slice(&((number().to_bits() >> 16) as u16).to_le_bytes());
        }
        let end = data.len();
        header.push(format!(r#""{name}":{{"dtype":"BF16","shape":[{rows},{columns}],"data_offsets":[{begin},{end}]}}"#));
    }
    let header = format!("{{{}}}", header.join(","));
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
    std::fs::write(directory.join("model.safetensors"), file).expect("written");
    std::fs::write(directory.join("config.json"), r#"{"hidden_size":128}"#).expect("written");
    directory
}

/// The header of a safetensors file, and its data.
fn parts(file: &[u8]) -> (Value, &[u8]) {
    let (header, data) = file[8..].split_at(u64::from_le_bytes(file[..8].try_into().expect("length")) as usize);
    (serde_json::from_slice(header).expect("JSON"), data)
}

fn tensor<'a>((header, data): &(Value, &'a [u8]), name: &str) -> &'a [u8] {
    let [begin, end] = [0, 1].map(|i| header[name]["data_offsets"][i].as_u64().expect("offset") as usize);
    &data[begin..end]
}

fn bf16(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks(2).map(|b| f32::from_bits(u32::from(u16::from_le_bytes([b[0], b[1]])) << 16)).collect()
}

const QUANTIZE: [&str; 5] = ["quantize", "-q", "--force", "--lambda", "0.1"];
const MIXED: [&str; 2] = ["--rule", "layers.0.b.weight=int4"];

#[test]
fn inspect_shows_bits_and_steps() {
    let place = Place::new();
    let (model, archive, back) = (model(&place), place.path("q.wcodec"), place.path("back"));
    success(wcodec(QUANTIZE).args(MIXED).args([&model, &archive]));
    success(wcodec(["decompress", "-q"]).args([&archive, &back]));
    let file = read(&back.join("model.safetensors"));
    let stored = parts(&file);
    let report: Value = serde_json::from_str(&success(wcodec(["inspect", "--json"]).arg(&archive))).expect("JSON");
    let quantized = report["quantized"].as_array().expect("a list");
    let expected = [
        ("model.embed_tokens.weight", "INT8", json!([300, 128]), 128, ""),
        ("layers.0.a.weight", "INT8", json!([96, 256]), 256, ""),
        ("layers.0.b.weight", "INT4", json!([128, 128]), 128, "_packed"),
    ];
    assert_eq!(quantized.len(), expected.len());
    for (q, (name, format, shape, group, suffix)) in quantized.iter().zip(expected) {
        assert_eq!(
            (&q["name"], &q["format"], &q["shape"], &q["group_size"]),
            (&name.into(), &format.into(), &shape, &group.into())
        );
        let tensors = report["tensors"].as_array().expect("tensors");
        let coded = tensors.iter().find(|t| t["name"] == format!("{name}{suffix}")).expect("there")["coded_bytes"].as_u64();
        let weights = shape[0].as_u64().zip(shape[1].as_u64()).map(|(r, c)| r * c).expect("numbers");
        let bits = 8.0 * coded.expect("a number") as f64 / weights as f64;
        assert!((q["bits_per_weight"].as_f64().expect("a number") - bits).abs() < 1e-9 && bits < 8.0, "{q}");
        let mut scales = bf16(tensor(&stored, &format!("{name}_scale")));
        scales.sort_by(f32::total_cmp);
        let step = [scales[0], scales[scales.len() / 2], scales[scales.len() - 1]];
        let said = ["min", "median", "max"].map(|key| q["step"][key].as_f64().expect("a number") as f32);
        assert_eq!(said, step, "{name}");
    }
    let text = success(wcodec(["inspect"]).arg(&archive));
    assert!(
        text.contains("QUANTIZED") && text.contains("STEP MIN") && text.lines().any(|l| l.starts_with("layers.0.b.weight  ")),
        "{text}"
    );
    let one = success(wcodec(["inspect", "--json", "--tensor", "layers.0.b.weight_packed"]).arg(&archive));
    let one: Value = serde_json::from_str(&one).expect("JSON");
    assert_eq!((one["quantized"].as_array().expect("a list").len(), &one["quantized"][0]), (1, &quantized[2]));
    // What is not quantized has no such table, nor have integers that are none of it.
    let (_, plain) = place.archived();
    assert!(!success(wcodec(["inspect"]).arg(&plain)).contains("QUANTIZED"));
    let report: Value = serde_json::from_str(&success(wcodec(["inspect", "--json"]).arg(&plain))).expect("JSON");
    assert_eq!(report["quantized"], json!([]));
}

#[test]
fn decompress_to_floats() {
    let place = Place::new();
    let (model, archive) = (model(&place), place.path("q.wcodec"));
    success(wcodec(QUANTIZE).args(MIXED).args([&model, &archive]));
    success(wcodec(["decompress", "-q"]).args([&archive, &place.path("integers")]));
    let integers = read(&place.path("integers/model.safetensors"));
    let integers = parts(&integers);
    for (name, dtype, bytes) in [("bf16", "BF16", 2), ("fp16", "F16", 2), ("fp32", "F32", 4)] {
        let out = place.path(name);
        let said = success(wcodec(["decompress", "--dequantize", name]).args([&archive, &out]));
        assert!(said.contains("dequantized; no SHA-256"), "{said}");
        let file = read(&out.join("model.safetensors"));
        let floats = parts(&file);
        assert_eq!(
            floats.0["layers.0.b.weight"],
            json!({"dtype": dtype, "shape": [128, 128],
            "data_offsets": floats.0["layers.0.b.weight"]["data_offsets"]})
        );
        assert_eq!(floats.1.len(), bytes * (300 * 128 + 96 * 256 + 128 * 128));
        let config: Value = serde_json::from_slice(&read(&out.join("config.json"))).expect("JSON");
        assert_eq!(config, json!({"hidden_size": 128}));
        if name == "fp32" {
            let scales = bf16(tensor(&integers, "layers.0.a.weight_scale"));
            let codes = tensor(&integers, "layers.0.a.weight").iter().enumerate();
            let products = codes.flat_map(|(i, &c)| (f32::from(c as i8) * scales[i / 256]).to_le_bytes());
            assert!(products.eq(tensor(&floats, "layers.0.a.weight").iter().copied()));
        }
        // An ordinary checkpoint, of which another archive can be made.
        success(wcodec(["compress", "-q", "--force", "--single"]).args([&out, &place.path("again.wcodec")]));
    }
    // Of a file, a file.
    success(wcodec(QUANTIZE).args([&model.join("model.safetensors"), &archive]));
    let out = place.path("out.safetensors");
    let said = success(wcodec(["decompress", "--dequantize", "bf16", "--json"]).args([&archive, &out]));
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((&said["dequantized"], &said["source_bytes"]), (&true.into(), &read(&out).len().into()));
    failure(7, wcodec(["decompress", "--dequantize", "bf16"]).args([&archive, &out]));
    let before = read(&out);
    success(wcodec(["decompress", "--dequantize", "bf16", "--force"]).args([&archive, &out]));
    assert!(read(&out) == before);
    assert_eq!(run(wcodec(["decompress", "--dequantize", "int8"]).args([&archive, &out])).0, 2);
    let (_, plain) = place.archived();
    let said = failure(2, wcodec(["decompress", "--dequantize", "bf16"]).args([&plain, &place.path("x")]));
    assert!(said.contains("nothing in it is quantized"), "{said}");
}

/// The codec's options change how integers are stored, not which they are; but for what the profile says of their bits, and that planes of bits have no trellis.
#[test]
fn the_codecs_options() {
    let place = Place::new();
    let (model, archive) = (model(&place), place.path("q.wcodec"));
    let restore = |to: &str, more: &[&str]| {
        success(wcodec(["decompress", "-q"]).args(more).args([&archive, &place.path(to)]));
        read(&place.path(to).join("model.safetensors"))
    };
    let trellises = |archive: &Path| -> usize {
        let report: Value = serde_json::from_str(&success(wcodec(["inspect", "--json"]).arg(archive))).expect("JSON");
        report["tensors"].as_array().expect("tensors").iter().filter(|t| t["trellis"] == true).count()
    };
    success(wcodec(QUANTIZE).args([&model, &archive]));
    let plain = restore("plain", &[]);
    assert!(trellises(&archive) > 0);
    success(wcodec(QUANTIZE).arg("--progressive").args([&model, &archive]));
    assert_eq!(trellises(&archive), 0);
    let planes = restore("planes", &[]);
    assert_eq!(planes.len(), plain.len());
    let report: Value = serde_json::from_str(&success(wcodec(["inspect", "--json"]).arg(&archive))).expect("JSON");
    let levels = report["archive"]["levels"].as_array().expect("levels").len();
    assert!(levels > 2);
    let codes =
        |file: &[u8]| -> Vec<i32> { tensor(&parts(file), "layers.0.a.weight").iter().map(|&c| i32::from(c as i8)).collect() };
    let exact = codes(&planes);
    let mut before = i32::MAX;
    for k in 0..levels {
        let coarse = codes(&restore(&format!("planes-{k}"), &["--planes", &k.to_string()]));
        let worst = coarse.iter().zip(&exact).map(|(a, b)| (a - b).abs()).max().expect("integers");
        assert!(worst <= before, "{k}: {worst}");
        before = worst;
    }
    assert_eq!(before, 0);
    // Both ways of saying the same.
    let mut archives = Vec::new();
    for options in [&["--profile", "max"][..], &["--effort", "9"]] {
        success(wcodec(QUANTIZE).args(options).args([&model, &archive]));
        archives.push(read(&archive));
    }
    assert!(archives[0] == archives[1]);
    restore("max", &[]);
    let said = failure(2, wcodec(["quantize", "--progressive", "--effort", "5"]).args([&model, &place.path("x")]));
    assert!(said.contains("no contexts") && !place.path("x").exists(), "{said}");
}
