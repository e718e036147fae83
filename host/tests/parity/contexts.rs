//! The suite's part on planes that are coded with contexts.

use super::damage::damage_of;
use super::suite::{LAYOUTS, check_archive, on};
use crate::support::forge::Map;
use crate::support::target::Target;
use crate::support::writer::{Mode, Record, write};
use crate::support::*;
use wcodec::{Dtype, ErrorKind};

/// Types whose planes are coded with contexts where rows and columns have scales of their own.
const SCALED: [Dtype; 5] = [Dtype::BF16, Dtype::F32, Dtype::F16, Dtype::I8, Dtype::F8_E4M3];

/// Planes of an archive's tiles that are coded with contexts: leading ones, and those under them; patches of all planes.
fn in_contexts(archive: &[u8]) -> (u64, u64, u64) {
    let (mut leading, mut deep, mut patches) = (0, 0, 0);
    for tensor in open(archive).report().unwrap() {
        let counts: Vec<u64> = tensor.planes.iter().map(|p| p.contexts).collect();
        let both = matches!(tensor.dtype.as_str(), "BF16" | "F32");
        leading += if both { counts[0] } else { counts.iter().sum() };
        deep += if both { counts[1] } else { 0 };
        patches += tensor.planes.iter().map(|p| p.patches).sum::<u64>();
    }
    (leading, deep, patches)
}

/// Planes that are coded with contexts, in shapes that meet every kind of tile: many rows, one, edges that are ragged, rows that cross runs.
pub(crate) fn contexts(target: Target) {
    const SHAPES: [(u64, u64); 9] =
        [(128, 128), (300, 771), (37, 450), (9, 2051), (2000, 9), (200, 384), (24, 5003), (1030, 130), (8, 40001)];
    for dtype in SCALED {
        let tensors: Vec<_> = SHAPES
            .iter()
            .enumerate()
            .map(|(i, &(rows, columns))| Owned::scaled(&format!("{rows} × {columns}"), dtype, [rows, columns], 7 + i as u64))
            .collect();
        let archive = encode_max(&tensors);
        let (leading, deep, patches) = in_contexts(&archive);
        let both = matches!(dtype, Dtype::BF16 | Dtype::F32);
        assert!(leading >= 12 && (deep >= 12 || !both) && patches >= 20, "{dtype:?}: {leading}, {deep}, {patches} patches");
        check_archive(target, &archive, &tensors);
    }
    contexts_out_of_place(target);
}

/// Planes that say that they are coded with contexts where none can be: every decoder says the same of them.
fn contexts_out_of_place(target: Target) {
    const CONTEXTS: u8 = 4;
    const BYTES: u8 = 2;
    let data = fill(Dtype::BF16, 40 * 600, Fill::Gaussian, 1);
    let [without, with] =
        [Mode::Bytes, Mode::Contexts].map(|mode| write(&[Record::new("t", 128, [40, 20], [600, 300], data.clone(), &[mode])]));
    for (archive, modes, said) in [
        (&without, [CONTEXTS, BYTES], "plane 0: contexts where the tensor has none"),
        (&with, [BYTES, CONTEXTS], "plane 1: contexts where there can be none"),
    ] {
        let map = Map::of(archive);
        let mut damaged = archive.clone();
        let record = &map.records[0];
        assert_eq!(record.stride, 24, "both planes say in each tile how they are coded");
        for (plane, mode) in modes.into_iter().enumerate() {
            damaged[record.first + 8 + 8 * plane] = mode;
        }
        map.fix_directories(&mut damaged);
        let Some(a) = on(target, &damaged) else { return };
        let error = a.tensors().next().unwrap().decode().unwrap_err();
        assert_eq!((error.kind(), error.tile()), (ErrorKind::Corrupt, Some(0)), "{error}");
        assert!(error.to_string().contains(said), "{error}");
    }
}

/// [`damage`](super::damage::damage) of planes with contexts.
pub(crate) fn damage(target: Target, cases: usize) {
    damage_of(target, cases, 64, |rng, number| {
        if number % 2 == 1 {
            // Two tiles side by side that no encoder would code so.
            let (layout, dtype, element) = rng.pick(&LAYOUTS);
            let (rows, width) = (1 + rng.below(12) as usize, 24 * (1 + rng.below(20) as usize));
            let data = fill(dtype, rows * 2 * width, Fill::Outliers, rng.next());
            let modes = [Mode::Contexts, Mode::Contexts, rng.pick(&[Mode::Raw, Mode::Bytes]), Mode::Contexts];
            debug_assert_eq!(width % element, 0);
            return write(&[Record::new("t", layout, [rows, rows], [2 * width, width], data, &modes)]);
        }
        // The encoder does not find all of them worth it.
        loop {
            let (rows, columns) = rng.pick(&[(32, 520), (33, 509), (600, 28), (130, 130)]);
            let dtype = rng.pick(&SCALED);
            let archive = encode_max(&[Owned::scaled("t", dtype, [rows, columns], rng.next())]);
            if in_contexts(&archive).0 > 0 {
                return archive;
            }
        }
    });
}
