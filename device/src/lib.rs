//! no_std primitives.
#![no_std]
