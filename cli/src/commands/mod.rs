//! The subcommands, a file each.

#[cfg(feature = "baseline")]
pub(crate) mod baseline;
pub(crate) mod bench;
mod bench_load;
#[cfg(feature = "eval")]
mod calibration;
pub(crate) mod completions;
pub(crate) mod compress;
#[cfg(feature = "eval")]
pub(crate) mod curve;
pub(crate) mod decompress;
#[cfg(feature = "eval")]
pub(crate) mod eval;
pub(crate) mod inspect;
pub(crate) mod quantize;
pub(crate) mod verify;
#[cfg(feature = "eval")]
mod within;

use crate::args::{Cli, Command};
use crate::failure::{Exit, Failure, Result};

/// Runs the command on as many threads as it may use.
pub(crate) fn run(cli: &Cli) -> Result<()> {
    let quiet = cli.quiet;
    let on_pool = |command: &(dyn Fn() -> Result<()> + Sync)| {
        // Zero is rayon's own word for one thread for each core.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(cli.threads.into()).build();
        let pool = pool.map_err(|e| Failure::new(Exit::Io, format!("starting threads: {e}")))?;
        pool.install(command)
    };
    match &cli.command {
        Command::Compress(args) => on_pool(&|| compress::run(args, quiet)),
        Command::Decompress(args) => on_pool(&|| decompress::run(args, quiet)),
        Command::Verify(args) => on_pool(&|| verify::run(args, quiet)),
        Command::Bench(args) => on_pool(&|| bench::run(args)),
        #[cfg(feature = "baseline")]
        Command::Baseline(args) => baseline::run(args, quiet),
        #[cfg(feature = "eval")]
        Command::Eval(args) => on_pool(&|| eval::run(args, quiet)),
        #[cfg(feature = "eval")]
        Command::Curve(args) => on_pool(&|| curve::run(args, quiet)),
        Command::Quantize(args) => on_pool(&|| quantize::run(args, quiet)),
        Command::Inspect(args) => inspect::run(args),
        Command::Completions(args) => completions::run(args),
    }
}
