//! Directories of shards: there and back, bad ones refused, runs that are killed taken up again.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use support::{Place, failure, read, run, success, wcodec};

/// A safetensors file of U8 or BF16 tensors.
fn shard(tensors: &[(&str, usize)], seed: u64) -> Vec<u8> {
    let (mut header, mut at) = (serde_json::Map::new(), 0);
    for (name, values) in tensors {
        let info = serde_json::json!({"dtype": "BF16", "shape": [values], "data_offsets": [at, at + 2 * values]});
        header.insert((*name).into(), info);
        at += 2 * values;
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(&header);
    let mut x = 0x9e37_79b9_7f4a_7c15u64 ^ seed;
    for _ in 0..at / 2 {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        let exponent = 122 - (x >> 32).trailing_zeros().min(20) as u16;
        file.extend(((x as u16 & 0x807f) | exponent << 7).to_le_bytes());
    }
    file
}

/// Writes a checkpoint of `shards` shards of `values` weights each, and what goes with it.
fn checkpoint(place: &Place, shards: usize, values: usize) -> PathBuf {
    let root = place.path("model");
    fs::create_dir_all(root.join("onnx/deep")).unwrap();
    let mut map = BTreeMap::new();
    for i in 0..shards {
        let file = format!("model-{:05}-of-{shards:05}.safetensors", i + 1);
        let names = [format!("model.layers.{i}.a"), format!("model.layers.{i}.b")];
        fs::write(root.join(&file), shard(&[(&names[0], values - values / 3), (&names[1], values / 3)], i as u64)).unwrap();
        map.extend(names.map(|name| (name, file.clone())));
    }
    write_index(&root, &map);
    fs::write(root.join("config.json"), "{\"a\": 1}\n").unwrap();
    fs::write(root.join("tokenizer.json"), vec![b'x'; 3000]).unwrap();
    fs::write(root.join("empty.txt"), "").unwrap();
    fs::write(root.join("onnx/deep/graph.onnx"), [7; 99]).unwrap();
    fs::write(root.join("onnx/encoder.safetensors"), shard(&[("model.layers.0.a", 500)], 77)).unwrap();
    root
}

fn write_index(root: &Path, map: &BTreeMap<String, String>) {
    let index = serde_json::json!({"metadata": {"total_size": 123}, "weight_map": map});
    fs::write(root.join("model.safetensors.index.json"), serde_json::to_vec(&index).unwrap()).unwrap();
}

fn index(root: &Path) -> BTreeMap<String, String> {
    let index: serde_json::Value = serde_json::from_slice(&read(&root.join("model.safetensors.index.json"))).unwrap();
    serde_json::from_value(index["weight_map"].clone()).unwrap()
}

/// All files below a directory with their bytes.
fn contents(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(contents(&path));
        } else {
            all.insert(path.clone(), read(&path));
        }
    }
    all
}

/// The same files with the same bytes.
fn assert_same(a: &Path, b: &Path) {
    let relative = |root: &Path| -> Vec<_> {
        contents(root).into_iter().map(|(p, bytes)| (p.strip_prefix(root).unwrap().to_owned(), bytes)).collect()
    };
    let (a, b) = (relative(a), relative(b));
    assert_eq!(a.iter().map(|f| &f.0).collect::<Vec<_>>(), b.iter().map(|f| &f.0).collect::<Vec<_>>());
    assert!(a == b, "bytes differ");
}

#[test]
fn there_and_back() {
    let place = Place::new();
    let model = checkpoint(&place, 3, 50_000);
    let (small, back) = (place.path("small"), place.path("back"));
    let said = success(wcodec(["compress"]).args([&model, &small]));
    assert!(said.contains("4 shards, 5 other files, "), "{said}");
    assert!(small.join("model-00002-of-00003.wcodec").exists() && small.join("onnx/encoder.wcodec").exists());
    assert!(read(&small.join("model.safetensors.index.json")) == read(&model.join("model.safetensors.index.json")));

    let manifest: serde_json::Value = serde_json::from_slice(&read(&small.join("model.wcodec.index.json"))).unwrap();
    assert_eq!(manifest["weight_map"]["model.layers.1.b"], "model-00002-of-00003.wcodec");
    assert_eq!(manifest["metadata"]["total_size"], 123);

    let said = success(wcodec(["verify"]).args([&model, &small]));
    assert!(said.contains("bit-exact with") && said.contains("7 tensors"), "{said}");
    success(wcodec(["verify"]).arg(&small));
    success(wcodec(["decompress"]).args([&small, &back]));
    assert_same(&model, &back);

    // Not over what is there; nor in itself.
    for (command, from, to) in [("compress", &model, &small), ("decompress", &small, &back)] {
        failure(7, wcodec([command]).args([from, to]));
        success(wcodec([command, "--force", "-q"]).args([from, to]));
        failure(2, wcodec([command, "--force"]).args([from, from]));
        failure(2, wcodec([command]).args([from, &from.join("inside")]));
        let json: serde_json::Value =
            serde_json::from_str(&success(wcodec([command, "--json", "--force"]).args([from, to]))).unwrap();
        assert_eq!((&json["shards"], &json["files"]), (&4.into(), &5.into()));
    }
    assert_same(&model, &back);
    let json: serde_json::Value = serde_json::from_str(&success(wcodec(["verify", "--json"]).args([&model, &small]))).unwrap();
    assert_eq!(json["tensors"], 7);
    // Whatever the threads.
    for threads in ["1", "3"] {
        let other = place.path(threads);
        success(wcodec(["compress", "--threads", threads]).args([&model, &other]));
        assert_same(&small, &other);
    }
}

#[test]
fn one_file_needs_no_index() {
    let place = Place::new();
    let model = place.path("m");
    fs::create_dir(&model).unwrap();
    fs::write(model.join("model.safetensors"), shard(&[("a", 1000)], 1)).unwrap();
    fs::write(model.join("config.json"), "{}").unwrap();
    success(wcodec(["compress"]).args([&model, &place.path("c")]));
    let manifest: serde_json::Value = serde_json::from_slice(&read(&place.path("c/model.wcodec.index.json"))).unwrap();
    assert_eq!(manifest["weight_map"]["a"], "model.wcodec");
    success(wcodec(["decompress"]).args([place.path("c"), place.path("d")]));
    assert_same(&model, &place.path("d"));
}

#[cfg(unix)]
#[test]
fn links_into_a_cache_are_followed() {
    let place = Place::new();
    let model = checkpoint(&place, 2, 3000);
    let snapshot = place.path("snapshot");
    fs::create_dir(&snapshot).unwrap();
    for entry in fs::read_dir(&model).unwrap() {
        let path = entry.unwrap().path();
        std::os::unix::fs::symlink(&path, snapshot.join(path.file_name().unwrap())).unwrap();
    }
    success(wcodec(["compress"]).args([&snapshot, &place.path("c")]));
    success(wcodec(["decompress"]).args([place.path("c"), place.path("d")]));
    assert_same(&model, &place.path("d"));
}

/// What is wrong with a checkpoint is said, with its file, and nothing is written.
#[test]
fn bad_checkpoints() {
    let place = Place::new();
    let model = checkpoint(&place, 3, 3000);
    let out = place.path("out");
    let second = model.join("model-00002-of-00003.safetensors");
    let whole = index(&model);
    let refused = |exit: i32, why: &str| {
        let said = failure(exit, wcodec(["compress"]).args([&model, &out]));
        assert!(said.contains(why), "{said}");
        assert!(!out.exists());
    };
    let bytes = read(&second);
    fs::remove_file(&second).unwrap();
    refused(4, "index.json: shard 'model-00002-of-00003.safetensors' is missing, which should hold 2 of the tensors");
    fs::write(&second, &bytes[..bytes.len() - 1]).unwrap();
    refused(4, "model-00002-of-00003.safetensors");
    fs::write(&second, shard(&[("model.layers.1.a", 9)], 1)).unwrap();
    refused(
        4,
        "tensor 'model.layers.1.b': the index says that it is in 'model-00002-of-00003.safetensors', which does not have it",
    );
    fs::write(&second, shard(&[("model.layers.1.a", 9), ("model.layers.1.b", 9), ("stranger", 9)], 1)).unwrap();
    refused(4, "tensor 'stranger': it is in 'model-00002-of-00003.safetensors', but the index does not list it");
    // The same file twice.
    fs::copy(model.join("model-00001-of-00003.safetensors"), &second).unwrap();
    refused(4, "tensor 'model.layers.0.a': it is in 'model-00002-of-00003.safetensors', but the index says that it is in");
    fs::write(&second, &bytes).unwrap();

    for (shard, why) in [("../x.safetensors", "no file inside"), ("/etc/passwd", "no file inside"), ("x.bin", "not called")] {
        let mut map = whole.clone();
        map.insert("model.layers.1.b".into(), shard.into());
        write_index(&model, &map);
        refused(4, why);
    }
    let mut map = whole.clone();
    map.remove("model.layers.1.b");
    write_index(&model, &map);
    refused(4, "tensor 'model.layers.1.b': it is in 'model-00002-of-00003.safetensors', but the index does not list it");
    fs::write(model.join("model.safetensors.index.json"), "not JSON").unwrap();
    refused(4, "no index of shards");
    let twice = r#"{"weight_map": {"a": "model-00001-of-00003.safetensors", "a": "model-00002-of-00003.safetensors"}}"#;
    fs::write(model.join("model.safetensors.index.json"), twice).unwrap();
    refused(4, "tensor 'a' is listed twice");
    write_index(&model, &whole);

    fs::write(model.join("model-00001-of-00003.wcodec"), "").unwrap();
    refused(4, "'model-00001-of-00003.wcodec' is there already");
    fs::remove_file(model.join("model-00001-of-00003.wcodec")).unwrap();
    success(wcodec(["compress"]).args([&model, &out]));
    // A compressed directory is none to be compressed.
    failure(4, wcodec(["compress"]).args([&out, &place.path("again")]));
}

#[test]
fn only_pickles() {
    let place = Place::new();
    let model = place.path("m");
    fs::create_dir(&model).unwrap();
    let said = failure(4, wcodec(["compress"]).args([&model, &place.path("c")]));
    assert!(said.contains("no safetensors files"), "{said}");
    fs::write(model.join("pytorch_model.bin"), b"PK\x03\x04").unwrap();
    let said = failure(4, wcodec(["compress"]).args([&model, &place.path("c")]));
    assert!(said.contains("pickles ('pytorch_model.bin')"), "{said}");
}

#[test]
fn damage_is_found() {
    let place = Place::new();
    let model = checkpoint(&place, 2, 30_000);
    let small = place.path("small");
    success(wcodec(["compress"]).args([&model, &small]));
    let damaged = |name: &str, change: &dyn Fn(&mut Vec<u8>), exit: i32| {
        let path = small.join(name);
        let whole = read(&path);
        let mut bytes = whole.clone();
        change(&mut bytes);
        fs::write(&path, bytes).unwrap();
        for arguments in [vec![&small], vec![&model, &small]] {
            let said = failure(exit, wcodec(["verify"]).args(arguments));
            assert!(said.contains(name.rsplit('/').next().unwrap()), "{said}");
        }
        let back = place.path("back");
        let said = failure(exit, wcodec(["decompress"]).args([&small, &back]));
        assert!(said.contains(name.rsplit('/').next().unwrap()), "{said}");
        fs::remove_dir_all(&back).unwrap_or(());
        fs::write(&path, whole).unwrap();
    };
    damaged("model-00002-of-00002.wcodec", &|b| b[30_000] ^= 1, 5);
    damaged("model-00002-of-00002.wcodec", &|b| b.truncate(30_000), 5);
    damaged("config.json", &|b| b[0] = b'!', 5);
    damaged("onnx/deep/graph.onnx", &|b| b.truncate(98), 5);
    damaged("model.wcodec.index.json", &|b| b.truncate(98), 5);
    // Another shard's archive is not this one's.
    let (first, second) = (small.join("model-00001-of-00002.wcodec"), small.join("model-00002-of-00002.wcodec"));
    let whole = read(&second);
    fs::copy(first, &second).unwrap();
    let said = failure(5, wcodec(["verify"]).arg(&small));
    assert!(said.contains("SHA-256 is another"), "{said}");
    fs::remove_file(&second).unwrap();
    failure(3, wcodec(["decompress"]).args([&small, &place.path("back")]));
    fs::write(&second, whole).unwrap();
    // Nor is what leads out of the directory written.
    let manifest = small.join("model.wcodec.index.json");
    let text = String::from_utf8(read(&manifest)).unwrap();
    fs::write(&manifest, text.replace("\"config.json\"", "\"../config.json\"")).unwrap();
    failure(5, wcodec(["decompress"]).args([&small, &place.path("other")]));
    assert!(!place.path("config.json").exists() && !place.path("other").exists());
    fs::write(&manifest, text).unwrap();
    // And what differs from the original is told from damage.
    fs::write(model.join("config.json"), "{\"a\": 2}\n").unwrap();
    let said = failure(1, wcodec(["verify"]).args([&model, &small]));
    assert!(said.contains("config.json"), "{said}");
    fs::remove_file(model.join("config.json")).unwrap();
    failure(1, wcodec(["verify"]).args([&model, &small]));
    success(wcodec(["verify"]).arg(&small));
    fs::remove_file(&manifest).unwrap();
    failure(5, wcodec(["verify"]).arg(&small));
}

#[test]
fn one_archive_of_all() {
    let place = Place::new();
    let model = checkpoint(&place, 3, 40_000);
    // Its first tensor is also the model's: they do not fit into one archive.
    let (single, back) = (place.path("single.wcodec"), place.path("back"));
    let said = failure(4, wcodec(["compress", "--single"]).args([&model, &single]));
    assert!(said.contains("tensor 'model.layers.0.a'") && said.contains("one archive"), "{said}");
    fs::write(model.join("onnx/encoder.safetensors"), shard(&[("encoder", 500), ("empty", 0)], 77)).unwrap();
    let said = success(wcodec(["compress", "--single"]).args([&model, &single]));
    assert!(said.contains("4 shards, 5 other files"), "{said}");
    failure(7, wcodec(["compress", "--single"]).args([&model, &single]));
    failure(2, wcodec(["compress", "--single"]).args([&single, &back]));
    success(wcodec(["verify"]).arg(&single));
    let said = success(wcodec(["verify"]).args([&model, &single]));
    assert!(said.contains("bit-exact with"), "{said}");
    let said = success(wcodec(["decompress"]).args([&single, &back]));
    assert!(said.contains("4 shards, 5 other files"), "{said}");
    assert_same(&model, &back);
    failure(7, wcodec(["decompress"]).args([&single, &back]));
    success(wcodec(["decompress", "--force"]).args([&single, &back]));
    assert_same(&model, &back);
    let other = place.path("other.wcodec");
    success(wcodec(["compress", "--single", "--threads", "1"]).args([&model, &other]));
    assert!(read(&single) == read(&other));

    // Damage is found, and what was damaged does not appear.
    let mut bytes = read(&single);
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&other, bytes).unwrap();
    failure(5, wcodec(["decompress"]).args([&other, &place.path("damaged")]));
    let left = contents(&place.path("damaged"));
    for (path, bytes) in left.iter().filter(|(path, _)| !path.ends_with(".wcodec-unfinished")) {
        assert!(*bytes == read(&model.join(path.strip_prefix(place.path("damaged")).unwrap())));
    }
    // Another directory differs.
    fs::write(model.join("config.json"), "{\"a\": 2}\n").unwrap();
    failure(1, wcodec(["verify"]).args([&model, &single]));
    // The archive of a file has no directory.
    let (file, archive) = place.archived();
    failure(2, wcodec(["verify"]).args([&model, &archive]));
    drop(file);
}

/// Runs a command again and again, killing it after a while, until it succeeds; the number of kills.
fn persist(arguments: &[&str], from: &Path, to: &Path) -> usize {
    let mut wait = 1;
    for kills in 0.. {
        let mut child = wcodec(arguments).args([from, to]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        let _ = child.kill();
        let output = child.wait_with_output().unwrap();
        match output.status.code() {
            Some(0) => return kills,
            // The last kill came when all was done, and what is finished is not made again.
            Some(7) if kills > 0 && !to.join(".wcodec-unfinished").exists() => return kills,
            None => {}
            code => panic!("{code:?}: {}", String::from_utf8_lossy(&output.stderr)),
        }
        wait += 1 + wait / 16;
    }
    unreachable!()
}

#[cfg(unix)]
#[test]
fn killed_and_taken_up_again() {
    let place = Place::new();
    let model = checkpoint(&place, 10, 1_000_000);
    let (small, disturbed, back) = (place.path("small"), place.path("disturbed"), place.path("back"));
    success(wcodec(["compress"]).args([&model, &small]));
    let kills = persist(&["compress", "--threads", "2"], &model, &disturbed);
    assert!(kills > 0);
    assert_same(&small, &disturbed);
    let kills = persist(&["decompress", "--threads", "2"], &small, &back);
    assert!(kills > 0);
    assert_same(&model, &back);
    println!("killed {kills} times");
}

/// What an unfinished run left is used only where it belongs.
#[test]
fn leftovers_are_not_trusted() {
    let place = Place::new();
    let model = checkpoint(&place, 3, 20_000);
    let (small, out) = (place.path("small"), place.path("out"));
    success(wcodec(["compress"]).args([&model, &small]));
    // A run that cannot end, since one of the files to write is a directory.
    fs::create_dir_all(out.join("model-00003-of-00003.wcodec")).unwrap();
    let force = |extra: &[&str]| run(wcodec(["compress", "--force", "--threads", "1"]).args(extra).args([&model, &out]));
    fs::remove_dir(out.join("model-00003-of-00003.wcodec")).unwrap();
    fs::create_dir(out.join("config.json")).unwrap();
    assert_eq!(force(&[]).0, 3);
    failure(5, wcodec(["verify"]).arg(&out));
    fs::remove_dir(out.join("config.json")).unwrap();
    // In another way: not by itself, and if so from the beginning.
    let said = failure(7, wcodec(["compress", "--effort", "3"]).args([&model, &out]));
    assert!(said.contains("begun in another way"), "{said}");
    // An archive of other weights, one that is damaged, and a temporary file.
    let other = place.path("other.safetensors");
    let first = model.join("model-00001-of-00003.safetensors");
    let mut bytes = read(&first);
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&other, bytes).unwrap();
    success(wcodec(["compress"]).args([&other, &out.join("model-00001-of-00003.wcodec")]));
    fs::write(out.join("model-00002-of-00003.wcodec"), "WCODEC").unwrap();
    fs::write(out.join(".wcodec-left.tmp"), "").unwrap();
    fs::copy(small.join("model-00003-of-00003.wcodec"), out.join("model-00003-of-00003.wcodec")).unwrap();
    let said = success(wcodec(["compress"]).args([&model, &out]));
    assert!(said.contains("4 shards (1 already there)"), "{said}");
    assert_same(&small, &out);
}

#[test]
fn inspected() {
    let place = Place::new();
    let (model, packed) = (checkpoint(&place, 2, 30_000), place.path("packed"));
    success(wcodec(["compress", "-q"]).args([&model, &packed]));
    let text = success(wcodec(["inspect"]).arg(&packed));
    for part in ["model-00001-of-00002.wcodec", "model.layers.0.a", "model.layers.1.b", "holds    3 archives, 5 tensors,"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let json: serde_json::Value = serde_json::from_str(&success(wcodec(["inspect", "--json"]).arg(&packed))).unwrap();
    let (total, archives) = (&json["directory"], json["archives"].as_array().unwrap());
    assert_eq!((total["archives"].as_u64(), total["tensors"].as_u64(), archives.len()), (Some(3), Some(5), 3));
    let stored: u64 = archives.iter().map(|a| a["archive"]["archive_bytes"].as_u64().unwrap()).sum();
    let files: u64 = total["archive_bytes"].as_u64().unwrap() - stored;
    assert_eq!(
        files,
        total["source_bytes"].as_u64().unwrap()
            - archives.iter().map(|a| a["archive"]["source_bytes"].as_u64().unwrap()).sum::<u64>()
    );
    // One tensor, of the model's, not of a file beside it that has another of the name.
    let one = success(wcodec(["inspect", "--json", "--tensor", "model.layers.0.a"]).arg(&packed));
    let one: serde_json::Value = serde_json::from_str(&one).unwrap();
    assert_eq!(one["archives"].as_array().unwrap().len(), 1);
    assert_eq!(one["archives"][0]["tensors"][0]["shape"], serde_json::json!([20_000]));
    let e = failure(2, wcodec(["inspect", "--tensor", "nothing"]).arg(&packed));
    assert!(e.contains("no tensor 'nothing'"), "{e}");

    // One archive of it all lists its files.
    fs::write(model.join("onnx/encoder.safetensors"), shard(&[("encoder", 500)], 77)).unwrap();
    success(wcodec(["compress", "-q", "--single"]).args([&model, &place.path("one.wcodec")]));
    let text = success(wcodec(["inspect"]).arg(place.path("one.wcodec")));
    assert!(text.contains("file     onnx/deep/graph.onnx") && text.contains("model.layers.1.b"), "{text}");
}
