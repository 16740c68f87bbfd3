//! What falls to the supervisor when a shim dies: its orphans, found and ended.
//!
//! The supervisor is a subreaper, so they become its children. It knows them by their session: a
//! shim leads its own, nobody under it can come back into the supervisor's, and whatever the
//! supervisor starts directly (git, say) stays in the supervisor's own. So: a child in another
//! session that is not a registered shim is an orphan of a shim that died.
//!
//! Invariant: exit statuses of shims and of the supervisor's other children are never taken away from
//! those who wait for them.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, waitpid};

use crate::shim::ending::{KILL_BOUND, kill_all};
use crate::shim::tree::{self, Proc};

/// Children belong to the whole process, and so does the list of those that are shims.
static SHIMS: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// The shims that run, by process number.
pub(super) fn shims() -> MutexGuard<'static, BTreeSet<u32>> {
    SHIMS.lock().unwrap_or_else(PoisonError::into_inner)
}

const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Ends all orphans and waits for them. Returns how many could not be ended within [`KILL_BOUND`].
pub(super) async fn sweep() -> u32 {
    let mut pause = FIRST_PAUSE;
    let mut waited = Duration::ZERO;
    let mut looks_without = 0;
    loop {
        // Those that were killed leave their own children to us, so waiting comes first.
        let orphans = orphans();
        for process in orphans.iter().filter(|process| process.is_zombie()) {
            if let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) {
                let _ = waitpid(Some(pid), WaitOptions::NOHANG);
            }
        }
        let living = orphans.iter().filter(|process| !process.is_zombie()).count();
        // One look can miss a process that was born behind its back; hardly two.
        looks_without = if orphans.is_empty() { looks_without + 1 } else { 0 };
        if looks_without == 2 {
            return 0;
        }
        if waited >= KILL_BOUND {
            return u32::try_from(living).unwrap_or(u32::MAX);
        }
        if living > 0 {
            kill_all(self::orphans, waited > Duration::ZERO);
        }
        if !orphans.is_empty() {
            tokio::time::sleep(pause).await;
            waited += pause;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// The orphans and all under them.
fn orphans() -> Vec<Proc> {
    let own = std::process::id();
    let Some(session) = tree::look(own).map(|process| process.session) else { return Vec::new() };
    let all = tree::descendants_by_scan(own);
    // Taken after the look: whatever shim that has seen is on the list by now.
    let shims = shims();
    let mut lost = BTreeSet::new();
    // Parents come before their children.
    all.into_iter()
        .filter(|process| {
            let orphan = process.parent == own && process.session != session && !shims.contains(&process.pid);
            (orphan || lost.contains(&process.parent)) && lost.insert(process.pid)
        })
        .collect()
}
