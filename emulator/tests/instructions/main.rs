//! One instruction a kernel, all lanes with other operands, edge values among them; what comes out is computed here, independently.

#![allow(missing_docs, unreachable_pub)]

#[path = "../common/mod.rs"]
mod common;

mod cases;
mod control;
mod every;
mod memory;
mod oracle;
mod support;
