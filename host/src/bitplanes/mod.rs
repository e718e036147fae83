//! Bitplanes of numbers: what a progressive archive stores one after another, so that a reader can stop early. Pure.
//!
//! ```text
//! form    which types have them (which bits are what: `device/src/bitplanes.rs`)
//! pack    numbers to categories and planes of bits (encoder)
//! unpack  back, from as many planes as there are (decoder)
//! ```

mod form;
mod pack;
#[cfg(test)]
mod tests;
mod unpack;

pub(crate) use form::{Form, form_of};
pub(crate) use pack::{Parts, pack};
pub(crate) use unpack::{Bits, Numbers};
