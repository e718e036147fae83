//! `wcodec completions`.

use crate::args::Cli;
use crate::failure::Result;
use crate::output;
use clap::CommandFactory;
use clap_complete::{Shell, generate};

const AFTER_HELP: &str = "\
Examples:
  wcodec completions bash > ~/.local/share/bash-completion/completions/wcodec
  wcodec completions zsh > ~/.zfunc/_wcodec
  wcodec completions fish > ~/.config/fish/completions/wcodec.fish";

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    // Into memory first: the generator panics where it cannot write.
    let mut script = Vec::new();
    generate(args.shell, &mut Cli::command(), "wcodec", &mut script);
    output::print(script)
}
