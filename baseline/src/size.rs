//! How much of an architecture is made.

use serde::Serialize;
use std::fmt;

/// How much of a model a synthetic checkpoint has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Size {
    /// Two layers at a sixteenth of the width: seconds.
    Tiny,
    /// Four layers at a quarter of the width.
    Small,
    /// Layers at their real shapes, four at most and two at least, and a sixteenth of the vocabulary.
    Medium,
    /// All of it.
    Full,
}

/// Weights in a medium checkpoint's layers, unless two layers are more.
const MEDIUM_WEIGHTS: u64 = 900_000_000;

impl Size {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Tiny, Self::Small, Self::Medium, Self::Full];

    /// Its name on the command line.
    pub fn id(self) -> &'static str {
        match self {
            Self::Tiny => "tiny",
            Self::Small => "small",
            Self::Medium => "medium",
            Self::Full => "full",
        }
    }

    /// Layers of a model that has `real` of `weights` each.
    pub(crate) fn layers(self, real: u32, weights: u64) -> u32 {
        let n = match self {
            Self::Tiny => 2,
            Self::Small => 4,
            Self::Medium => (MEDIUM_WEIGHTS / weights.max(1)).clamp(2, 4) as u32,
            Self::Full => real,
        };
        n.min(real)
    }

    /// A width: whole groups of 128 where it is scaled.
    pub(crate) fn width(self, real: u64) -> u64 {
        match self {
            Self::Tiny => (real / 16).next_multiple_of(128),
            Self::Small => (real / 4).next_multiple_of(128),
            Self::Medium | Self::Full => real,
        }
    }

    /// Tokens.
    pub(crate) fn vocabulary(self, real: u64) -> u64 {
        match self {
            Self::Tiny => real / 64,
            Self::Small | Self::Medium => real / 16,
            Self::Full => real,
        }
    }

    /// Experts of a layer.
    pub(crate) fn experts(self, real: u64) -> u64 {
        match self {
            Self::Tiny | Self::Small => real.min(2),
            Self::Medium => real.min(4),
            Self::Full => real,
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_grow_and_full_is_the_real_thing() {
        let all = Size::ALL.map(|s| (s.layers(32, 218_000_000), s.width(4096), s.vocabulary(128_256), s.experts(8)));
        assert_eq!(all, [(2, 256, 2004, 2), (4, 1024, 8016, 2), (4, 4096, 8016, 4), (32, 4096, 128_256, 8)]);
        assert_eq!(Size::Medium.layers(80, 855_000_000), 2);
        assert_eq!(Size::Full.width(2880), 2880);
    }
}
