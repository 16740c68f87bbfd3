//! Which path another process means: real processes that sit somewhere, in namespaces and out of
//! them, and tables of what they may say and what it means. As whoever runs the tests, and as an
//! ordinary user.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test tells by failing")]

#[path = "../support/again.rs"]
mod again;
mod bench;
mod names;
mod namespaces;
mod processes;
mod tree;

#[test]
fn all_of_it_as_an_ordinary_user() {
    again::all_as_nobody(&[]);
}
