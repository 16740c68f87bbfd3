//! Real repositories in scratch directories, looked at with the `git` command's own eyes.
#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod admit;
mod again;
mod facts;
mod odd;
mod place;
mod property;
mod restore;
mod support;
