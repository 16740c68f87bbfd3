//! Where a test may let the supervisor die: before and after everything that cannot be undone.
//!
//! With `SUPERVISE_DIES_AT=N` in its environment, a build with debug assertions kills itself (SIGKILL) at the
//! N-th point that it comes to; with `SUPERVISE_DIES_FROM=FILE`, at the N-th while that file is there. Other builds
//! have no such points.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Signal, getpid, kill_process};

/// The variable that says at which point.
const VARIABLE: &str = "SUPERVISE_DIES_AT";

/// The variable that names the file without which points do not count.
const FROM: &str = "SUPERVISE_DIES_FROM";

static AT: OnceLock<Option<(u64, Option<PathBuf>)>> = OnceLock::new();
static COME_TO: AtomicU64 = AtomicU64::new(0);

/// A point is reached.
pub(super) fn reach() {
    if !cfg!(debug_assertions) {
        return;
    }
    let wanted = AT.get_or_init(|| {
        let number = std::env::var(VARIABLE).ok()?.parse().ok()?;
        Some((number, std::env::var_os(FROM).map(PathBuf::from)))
    });
    if let Some((number, from)) = wanted
        && from.as_ref().is_none_or(|file| file.exists())
        && COME_TO.fetch_add(1, Ordering::Relaxed) + 1 == *number
    {
        let _ = kill_process(getpid(), Signal::KILL);
    }
}

/// Does `act`, with a point before it and one after it.
pub(super) fn around<T>(act: impl FnOnce() -> T) -> T {
    reach();
    let done = act();
    reach();
    done
}
