//! What the writers do. Each function is called once for every area of its writer and does the same
//! there: in the writer's own area it may, elsewhere it may not.
//!
//! Invariant: a path that a function names as changed differs afterwards from what the area had
//! before, so that a comparison of trees must find it.

pub(crate) mod content;
pub(crate) mod ignored;
pub(crate) mod many;
pub(crate) mod memory;
pub(crate) mod metadata;
pub(crate) mod names;
pub(crate) mod processes;
pub(crate) mod steps;
