//! Ctrl-C while a file is being written: the unfinished temporary file is removed before the
//! process ends.
//!
//! The library removes its temporary file when the call that made it is left, in whatever way. So
//! the progress callback, which cannot return an error, leaves by unwinding; [`catch`] ends that in
//! `main`.

use crate::failure::{Exit, Failure, Result};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);

/// The payload that unwinds.
struct Interrupted;

/// From now on the first signal asks to stop and a second one ends the process at once.
pub(crate) fn watch() {
    let handler = || {
        if ASKED.swap(true, Ordering::Relaxed) {
            std::process::exit(Exit::Interrupted as i32);
        }
    };
    // Fails where one of the signals is ignored (`nohup`), which must stay so; then all do what
    // they do without a handler.
    let _ = ctrlc::try_set_handler(handler);
}

/// Leaves the current call, cleaning up on the way, if a signal asked for it.
pub(crate) fn check() {
    if ASKED.load(Ordering::Relaxed) {
        // Unlike `panic!` this says nothing on stderr.
        resume_unwind(Box::new(Interrupted));
    }
}

/// Runs `f`; where [`check`] left it, that is its failure.
pub(crate) fn catch<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|payload| {
        if payload.is::<Interrupted>() {
            Err(Failure::new(
                Exit::Interrupted,
                "interrupted; nothing was written",
            ))
        } else {
            resume_unwind(payload)
        }
    })
}
