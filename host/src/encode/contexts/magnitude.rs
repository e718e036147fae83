//! How large an element is, whatever its type: what the scales of rows and columns are measured by.

use crate::dtype::Dtype;
use crate::encode::frequency::{Histogram, log2};

/// Magnitudes of a tensor's elements.
pub(super) enum Magnitude {
    /// One for each byte.
    Byte(Box<[f32; 256]>),
    /// One for each 16 bits, little-endian.
    Half(Vec<f32>),
    /// IEEE single precision.
    Single,
}

impl Magnitude {
    /// For elements of `dtype`; `None` for types that have no scale, or none that is worth the search. `histogram` counts the tensor's bytes.
    pub(super) fn new(dtype: Dtype, histogram: impl FnOnce() -> crate::Result<Histogram>) -> crate::Result<Option<Self>> {
        let byte = |f: &dyn Fn(u8) -> f32| Self::Byte(Box::new(std::array::from_fn(|b| f(b as u8))));
        let half = |f: &dyn Fn(u16) -> f32| Self::Half((0..=u16::MAX).map(f).collect());
        Ok(Some(match dtype {
            Dtype::BF16 => half(&|bits| finite(f32::from_bits((bits as u32) << 16))),
            Dtype::F16 => half(&|bits| float(bits as u32 & 0x7fff, 10, 5)),
            Dtype::F32 => Self::Single,
            Dtype::F8_E4M3 | Dtype::F8_E4M3FNUZ => byte(&|bits| float(bits as u32 & 0x7f, 3, 4)),
            Dtype::F8_E5M2 | Dtype::F8_E5M2FNUZ => byte(&|bits| float(bits as u32 & 0x7f, 2, 5)),
            // Integers, and several values packed into a byte: a byte is as large as it is rare. Of a normal distribution this is the
            // magnitude itself, as the logarithm of its density is a parabola; of two packed values the root of the sum of their squares.
            Dtype::I8 | Dtype::U8 | Dtype::F4 => {
                let counts = histogram()?;
                let most = log2(counts.iter().copied().max().unwrap_or(0).max(1));
                byte(&|b| (most - log2(counts[b as usize].max(1))).max(0.0).sqrt())
            }
            _ => return Ok(None),
        }))
    }

    /// Bytes of an element.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Byte(_) => 1,
            Self::Half(_) => 2,
            Self::Single => 4,
        }
    }

    /// The magnitude of an element.
    #[inline]
    pub(super) fn of(&self, element: &[u8]) -> f32 {
        match (self, element) {
            (Self::Byte(table), &[b]) => table[b as usize],
            (Self::Half(table), &[lo, hi]) => table[u16::from_le_bytes([lo, hi]) as usize],
            (Self::Single, &[a, b, c, d]) => finite(f32::from_bits(u32::from_le_bytes([a, b, c, d]))),
            _ => 0.0,
        }
    }
}

/// The absolute value of what is a number, and not so large that sums of it overflow.
fn finite(x: f32) -> f32 {
    if x.is_finite() { x.abs().min(1e30) } else { 0.0 }
}

/// A small float without its sign, of the usual bias; infinities and NaN count as numbers beyond the largest.
fn float(bits: u32, mantissa_bits: u32, exponent_bits: u32) -> f32 {
    let mantissa = (bits & ((1 << mantissa_bits) - 1)) as f32 / (1 << mantissa_bits) as f32;
    let exponent = bits >> mantissa_bits;
    let bias = (1 << (exponent_bits - 1)) - 1;
    match exponent {
        0 => mantissa * power(1 - bias),
        e => (1.0 + mantissa) * power(e as i32 - bias),
    }
}

/// Two to the `exponent`, of which a normal number has one.
fn power(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127) as u32) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_floats() {
        let magnitude = |dtype, element: &[u8]| Magnitude::new(dtype, || Ok([1; 256])).unwrap().unwrap().of(element);
        assert_eq!(magnitude(Dtype::F16, &0xc000u16.to_le_bytes()), 2.0);
        assert_eq!(magnitude(Dtype::F16, &1u16.to_le_bytes()), 2f32.powi(-24));
        assert_eq!(magnitude(Dtype::BF16, &0xbf80u16.to_le_bytes()), 1.0);
        assert_eq!(magnitude(Dtype::BF16, &0x7f80u16.to_le_bytes()), 0.0, "infinity");
        assert_eq!(magnitude(Dtype::F32, &(-1.5f32).to_le_bytes()), 1.5);
        assert_eq!(magnitude(Dtype::F8_E4M3, &[0b1011_1100]), 1.5);
        assert_eq!(magnitude(Dtype::F8_E5M2, &[0b0000_0001]), 2f32.powi(-16));
    }

    #[test]
    fn a_byte_is_as_large_as_it_is_rare() {
        let mut counts = [0u32; 256];
        (counts[0], counts[1], counts[2]) = (1 << 20, 1 << 16, 1 << 4);
        let m = Magnitude::new(Dtype::I8, || Ok(counts)).unwrap().unwrap();
        assert_eq!([m.of(&[0]), m.of(&[1]), m.of(&[2])], [0.0, 2.0, 4.0]);
    }
}
