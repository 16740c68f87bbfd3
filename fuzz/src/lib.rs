//! What each fuzz target does with its bytes, as plain functions: libFuzzer calls them with what it makes up,
//! and `tests/corpora.rs` with the inputs that are kept.
//!
//! Invariant: a target answers a wrong result with a panic that says what is wrong, and looks at nothing but its
//! bytes, files that it made itself, and `fuzz/ground`.
//!
//! Deliberately absent: making up inputs (libFuzzer), and what has no bytes of somebody else to read.

mod bodies;

pub use bodies::*;
