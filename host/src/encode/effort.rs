//! How hard to try, as what it means to each stage.

use super::Profile;

/// A level from 1 to 9. The same level gives the same archive, whatever the threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Effort(u8);

impl Default for Effort {
    fn default() -> Self {
        Profile::Default.into()
    }
}

impl From<Profile> for Effort {
    fn from(profile: Profile) -> Self {
        Self(match profile {
            Profile::Default => 1,
            Profile::Max => 9,
        })
    }
}

/// How tables are learnt.
pub(crate) struct Learning {
    /// Tiles that are looked at, at most.
    pub samples: u64,
    /// Tables of each kind, at most.
    pub tables: usize,
    /// Rounds of clustering.
    pub rounds: usize,
}

impl Effort {
    /// Levels from 1 to 9; others are taken for the nearest.
    pub(crate) fn new(level: u8) -> Self {
        Self(level.clamp(1, 9))
    }

    pub(crate) fn learning(self) -> Learning {
        let (samples, tables, rounds) = match self.0 {
            1 => (512, 32, 4),
            2 => (2048, 64, 6),
            3..=5 => (4096, 128, 8),
            6..=8 => (16384, 128, 12),
            _ => (16384, 256, 12),
        };
        Learning { samples, tables, rounds }
    }

    /// Whether only size counts: planes are coded for any gain, and every symbol is counted.
    pub(crate) fn size_alone(self) -> bool {
        self.0 >= 3
    }

    /// Whether filters are tried.
    pub(crate) fn filters(self) -> bool {
        self.0 == 9
    }

    /// Classes to the octave that are tried for contexts; no contexts where there are none.
    pub(crate) fn units(self) -> &'static [u8] {
        match self.0 {
            1..=4 => &[],
            5 | 6 => &[4],
            7 => &[4, 8],
            8 => &[4, 6, 8],
            _ => &[3, 4, 5, 6, 8, 10],
        }
    }
}
