//! Matrices make good what was lost before them.

mod support;

use half::bf16;
use std::sync::Mutex;
use support::quantizable::{Case, model};
use wcodec::quantize::{Compensation, Dequantized, Following, Format, Lost, Quantizer, Rules, Target};
use wcodec::{Archive, Encoder};

/// Follows a model: the last tensor first; the weights of `layers.0.a` are to be larger by `shift`.
#[derive(Default)]
struct Followed {
    shift: f32,
    misfit: bool,
    became: Mutex<Vec<(String, Vec<f32>)>>,
}

/// On its way.
struct Way<'a>(&'a Followed);

impl Compensation for Followed {
    fn place(&self, tensor: &str) -> usize {
        model().len() - model().iter().position(|(name, ..)| *name == tensor).unwrap()
    }

    fn begin(&self, quantized: &dyn Fn(&str) -> bool) -> wcodec::Result<Box<dyn Following + '_>> {
        assert!(quantized("layers.0.c.weight") && !quantized("layers.0.a.bias") && !quantized("layers.0.norm.weight"));
        self.became.lock().unwrap().clear();
        Ok(Box::new(Way(self)))
    }
}

impl Following for Way<'_> {
    fn lost(&mut self, tensor: &str) -> wcodec::Result<Option<Lost>> {
        if tensor != "layers.0.a.weight" || self.0.shift == 0.0 {
            return Ok(None);
        }
        // As if every input had been one by itself, in many tokens.
        let inputs = (0..256 * 256).map(|k| if k % 257 == 0 { 1e6 } else { 0.0 }).collect();
        let rows = if self.0.misfit { 127 } else { 128 };
        Ok(Some(Lost { inputs, products: vec![1e6 * self.0.shift; rows * 256], tokens: 256_000_000 }))
    }

    fn became(&mut self, tensor: &str, weights: Vec<f32>) -> wcodec::Result<()> {
        self.0.became.lock().unwrap().push((tensor.to_owned(), weights));
        Ok(())
    }
}

/// Who follows a model hears what each tensor became, in the order asked for, and that changes nothing by itself.
#[test]
fn following_a_model_changes_nothing_unless_something_was_lost() {
    let case = Case::new(&model());
    for (format, target) in
        [(Format::Int8, Target::Ratio(0.6)), (Format::Int8, Target::Lambda(1e-3)), (Format::Int4, Target::Lambda(1e-3))]
    {
        let quantizer = Quantizer::new(Rules::new(format)).encoder(Encoder::new().overwrite(true));
        let followed = Followed::default();
        case.quantize(&quantizer, target, "alone.wcodec").unwrap();
        case.quantize(&quantizer.clone().compensation(&followed), target, "followed.wcodec").unwrap();
        let [alone, with] = ["alone.wcodec", "followed.wcodec"].map(|name| std::fs::read(case.at(name)).unwrap());
        match target {
            Target::Lambda(_) => assert!(alone == with),
            // Anew from the middle of what is near enough.
            _ => assert!((with.len() as f64 / alone.len() as f64 - 1.0).abs() < 0.02, "{} {}", alone.len(), with.len()),
        }
        let became = followed.became.into_inner().unwrap();
        let names: Vec<&str> = became.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["zeros.weight", "embed_tokens.weight", "layers.0.c.weight", "layers.0.b.weight", "layers.0.a.weight"]);
        let got = Dequantized::new(Archive::open(case.at("followed.wcodec")).unwrap()).unwrap();
        for (name, weights) in &became {
            assert_eq!(&got.read_f32(name).unwrap(), weights, "{name}");
        }
    }
}

/// What was lost is added to the weights before they become integers; the report's errors are those of the source's weights.
#[test]
fn what_was_lost_is_made_good() {
    let model = model();
    let case = Case::new(&model);
    let shift = 0.25;
    let followed = Followed { shift, ..Followed::default() };
    let quantizer = Quantizer::new(Rules::new(Format::Int8)).encoder(Encoder::new().overwrite(true));
    for target in [Target::Ratio(0.7), Target::Lambda(1e-3)] {
        let report = case.quantize(&quantizer.clone().compensation(&followed), target, "shifted.wcodec").unwrap();
        // Other weights have another size, and it is the one that was asked for nevertheless.
        assert!(target != Target::Ratio(0.7) || (0.68..0.70).contains(&report.ratio()), "{}", report.ratio());
        let alone = case.quantize(&quantizer, target, "alone.wcodec").unwrap();
        assert!(report.tensors.iter().map(|t| &t.name).eq(alone.tensors.iter().map(|t| &t.name)));
        let got = Dequantized::new(Archive::open(case.at("shifted.wcodec")).unwrap()).unwrap();
        let a = got.read_f32("layers.0.a.weight").unwrap();
        let off: Vec<f32> = a.iter().zip(&model[0].3).map(|(a, b)| a - bf16::from_f32(*b).to_f32()).collect();
        let mean = off.iter().sum::<f32>() / off.len() as f32;
        assert!((mean - shift).abs() < 0.01, "{mean}");
        let reported = report.tensors.iter().find(|t| t.name == "layers.0.a.weight").unwrap();
        let largest = off.iter().fold(0f32, |most, e| most.max(e.abs()));
        assert_eq!(reported.largest_error, largest);
        assert!(largest > shift);
    }
    let misfit = Followed { shift, misfit: true, ..Followed::default() };
    let error = case.quantize(&quantizer.compensation(&misfit), Target::Lambda(1e-3), "misfit.wcodec").unwrap_err();
    assert!(error.tensor() == Some("layers.0.a.weight") && error.to_string().contains("128 × 256"), "{error}");
    assert!(!case.at("misfit.wcodec").exists());
}
