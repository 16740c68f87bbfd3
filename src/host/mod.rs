//! placeholder

pub mod git;
