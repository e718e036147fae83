//! The suite's part on quantized checkpoints: what the quantizer makes is decoded to the same integers, scales and shapes everywhere.

use super::suite::{check_opened, on};
use crate::support::target::Target;
use crate::support::*;
use wcodec::quantize::{Checkpoint, Format, Quantizer, Rule, Rules};
use wcodec::{Backend, Dtype, Encoder, Profile};

/// A small model as an archive of INT8 by rows and INT4 packed in groups.
fn archive(format: Format, encoder: Encoder) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let (source, output) = (directory.path().join("model.safetensors"), directory.path().join("model.wcodec"));
    let model = [
        Owned::scaled("embed_tokens.weight", Dtype::BF16, [150, 96], 1),
        Owned::scaled("layers.0.a.weight", Dtype::BF16, [96, 256], 2),
        Owned::scaled("layers.0.b.weight", Dtype::F32, [40, 384], 3),
        Owned::new("layers.0.norm.weight", Dtype::BF16, &[96], Fill::Gaussian, 4),
    ];
    std::fs::write(&source, safetensors(&model)).unwrap();
    let rules = Rules::new(format).except("*.b.weight", Rule::Quantize(Format::Int8)).unwrap();
    let quantizer = Quantizer::new(rules).encoder(encoder);
    quantizer.run(&Checkpoint::open(&source).unwrap(), wcodec::quantize::Target::Lambda(0.01), &output).unwrap();
    std::fs::read(output).unwrap()
}

/// Both formats, at either profile and plane by plane.
pub(crate) fn formats(target: Target) {
    for format in [Format::Int8, Format::Int4] {
        for encoder in [Encoder::new(), Encoder::new().profile(Profile::Max), Encoder::new().progressive(true)] {
            let archive = archive(format, encoder);
            let Some(a) = on(target, &archive) else { return };
            let mut portable = open(&archive);
            portable.set_backend(Backend::Portable);
            let own = |(t, data): (wcodec::Tensor<'_>, _)| Owned {
                name: t.name().into(),
                dtype: t.dtype(),
                shape: t.shape().into(),
                data,
            };
            let tensors: Vec<Owned> = portable.decode_all().unwrap().into_iter().map(own).collect();
            let has = |dtype| tensors.iter().any(|t| t.dtype == dtype);
            assert!(has(Dtype::I8) && has(Dtype::I32) == (format == Format::Int4));
            // Every byte, slices, and the hashes that the encoder made of its source.
            check_opened(&a, &tensors);
        }
    }
}
