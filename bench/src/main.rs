//! Measures Mainstay beside its peers.
fn main() {}
