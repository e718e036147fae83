//! The block formats of the tensors: what they are called, how large they are, and what they decode to.

use anyhow::{Context, Result, bail, ensure};
use half::f16;

/// Elements in a quantized block.
const BLOCK: usize = 32;

/// An element format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Format {
    /// Plain FP32.
    F32,
    /// Plain FP16.
    F16,
    /// 4-bit steps above a minimum, 32 elements a block.
    Q4_1,
    /// 8-bit signed steps, 32 elements a block.
    Q8_0,
}

impl Format {
    /// The format a number in the file stands for.
    pub(super) fn from_code(code: u32) -> Result<Self> {
        Ok(match code {
            0 => Self::F32,
            1 => Self::F16,
            3 => Self::Q4_1,
            8 => Self::Q8_0,
            _ => bail!("tensor format {code} is not handled"),
        })
    }

    /// Its usual name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Q4_1 => "Q4_1",
            Self::Q8_0 => "Q8_0",
        }
    }

    /// The elements and the bytes of a block.
    fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 => (1, 2),
            Self::Q4_1 => (BLOCK, 2 + 2 + BLOCK / 2),
            Self::Q8_0 => (BLOCK, 2 + BLOCK),
        }
    }

    /// The bytes that rows of `cols` elements take; a row is a whole number of blocks.
    pub(super) fn byte_len(self, rows: usize, cols: usize) -> Result<usize> {
        let (elements, bytes) = self.block();
        ensure!(cols.is_multiple_of(elements), "rows of {cols} elements do not divide into {} blocks", self.name());
        let blocks = rows.checked_mul(cols / elements);
        blocks.and_then(|n| n.checked_mul(bytes)).context("a tensor is larger than memory")
    }

    /// Decodes whole blocks; a part of a block at the end is left out.
    pub(super) fn decode(self, data: &[u8]) -> Vec<f32> {
        match self {
            Self::F32 => data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            Self::F16 => data.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
            Self::Q4_1 => data.as_chunks().0.iter().flat_map(q4_1).collect(),
            Self::Q8_0 => data.as_chunks().0.iter().flat_map(q8_0).collect(),
        }
    }
}

/// The FP16 number at `at`.
fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// A Q4_1 block: the step, the minimum, then 16 bytes whose low nibbles are elements 0..16 and high nibbles 16..32.
fn q4_1(block: &[u8; 20]) -> [f32; BLOCK] {
    let (step, minimum) = (half_at(block, 0), half_at(block, 2));
    std::array::from_fn(|i| {
        let byte = block[4 + i % 16];
        let nibble = if i < 16 { byte & 15 } else { byte >> 4 };
        step * f32::from(nibble) + minimum
    })
}

/// A Q8_0 block: the step, then 32 signed bytes.
fn q8_0(block: &[u8; 34]) -> [f32; BLOCK] {
    let step = half_at(block, 0);
    std::array::from_fn(|i| step * f32::from(block[2 + i].cast_signed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q4_1_by_hand() {
        let mut block = [0u8; 20];
        block[..2].copy_from_slice(&f16::from_f32(0.5).to_le_bytes());
        block[2..4].copy_from_slice(&f16::from_f32(-3.0).to_le_bytes());
        block[4] = 0xF1;
        block[19] = 0x2A;
        let got = Format::Q4_1.decode(&block);
        assert_eq!(got.len(), 32);
        assert_eq!((got[0], got[15], got[16], got[31]), (-2.5, 2.0, 4.5, -2.0));
        assert_eq!(got[1], -3.0);
    }

    #[test]
    fn q8_0_by_hand() {
        let mut block = [0u8; 34];
        block[..2].copy_from_slice(&f16::from_f32(0.25).to_le_bytes());
        block[2] = 127;
        block[33] = 0x80;
        let got = Format::Q8_0.decode(&block);
        assert_eq!((got[0], got[1], got[31]), (31.75, 0.0, -32.0));
    }

    #[test]
    fn plain_formats_by_hand() {
        assert_eq!(Format::F32.decode(&1.5f32.to_le_bytes()), [1.5]);
        assert_eq!(Format::F16.decode(&f16::from_f32(-2.0).to_le_bytes()), [-2.0]);
    }

    #[test]
    fn sizes_are_checked() {
        assert_eq!(Format::Q4_1.byte_len(3, 64).expect("fits"), 120);
        assert_eq!(Format::Q8_0.byte_len(1, 32).expect("fits"), 34);
        assert!(Format::Q8_0.byte_len(32, 1).is_err(), "a row is a whole number of blocks");
        assert!(Format::F32.byte_len(usize::MAX, 2).is_err());
        assert!(Format::from_code(2).is_err());
        for format in [Format::F32, Format::F16, Format::Q4_1, Format::Q8_0] {
            let (elements, bytes) = format.block();
            assert_eq!(format.decode(&vec![0; 3 * bytes]).len(), 3 * elements);
        }
    }
}
