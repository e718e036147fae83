//! Blocks of quantized numbers with their scales, as GGUF files keep them: what their bytes are.
//!
//! The layouts are those that `ggml` documents (`ggml-common.h`). A field of several bytes that belong to different columns of numbers (a
//! half-precision scale) is one field a byte.

/// A type of block, by its number in GGUF files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Blocks(u8);

/// A type: its number in GGUF files, its name there, numbers in a block, and the bytes of its fields in order.
type Type = (u8, &'static str, u32, &'static [u8]);

/// The blocks that there are. The fields of each in the order in which they lie in a block.
const TYPES: [Type; 27] = [
    (2, "Q4_0", 32, &[1, 1, 16]),
    (3, "Q4_1", 32, &[1, 1, 1, 1, 16]),
    (6, "Q5_0", 32, &[1, 1, 4, 16]),
    (7, "Q5_1", 32, &[1, 1, 1, 1, 4, 16]),
    (8, "Q8_0", 32, &[1, 1, 32]),
    (9, "Q8_1", 32, &[1, 1, 1, 1, 32]),
    (10, "Q2_K", 256, &[16, 64, 1, 1, 1, 1]),
    (11, "Q3_K", 256, &[32, 64, 12, 1, 1]),
    (12, "Q4_K", 256, &[1, 1, 1, 1, 12, 128]),
    (13, "Q5_K", 256, &[1, 1, 1, 1, 12, 32, 128]),
    (14, "Q6_K", 256, &[128, 64, 16, 1, 1]),
    (15, "Q8_K", 256, &[1, 1, 1, 1, 128, 128, 32]),
    (16, "IQ2_XXS", 256, &[1, 1, 64]),
    (17, "IQ2_XS", 256, &[1, 1, 64, 8]),
    (18, "IQ3_XXS", 256, &[1, 1, 64, 32]),
    (19, "IQ1_S", 256, &[1, 1, 32, 16]),
    (20, "IQ4_NL", 32, &[1, 1, 16]),
    (21, "IQ3_S", 256, &[1, 1, 64, 8, 32, 4]),
    (22, "IQ2_S", 256, &[1, 1, 32, 32, 8, 8]),
    (23, "IQ4_XS", 256, &[1, 1, 2, 4, 128]),
    (29, "IQ1_M", 256, &[32, 16, 8]),
    (34, "TQ1_0", 256, &[48, 4, 1, 1]),
    (35, "TQ2_0", 256, &[64, 1, 1]),
    (39, "MXFP4", 32, &[1, 16]),
    (40, "NVFP4", 64, &[4, 32]),
    (41, "Q1_0", 128, &[1, 1, 16]),
    (42, "Q2_0", 64, &[1, 1, 16]),
];

impl Blocks {
    /// Those with this number in GGUF files, if it is known.
    #[inline]
    pub fn from_number(number: u8) -> Option<Self> {
        TYPES.iter().any(|t| t.0 == number).then_some(Self(number))
    }

    /// The number in GGUF files.
    pub fn number(self) -> u8 {
        self.0
    }

    #[inline]
    fn of(self) -> &'static Type {
        match TYPES.iter().find(|t| t.0 == self.0) {
            Some(found) => found,
            // `from_number` made it.
            None => const { &TYPES[0] },
        }
    }

    /// What `ggml` calls it.
    pub fn name(self) -> &'static str {
        self.of().1
    }

    /// Numbers in a block.
    pub fn elements(self) -> u32 {
        self.of().2
    }

    /// Bytes of a block.
    #[inline]
    pub fn bytes(self) -> usize {
        self.fields().iter().map(|&f| f as usize).sum()
    }

    /// Bytes of each field of a block, in order.
    #[inline]
    pub fn fields(self) -> &'static [u8] {
        self.of().3
    }

    /// The field that says most of a block's scale, one byte a block: a half's upper one, or an exponent.
    pub fn scale(self) -> Option<usize> {
        let fields = self.fields();
        let halves = fields.windows(2).position(|pair| pair == [1, 1]);
        halves.map(|low| low + 1).or_else(|| fields.iter().position(|&f| f == 1))
    }

    /// All types.
    pub fn all() -> impl Iterator<Item = Self> {
        TYPES.iter().map(|t| Self(t.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_as_long_as_ggml_says() {
        let sizes = [
            ("Q4_0", 18),
            ("Q4_1", 20),
            ("Q5_0", 22),
            ("Q5_1", 24),
            ("Q8_0", 34),
            ("Q8_1", 36),
            ("Q2_K", 84),
            ("Q3_K", 110),
            ("Q4_K", 144),
            ("Q5_K", 176),
            ("Q6_K", 210),
            ("Q8_K", 292),
            ("IQ2_XXS", 66),
            ("IQ2_XS", 74),
            ("IQ3_XXS", 98),
            ("IQ1_S", 50),
            ("IQ4_NL", 18),
            ("IQ3_S", 110),
            ("IQ2_S", 82),
            ("IQ4_XS", 136),
            ("IQ1_M", 56),
            ("TQ1_0", 54),
            ("TQ2_0", 66),
            ("MXFP4", 17),
            ("NVFP4", 36),
            ("Q1_0", 18),
            ("Q2_0", 18),
        ];
        assert!(Blocks::all().map(|b| (b.name(), b.bytes())).eq(sizes));
        assert!(Blocks::all().all(|b| Blocks::from_number(b.number()) == Some(b)));
        assert_eq!(Blocks::from_number(0), None);
    }
}
