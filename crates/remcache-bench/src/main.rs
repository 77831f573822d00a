//! An empty place yet.
fn main() {}
