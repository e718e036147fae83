//! The driver as a program meets it: cudarc opens `libcuda.so` and gets the emulator.

#![allow(unsafe_code)] // The C interface is what is tested.

mod copies;
mod faults;
mod handles;
mod injection;
mod kernels;
mod memory;
mod modules;
mod ordering;
mod support;
