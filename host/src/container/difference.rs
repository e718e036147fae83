//! Differences from a tensor of the base: the maps, which are exactly invertible, and their record.
//!
//! Parameters: XXH3-128 of the base tensor's bytes (16), method (1), zeros (15). A tensor that is the base's has none: its own hash is the base's.

use crate::dtype::Dtype;
pub(crate) use wcodec_device::difference::Method;

/// Bytes that a difference takes in the parameters.
pub(crate) const BYTES: usize = 32;

/// The method of this number; that of tensors that are the base's has none.
fn from_u8(v: u8) -> Option<Method> {
    Some(match v {
        1 => Method::Xor,
        2 => Method::Subtract,
        _ => return None,
    })
}

/// A tensor's difference from the base's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    pub method: Method,
    /// XXH3-128 of the base tensor's bytes.
    pub hash: [u8; 16],
    /// Bytes of a number of which differences are taken.
    pub unit: usize,
}

/// Bytes of the numbers that a type is made of, where they are whole bytes.
pub(crate) fn unit(dtype: Dtype) -> Option<usize> {
    match (dtype, dtype.bits()) {
        (Dtype::C64, _) => Some(4),
        (_, Some(bits)) if bits.is_multiple_of(8) => Some(bits as usize / 8),
        _ => None,
    }
}

impl Difference {
    /// What `method` makes of elements of `dtype`; `None` where they are no whole bytes and it needs such.
    pub(crate) fn new(method: Method, dtype: Dtype, hash: [u8; 16]) -> Option<Self> {
        let unit = match method {
            Method::Same | Method::Xor => 1,
            Method::Subtract => unit(dtype)?,
        };
        Some(Self { method, hash, unit })
    }

    /// Reads parameters of a tensor of `dtype` whose layout has elements of `record` bytes.
    pub(crate) fn read(params: &[u8], dtype: Dtype, record: usize) -> Result<Self, &'static str> {
        let (hash, rest) = params.split_first_chunk::<16>().ok_or("no parameters of its difference")?;
        let [method, zeros @ ..] = rest else { return Err("no method of its difference") };
        if zeros.len() != BYTES - 17 || zeros.iter().any(|&b| b != 0) {
            return Err("unknown parameters of its difference");
        }
        let method = from_u8(*method).ok_or("unknown method of its difference")?;
        let read = Self::new(method, dtype, *hash).filter(|d| record.is_multiple_of(d.unit));
        read.ok_or("a difference that its type or layout does not have")
    }

    /// What [`read`](Self::read) reads: nothing where it is the base's.
    pub(crate) fn write(&self) -> Vec<u8> {
        if self.method == Method::Same {
            return Vec::new();
        }
        let mut out = self.hash.to_vec();
        out.push(self.method as u8);
        out.resize(BYTES, 0);
        out
    }

    /// Makes the difference from `base` of `bytes`: as many, and whole numbers.
    pub(crate) fn take(&self, bytes: &mut [u8], base: &[u8]) {
        match (self.method, self.unit) {
            (Method::Same, _) => bytes.fill(0),
            (Method::Xor, _) => xor(bytes, base),
            (Method::Subtract, 1) => u8::each(bytes, base, u8::subtract),
            (Method::Subtract, 2) => u16::each(bytes, base, u16::subtract),
            (Method::Subtract, 4) => u32::each(bytes, base, u32::subtract),
            (Method::Subtract, _) => u64::each(bytes, base, u64::subtract),
        }
    }

    /// The inverse of [`take`](Self::take).
    pub(crate) fn undo(&self, bytes: &mut [u8], base: &[u8]) {
        match (self.method, self.unit) {
            (Method::Same, _) => bytes.copy_from_slice(base),
            (Method::Xor, _) => xor(bytes, base),
            (Method::Subtract, 1) => u8::each(bytes, base, u8::add),
            (Method::Subtract, 2) => u16::each(bytes, base, u16::add),
            (Method::Subtract, 4) => u32::each(bytes, base, u32::add),
            (Method::Subtract, _) => u64::each(bytes, base, u64::add),
        }
    }
}

fn xor(bytes: &mut [u8], base: &[u8]) {
    bytes.iter_mut().zip(base).for_each(|(x, b)| *x ^= b);
}

/// Numbers of 8 to 64 bits.
trait Number: Copy {
    /// Replaces each number of `bytes`.
    fn each(bytes: &mut [u8], base: &[u8], f: impl Fn(Self, Self) -> Self);
    /// `x - base`, modulo 2^bits, with its sign in the lowest bit: small differences are small numbers.
    fn subtract(x: Self, base: Self) -> Self;
    /// The inverse: `z` is what [`subtract`](Self::subtract) gave.
    fn add(z: Self, base: Self) -> Self;
}

macro_rules! number {
    ($($u:ident $i:ident),*) => {$(
        impl Number for $u {
            #[inline(always)]
            fn each(bytes: &mut [u8], base: &[u8], f: impl Fn(Self, Self) -> Self) {
                const N: usize = size_of::<$u>();
                for (x, b) in bytes.as_chunks_mut::<N>().0.iter_mut().zip(base.as_chunks::<N>().0) {
                    *x = f($u::from_le_bytes(*x), $u::from_le_bytes(*b)).to_le_bytes();
                }
            }

            #[inline(always)]
            fn subtract(x: Self, base: Self) -> Self {
                let d = x.wrapping_sub(base) as $i;
                (d << 1 ^ d >> ($u::BITS - 1)) as $u
            }

            #[inline(always)]
            fn add(z: Self, base: Self) -> Self {
                base.wrapping_add(z >> 1 ^ (z & 1).wrapping_neg())
            }
        }
    )*};
}

number!(u8 i8, u16 i16, u32 i32, u64 i64);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use wcodec_device::difference::undo;

    const METHODS: [Method; 3] = [Method::Same, Method::Xor, Method::Subtract];
    const DTYPES: [Dtype; 8] =
        [Dtype::I8, Dtype::F8_E4M3, Dtype::BF16, Dtype::F16, Dtype::F32, Dtype::C64, Dtype::F64, Dtype::U64];

    #[test]
    fn every_pair_of_bytes_and_of_halves() {
        let every = |unit: usize, bases: &[u16]| {
            for method in [Method::Xor, Method::Subtract] {
                let d = Difference { method, hash: [0; 16], unit };
                let range = 0..=if unit == 1 { 0xff } else { u16::MAX };
                let bytes = |x: u16| x.to_le_bytes()[..unit].to_vec();
                let all: Vec<u8> = range.clone().flat_map(bytes).collect();
                for &base in bases {
                    let base: Vec<u8> = range.clone().flat_map(|_| bytes(base)).collect();
                    let mut x = all.clone();
                    d.take(&mut x, &base);
                    let mut seen = x.chunks(unit).map(<[u8]>::to_vec).collect::<Vec<_>>();
                    seen.sort_unstable();
                    seen.dedup();
                    assert_eq!(seen.len(), range.len(), "two numbers have one difference");
                    // As kernels do it.
                    let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |word, &b| word << 8 | u64::from(b));
                    for ((z, base), x) in x.chunks(8).zip(base.chunks(8)).zip(all.chunks(8)) {
                        assert_eq!(undo(method, unit as u32, word(z), word(base)), word(x));
                    }
                    d.undo(&mut x, &base);
                    assert!(x == all, "{method:?} {unit}");
                }
            }
        };
        every(1, &(0..=255).collect::<Vec<_>>());
        every(2, &[0, 1, 0x7fff, 0x8000, 0x8001, 0xffff, 0x3f80, 0xbf80, 0x7f80, 0xff80, 0x1234]);
    }

    /// Steps of one are small numbers, whichever way, and a change of sign is the highest bit.
    #[test]
    fn small_steps_are_small_numbers() {
        let d = Difference { method: Method::Subtract, hash: [0; 16], unit: 2 };
        let step = |x: u16, base: u16| {
            let mut bytes = x.to_le_bytes();
            d.take(&mut bytes, &base.to_le_bytes());
            u16::from_le_bytes(bytes)
        };
        assert_eq!([step(0x3f81, 0x3f80), step(0x3f80, 0x3f81), step(0x3f80, 0x3f80)], [2, 1, 0]);
        assert_eq!([step(0xbf80, 0xbf81), step(0xbf81, 0xbf80)], [1, 2]);
        assert_eq!([step(0, 0x8000), step(0x8000, 0), step(0x8001, 0)], [0xffff, 0xffff, 0xfffd]);
    }

    #[test]
    fn what_is_written_is_read() {
        for dtype in DTYPES {
            for method in &METHODS[1..] {
                let d = Difference::new(*method, dtype, [9; 16]).unwrap();
                let record = dtype.bits().unwrap() as usize / 8;
                let params = d.write();
                assert_eq!(Difference::read(&params, dtype, record), Ok(d));
                for n in 0..params.len() {
                    assert!(Difference::read(&params[..n], dtype, record).is_err());
                    assert!(n < 17 || Difference::read(&[&params[..n], &[1], &params[n + 1..]].concat(), dtype, record).is_err());
                }
                assert!(Difference::read(&[&params[..], &[0]].concat(), dtype, record).is_err());
            }
        }
        let params = |method: u8| [&[0; 16][..], &[method], &[0; 15]].concat();
        for method in [0, 3, 255] {
            assert!(Difference::read(&params(method), Dtype::BF16, 2).is_err());
        }
        assert!(Difference::read(&params(2), Dtype::BF16, 1).is_err(), "elements that the layout cuts");
        assert!(Difference::read(&params(2), Dtype::F4, 1).is_err(), "elements that are no whole bytes");
        assert!(Difference::read(&params(1), Dtype::Other, 1).is_ok());
    }

    proptest! {
        #[test]
        fn invertible(
            x in prop::collection::vec(any::<u8>(), 64),
            base in prop::collection::vec(any::<u8>(), 64),
            method in prop::sample::select(METHODS.to_vec()),
            unit in prop::sample::select(vec![1usize, 2, 4, 8]),
        ) {
            let d = Difference { method, hash: [0; 16], unit };
            let mut y = x.clone();
            d.take(&mut y, &base);
            d.undo(&mut y, &base);
            prop_assert_eq!(y, if method == Method::Same { base } else { x });
        }
    }
}
