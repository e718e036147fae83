//! Numbers of a trellis, column by column of a tile, and their record.
//!
//! Parameters: the two taps (2), zeros (14).

use crate::cpu::{Backend, Body};
use wcodec_device::trellis::{TAPS, Taps, next, number};

/// Bytes that it takes in the parameters.
pub(crate) const BYTES: usize = 16;
/// Columns that are gone down together.
const STRIP: usize = 64;

/// A tensor's trellis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trellis {
    pub taps: Taps,
}

impl Trellis {
    /// The one whose numbers the quantizer writes.
    pub(crate) const OURS: Self = Self { taps: TAPS };

    /// Reads its parameters.
    pub(crate) fn read(params: &[u8]) -> Result<Self, &'static str> {
        let [a, b, zeros @ ..] = params else { return Err("no parameters of its trellis") };
        if zeros.len() != BYTES - 2 || zeros.iter().any(|&z| z != 0) {
            return Err("unknown parameters of its trellis");
        }
        Ok(Self { taps: Taps(*a, *b) })
    }

    /// What [`read`](Self::read) reads.
    pub(crate) fn write(self) -> [u8; BYTES] {
        let mut out = [0; BYTES];
        (out[0], out[1]) = (self.taps.0, self.taps.1);
        out
    }

    /// Makes numbers of what is stored of them: a tile's rows of `width` bytes, `stride` from one to the next.
    pub(crate) fn undo(self, backend: Backend, rows: &mut [u8], width: usize, stride: usize) {
        for first in (0..width).step_by(STRIP) {
            backend.run(Undo { taps: self.taps, rows: &mut rows[first..], width: STRIP.min(width - first), stride });
        }
    }

    /// The inverse of [`undo`](Self::undo); whether there is one. Of numbers that are no trellis's it leaves something else.
    #[must_use]
    pub(crate) fn take(self, rows: &mut [u8], width: usize, stride: usize) -> bool {
        let mut is = true;
        for first in (0..width).step_by(STRIP) {
            let width = STRIP.min(width - first);
            Backend::best().run(Take { taps: self.taps, rows: &mut rows[first..], width, stride, is: &mut is });
        }
        is
    }
}

/// Some columns.
struct Undo<'a> {
    taps: Taps,
    rows: &'a mut [u8],
    width: usize,
    stride: usize,
}

impl Body for Undo<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { taps, rows, width, stride } = self;
        let mut states = [0u8; STRIP];
        let mut undo = |row: &mut [u8]| {
            for (state, byte) in states.iter_mut().zip(row) {
                let k = *byte;
                *byte = number(*state, k);
                *state = next(taps, *state, k);
            }
        };
        each(rows, width, stride, &mut undo);
    }
}

struct Take<'a> {
    taps: Taps,
    rows: &'a mut [u8],
    width: usize,
    stride: usize,
    is: &'a mut bool,
}

impl Body for Take<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { taps, rows, width, stride, is } = self;
        let (mut states, mut wrong) = ([0u8; STRIP], 0);
        let mut take = |row: &mut [u8]| {
            for (state, byte) in states.iter_mut().zip(row) {
                // With its sign: what is stored is as small as what it stands for.
                let k = (*byte as i8 >> 1) as u8;
                wrong |= (*byte ^ *state) & 1;
                *byte = k;
                *state = next(taps, *state, k);
            }
        };
        each(rows, width, stride, &mut take);
        *is &= wrong == 0;
    }
}

/// Calls `f` with the first `width` bytes of each row; whole strips have a length that the compiler knows.
#[inline(always)]
fn each(rows: &mut [u8], width: usize, stride: usize, f: &mut impl FnMut(&mut [u8])) {
    for row in rows.chunks_mut(stride.max(1)) {
        match row.first_chunk_mut::<STRIP>() {
            Some(strip) if width == STRIP => f(strip),
            _ => f(&mut row[..width]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read() {
        let params = Trellis::OURS.write();
        assert_eq!(Trellis::read(&params), Ok(Trellis::OURS));
        for n in 0..params.len() {
            assert!(Trellis::read(&params[..n]).is_err());
            assert!(n < 2 || Trellis::read(&[&params[..n], &[1], &params[n + 1..]].concat()).is_err());
        }
        assert!(Trellis::read(&[&params[..], &[0]].concat()).is_err());
    }

    proptest! {
        /// Whatever is stored stands for numbers, of which the same is stored again but for its highest bit.
        #[test]
        fn invertible(
            stored in prop::collection::vec(any::<u8>(), 1..3000),
            width in 1usize..200,
            gap in 0usize..40,
            a in any::<u8>(),
            b in any::<u8>(),
            at in any::<prop::sample::Index>(),
        ) {
            let (trellis, stride) = (Trellis { taps: Taps(a, b) }, width + gap);
            // The last row ends where the tile does.
            let rows = stored.len().div_ceil(stride);
            let mut stored = stored;
            stored.resize((rows - 1) * stride + width, 7);
            let mut numbers = stored.clone();
            trellis.undo(Backend::best(), &mut numbers, width, stride);
            for backend in Backend::available() {
                let mut theirs = stored.clone();
                trellis.undo(*backend, &mut theirs, width, stride);
                prop_assert_eq!(&theirs, &numbers);
            }
            let mut again = numbers.clone();
            prop_assert!(trellis.take(&mut again, width, stride));
            for (i, (again, stored)) in again.iter().zip(&stored).enumerate() {
                let inside = i % stride < width;
                prop_assert_eq!(*again, if inside { ((*stored << 1) as i8 >> 1) as u8 } else { *stored });
            }
            // Another lowest bit somewhere, and it is no trellis's.
            let at = at.index(rows) * stride + width / 2;
            numbers[at] ^= 1;
            prop_assert!(!trellis.take(&mut numbers, width, stride));
        }
    }
}
