//! Element types: their safetensors names, their numbers in the container, their sizes and their planes.

use wcodec_device::planes::Layout;

/// An element type.
///
/// Those that the safetensors format names have their own variant; any other is [`Dtype::Other`] and coded as plain bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, non_camel_case_types)]
#[non_exhaustive]
#[repr(u16)]
pub enum Dtype {
    BOOL = 1,
    F4 = 2,
    F6_E2M3 = 3,
    F6_E3M2 = 4,
    U8 = 5,
    I8 = 6,
    F8_E5M2 = 7,
    F8_E4M3 = 8,
    F8_E8M0 = 9,
    F8_E4M3FNUZ = 10,
    F8_E5M2FNUZ = 11,
    I16 = 12,
    U16 = 13,
    F16 = 14,
    BF16 = 15,
    I32 = 16,
    U32 = 17,
    F32 = 18,
    C64 = 19,
    F64 = 20,
    I64 = 21,
    U64 = 22,
    /// A type that this version does not know; its name is kept beside the tensor's.
    Other = 0xffff,
}

use Dtype::*;

/// Every known type with its safetensors name and its size in bits.
const KNOWN: [(Dtype, &str, u32); 22] = [
    (BOOL, "BOOL", 8),
    (F4, "F4", 4),
    (F6_E2M3, "F6_E2M3", 6),
    (F6_E3M2, "F6_E3M2", 6),
    (U8, "U8", 8),
    (I8, "I8", 8),
    (F8_E5M2, "F8_E5M2", 8),
    (F8_E4M3, "F8_E4M3", 8),
    (F8_E8M0, "F8_E8M0", 8),
    (F8_E4M3FNUZ, "F8_E4M3FNUZ", 8),
    (F8_E5M2FNUZ, "F8_E5M2FNUZ", 8),
    (I16, "I16", 16),
    (U16, "U16", 16),
    (F16, "F16", 16),
    (BF16, "BF16", 16),
    (I32, "I32", 32),
    (U32, "U32", 32),
    (F32, "F32", 32),
    (C64, "C64", 64),
    (F64, "F64", 64),
    (I64, "I64", 64),
    (U64, "U64", 64),
];

impl Dtype {
    /// The type that safetensors calls `name`; [`Dtype::Other`] if there is none.
    pub fn from_name(name: &str) -> Self {
        KNOWN.iter().find(|k| k.1 == name).map_or(Other, |k| k.0)
    }

    /// The safetensors name; `None` for [`Dtype::Other`].
    pub fn name(self) -> Option<&'static str> {
        KNOWN.iter().find(|k| k.0 == self).map(|k| k.1)
    }

    /// Bits of one element; `None` for [`Dtype::Other`].
    pub fn bits(self) -> Option<u32> {
        KNOWN.iter().find(|k| k.0 == self).map(|k| k.2)
    }

    pub(crate) fn from_number(n: u16) -> Option<Self> {
        if n == Other as u16 { Some(Other) } else { KNOWN.iter().find(|k| k.0 as u16 == n).map(|k| k.0) }
    }

    /// Bytes of a tensor of this shape; `None` where the size overflows, is no whole number of bytes, or is not known.
    pub(crate) fn byte_len(self, shape: &[u64]) -> Option<u64> {
        let bits = product(shape)?.checked_mul(self.bits()? as u64)?;
        bits.is_multiple_of(8).then_some(bits / 8)
    }

    /// A tensor of this shape as rows of bytes, the last dimension being a row; `None` where that is not a whole number of bytes,
    /// or does not fit 64 bits, or there is no dimension.
    pub(crate) fn rows(self, shape: &[u64]) -> Option<(u64, u64)> {
        let (&last, leading) = shape.split_last()?;
        let rows = product(leading)?;
        let bits = last.checked_mul(self.bits()? as u64)?;
        bits.is_multiple_of(8).then_some((rows, bits / 8))
    }

    /// How elements are split into planes.
    pub(crate) fn layout(self) -> Layout {
        match self {
            BF16 => Layout::Bf16,
            F32 => Layout::F32,
            F8_E4M3 | F8_E4M3FNUZ => Layout::F8E4,
            _ => Layout::Columns(self.bits().map_or(1, |b| (b / 8).max(1)) as u8),
        }
    }
}

/// Product of dimensions: a zero makes it zero, however large the others are. `None` above 64 bits.
fn product(dims: &[u64]) -> Option<u64> {
    if dims.contains(&0) { Some(0) } else { dims.iter().try_fold(1u64, |n, &d| n.checked_mul(d)) }
}
