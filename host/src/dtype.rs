//! Element types: their safetensors names, their numbers in the container, their sizes and their planes.

use wcodec_device::planes::{Blocks, Layout};

/// An element type.
///
/// Those that the safetensors format names have their own variant, and so have the blocks of GGUF files, from [`Dtype::Q4_0`] on, of which
/// a shape counts the numbers in them; any other is [`Dtype::Other`] and coded as plain bytes.
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
    Q4_0 = 258,
    Q4_1 = 259,
    Q5_0 = 262,
    Q5_1 = 263,
    Q8_0 = 264,
    Q8_1 = 265,
    Q2_K = 266,
    Q3_K = 267,
    Q4_K = 268,
    Q5_K = 269,
    Q6_K = 270,
    Q8_K = 271,
    IQ2_XXS = 272,
    IQ2_XS = 273,
    IQ3_XXS = 274,
    IQ1_S = 275,
    IQ4_NL = 276,
    IQ3_S = 277,
    IQ2_S = 278,
    IQ4_XS = 279,
    IQ1_M = 285,
    TQ1_0 = 290,
    TQ2_0 = 291,
    MXFP4 = 295,
    NVFP4 = 296,
    Q1_0 = 297,
    Q2_0 = 298,
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

/// Every type of blocks; numbers are those in GGUF files, and this.
const BLOCKS: [Dtype; 27] = [
    Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q8_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, Q8_K, IQ2_XXS, IQ2_XS, IQ3_XXS, IQ1_S, IQ4_NL, IQ3_S,
    IQ2_S, IQ4_XS, IQ1_M, TQ1_0, TQ2_0, MXFP4, NVFP4, Q1_0, Q2_0,
];
const FIRST_BLOCKS: u16 = 256;

impl Dtype {
    /// The type that safetensors calls `name`; [`Dtype::Other`] if there is none.
    pub fn from_name(name: &str) -> Self {
        KNOWN.iter().find(|k| k.1 == name).map_or(Other, |k| k.0)
    }

    /// The safetensors name, or what `ggml` calls blocks; `None` for [`Dtype::Other`].
    pub fn name(self) -> Option<&'static str> {
        self.blocks().map(Blocks::name).or_else(|| KNOWN.iter().find(|k| k.0 == self).map(|k| k.1))
    }

    /// The type that GGUF files number so.
    pub(crate) fn from_gguf(number: u32) -> Option<Self> {
        Some(match number {
            0 => F32,
            1 => F16,
            24 => I8,
            25 => I16,
            26 => I32,
            27 => I64,
            28 => F64,
            30 => BF16,
            _ => return BLOCKS.into_iter().find(|d| *d as u32 == number.saturating_add(FIRST_BLOCKS as u32)),
        })
    }

    /// Blocks of numbers, where it is a type of them.
    pub(crate) fn blocks(self) -> Option<Blocks> {
        let number = (self as u16).checked_sub(FIRST_BLOCKS)?;
        u8::try_from(number).ok().and_then(Blocks::from_number)
    }

    /// Numbers of a tensor of so many bytes; `None` for [`Dtype::Other`].
    pub fn elements(self, bytes: u64) -> Option<u64> {
        match self.blocks() {
            Some(blocks) => Some(bytes / blocks.bytes() as u64 * blocks.elements() as u64),
            None => Some((bytes as u128 * 8 / self.bits()? as u128) as u64),
        }
    }

    /// Bits of one element; `None` for [`Dtype::Other`] and for blocks.
    pub fn bits(self) -> Option<u32> {
        KNOWN.iter().find(|k| k.0 == self).map(|k| k.2)
    }

    pub(crate) fn from_number(n: u16) -> Option<Self> {
        let known = KNOWN.iter().map(|k| k.0).chain(BLOCKS);
        known.chain([Other]).find(|&d| d as u16 == n)
    }

    /// Bytes of a tensor of this shape; `None` where the size overflows, is no whole number of bytes, or is not known.
    pub(crate) fn byte_len(self, shape: &[u64]) -> Option<u64> {
        if self.blocks().is_some() {
            let (rows, row_bytes) = self.rows(shape)?;
            return rows.checked_mul(row_bytes);
        }
        let bits = product(shape)?.checked_mul(self.bits()? as u64)?;
        bits.is_multiple_of(8).then_some(bits / 8)
    }

    /// A tensor of this shape as rows of bytes, the last dimension being a row; `None` where that is not a whole number of bytes,
    /// or does not fit 64 bits, or there is no dimension.
    pub(crate) fn rows(self, shape: &[u64]) -> Option<(u64, u64)> {
        let (&last, leading) = shape.split_last()?;
        let rows = product(leading)?;
        if let Some(blocks) = self.blocks() {
            let whole = last.is_multiple_of(blocks.elements() as u64);
            let bytes = (last / blocks.elements() as u64).checked_mul(blocks.bytes() as u64)?;
            return whole.then_some((rows, bytes));
        }
        let bits = last.checked_mul(self.bits()? as u64)?;
        bits.is_multiple_of(8).then_some((rows, bits / 8))
    }

    /// How elements are split into planes.
    pub(crate) fn layout(self) -> Layout {
        if let Some(blocks) = self.blocks() {
            return Layout::Blocks(blocks);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_of_blocks_has_a_number_and_a_size() {
        assert!(Blocks::all().eq(BLOCKS.iter().filter_map(|d| d.blocks())));
        for dtype in BLOCKS {
            let blocks = dtype.blocks().unwrap();
            assert_eq!(Dtype::from_gguf(blocks.number() as u32), Some(dtype));
            assert_eq!(Dtype::from_number(dtype as u16), Some(dtype));
            assert_eq!(format!("{dtype:?}"), dtype.name().unwrap());
            assert_eq!(dtype.byte_len(&[3, 2 * blocks.elements() as u64]), Some(6 * blocks.bytes() as u64));
            assert_eq!(dtype.byte_len(&[blocks.elements() as u64 + 1]), None, "a broken block");
            assert_eq!(dtype.layout().record_bytes(), blocks.bytes());
            assert_eq!(Layout::from_number(dtype.layout().number()), Some(dtype.layout()));
        }
        assert_eq!((Dtype::from_gguf(4), Dtype::from_gguf(u32::MAX), Dtype::from_gguf(0)), (None, None, Some(F32)));
        // A safetensors file means something else by such a name.
        assert_eq!(Dtype::from_name("Q4_0"), Other);
    }
}
