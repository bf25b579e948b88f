//! The ambassador.
fn main() {}
