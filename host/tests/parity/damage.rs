//! The suite's part on damage.

use super::suite::{LAYOUTS, on};
use crate::support::forge::Map;
use crate::support::target::Target;
use crate::support::writer::{Mode, Record, write};
use crate::support::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use wcodec::{Archive, Backend, Device, Dtype, Error, ErrorKind, Gpu};

/// Streams and descriptors that were damaged, their checksums made to fit: the same verdict as the portable decoder's, of the same place, and the
/// same bytes; a few with the checksums that they had: flagged. As many `cases` reach the decoder's own checks. On all cores, each with a
/// device of its own: what is tried does not depend on how many there are.
pub(crate) fn damage(target: Target, cases: usize) {
    damage_of(target, cases, 500, |rng, number| {
        let how = rng.pick(&[Fill::Gaussian, Fill::Outliers, Fill::Skewed]);
        if number.is_multiple_of(2) { encoded(rng, how) } else { side_by_side(rng, how) }
    });
}

/// An archive to damage.
pub(crate) struct Sound {
    pub archive: Vec<u8>,
    /// The base that it needs.
    pub base: Option<Vec<u8>>,
    /// The record that is damaged.
    pub record: usize,
}

impl From<Vec<u8>> for Sound {
    fn from(archive: Vec<u8>) -> Self {
        Self { archive, base: None, record: 0 }
    }
}

/// Damages of the archives that `make` gives, of which it is told the number; `share` of them at a time.
pub(crate) fn damage_of<S: Into<Sound>>(
    target: Target,
    cases: usize,
    share: usize,
    make: impl Fn(&mut Numbers, usize) -> S + Sync,
) {
    let make = |rng: &mut Numbers, number: usize| make(rng, number).into();
    if on(target, &encode_tensors(&[])).is_none() {
        return;
    }
    let (next, flagged) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || {
        let gpu = target.another();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(left) = cases.checked_sub(number * share).filter(|&left| left > 0) else { return };
            let found = damage_share(target, gpu.as_ref(), number as u64, left.min(share), &make);
            flagged.fetch_add(found, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, |n| n.get().min(8)) {
            scope.spawn(work);
        }
    });
    let flagged = flagged.into_inner();
    assert!(flagged > cases / 3, "{flagged} of {cases}");
}

/// What the encoder makes of a small tensor.
fn encoded(rng: &mut Numbers, how: Fill) -> Vec<u8> {
    let dtype = rng.pick(&[Dtype::BF16, Dtype::F32, Dtype::F8_E4M3, Dtype::I8, Dtype::F16, Dtype::U32]);
    let shape = [1 + rng.below(9), 8 * (1 + rng.below(70))];
    encode_tensors(&[Owned::new("t", dtype, &shape, how, rng.next())])
}

/// Two tiles side by side, whose rows end within chunks: any layout in any mode.
fn side_by_side(rng: &mut Numbers, how: Fill) -> Vec<u8> {
    let (layout, dtype, element) = rng.pick(&LAYOUTS);
    // No power of two divides them that a chunk has, but runs fit.
    let width = if element == 3 { rng.pick(&[192, 384]) } else { rng.pick(&[192, 320, 384, 448]) };
    let rows = 1 + rng.below(12) as usize;
    let data = fill(dtype, rows * 2 * width, how, rng.next());
    use Mode::{Bytes, Pairs, Raw};
    // Few streams an archive: each takes the emulator a block.
    let modes = rng.pick(&[
        [Bytes, Raw, Raw, Raw],
        [Pairs, Raw, Raw, Raw],
        [Raw, Bytes, Bytes, Raw],
        [Pairs, Bytes, Raw, Bytes],
        [Raw; 4],
    ]);
    write(&[Record::new("t", layout, [rows, rows], [2 * width, width], data, &modes)])
}

/// What decoders say when streams were looked at, not only descriptors.
const STREAM_FAULTS: [&str; 6] = [
    "the stream ends too early",
    "the stream has words left over",
    "a lane's final state is not the encoder's first",
    "a lane's initial state is below the floor",
    "patch",
    "its checksum differs",
];

/// How many of a share's `cases` were flagged.
fn damage_share(
    target: Target,
    gpu: Option<&Gpu>,
    share: u64,
    cases: usize,
    make: &impl Fn(&mut Numbers, usize) -> Sound,
) -> usize {
    /// Damages of one archive: making it takes longer than decoding it.
    const EACH: usize = 16;
    let mut rng = Numbers(share << 32 | 77);
    let (mut flagged, mut tried, mut case) = (0, 0, 0);
    let mut made = Sound::from(Vec::new());
    let mut base = None;
    while tried < cases {
        if case % EACH == 0 {
            made = make(&mut rng, case / EACH);
            base = made.base.take().map(|bytes| wcodec::Base::from_bytes(bytes).unwrap());
        }
        let sound = &made.archive;
        case += 1;
        assert!(case < 3 * cases + 100, "share {share}: only {tried} of {case} cases reach a stream");
        let mut archive = sound.clone();
        let map = Map::of(&archive);
        let record = &map.records[made.record];
        if record.segment.is_empty() {
            continue;
        }
        // A few bytes of payload, or of the directory.
        let keep_sums = case % (2 * EACH) == 0;
        let range = if case % 4 == 1 && record.stride > 8 { record.directory.clone() } else { record.segment.clone() };
        for _ in 0..1 + rng.below(3) {
            let at = range.start + rng.below(range.len() as u64) as usize;
            archive[at] ^= 1 << rng.below(8);
        }
        if !keep_sums {
            map.fix_all(&mut archive);
        }
        let Ok(mut by_cpu) = Archive::from_bytes(&archive[..]) else { continue };
        by_cpu.set_backend(Backend::Portable);
        let mut a = open(&archive);
        if let Some(base) = &base {
            by_cpu.set_base(base.clone()).unwrap();
            a.set_base(base.clone()).unwrap();
        }
        match gpu {
            Some(gpu) => a.set_device(Device::Gpu(gpu.clone())),
            None => assert!(target.set(&mut a)),
        }
        let theirs = decoded(&by_cpu);
        let mine = match gpu {
            Some(gpu) if keep_sums => {
                let all: Vec<_> = a.tensors().collect();
                gpu.decode_checking_there(&all).and_then(|tensors| tensors[0].to_vec())
            }
            _ => decoded(&a),
        };
        match (&mine, &theirs) {
            (Ok(mine), Ok(theirs)) => assert!(mine == theirs, "share {share}, case {case}: other bytes"),
            (Err(mine), Err(theirs)) => {
                flagged += 1;
                // Of all that is damaged both tell of the first.
                let place = |e: &Error| (e.kind(), e.tile(), e.offset());
                assert_eq!(place(mine), place(theirs), "share {share}, case {case}: {mine} / {theirs}");
            }
            _ => panic!("share {share}, case {case}: {mine:?} where the portable decoder says {theirs:?}"),
        }
        if keep_sums {
            // Several flips of one bit may leave what there was.
            let untouched = archive == *sound;
            assert!(
                untouched || mine.as_ref().is_err_and(|e| e.kind() == ErrorKind::Corrupt),
                "share {share}, case {case}: {mine:?}"
            );
        }
        tried += usize::from(mine.map_or_else(|e| STREAM_FAULTS.iter().any(|f| e.to_string().contains(f)), |_| true));
    }
    flagged
}
