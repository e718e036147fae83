//! The suite's part on trellises: numbers whose lowest bits those above them tell.

use super::damage::damage_of;
use super::suite::check_archive;
use crate::support::target::Target;
use crate::support::writer::{Mode, Record, write};
use crate::support::*;
use wcodec::Dtype;

/// Tensors of the archive that have one.
fn trellises(archive: &[u8]) -> usize {
    open(archive).report().unwrap().iter().filter(|t| t.trellis).count()
}

/// As the encoder finds them, in shapes whose columns are words or not, strips or parts of such, one tile or many; with contexts and without.
pub(crate) fn types(target: Target) {
    const SHAPES: [[u64; 2]; 8] = [[2, 1], [3, 70], [127, 136], [300, 768], [900, 5], [64, 515], [31, 2052], [1000, 130]];
    for make in [Owned::on_trellis, Owned::scaled_on_trellis] {
        let tensors: Vec<_> = SHAPES.iter().zip(1..).map(|(&shape, seed)| make(&format!("{shape:?}"), shape, seed)).collect();
        for archive in [encode_tensors(&tensors), encode_max(&tensors)] {
            // The two smallest are not looked at.
            assert_eq!(trellises(&archive), 6);
            check_archive(target, &archive, &tensors);
        }
    }
    // Any taps, grids and modes.
    let mut rng = Numbers(4);
    for case in 0..30 {
        let (rows, columns) = (1 + rng.below(60) as usize, 1 + rng.below(300) as usize);
        let tile = [1 + rng.below(rows as u64) as usize, 1 + rng.below(columns as u64) as usize];
        let data = fill(Dtype::I8, rows * columns, rng.pick(&FILLS), rng.next());
        let modes = rng.pick(&[[Mode::Bytes, Mode::Raw], [Mode::Contexts, Mode::Bytes], [Mode::Contexts, Mode::Contexts]]);
        let record = Record::new("t", 1, [rows, tile[0]], [columns, tile[1]], data, &modes);
        let record = record.on_trellis([rng.next() as u8, rng.next() as u8]);
        let shape = record.shape.clone();
        let tensor = Owned { name: "t".into(), dtype: Dtype::U8, shape, data: record.data.clone() };
        let archive = write(&[record]);
        assert_eq!(trellises(&archive), 1, "{case}");
        check_archive(target, &archive, &[tensor]);
    }
}

/// [`damage`](super::damage::damage) of tensors with a trellis.
pub(crate) fn damage(target: Target, cases: usize) {
    damage_of(target, cases, 64, |rng, _| {
        let make = rng.pick(&[Owned::on_trellis, Owned::scaled_on_trellis]);
        let tensor = make("t", rng.pick(&[[48, 72], [33, 130], [70, 41], [3, 1000]]), rng.next());
        if rng.below(2) == 0 { encode_max(&[tensor]) } else { encode_tensors(&[tensor]) }
    });
}
