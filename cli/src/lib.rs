//! The `wcodec` command: `.wcodec` archives of model weights, made, restored, checked and measured.
//!
//! # Exit codes
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | verification failed: the data differ |
//! | 2 | wrong usage |
//! | 3 | a file could not be read or written |
//! | 4 | the input is neither a safetensors nor a GGUF file |
//! | 5 | the archive is damaged or not an archive |
//! | 6 | the archive needs a newer wcodec |
//! | 7 | the output exists |
//! | 8 | no tensor of that name |
//! | 130 | interrupted |

mod args;
mod base;
mod codec;
mod commands;
mod device;
mod failure;
mod interrupt;
mod output;
mod paths;
mod progress;
mod quantized;
mod summary;

use clap::Parser;
use std::ffi::OsString;

/// Runs the command with these arguments, the first of which is its name; the exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let cli = match args::Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(e) => {
            // Help and versions are errors too, of exit code 0; nobody is left to tell that they could not be printed.
            let _ = e.print();
            return e.exit_code() as u8;
        }
    };
    match commands::run(&cli) {
        Ok(()) => 0,
        Err(failure) => {
            failure.print();
            failure.exit as u8
        }
    }
}
