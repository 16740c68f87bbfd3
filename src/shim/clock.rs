//! The one place where the shim, and the host's side of it, look at a clock.
//!
//! Invariant: intervals are measured on the monotonic clock; wall-clock time is for people only.

use std::time::Instant;

/// Now, on the monotonic clock.
#[expect(clippy::disallowed_methods, reason = "the shim's only look at a clock; core takes time as an argument")]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// Now, on the clock that also stamps files: RFC 3339 in UTC, to the microsecond.
#[must_use]
pub fn wall() -> String {
    format!("{:.6}", jiff::Timestamp::now())
}
