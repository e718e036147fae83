//! The `wcodec` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(wcodec_cli::run(std::env::args_os()))
}
