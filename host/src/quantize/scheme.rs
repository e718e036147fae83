//! The formats of integers, as the compressed-tensors library lays them out.

use half::bf16;

/// How a matrix of integers is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Format {
    /// A byte for each, and a scale for each row: `NAME.weight` (I8) and `NAME.weight_scale` (BF16, rows × 1).
    Int8,
    /// Four bits for each, eight to a word, and a scale for each group of up to 128 in a row: `NAME.weight_packed` (I32, rows × ⌈columns / 8⌉),
    /// `NAME.weight_scale` (BF16, rows × groups) and `NAME.weight_shape` (I64, 2).
    Int4,
}

/// The sizes of groups, of which a row takes the largest that divides it: other engines read no broken groups.
const GROUPS: [usize; 3] = [128, 64, 32];

impl Format {
    /// The least and the greatest integer.
    pub(crate) fn range(self) -> (i32, i32) {
        match self {
            // Without -128, so that a weight and its negative are as near to an integer, and as dear.
            Self::Int8 => (-127, 127),
            Self::Int4 => (-8, 7),
        }
    }

    /// Bits that an integer takes as it is stored.
    pub fn bits(self) -> u32 {
        match self {
            Self::Int8 => 8,
            Self::Int4 => 4,
        }
    }

    /// The elements of a row of `columns` that share a scale; `None` if the format has none for such rows.
    pub fn group(self, columns: usize) -> Option<usize> {
        match self {
            Self::Int8 => Some(columns),
            Self::Int4 => GROUPS.into_iter().find(|&group| columns.is_multiple_of(group)),
        }
    }

    /// Bytes of a matrix in this format, its scales included.
    pub fn flat_bytes(self, rows: u64, columns: u64) -> u64 {
        match self {
            Self::Int8 => rows * (columns + 2),
            Self::Int4 => {
                rows * 4 * columns.div_ceil(8) + 2 * rows * (columns / self.group(columns as usize).unwrap_or(128) as u64) + 16
            }
        }
    }
}

/// Integers of a row to words of eight: the first in the lowest four bits, each increased by 8.
pub(crate) fn pack(codes: &[i8]) -> impl Iterator<Item = u32> {
    codes.chunks(8).map(|eight| eight.iter().enumerate().fold(0, |word, (i, &code)| word | ((code + 8) as u32 & 15) << (4 * i)))
}

/// The scale as it is stored: the nearest BF16 that is positive and finite.
pub(crate) fn stored_scale(scale: f32) -> bf16 {
    bf16::from_f32(scale).clamp(bf16::from_bits(1 << 7), bf16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_as_documented() {
        let codes = [-8, -7, 0, 7, 1, 2, 3, 4, -1];
        let words: Vec<u32> = pack(&codes).collect();
        assert_eq!(words, [0xCBA9_F810, 0x7]);
        let unpack = |i: usize| ((words[i / 8] >> (4 * (i % 8))) & 15) as i8 - 8;
        assert!(codes.iter().enumerate().all(|(i, &code)| unpack(i) == code));
    }

    #[test]
    fn groups_divide_rows() {
        assert_eq!([1536, 576, 96, 33].map(|columns| Format::Int4.group(columns)), [Some(128), Some(64), Some(32), None]);
        assert_eq!(Format::Int8.group(33), Some(33));
        assert_eq!(Format::Int8.flat_bytes(10, 100), 1020);
        assert_eq!(Format::Int4.flat_bytes(10, 128), 640 + 20 + 16);
    }

    #[test]
    fn scales_are_positive_and_finite() {
        assert_eq!(stored_scale(0.0).to_f32(), f32::MIN_POSITIVE);
        assert_eq!(stored_scale(f32::MAX), bf16::MAX);
        assert_eq!(stored_scale(1.0).to_f32(), 1.0);
    }
}
