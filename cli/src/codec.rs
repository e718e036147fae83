//! How hard to try, and in which form: what `compress` and `quantize` say of the archive.

use crate::failure::{Exit, Failure, Result};
use clap::ValueEnum;
use wcodec::Encoder;

/// The options of the codec.
#[derive(Debug, clap::Args)]
pub(crate) struct CodecArgs {
    /// How hard to try
    #[arg(long, value_enum, default_value_t)]
    profile: Profile,
    /// The same in finer steps: 1 is the default profile, 9 is max; from 5 on archives decode at a tenth of the speed
    #[arg(long, value_name = "1..9", conflicts_with = "profile", value_parser = clap::value_parser!(u8).range(1..=9))]
    effort: Option<u8>,
    /// Store numbers plane by plane, so that the first bytes of the archive are a coarse model and the others refine it (see decompress
    /// --planes); not with profile max, nor with efforts above 4
    #[arg(long)]
    progressive: bool,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Profile {
    /// Fast
    #[default]
    Default,
    /// As small as can be: 1 to 2 % smaller, decodes at a tenth of the speed
    Max,
}

impl From<Profile> for wcodec::Profile {
    fn from(profile: Profile) -> Self {
        match profile {
            Profile::Default => wcodec::Profile::Default,
            Profile::Max => wcodec::Profile::Max,
        }
    }
}

impl CodecArgs {
    /// An encoder that does so.
    ///
    /// # Errors
    /// Options that do not go together: said before anything is done with the weights.
    pub(crate) fn encoder(&self) -> Result<Encoder> {
        let contexts = matches!(self.profile, Profile::Max) || self.effort.is_some_and(|level| level > 4);
        if self.progressive && contexts {
            let why = "a progressive archive has no contexts, as profile max and efforts above 4 would";
            return Err(Failure::new(Exit::Usage, why));
        }
        let encoder = match self.effort {
            Some(level) => Encoder::new().effort(level),
            None => Encoder::new().profile(self.profile.into()),
        };
        Ok(encoder.progressive(self.progressive))
    }
}
