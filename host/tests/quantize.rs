//! Quantized checkpoints: what comes out is what the report says, by an independent reading of the layout.

mod support;

use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize_to_file};
use std::collections::HashMap;
use support::quantizable::{Case, Model, bytes_of, model, normal};
use wcodec::quantize::{Checkpoint, Dequantized, Format, Quantizer, Rule, Rules, Statistics, Target, TensorStatistics};
use wcodec::{Archive, Encoder, ErrorKind};

/// What a checkpoint in the documented layout stands for, read naively.
fn naive(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let scale = |name: &str| -> Vec<f32> {
        let t = file.tensor(name).unwrap();
        assert_eq!(t.dtype(), Dtype::BF16);
        t.data().chunks(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect()
    };
    let module = name.strip_suffix(".weight").unwrap();
    if let Ok(packed) = file.tensor(&format!("{module}.weight_packed")) {
        let shape: Vec<usize> = file
            .tensor(&format!("{module}.weight_shape"))
            .unwrap()
            .data()
            .chunks(8)
            .map(|b| i64::from_le_bytes(b.try_into().unwrap()) as usize)
            .collect();
        let scales = scale(&format!("{module}.weight_scale"));
        let (rows, columns, groups) = (shape[0], shape[1], scales.len() / shape[0]);
        let mut values = Vec::new();
        for row in 0..rows {
            for column in 0..columns {
                let byte = packed.data()[(row * columns + column) / 2];
                let code = (if column % 2 == 0 { byte & 15 } else { byte >> 4 }) as i32 - 8;
                values.push(code as f32 * scales[row * groups + column / (columns / groups)]);
            }
        }
        return values;
    }
    let codes = file.tensor(name).unwrap();
    assert_eq!(codes.dtype(), Dtype::I8);
    let scales = scale(&format!("{name}_scale"));
    let columns = codes.shape()[1];
    codes.data().iter().enumerate().map(|(i, &c)| c as i8 as f32 * scales[i / columns]).collect()
}

fn check(format: Format, target: Target) {
    let model = model();
    let case = Case::new(&model);
    let report = case.quantize(&Quantizer::new(Rules::new(format)), target, "a.wcodec").unwrap();
    assert_eq!(report.archive_bytes, case.at("a.wcodec").metadata().unwrap().len());
    assert_eq!((report.tensors.len(), report.kept), (5, 2));
    let file = case.restored("a.wcodec");
    assert_eq!(file.len() as u64, report.flat_bytes);
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let archive = Dequantized::new(Archive::open(case.at("a.wcodec")).unwrap()).unwrap();
    for (name, dtype, _, values) in &model {
        let exact: Vec<f32> = match dtype {
            Dtype::BF16 => values.iter().map(|&v| bf16::from_f32(v).to_f32()).collect(),
            Dtype::F16 => values.iter().map(|&v| f16::from_f32(v).to_f32()).collect(),
            _ => values.clone(),
        };
        let Some(said) = report.tensors.iter().find(|t| t.name == *name) else {
            assert_eq!(tensors.tensor(name).unwrap().data(), bytes_of(*dtype, values), "{name} is kept bit for bit");
            continue;
        };
        let got = naive(&tensors, name);
        assert_eq!(got, archive.read_f32(name).unwrap(), "{name}: both readings");
        let largest = got.iter().zip(&exact).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!((largest - said.largest_error).abs() <= 1e-5 * largest.max(1e-3), "{name}: {largest} and {}", said.largest_error);
        // No error is larger than a few steps, not even beside an outlier; zeros stay zeros.
        assert!(largest <= 3.0 * said.steps[2], "{name}: {largest}, {:?}", said.steps);
        if *name == "zeros.weight" {
            assert!(got.iter().all(|&v| v == 0.0));
        }
        if *name == "layers.0.b.weight" {
            assert!(got[5 * 256..6 * 256].iter().all(|&v| v == 0.0));
            assert!((got[1000] - 80.0).abs() < 3.0 * said.steps[2]);
        }
    }
    match target {
        Target::BitsPerWeight(b) => assert!((report.bits_per_weight() / b - 1.0).abs() < 0.02, "{}", report.bits_per_weight()),
        // A model as small as this has its size in steps, of factors that a class of rows takes or does not, and a header that counts.
        Target::Ratio(r) => assert!((report.ratio() / r - 1.0).abs() < 0.03, "{}", report.ratio()),
        _ => {}
    }
}

#[test]
fn int8_is_what_the_report_says() {
    check(Format::Int8, Target::BitsPerWeight(5.5));
    check(Format::Int8, Target::Ratio(0.5));
    check(Format::Int8, Target::Lambda(0.0));
}

#[test]
fn int4_is_what_the_report_says() {
    check(Format::Int4, Target::BitsPerWeight(3.6));
    check(Format::Int4, Target::Lambda(0.0));
}

/// Statistics of inputs that share a part, of outputs the later of which matter more.
struct Known;

impl Statistics for Known {
    fn of(&self, tensor: &str) -> wcodec::Result<Option<TensorStatistics>> {
        let (rows, columns) = match tensor {
            "layers.0.a.weight" | "layers.0.b.weight" => (128, 256),
            "layers.0.c.weight" => (96, 320),
            _ => return Ok(None),
        };
        let moment = |i: usize, j: usize| if i == j { 1.5 } else { 1.0 / (1 + i.abs_diff(j)) as f32 };
        let inputs: Vec<f32> = (0..columns * columns).map(|k| moment(k / columns, k % columns)).collect();
        let outputs = (0..rows).map(|r| (1 + r) as f32 * 1e-4).collect();
        Ok(Some(TensorStatistics { inputs: inputs.into(), outputs, lookups: Vec::new(), gradients: None }))
    }
}

/// With statistics the loss that they predict is less than without, at the same size; rows that matter more are finer.
#[test]
fn statistics_lower_the_loss() {
    let model = model();
    let case = Case::new(&model);
    let rules = || {
        let rules = Rules::new(Format::Int8);
        ["*embed*", "*zeros*"].iter().fold(rules, |rules, pattern| rules.except(pattern, Rule::Keep).unwrap())
    };
    let target = Target::BitsPerWeight(7.0);
    let without = case.quantize(&Quantizer::new(rules()), target, "without.wcodec").unwrap();
    let with = case.quantize(&Quantizer::new(rules()).statistics(&Known), target, "with.wcodec").unwrap();
    assert!(with.calibrated && !without.calibrated);
    let loss = |archive: &str| -> f64 {
        let got = Dequantized::new(Archive::open(case.at(archive)).unwrap()).unwrap();
        let of = |(name, _, shape, values): &(&str, Dtype, Vec<usize>, Vec<f32>)| -> f64 {
            let Some(s) = Known.of(name).unwrap() else { return 0.0 };
            let error: Vec<f32> = got.read_f32(name).unwrap().iter().zip(values).map(|(a, b)| a - b).collect();
            let columns = shape[1];
            let form = |e: &[f32]| -> f64 {
                (0..columns)
                    .map(|i| e[i] as f64 * (0..columns).map(|j| (s.inputs[i * columns + j] * e[j]) as f64).sum::<f64>())
                    .sum()
            };
            error.chunks(columns).zip(&s.outputs).map(|(e, &g)| 0.5 * g as f64 * form(e)).sum()
        };
        model.iter().map(of).sum()
    };
    let (before, after) = (loss("without.wcodec"), loss("with.wcodec"));
    assert!(after < 0.75 * before, "{after} {before}");
    // Damping and the source's own rounding are all that the prediction does not know.
    let predicted: f64 = with.tensors.iter().map(|t| t.loss).sum();
    assert!((predicted / after - 1.0).abs() < 0.1, "{predicted} {after}");
    let c = with.tensors.iter().find(|t| t.name.contains(".a.")).unwrap();
    assert!(c.steps[2] > 1.5 * c.steps[0], "{:?}", c.steps);
}

/// The same input and options give the same bytes, whatever the threads.
#[test]
fn threads_change_nothing() {
    let case = Case::new(&model());
    let run = |threads: usize, output: &str| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| case.quantize(&Quantizer::new(Rules::new(Format::Int8)).statistics(&Known), Target::Ratio(0.6), output))
            .unwrap();
        std::fs::read(case.at(output)).unwrap()
    };
    assert!(run(1, "one.wcodec") == run(3, "three.wcodec"));
}

#[test]
fn what_cannot_be_quantized_is_named() {
    let quantizer = Quantizer::new(Rules::new(Format::Int8));
    let mut damaged = model();
    damaged[2].3[77] = f32::NAN;
    let case = Case::new(&damaged);
    let error = case.quantize(&quantizer, Target::Ratio(0.6), "a.wcodec").unwrap_err();
    let text = error.to_string();
    assert!(error.kind() == ErrorKind::BadSource && error.tensor() == Some("layers.0.c.weight"), "{text}");
    assert!(text.contains("weight 77") && text.contains("model.safetensors") && error.offset().is_some(), "{text}");
    // An exception keeps it.
    let rules = Rules::new(Format::Int8).except("*.c.weight", Rule::Keep).unwrap();
    assert_eq!(case.quantize(&Quantizer::new(rules), Target::Ratio(0.6), "a.wcodec").unwrap().kept, 3);

    let case = Case::new(&model());
    for (target, words) in [
        (Target::BitsPerWeight(12.0), "nearest that can"),
        (Target::Ratio(0.001), "nearest that can"),
        (Target::BitsPerWeight(-1.0), "positive"),
        (Target::Ratio(f64::NAN), "positive"),
        (Target::Lambda(-1.0), "positive"),
    ] {
        let error = case.quantize(&quantizer, target, "b.wcodec").unwrap_err();
        assert!(error.kind() == ErrorKind::InvalidArgument && error.to_string().contains(words), "{error}");
    }
    assert!(!case.at("b.wcodec").exists());
    // Nothing is left beside it.
    assert_eq!(std::fs::read_dir(case.directory.path()).unwrap().count(), 1);

    let norms: Model = vec![("norm.weight", Dtype::F32, vec![64], normal(1, 64))];
    let error = Case::new(&norms).quantize(&quantizer, Target::Ratio(0.6), "a.wcodec").unwrap_err();
    assert!(error.to_string().contains("no tensor to quantize"), "{error}");
}

/// What stays as it is counts as it is coded: no target is refused, nor missed, because of what it takes in the source.
#[test]
fn kept_tensors_count_as_they_are_coded() {
    let model = vec![
        ("a.weight", Dtype::BF16, vec![512, 512], normal(11, 512 * 512)),
        ("b.weight", Dtype::BF16, vec![512, 512], normal(12, 512 * 512)),
    ];
    let case = Case::new(&model);
    let quantizer = Quantizer::new(Rules::new(Format::Int8).except("b.weight", Rule::Keep).unwrap());
    // 6 bits for each number that is quantized; uncompressed, the other tensor alone would take more.
    let report = case.quantize(&quantizer, Target::Ratio(0.7), "a.wcodec").unwrap();
    assert!((0.68..0.701).contains(&report.ratio()), "{}", report.ratio());
    let error = case.quantize(&quantizer, Target::Ratio(0.95), "b.wcodec").unwrap_err();
    assert!(error.to_string().contains("the nearest that can"), "{error}");
    assert!(!case.at("b.wcodec").exists());
}

#[test]
fn an_existing_output_stays() {
    let case = Case::new(&model());
    std::fs::write(case.at("a.wcodec"), "mine").unwrap();
    let quantizer = Quantizer::new(Rules::new(Format::Int8));
    assert_eq!(case.quantize(&quantizer, Target::Lambda(0.0), "a.wcodec").unwrap_err().kind(), ErrorKind::Exists);
    assert_eq!(std::fs::read(case.at("a.wcodec")).unwrap(), b"mine");
    let quantizer = quantizer.encoder(Encoder::new().overwrite(true));
    case.quantize(&quantizer, Target::Lambda(0.0), "a.wcodec").unwrap();
    assert!(Archive::open(case.at("a.wcodec")).is_ok());
}

/// A directory comes back as one, with the scheme in its configuration; a model that is quantized is not quantized again.
#[test]
fn directories_have_their_scheme() {
    let case = Case::new(&model());
    std::fs::write(case.at("config.json"), r#"{"model_type": "llama", "hidden_size": 256}"#).unwrap();
    std::fs::write(case.at("tokenizer.json"), "{}").unwrap();
    let outside = tempfile::tempdir().unwrap();
    let (archive, restored) = (outside.path().join("a.wcodec"), outside.path().join("restored"));
    let quantizer = Quantizer::new(Rules::new(Format::Int4));
    quantizer.run(&Checkpoint::open(case.directory.path()).unwrap(), Target::Lambda(0.0), &archive).unwrap();
    wcodec::SingleDirectory::of(&Archive::open(&archive).unwrap())
        .unwrap()
        .unwrap()
        .decompress(&restored, false, |_, _| ())
        .unwrap();
    let config: serde_json::Value = serde_json::from_slice(&std::fs::read(restored.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["hidden_size"], 256);
    let scheme = &config["quantization_config"];
    assert_eq!((&scheme["quant_method"], &scheme["format"]), (&"compressed-tensors".into(), &"mixed-precision".into()));
    let groups: HashMap<String, serde_json::Value> = serde_json::from_value(scheme["config_groups"].clone()).unwrap();
    assert!(groups.values().any(|g| g["weights"]["group_size"] == 128 && g["weights"]["num_bits"] == 4));
    assert!(restored.join("tokenizer.json").exists());
    let error =
        quantizer.run(&Checkpoint::open(&restored).unwrap(), Target::Lambda(0.0), outside.path().join("b.wcodec")).unwrap_err();
    assert!(error.to_string().contains("quantized already"), "{error}");
}

#[test]
fn hostile_layouts_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.safetensors");
    let refused = |tensors: &[(&str, Dtype, Vec<usize>)]| -> String {
        let data: Vec<Vec<u8>> = tensors.iter().map(|(_, d, s)| vec![1; s.iter().product::<usize>() * d.bitsize() / 8]).collect();
        let views = tensors.iter().zip(&data).map(|((n, d, s), data)| (*n, TensorView::new(*d, s.clone(), data).unwrap()));
        serialize_to_file(views.collect::<Vec<_>>(), None, &path).unwrap();
        match Dequantized::new(Checkpoint::open(&path).unwrap()) {
            Err(e) => e.to_string(),
            Ok(_) => panic!("{tensors:?} are taken"),
        }
    };
    let int8 = ("a.weight", Dtype::I8, vec![4, 8]);
    assert!(refused(std::slice::from_ref(&int8)).contains("no scales"));
    assert!(refused(&[int8.clone(), ("a.weight_scale", Dtype::BF16, vec![5, 1])]).contains("not those"));
    assert!(refused(&[int8, ("a.weight_scale", Dtype::I8, vec![4, 1])]).contains("no floats"));
    let packed = ("a.weight_packed", Dtype::I32, vec![4, 1]);
    let scale = ("a.weight_scale", Dtype::BF16, vec![4, 1]);
    assert!(refused(&[packed.clone(), scale.clone()]).contains("a.weight_shape"));
    // A shape of ones in every byte is no shape of what is there.
    assert!(refused(&[packed.clone(), scale.clone(), ("a.weight_shape", Dtype::I64, vec![2])]).contains("not those"));
    assert!(refused(&[packed, scale, ("a.weight_shape", Dtype::I64, vec![3])]).contains("no shape"));
}
