//! What becomes of a failure: a CUDA code that sticks, and a text for whoever looks into it.

use std::sync::Mutex;

use super::status::Status;
use super::sync::lock;
use crate::sanitize::{Fault, FaultKind};

/// Why device work did not succeed.
pub(crate) struct Failure {
    pub status: Status,
    pub text: String,
}

static LAST: Mutex<String> = Mutex::new(String::new());

/// Writes `text` to standard error and keeps it as the last fault.
pub(crate) fn report(text: &str) {
    eprintln!("wcodec emulator: {text}");
    text.clone_into(&mut lock(&LAST));
}

/// The last fault reported in this process; empty if none was.
pub(crate) fn last() -> String {
    lock(&LAST).clone()
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Failure {
        let status = match fault.kind {
            FaultKind::OutOfBounds | FaultKind::UseAfterFree | FaultKind::ReadOnly => Status::ILLEGAL_ADDRESS,
            FaultKind::Misaligned => Status::MISALIGNED_ADDRESS,
            FaultKind::Trap => Status::ILLEGAL_INSTRUCTION,
            FaultKind::Hang => Status::LAUNCH_TIMEOUT,
            // What hardware would not notice, or would answer with wrong data or a hang.
            _ => Status::LAUNCH_FAILED,
        };
        Failure { status, text: fault.to_string() }
    }
}
