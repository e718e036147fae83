//! One suite for every decoder: portable, AVX2, AVX-512, the kernels on the emulator, and on a GPU.
//!
//! `cargo test --release -- --ignored gpu` runs it on a GPU; without one it says so.

#![allow(missing_docs)]

#[path = "parity/base.rs"]
mod base;
#[path = "parity/blocks.rs"]
mod blocks;
#[path = "parity/contexts.rs"]
mod contexts;
#[path = "parity/damage.rs"]
mod damage;
#[path = "parity/filters.rs"]
mod filters;
mod oracle;
#[path = "parity/progressive.rs"]
mod progressive;
#[path = "parity/quantized.rs"]
mod quantized;
#[path = "parity/suite.rs"]
mod suite;
mod support;
#[path = "parity/trellis.rs"]
mod trellis;

macro_rules! decoders {
    ($($name:ident: $target:expr, $cases:expr, $context_cases:expr $(, $ignore:literal)?;)*) => {$(
        mod $name {
            use super::{base, blocks, contexts, damage, filters, progressive, quantized, suite, trellis};
            use super::support::target::Target;

            const TARGET: Target = $target;

            #[test]
            $(#[ignore = $ignore])?
            fn types() {
                suite::types(TARGET);
            }

            #[test]
            $(#[ignore = $ignore])?
            fn modes() {
                suite::modes(TARGET);
            }

            #[test]
            $(#[ignore = $ignore])?
            fn contexts() {
                contexts::contexts(TARGET);
            }

            #[test]
            $(#[ignore = $ignore])?
            fn patches_twice() {
                suite::patches_twice(TARGET);
            }

            #[test]
            $(#[ignore = $ignore])?
            fn goldens() {
                suite::goldens(TARGET);
            }

            #[test]
            $(#[ignore = $ignore])?
            fn real_models() {
                suite::real_models(TARGET);
            }

            #[test]
            $(#[ignore = $ignore])?
            fn damage() {
                damage::damage(TARGET, $cases);
            }

            #[test]
            $(#[ignore = $ignore])?
            fn damage_contexts() {
                contexts::damage(TARGET, $context_cases);
            }

            #[test]
            $(#[ignore = $ignore])?
            fn block_types() {
                blocks::types(TARGET);
            }

            #[test]
            $(#[ignore = $ignore])?
            fn filter_types() {
                filters::types(TARGET);
            }

            #[test]
            $(#[ignore = $ignore])?
            fn damage_filters() {
                filters::damage(TARGET, $context_cases);
            }

            #[test]
            $(#[ignore = $ignore])?
            fn base_types() {
                base::types(TARGET);
            }

            #[test]
            $(#[ignore = $ignore])?
            fn damage_base() {
                base::damage(TARGET, $context_cases);
            }

            #[test]
            $(#[ignore = $ignore])?
            fn progressive_types() {
                progressive::types(TARGET);
            }

            #[test]
            $(#[ignore = $ignore])?
            fn damage_progressive() {
                progressive::damage(TARGET, $context_cases);
            }

            #[test]
            $(#[ignore = $ignore])?
            fn trellis_types() {
                trellis::types(TARGET);
            }

            #[test]
            $(#[ignore = $ignore])?
            fn damage_trellis() {
                trellis::damage(TARGET, $context_cases);
            }

            #[test]
            $(#[ignore = $ignore])?
            fn quantized_formats() {
                quantized::formats(TARGET);
            }

            #[test]
            $(#[ignore = $ignore])?
            fn damage_blocks() {
                blocks::damage(TARGET, $context_cases);
            }
        }
    )*};
}

decoders! {
    portable: Target::Cpu(wcodec::Backend::Portable), 3000, 500;
    avx2: Target::Cpu(wcodec::Backend::Avx2), 3000, 500;
    avx512: Target::Cpu(wcodec::Backend::Avx512), 3000, 500;
    emulator: Target::Emulator, 100_000, 2000;
    gpu: Target::Cuda, 20_000, 2000, "needs a GPU";
}

#[test]
fn emulator_checksums() {
    suite::checksums(support::target::Target::Emulator);
}

#[test]
#[ignore = "needs a GPU"]
fn gpu_checksums() {
    suite::checksums(support::target::Target::Cuda);
}

#[test]
fn emulator_timing() {
    suite::timing(support::target::Target::Emulator);
}

#[test]
#[ignore = "needs a GPU"]
fn gpu_timing() {
    suite::timing(support::target::Target::Cuda);
}
