//! Ctrl-C while a file is being written: the library is asked to stop, and removes its unfinished temporary file.

use crate::failure::Exit;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};

static ASKED: AtomicBool = AtomicBool::new(false);

/// From now on the first signal asks to stop and a second one ends the process at once.
pub(crate) fn watch() {
    let handler = || {
        if ASKED.swap(true, Ordering::Relaxed) {
            std::process::exit(Exit::Interrupted as i32);
        }
    };
    // Fails where one of the signals is ignored (`nohup`), which must stay so; then all do what they do without a handler.
    let _ = ctrlc::try_set_handler(handler);
}

/// What a progress callback answers: to stop, if a signal asked for it.
pub(crate) fn flow() -> ControlFlow<()> {
    if ASKED.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}
