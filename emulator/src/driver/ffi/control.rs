//! The emulator's own entry points, for tests and benches in the same process.
//!
//! ```c
//! unsigned wcodec_emulator_set(const char *name, const char *value);        // a knob, or "fail"; CUresult
//! size_t   wcodec_emulator_last_fault(char *buffer, size_t len);            // text of the last fault
//! size_t   wcodec_emulator_counters(char *buffer, size_t len);              // counted events as JSON
//! unsigned wcodec_emulator_counters_reset(void);
//! ```
//! Those that give a text write as much as fits, with a NUL, and return the length of all of it without the NUL.

use std::panic::catch_unwind;

use super::entries;
use super::pointer::{Text, put_text};
use crate::driver::status::Status;
use crate::driver::{counters, fault, inject, settings};

/// Puts the text out and returns its length.
fn text(buffer: usize, len: usize, text: fn() -> String) -> usize {
    catch_unwind(|| {
        let text = text();
        put_text(buffer, len, &text);
        text.len()
    })
    .unwrap_or(0)
}

// SAFETY: the prefix is the crate's own.
#[unsafe(no_mangle)]
extern "C" fn wcodec_emulator_last_fault(buffer: usize, len: usize) -> usize {
    text(buffer, len, fault::last)
}

// SAFETY: the prefix is the crate's own.
#[unsafe(no_mangle)]
extern "C" fn wcodec_emulator_counters(buffer: usize, len: usize) -> usize {
    text(buffer, len, counters::json)
}

entries! {
    fn wcodec_emulator_set(name: Text, value: Text) {
        let (name, value) = (name.get()?, value.get()?);
        let changed = if name == "fail" { inject::configure(value) } else { settings::change(name, value) };
        changed.map_err(|problem| {
            fault::report(&problem);
            Status::INVALID_VALUE
        })
    }

    fn wcodec_emulator_counters_reset() {
        counters::reset();
        Ok(())
    }
}
