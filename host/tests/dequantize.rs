//! Quantized archives handed out as floats: by the loader, tensor by tensor, to candle and to files, bit for bit what an independent reading of the
//! layout says; and what is wrong with them is named.
#![allow(missing_docs)]

mod support;

use half::{bf16, f16};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use support::target::{Target as On, skipped};
use support::*;
use wcodec::quantize::{Checkpoint, Dequantized, Format, Quantizer, Rule, Rules, Target, decompress};
use wcodec::{Archive, Device, Dtype, Encoder, ErrorKind, IoChoice, Loader, Shard, Split};

const FLOATS: [Dtype; 3] = [Dtype::BF16, Dtype::F16, Dtype::F32];

/// Bytes of numbers, rounded one by one.
fn bytes(to: Dtype, numbers: &[f32]) -> Vec<u8> {
    match to {
        Dtype::BF16 => numbers.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()).collect(),
        Dtype::F16 => numbers.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect(),
        _ => numbers.iter().flat_map(|x| x.to_le_bytes()).collect(),
    }
}

fn numbers(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    match dtype {
        Dtype::BF16 => bytes.chunks(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        Dtype::F16 => bytes.chunks(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        _ => bytes.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect(),
    }
}

/// What is handed out of these stored tensors, read naively: type, shape and bytes.
fn naive(stored: &[Owned], to: Dtype) -> BTreeMap<String, (Dtype, Vec<u64>, Vec<u8>)> {
    let find = |name: String| stored.iter().find(|t| t.name == name);
    let mut out = BTreeMap::new();
    for t in stored {
        let module = |suffix| t.name.strip_suffix(suffix);
        if let (Some(name), Dtype::I8) = (module(".weight"), t.dtype) {
            let scale = find(format!("{name}.weight_scale")).unwrap();
            let scales = numbers(scale.dtype, &scale.data);
            let columns = t.shape[1] as usize;
            let products: Vec<f32> = t.data.iter().enumerate().map(|(i, &c)| c as i8 as f32 * scales[i / columns]).collect();
            out.insert(t.name.clone(), (to, t.shape.clone(), bytes(to, &products)));
        } else if let Some(name) = module(".weight_packed") {
            let scale = find(format!("{name}.weight_scale")).unwrap();
            let scales = numbers(scale.dtype, &scale.data);
            let shape: Vec<u64> = find(format!("{name}.weight_shape"))
                .unwrap()
                .data
                .chunks(8)
                .map(|b| u64::from_le_bytes(b.try_into().unwrap()))
                .collect();
            let (rows, columns, groups) = (shape[0] as usize, shape[1] as usize, scale.shape[1] as usize);
            let mut products = Vec::new();
            for row in 0..rows {
                for column in 0..columns {
                    let at = 4 * (row * columns.div_ceil(8) + column / 8);
                    let word = u32::from_le_bytes(t.data[at..at + 4].try_into().unwrap());
                    let code = (word >> (4 * (column % 8)) & 15) as i32 - 8;
                    products.push(code as f32 * scales[row * groups + column / (columns / groups)]);
                }
            }
            out.insert(format!("{name}.weight"), (to, shape, bytes(to, &products)));
        } else if ["_scale", "_shape"].iter().all(|part| module(part).is_none()) {
            out.insert(t.name.clone(), (t.dtype, t.shape.clone(), t.data.clone()));
        }
    }
    out
}

fn owned(name: &str, dtype: Dtype, shape: &[u64], data: Vec<u8>) -> Owned {
    Owned { name: name.into(), dtype, shape: shape.into(), data }
}

/// Scales around one size, of either sign.
fn scales(name: &str, dtype: Dtype, shape: &[u64], seed: u64) -> Owned {
    let mut rng = Numbers(seed);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| (0.02 * rng.normal()) as f32).collect();
    owned(&format!("{name}.weight_scale"), dtype, shape, bytes(dtype, &values))
}

fn int8(name: &str, [rows, columns]: [u64; 2], scale: Dtype, seed: u64) -> [Owned; 2] {
    let codes = Owned::new(&format!("{name}.weight"), Dtype::I8, &[rows, columns], Fill::Gaussian, seed);
    [codes, scales(name, scale, &[rows, 1], seed + 1)]
}

fn int4(name: &str, [rows, columns]: [u64; 2], groups: u64, scale: Dtype, seed: u64) -> [Owned; 3] {
    let packed = Owned::new(&format!("{name}.weight_packed"), Dtype::I32, &[rows, columns.div_ceil(8)], Fill::Random, seed);
    let shape = [rows, columns].iter().flat_map(|d| d.to_le_bytes()).collect();
    let shape = owned(&format!("{name}.weight_shape"), Dtype::I64, &[2], shape);
    [packed, scales(name, scale, &[rows, groups], seed + 1), shape]
}

/// A model in all layouts that are known, of others' making too, with tensors of several parts and of none.
fn model() -> Vec<Owned> {
    let mut tensors = vec![
        Owned::new("model.norm.weight", Dtype::BF16, &[576], Fill::Gaussian, 1),
        Owned::new("ids", Dtype::I64, &[7], Fill::Few, 2),
    ];
    tensors.extend(int8("model.embed_tokens", [3000, 576], Dtype::BF16, 10));
    tensors.extend(int8("model.layers.0.self_attn.q_proj", [640, 512], Dtype::F16, 20));
    tensors.extend(int8("model.layers.0.self_attn.o_proj", [512, 640], Dtype::F32, 30));
    tensors.extend(int4("model.layers.1.mlp.up_proj", [1024, 2048], 16, Dtype::BF16, 40));
    tensors.extend(int4("model.layers.1.mlp.down_proj", [512, 1024], 8, Dtype::BF16, 50));
    tensors.extend(int4("odd", [33, 81], 27, Dtype::F32, 60));
    tensors.extend(int4("odd_words", [5, 13], 1, Dtype::F16, 70));
    tensors.extend(int8("nothing", [0, 8], Dtype::BF16, 80));
    tensors.extend(int8("narrow", [9, 0], Dtype::BF16, 90));
    tensors.extend(int8("long", [2, 300_000], Dtype::BF16, 100));
    tensors.extend(int4("long4", [1, 1 << 20], 1 << 13, Dtype::BF16, 110));
    tensors
}

fn write(directory: &Path, tensors: &[Owned]) -> PathBuf {
    let path = directory.join("model.wcodec");
    std::fs::write(&path, encode_tensors(tensors)).unwrap();
    path
}

/// Checks that a load hands out just these.
fn check(loader: Loader, expected: &BTreeMap<String, (Dtype, Vec<u64>, Vec<u8>)>) {
    let mut load = loader.load().unwrap();
    let mut count = 0;
    for loaded in load.by_ref() {
        let loaded = loaded.unwrap();
        let (dtype, shape, data) = &expected[&loaded.info.name];
        assert_eq!((loaded.info.dtype, &loaded.info.shape, loaded.info.byte_len), (*dtype, shape, data.len() as u64));
        assert!(loaded.bytes().unwrap() == data, "{}", loaded.info.name);
        count += 1;
    }
    assert_eq!(count, expected.len());
    let progress = load.progress();
    assert_eq!((progress.decoded, progress.ready), (progress.to_decode, progress.tensors));
}

#[test]
fn every_layout_every_type_every_thread() {
    let (directory, tensors) = (tempfile::tempdir().unwrap(), model());
    let path = write(directory.path(), &tensors);
    for to in FLOATS {
        let expected = naive(&tensors, to);
        for (threads, budget, io) in [
            (1, 64 << 20, IoChoice::Auto),
            (2, 64 << 20, IoChoice::Mmap),
            (5, 1 << 20, IoChoice::Threads),
            (3, 700_000, IoChoice::Auto),
        ] {
            check(Loader::open(&path).unwrap().dequantize(to).threads(threads).budget(budget).io(io), &expected);
        }
        // At once, tensor by tensor.
        let archive = Archive::open(&path).unwrap();
        let model = Dequantized::new(&archive).unwrap();
        assert_eq!(model.names().len(), expected.len());
        for (name, (dtype, shape, data)) in &expected {
            assert_eq!((model.dtype(name, to), model.shape(name)), (Some(*dtype), Some(&shape[..])));
            assert!(model.read(name, to).unwrap() == *data, "{name}");
        }
    }
    // Without the option integers are what they were.
    let stored = tensors.iter().map(|t| (t.name.clone(), (t.dtype, t.shape.clone(), t.data.clone()))).collect();
    check(Loader::open(&path).unwrap(), &stored);
}

#[test]
fn names_are_the_models() {
    let (directory, tensors) = (tempfile::tempdir().unwrap(), model());
    let path = write(directory.path(), &tensors);
    let loader = || Loader::open(&path).unwrap().dequantize(Dtype::BF16);
    let mut expected = naive(&tensors, Dtype::BF16);
    let wanted = ["odd.weight", "ids", "model.embed_tokens.weight"];
    expected.retain(|name, _| wanted.contains(&name.as_str()));
    check(loader().tensors(wanted), &expected);
    // In the order of a model's layers.
    let names: Vec<String> = loader().threads(1).budget(700_000).load().unwrap().map(|t| t.unwrap().info.name).collect();
    let place = |name: &str| names.iter().position(|n| n == name).unwrap();
    assert!(place("model.embed_tokens.weight") < place("model.layers.0.self_attn.q_proj.weight"));
    assert!(place("model.layers.0.self_attn.o_proj.weight") < place("model.layers.1.mlp.down_proj.weight"));
    for (name, words) in [
        ("odd.weight_packed", "a part of 'odd.weight'"),
        ("model.embed_tokens.weight_scale", "a part of 'model.embed_tokens.weight'"),
        ("absent", "no tensor of this name"),
    ] {
        let e = loader().tensors([name]).load().unwrap_err();
        assert!(e.kind() == ErrorKind::NotFound && e.to_string().contains(words) && e.path().is_some(), "{e}");
    }
    let e = loader().dequantize(Dtype::I8).load().unwrap_err();
    assert!(e.kind() == ErrorKind::InvalidArgument && e.to_string().contains("not to I8"), "{e}");
}

#[test]
fn shards_are_slices() {
    let (directory, tensors) = (tempfile::tempdir().unwrap(), model());
    let path = write(directory.path(), &tensors);
    let expected = naive(&tensors, Dtype::F32);
    let names =
        ["model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.o_proj.weight", "model.layers.1.mlp.up_proj.weight"];
    let names = names.into_iter().chain(["model.layers.1.mlp.down_proj.weight", "model.norm.weight"]);
    for (rank, world) in [(0, 2), (1, 2), (3, 4), (0, 1)] {
        let shard = Shard::llama(rank, world).unwrap();
        for loaded in Loader::open(&path).unwrap().dequantize(Dtype::F32).tensors(names.clone()).shard(shard).load().unwrap() {
            let loaded = loaded.unwrap();
            let (dtype, shape, data) = &expected[&loaded.info.name];
            if *dtype != Dtype::F32 {
                assert!(loaded.bytes().unwrap() == data);
                continue;
            }
            let by_columns = loaded.info.name.contains("o_proj") || loaded.info.name.contains("down_proj");
            let part = |n: u64| (rank * (n / world)) as usize..((rank + 1) * (n / world)) as usize;
            let (rows, columns) = (0..shape[0] as usize, 0..shape[1] as usize);
            let (rows, columns) = if by_columns { (rows, part(shape[1])) } else { (part(shape[0]), columns) };
            assert_eq!(loaded.info.shape, [rows.len() as u64, columns.len() as u64]);
            let row = |r: usize| &data[4 * (r * shape[1] as usize + columns.start)..4 * (r * shape[1] as usize + columns.end)];
            let slice: Vec<u8> = rows.flat_map(|r| row(r).to_vec()).collect();
            assert!(loaded.bytes().unwrap() == slice, "{} {rank} of {world}", loaded.info.name);
        }
    }
    // Three columns of four bits are no whole bytes.
    let shard = Shard::new(1, 27, [("odd.weight", Split::Columns)]).unwrap();
    let e = Loader::open(&path).unwrap().dequantize(Dtype::F32).tensors(["odd.weight"]).shard(shard).load().unwrap_err();
    assert!(e.tensor() == Some("odd.weight") && e.to_string().contains("no whole bytes"), "{e}");
}

/// Integers in one shard, their scales in another.
#[test]
fn directories_of_archives() {
    let (directory, tensors) = (tempfile::tempdir().unwrap(), model());
    let source = directory.path().join("source");
    std::fs::create_dir(&source).unwrap();
    let (scales, others): (Vec<_>, Vec<_>) = tensors.iter().cloned().partition(|t| t.name.ends_with("_scale") || t.name == "ids");
    let mut index = serde_json::Map::new();
    for (number, shard) in [others, scales].iter().enumerate() {
        let file = format!("model-{number}.safetensors");
        std::fs::write(source.join(&file), safetensors(shard)).unwrap();
        index.extend(shard.iter().map(|t| (t.name.clone(), file.clone().into())));
    }
    let index = serde_json::json!({ "metadata": {}, "weight_map": index });
    std::fs::write(source.join("model.safetensors.index.json"), index.to_string()).unwrap();
    let archives = directory.path().join("archives");
    Encoder::new().encode_directory(&source, &archives).unwrap();
    let loader = || Loader::open(&archives).unwrap().dequantize(Dtype::BF16).threads(2);
    let mut expected = naive(&tensors, Dtype::BF16);
    check(loader(), &expected);
    let e = loader().tensors(["odd.weight_packed"]).load().unwrap_err();
    assert!(e.kind() == ErrorKind::NotFound && e.to_string().contains("'odd.weight'"), "{e}");
    expected.retain(|name, _| name == "odd.weight" || name == "ids");
    check(loader().tensors(["odd.weight", "ids"]), &expected);
}

#[test]
fn what_is_wrong_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.wcodec");
    let errors = |tensors: &[Owned], to: Dtype| {
        std::fs::write(&path, encode_tensors(tensors)).unwrap();
        let loaded = Loader::open(&path).unwrap().dequantize(to).threads(2).load().and_then(|load| load.collect_all());
        let archive = Archive::open(&path).unwrap();
        let at_once = Dequantized::new(&archive).and_then(|m| m.read("a.weight", to));
        [loaded.map(|_| ()).unwrap_err(), at_once.map(|_| ()).unwrap_err()]
    };
    let refused = |tensors: &[Owned], to: Dtype, kind: ErrorKind, tensor: &str, words: &str| {
        for e in errors(tensors, to) {
            let all = e.kind() == kind && e.tensor() == Some(tensor) && e.path() == Some(&path) && e.to_string().contains(words);
            assert!(all, "{:?}: {e}", e.kind());
        }
    };
    let [codes, scale] = int8("a", [64, 100], Dtype::BF16, 1);
    let bad = ErrorKind::BadSource;
    refused(std::slice::from_ref(&codes), Dtype::BF16, bad, "a.weight", "no scales");
    let with = |name: &str, dtype, shape: &[u64]| vec![codes.clone(), Owned::new(name, dtype, shape, Fill::Few, 1)];
    refused(&with("a.weight_scale", Dtype::BF16, &[63, 1]), Dtype::BF16, bad, "a.weight", "not those of the rows");
    refused(&with("a.weight_scale", Dtype::I8, &[64, 1]), Dtype::BF16, bad, "a.weight", "no floats");
    let more = [codes.clone(), scale.clone(), Owned::new("a.weight_zero_point", Dtype::I8, &[64, 1], Fill::Few, 1)];
    refused(&more, Dtype::BF16, bad, "a.weight", "zero points");
    for not_finite in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut scale = scale.clone();
        scale.data[2 * 9..2 * 10].copy_from_slice(&bf16::from_f32(not_finite).to_le_bytes());
        refused(&[codes.clone(), scale], Dtype::F32, bad, "a.weight_scale", "scale 9 is");
    }
    // A product that FP16 cannot hold, and BF16 can; one that nothing holds.
    let mut large = scale.clone();
    large.data[2 * 9..2 * 10].copy_from_slice(&bf16::from_f32(60_000.0).to_le_bytes());
    let mut tensors = [codes, large];
    tensors[0].data[977] = 2;
    tensors[0].data[900..977].fill(1);
    refused(&tensors, Dtype::F16, ErrorKind::InvalidArgument, "a.weight", "row 9, column 77 is 1.19808e5");
    std::fs::write(&path, encode_tensors(&tensors)).unwrap();
    check(Loader::open(&path).unwrap().dequantize(Dtype::BF16), &naive(&tensors, Dtype::BF16));
    tensors[1].data[2 * 9..2 * 10].copy_from_slice(&bf16::MAX.to_le_bytes());
    for to in FLOATS {
        refused(&tensors, to, ErrorKind::InvalidArgument, "a.weight", "cannot hold");
    }

    let [packed, scale, shape] = int4("a", [64, 96], 3, Dtype::BF16, 5);
    let shaped = |dims: &[u64]| {
        let data = dims.iter().flat_map(|d| d.to_le_bytes()).collect();
        vec![packed.clone(), scale.clone(), owned("a.weight_shape", Dtype::I64, &[dims.len() as u64], data)]
    };
    refused(&[packed.clone(), scale.clone()], Dtype::BF16, bad, "a.weight_packed", "no shape");
    refused(&shaped(&[64]), Dtype::BF16, bad, "a.weight_packed", "no shape");
    refused(&shaped(&[64, 97]), Dtype::BF16, bad, "a.weight_packed", "not those");
    refused(&shaped(&[64, 104 * 3]), Dtype::BF16, bad, "a.weight_packed", "4 bits");
    refused(&shaped(&[u64::MAX, u64::MAX]), Dtype::BF16, bad, "a.weight_packed", "not those");
    // A shape that is large is not read.
    let large = [packed.clone(), scale.clone(), owned("a.weight_shape", Dtype::I64, &[1 << 22], vec![0; 8 << 22])];
    refused(&large, Dtype::BF16, bad, "a.weight_packed", "no shape");
    let twice = [packed, scale, shape, Owned::new("a.weight", Dtype::BF16, &[64, 96], Fill::Gaussian, 1)];
    refused(&twice, Dtype::BF16, bad, "a.weight_packed", "stored twice");
    // Rows without columns, of which there are as many as one likes, have no scales that are read.
    let many =
        [owned("a.weight", Dtype::I8, &[1 << 60, 0], Vec::new()), owned("a.weight_scale", Dtype::BF16, &[1 << 60], Vec::new())];
    let mut out = std::io::Cursor::new(Vec::new());
    let inputs: Vec<_> = many.iter().map(Owned::input).collect();
    assert!(Encoder::new().encode_tensors(&inputs, &mut out).is_err(), "scales that are not there");
}

/// Whatever is damaged, integers or scales, there is an error of that tensor, or nothing has changed.
#[test]
fn damage_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let tensors: Vec<Owned> =
        int8("a", [300, 512], Dtype::BF16, 1).into_iter().chain(int4("b", [256, 512], 4, Dtype::BF16, 2)).collect();
    let sound = encode_tensors(&tensors);
    let (path, expected, mut rng) = (directory.path().join("model.wcodec"), naive(&tensors, Dtype::BF16), Numbers(1));
    let mut failed = 0;
    for _ in 0..200 {
        let mut damaged = sound.clone();
        let at = rng.below(sound.len() as u64) as usize;
        damaged[at] ^= 1 << rng.below(8);
        std::fs::write(&path, damaged).unwrap();
        let Ok(loader) = Loader::open(&path) else { continue };
        let all = loader.dequantize(Dtype::BF16).threads(2).load().and_then(|load| load.collect_all());
        match all {
            Ok(all) => assert!(all.iter().all(|l| l.bytes().unwrap() == expected[&l.info.name].2)),
            Err(e) => {
                failed += 1;
                assert!(e.tensor().is_some() && e.path().is_some(), "{e}");
            }
        }
    }
    assert!(failed > 100, "{failed}");
}

#[test]
fn a_gpu_refuses() {
    let Some(gpu) = On::Emulator.gpu() else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = write(directory.path(), &int8("a", [64, 100], Dtype::BF16, 1));
    let e = Loader::open(&path).unwrap().device(Device::Gpu(gpu)).dequantize(Dtype::BF16).load().unwrap_err();
    assert!(e.kind() == ErrorKind::InvalidArgument && e.to_string().contains("on the CPU only"), "{e}");
}

#[cfg(feature = "candle")]
#[test]
fn candle_has_the_floats() {
    use candle_core::{DType, Device};
    let (directory, tensors) = (tempfile::tempdir().unwrap(), model());
    let path = write(directory.path(), &tensors);
    let loader = || Loader::open(&path).unwrap().dequantize(Dtype::BF16);
    let expected = naive(&tensors, Dtype::BF16);
    let vb = wcodec::candle::var_builder(loader(), DType::BF16, &Device::Cpu).unwrap();
    assert!(vb.contains_tensor("odd.weight") && !vb.contains_tensor("odd.weight_packed"));
    let got = vb.get((33, 81), "odd.weight").unwrap().flatten_all().unwrap().to_vec1::<bf16>().unwrap();
    assert!(got.iter().flat_map(|x| x.to_le_bytes()).eq(expected["odd.weight"].2.iter().copied()));
    let all = wcodec::candle::load(loader().tensors(["model.embed_tokens.weight"])).unwrap();
    assert_eq!(all["model.embed_tokens.weight"].dims(), [3000, 576]);
}

/// The tensors of a safetensors file.
fn tensors_of(file: &[u8]) -> Vec<Owned> {
    let file = safetensors::SafeTensors::deserialize(file).unwrap();
    let own = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        let dtype = Dtype::from_name(&format!("{:?}", view.dtype()));
        owned(&name, dtype, &view.shape().iter().map(|&d| d as u64).collect::<Vec<_>>(), view.data().to_vec())
    };
    file.tensors().into_iter().map(own).collect()
}

/// A checkpoint of floats, and a directory of it.
fn floats(directory: &Path) -> PathBuf {
    let model = directory.join("floats");
    std::fs::create_dir(&model).unwrap();
    let tensors = [
        Owned::scaled("model.embed_tokens.weight", Dtype::BF16, [700, 256], 1),
        Owned::scaled("model.layers.0.a.weight", Dtype::BF16, [300, 256], 2),
        Owned::scaled("model.layers.0.b.weight", Dtype::F32, [256, 384], 3),
        Owned::new("model.norm.weight", Dtype::F32, &[256], Fill::Gaussian, 4),
    ];
    std::fs::write(model.join("model.safetensors"), safetensors(&tensors)).unwrap();
    std::fs::write(model.join("config.json"), r#"{"hidden_size": 256}"#).unwrap();
    std::fs::write(model.join("tokenizer.json"), "{}").unwrap();
    model
}

fn quantize(source: &Path, format: Format, encoder: Encoder, output: &Path) {
    let rules = Rules::new(format).except("*.b.weight", Rule::Quantize(Format::Int4)).unwrap();
    let quantizer = Quantizer::new(rules).encoder(encoder.overwrite(true));
    quantizer.run(&Checkpoint::open(source).unwrap(), Target::Lambda(0.01), output).unwrap();
}

#[test]
fn files_and_directories_of_floats() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let model = floats(directory.path());
    for format in [Format::Int8, Format::Int4] {
        // Of a file.
        quantize(&model.join("model.safetensors"), format, Encoder::new(), &at("file.wcodec"));
        let archive = Archive::open(at("file.wcodec")).unwrap();
        let stored = tensors_of(&restored(&archive).unwrap());
        for to in FLOATS {
            let bytes = decompress(&archive, to, at("plain.safetensors"), true, |_, _| ()).unwrap();
            let file = std::fs::read(at("plain.safetensors")).unwrap();
            assert_eq!(file.len() as u64, bytes);
            let got: BTreeMap<_, _> = tensors_of(&file).into_iter().map(|t| (t.name, (t.dtype, t.shape, t.data))).collect();
            assert!(got == naive(&stored, to), "{format:?} {to:?}");
            let (_, header) = safetensors::SafeTensors::read_metadata(&file).unwrap();
            let metadata = header.metadata().clone().unwrap();
            assert!(metadata["format"] == "pt" && !metadata.contains_key("quantization_config"));
            // It is an ordinary checkpoint: it can be opened, and quantized again.
            assert_eq!(Checkpoint::open(at("plain.safetensors")).unwrap().len(), 4);
        }
        assert_eq!(
            decompress(&archive, Dtype::BF16, at("plain.safetensors"), false, |_, _| ()).unwrap_err().kind(),
            ErrorKind::Exists
        );
        // Of a directory.
        quantize(&model, format, Encoder::new(), &at("directory.wcodec"));
        let archive = Archive::open(at("directory.wcodec")).unwrap();
        let out = at(&format!("out-{format:?}"));
        decompress(&archive, Dtype::BF16, &out, false, |_, _| ()).unwrap();
        let got = tensors_of(&std::fs::read(out.join("model.safetensors")).unwrap());
        let got: BTreeMap<_, _> = got.into_iter().map(|t| (t.name, (t.dtype, t.shape, t.data))).collect();
        assert!(got == naive(&stored, Dtype::BF16), "{format:?}");
        let config: serde_json::Value = serde_json::from_slice(&std::fs::read(out.join("config.json")).unwrap()).unwrap();
        assert_eq!(config, serde_json::json!({"hidden_size": 256}));
        assert_eq!(std::fs::read_dir(&out).unwrap().count(), 3);
        check(Loader::open(at("directory.wcodec")).unwrap().dequantize(Dtype::BF16), &naive(&stored, Dtype::BF16));
        assert_eq!(decompress(&archive, Dtype::BF16, &out, false, |_, _| ()).unwrap_err().kind(), ErrorKind::Exists);
    }
    let plain = at("floats.wcodec");
    Encoder::new().encode_file(model.join("model.safetensors"), &plain).unwrap();
    let e = decompress(&Archive::open(&plain).unwrap(), Dtype::BF16, at("x"), false, |_, _| ()).unwrap_err();
    assert!(e.to_string().contains("nothing in it is quantized") && !at("x").exists(), "{e}");
}

/// A progressive archive of a quantized checkpoint: the same checkpoint, and coarse integers from the first bytes on.
#[test]
fn progressive_archives() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let source = floats(directory.path()).join("model.safetensors");
    quantize(&source, Format::Int8, Encoder::new(), &at("plain.wcodec"));
    quantize(&source, Format::Int8, Encoder::new().progressive(true), &at("planes.wcodec"));
    let archive = Archive::open(at("planes.wcodec")).unwrap();
    let stored = restored(&Archive::open(at("plain.wcodec")).unwrap()).unwrap();
    assert!(restored(&archive).unwrap() == stored, "the same checkpoint");
    let exact = naive(&tensors_of(&stored), Dtype::F32);
    let last = archive.levels().len() - 1;
    assert!(last > 2);
    let whole = std::fs::read(at("planes.wcodec")).unwrap();
    let mut before = f32::INFINITY;
    for (k, level) in archive.levels().iter().enumerate() {
        std::fs::write(at("cut.wcodec"), &whole[..level.end as usize]).unwrap();
        let coarse = Archive::open(at("cut.wcodec")).unwrap().planes(k).unwrap();
        // What each level stores says what is handed out of it.
        let stored: Vec<Owned> =
            coarse.decode_all().unwrap().into_iter().map(|(t, data)| owned(t.name(), t.dtype(), t.shape(), data)).collect();
        let expected = naive(&stored, Dtype::F32);
        check(Loader::open(at("cut.wcodec")).unwrap().planes(k).unwrap().dequantize(Dtype::F32).threads(2), &expected);
        let name = "model.embed_tokens.weight";
        let pairs = || numbers(Dtype::F32, &expected[name].2).into_iter().zip(numbers(Dtype::F32, &exact[name].2));
        let error = pairs().map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
        assert!(error <= before, "{k}: {error} {before}");
        before = error;
    }
    assert_eq!(before, 0.0);
}

#[test]
fn a_real_model() {
    let here = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let model = std::env::var_os("WCODEC_MODELS").map_or_else(here, Into::into).join("smollm2/model.safetensors");
    if !model.exists() {
        skipped("SmolLM2 is not there; `cargo xtask models` fetches it");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.wcodec");
    for format in [Format::Int8, Format::Int4] {
        let quantizer = Quantizer::new(Rules::new(format)).encoder(Encoder::new().overwrite(true));
        quantizer.run(&Checkpoint::open(&model).unwrap(), Target::Lambda(1e-3), &path).unwrap();
        let stored = tensors_of(&restored(&Archive::open(&path).unwrap()).unwrap());
        for to in [Dtype::BF16, Dtype::F16] {
            let expected = naive(&stored, to);
            for threads in [1, 2, 4] {
                check(Loader::open(&path).unwrap().dequantize(to).threads(threads), &expected);
            }
        }
    }
}
