//! The gate: decides a write before it lands.

pub mod resolve;
