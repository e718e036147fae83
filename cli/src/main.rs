//! wcodec command.
fn main() {}
