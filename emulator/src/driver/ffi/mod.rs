//! The entry points: each turns what a C caller passed into checked values, and calls the rest.

mod context;
mod control;
mod copy;
mod device;
mod event;
mod fill;
mod launch;
mod memory;
mod module;
mod occupancy;
mod pinned;
mod pointer;
mod pool;
mod proc_address;
mod stream;
mod unsupported;

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::status::{Checked, Status};

/// Runs an entry point's body and returns its `CUresult`; a panic becomes `CUDA_ERROR_UNKNOWN`.
fn guard(body: impl FnOnce() -> Checked) -> u32 {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => Status::SUCCESS.0,
        Ok(Err(status)) => status.0,
        Err(_) => Status::UNKNOWN.0,
    }
}

/// Defines exported functions whose bodies return `Checked`, and `table()` of their names and addresses.
///
/// Pointers from the caller are taken as `Out`, `Array` or `Text`, whose methods check for null; that other pointers are valid
/// is what every C caller promises.
macro_rules! entries {
    ($(fn $name:ident($($argument:ident: $type:ty),* $(,)?) $body:block)*) => {
        $(
            // SAFETY: the name is the driver API's or begins with the crate's own prefix: nothing else defines it.
            #[unsafe(no_mangle)]
            extern "C" fn $name($($argument: $type),*) -> u32 {
                $crate::driver::ffi::guard(move || -> $crate::driver::status::Checked { $body })
            }
        )*

        pub(super) fn table() -> Vec<(&'static str, usize)> {
            vec![$((stringify!($name), $name as *const () as usize)),*]
        }
    };
}
use entries;
