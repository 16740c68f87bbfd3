//! What of the machine's limits a run has to keep to.
//!
//! Deliberately absent: limits of the watch (`watch`), and telling people of all of them (`doctor`).

use std::num::NonZeroU32;

use nix::sys::resource::{Resource, getrlimit};

/// Open files of the supervisor beside those for its agents: standard streams, runtime, journal, watch, socket and
/// who asks there, repositories, and the pipes of git and of hooks.
const OWN_FILES: u64 = 40;

/// So many agents at once fit the limit on open files (getrlimit(2), `RLIMIT_NOFILE`): each needs one, the
/// socket of its shim. One fits always. `None`: there is no limit that counts.
#[must_use]
pub fn agents_at_once() -> Option<NonZeroU32> {
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let fit = u32::try_from(soft.saturating_sub(OWN_FILES)).ok()?;
    Some(NonZeroU32::new(fit).unwrap_or(NonZeroU32::MIN))
}
